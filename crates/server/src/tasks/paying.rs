//! The desk: leases payments and notices that are due, and has them dealt with, on every node that can reach Stripe.

use std::sync::Arc;
use std::time::Duration;

use clawrk_store::{Due, StoreError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::error::causes;
use crate::payments::{Desk, work};
use crate::tasks::lease::LEASE_SECONDS;
use crate::{App, telemetry};

/// How much is dealt with at once.
const SEATS: usize = 8;
/// How often a node that was not told looks for itself.
const REST: Duration = Duration::from_millis(500);

/// Works until the app stops; what is in hand then is ended.
pub async fn run(app: App) {
    let Some(desk) = app.desk.clone() else { return };
    let mut in_hand = FuturesUnordered::new();
    while !app.stopping.is_cancelled() {
        let free = SEATS - in_hand.len();
        match app.store.take_due_tasks(Due::AtStripe, free as u32, LEASE_SECONDS).await {
            Ok(leases) => in_hand.extend(leases.into_iter().map(|lease| deal(&app, &desk, lease))),
            Err(error) => tracing::error!(cause = causes(&error), "payments could not be taken; trying again"),
        }
        tokio::select! {
            Some(()) = in_hand.next() => {}
            () = desk.nudge.notified() => {}
            () = sleep(REST) => {}
            () = app.stopping.cancelled() => {}
        }
    }
    // A payment that is under way is heard out: to be cut off costs a day of not knowing.
    while in_hand.next().await.is_some() {}
}

async fn deal(app: &App, desk: &Arc<Desk>, lease: clawrk_domain::Lease) {
    match work(app, desk, lease).await {
        Ok(()) => telemetry::task(lease.task.kind.as_str()),
        Err(error) => tracing::error!(cause = causes(&error), task = ?lease.task, "a payment was not dealt with"),
    }
}

/// Deals with everything that is due now; how much there was.
pub async fn settle(app: &App) -> Result<usize, StoreError> {
    let Some(desk) = app.desk.clone() else { return Ok(0) };
    let mut count = 0;
    loop {
        let leases = app.store.take_due_tasks(Due::AtStripe, SEATS as u32, LEASE_SECONDS).await?;
        if leases.is_empty() {
            return Ok(count);
        }
        for lease in leases {
            work(app, &desk, lease).await?;
            count += 1;
        }
    }
}
