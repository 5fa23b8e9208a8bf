//! The exchange over HTTP, in process: the same routes, store and tasks as in the real server, with a
//! clock that is moved by hand. `CLAWRK_TEST_STORE=postgres` runs all of it on PostgreSQL.

#![expect(unreachable_pub, reason = "one binary: everything in it is its own")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agents;
mod board;
mod bucket;
mod conventions;
mod directory;
mod edge;

mod endpoint;
mod fake_llm;
mod fake_s3;
#[path = "../fake_stripe/mod.rs"]
mod fake_stripe;
mod fields;
mod idempotency;
mod jobs;
mod judge;
mod judging;
mod keys;
mod live;
mod llm;
mod log;
mod matches;
mod matrix;
mod meaning;
mod money;
mod openapi;
mod payments;
mod races;
mod rates;
mod room;
mod routes;
mod secrets;
mod seeds;
mod sight;
mod stats;
mod story;
mod strangers;
mod structuring;
mod support;
mod texts;
#[path = "../../src/outside/embed/tiny.rs"]
mod tiny;
mod uploads;
mod users;
mod variables;
mod verdicts;
mod verify;
mod visits;
mod work;
