//! The rules as a whole: every state against every action, and long random walks that keep the books.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod matrix;
mod moves;
mod payments;
mod people;
mod sight;
mod walk;
mod world;
