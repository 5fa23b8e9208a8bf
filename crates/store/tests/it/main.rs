//! The store's tests: nothing is tested on one database only.
//!
//! PostgreSQL is the server whose superuser URL is in `CLAWRK_TEST_POSTGRES`; without it that half is
//! skipped, or fails when `REQUIRE_POSTGRES=1`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broadcast;
mod conformance;
mod outages;
mod panics;
mod races;
mod schema;
mod simulate;
mod support;
mod tally;
mod tampering;
mod throwaway;
