//! The rules as a whole: every state against every action, and long random walks that keep the books.

mod matrix;
mod walk;
mod world;
