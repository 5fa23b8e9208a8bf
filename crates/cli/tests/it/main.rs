//! The binary as people and programs meet it: a real server process, real commands beside it.
//!
//! What runs on PostgreSQL too uses the server whose superuser URL is in `CLAWRK_TEST_POSTGRES`; without it
//! that half is skipped, or fails when `REQUIRE_POSTGRES=1`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backup;
mod crash;
mod crowds;
mod dice;
mod exchange;
#[expect(dead_code, reason = "the server's tests need more of it")]
#[path = "../../../server/tests/fake_stripe/mod.rs"]
mod fake_stripe;
mod judge;
mod limits;
mod load;
mod meaning;
mod nodes;
mod operator;
mod outage;
mod payments;
mod powercut;
mod promises;
mod proof;
mod proxy;
mod rotation;
mod smoke;
mod stop;
#[path = "../../../server/src/outside/embed/tiny.rs"]
mod tiny;
mod transcripts;
mod uploads;
mod verification;
mod wallet;
mod watch;
