//! The exchange over HTTP, in process: the same routes, store and tasks as in the real server, with a
//! clock that is moved by hand. `CLAWRK_TEST_STORE=postgres` runs all of it on PostgreSQL.

#![expect(unreachable_pub, reason = "one binary: everything in it is its own")]

mod support;

mod agents;
mod story;
