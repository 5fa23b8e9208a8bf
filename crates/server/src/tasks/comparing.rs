//! Comparing: once a day one of the nodes holds the ledger beside what Stripe remembers, and every node tells what is
//! parked.
//!
//! Whose turn it is says a budget of one for the day, which all nodes share. A node that dies over it leaves the day
//! without one; the next day's looks back far enough to make up for that.

use std::time::Duration;

use clawrk_domain::{Timestamp, UserId};
use clawrk_store::StoreError;
use tokio::time::sleep;
use uuid::Uuid;

use crate::error::causes;
use crate::payments::Desk;
use crate::payments::compare::{CompareError, Comparison, compare, parked};
use crate::{App, telemetry};

/// How far back a comparison looks, in seconds: some days may have had none.
const BACK_SECONDS: i64 = 3 * 24 * 3600;
/// What began so lately may well be under way, in seconds.
const UNDER_WAY_SECONDS: i64 = 3600;
/// Between two rounds, and so between two tries to reach Stripe.
const REST: Duration = Duration::from_secs(60);
/// Notices that are counted; more are as bad.
const MOST_NOTICES: i64 = 1000;

/// Compares until the app stops.
pub async fn run(app: App) {
    let Some(desk) = app.desk.clone() else { return };
    let mut turn = Turn::default();
    while !app.stopping.is_cancelled() {
        round(&app, &desk, &mut turn).await;
        tokio::select! {
            () = sleep(REST) => {}
            () = app.stopping.cancelled() => {}
        }
    }
}

/// Whether the day's comparison is this node's and has not been made yet.
#[derive(Debug, Default)]
struct Turn {
    is_ours: bool,
}

/// Tells what is parked, and compares if it is this node's turn; what it found.
async fn round(app: &App, desk: &Desk, turn: &mut Turn) -> Option<Comparison> {
    if let Err(error) = tell_parked(app).await {
        tracing::warn!(cause = causes(&error), "parked payments could not be counted; trying again");
        return None;
    }
    match daily(app, desk, turn).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(cause = causes(&error), "the ledger could not be compared with Stripe; trying again");
            None
        }
    }
}

async fn tell_parked(app: &App) -> Result<(), StoreError> {
    let notices = app.store.notices_parked(MOST_NOTICES).await?.len();
    telemetry::gauge_parked(parked(&app.store).await?, notices);
    Ok(())
}

async fn daily(app: &App, desk: &Desk, turn: &mut Turn) -> Result<Option<Comparison>, CompareError> {
    // The budget of nobody is the exchange's own.
    turn.is_ours = turn.is_ours || app.store.spend(UserId(Uuid::nil()), "comparison", 1).await?;
    if !turn.is_ours {
        return Ok(None);
    }
    let found = compare(&app.store, desk, span(app.store.clock().now())).await?;
    turn.is_ours = false;
    tell(&found);
    Ok(Some(found))
}

fn span(now: Timestamp) -> (Timestamp, Timestamp) {
    (now.plus_seconds(-BACK_SECONDS), now.plus_seconds(-UNDER_WAY_SECONDS))
}

fn tell(found: &Comparison) {
    telemetry::gauge_differences(found.differences.len());
    for difference in &found.differences {
        tracing::error!(difference, "the ledger and Stripe differ: see docs/payments.md");
    }
    let (events, missed, parked) = (found.events, found.missed.len(), found.parked);
    tracing::info!(events, missed, parked, "the ledger was compared with Stripe");
}
