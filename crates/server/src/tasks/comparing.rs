//! Comparing: once a day one of the nodes holds the ledger beside what Stripe remembers, and every node tells what is
//! parked.
//!
//! Whose turn it is says a budget of one for the day, which all nodes share. A node that dies over it leaves the day
//! without one; the next day's looks back far enough to make up for that.

use std::time::Duration;

use clawrk_domain::{Timestamp, UserId};
use clawrk_store::{Store, StoreError};
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
        round(&app.store, &desk, &mut turn).await;
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
async fn round(store: &Store, desk: &Desk, turn: &mut Turn) -> Option<Comparison> {
    if let Err(error) = tell_parked(store).await {
        tracing::warn!(cause = causes(&error), "parked payments could not be counted; trying again");
        return None;
    }
    match daily(store, desk, turn).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(cause = causes(&error), "the ledger could not be compared with Stripe; trying again");
            None
        }
    }
}

async fn tell_parked(store: &Store) -> Result<(), StoreError> {
    let notices = store.notices_parked(MOST_NOTICES).await?.len();
    telemetry::gauge_parked(parked(store).await?, notices);
    Ok(())
}

async fn daily(store: &Store, desk: &Desk, turn: &mut Turn) -> Result<Option<Comparison>, CompareError> {
    // The budget of nobody is the exchange's own.
    turn.is_ours = turn.is_ours || store.spend(UserId(Uuid::nil()), "comparison", 1).await?;
    if !turn.is_ours {
        return Ok(None);
    }
    let found = compare(store, desk, span(store.clock().now())).await?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::extract::State;
    use axum::http::{StatusCode, Uri};
    use axum::{Json, Router};
    use clawrk_domain::{Policy, Timestamp};
    use clawrk_store::Clock;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::StripeSetting;

    /// A Stripe that remembers one payment, which nobody else knows; until it is well it breaks.
    async fn answer(State(is_well): State<Arc<AtomicBool>>, uri: Uri) -> (StatusCode, Json<Value>) {
        let page = json!({"id": "cs_1", "mode": "payment", "payment_status": "paid", "amount_total": 2000,
            "metadata": {"clawrk_payment": "01970000-0000-7000-8000-000000000000"}});
        let event =
            json!({"id": "evt_1", "type": "checkout.session.completed", "created": 0, "data": {"object": page}});
        let answer = match uri.path() {
            _ if !is_well.load(Ordering::SeqCst) => return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({}))),
            "/v1/events" => json!({"data": [event], "has_more": false}),
            _ => json!({"available": [], "pending": []}),
        };
        (StatusCode::OK, Json(answer))
    }

    #[expect(clippy::disallowed_methods, reason = "it answers beside the test")]
    async fn stripe(is_well: &Arc<AtomicBool>) -> Desk {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: url::Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(is_well));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (secret_key, webhook_secrets) = ("sk_test_1".to_owned(), vec!["whsec_1".to_owned()]);
        Desk::open(&StripeSetting { secret_key, webhook_secrets, api_url: url.clone(), public_url: url }).unwrap()
    }

    #[tokio::test]
    async fn once_a_day_one_node_compares_and_tells_what_differs_and_one_that_could_not_tries_again() {
        telemetry::start_metrics();
        let (folder, is_well) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
        let noon: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let clock = Clock::manual(noon);
        let store = Store::sqlite(folder.path(), Policy::default(), clock.clone()).unwrap();
        let desk = stripe(&is_well).await;
        let (mut ours, mut theirs) = (Turn::default(), Turn::default());
        assert_eq!(round(&store, &desk, &mut ours).await, None, "Stripe breaks");
        assert_eq!(round(&store, &desk, &mut theirs).await, None, "it is the first one's turn");
        is_well.store(true, Ordering::SeqCst);
        assert_eq!(round(&store, &desk, &mut theirs).await, None, "it still is");
        let found = round(&store, &desk, &mut ours).await.unwrap();
        let (missed, differences) = (found.missed.len(), found.differences.len());
        assert_eq!((missed, differences), (1, 1), "{found:?}");
        assert!(found.differences[0].contains("cs_1 over $20.00 for a payment"), "{found:?}");
        let told = telemetry::rendered();
        assert!(told.contains("clawrk_payments_differences 1") && told.contains("clawrk_payments_parked 0"), "{told}");
        for turn in [&mut ours, &mut theirs] {
            assert_eq!(round(&store, &desk, turn).await, None, "the day has had its comparison");
        }
        clock.advance(24 * 3600);
        let found = round(&store, &desk, &mut theirs).await.unwrap();
        assert_eq!((found.missed.len(), found.differences.len()), (0, 1), "the notice is known by now: {found:?}");
        assert_eq!(round(&store, &desk, &mut ours).await, None);
    }
}
