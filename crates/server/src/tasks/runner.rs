//! The runner: leases tasks that are due and runs them, on every node.
//!
//! | Phase  | What happens                                                                          |
//! |--------|---------------------------------------------------------------------------------------|
//! | lease  | up to a batch of due tasks; another node skips them until the lease runs out           |
//! | run    | each as one command, which carries the lease's token and does nothing if it is stale   |
//! | rest   | at once again after a full batch, else a fraction of a second                          |
//!
//! A node that dies leaves its leases to run out; the tasks fire on another one, once. They are late by no more than
//! the lease, so a lease is short. Should a batch outlast it, another runner takes up the rest: what the first one still
//! runs of it is stale and does nothing.

use std::time::Duration;

use clawrk_store::{Due, StoreError};
use tokio::time::{Instant, sleep};

use crate::error::causes;
use crate::{App, telemetry};

/// Tasks leased at once: no more than are run within their lease.
const BATCH: u32 = 16;
/// How long a lease lasts; running a batch takes far less.
const LEASE_SECONDS: i64 = 1;
/// Timers fire within a second: this is what of it is spent on waiting.
const REST: Duration = Duration::from_millis(200);
/// How often the use of keys is written down and old answers are forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Runs until the app stops, then writes down what is left.
pub async fn run(app: App) {
    let mut kept = Instant::now();
    while !app.stopping.is_cancelled() {
        if let Err(error) = settle(&app).await {
            tracing::error!(cause = causes(&error), "tasks could not be run; trying again");
        }
        if kept.elapsed() >= HOUSEKEEPING {
            keep_house(&app).await;
            kept = Instant::now();
        }
        tokio::select! {
            () = sleep(REST) => {}
            () = app.stopping.cancelled() => {}
        }
    }
    keep_house(&app).await;
}

/// Runs every task that is due now, or until the app stops; how many there were. One that cannot be run keeps no other
/// from running: its lease runs out, and it is tried again.
pub async fn settle(app: &App) -> Result<usize, StoreError> {
    let mut count = 0;
    loop {
        let leases = app.store.take_due_tasks(Due::Timers, BATCH, LEASE_SECONDS).await?;
        for lease in &leases {
            match app.exchange.run(*lease).await {
                Ok(()) => telemetry::task(lease.task.kind.as_str()),
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => tracing::error!(cause = causes(&error), task = ?lease.task, "a task could not be run"),
            }
        }
        count += leases.len();
        if leases.len() < BATCH as usize || app.stopping.is_cancelled() {
            return Ok(count);
        }
    }
}

async fn keep_house(app: &App) {
    let used = app.used_keys.take();
    if !used.is_empty() && app.exchange.touch_keys(used).await.is_err() {
        tracing::warn!("the last use of some keys was not written down");
    }
    if let Err(error) = app.store.drop_old_receipts().await {
        tracing::warn!(%error, "old answers were not forgotten");
    }
}
