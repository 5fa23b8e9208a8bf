//! A bug that shows in the middle of a transaction, or after it: one command fails, and all goes on for the others.

use std::sync::Arc;
use std::time::Duration;

use clawrk_domain::{Action, Actor};
use clawrk_store::{Outcome, Request, StoreError};

use crate::races::at_once;
use crate::support::{Harness, on_both_databases, posting, receipt};

on_both_databases!(
    whatever_breaks_a_transaction_breaks_that_one_alone,
    a_panic_over_what_was_done_undoes_nothing_and_stops_nobody,
);

/// Before anything is written, a panic: it strikes when the answer is made that is to be kept.
const PANICS: &str = "panics";
/// When all but the last is written, an error.
const BREAKS: &str = "breaks";

/// Refuses to keep one answer, which is the last thing that a command writes.
async fn break_the_last_write(h: &Harness) {
    h.raw(&if h.is_sqlite() {
        format!(
            "CREATE TRIGGER breaks BEFORE INSERT ON receipts WHEN new.key = '{BREAKS}' \
             BEGIN SELECT RAISE(ABORT, 'it breaks');\nEND"
        )
    } else {
        format!(
            "CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'it breaks'; END$$; \
             CREATE TRIGGER breaks BEFORE INSERT ON receipts FOR EACH ROW WHEN (new.key = '{BREAKS}') \
             EXECUTE FUNCTION breaks()"
        )
    })
    .await;
}

async fn whatever_breaks_a_transaction_breaks_that_one_alone(h: &Harness) {
    const AT_ONCE: usize = 40;
    const ROUNDS: usize = 3;
    break_the_last_write(h).await;
    let ada = h.user("ada", 100_000).await;
    let nodes = [h.store.clone(), h.node().await];
    for round in 0..ROUNDS {
        let posts: Vec<Request> = (0..AT_ONCE)
            .map(|n| {
                let mut request = h.request(Actor::User(ada), Action::Post(posting(100)));
                request.receipt = match n % 10 {
                    3 => receipt(ada, PANICS, 1).map(|receipt| {
                        let keep = Arc::new(|_: &_| panic!("on purpose, in the middle of a transaction"));
                        clawrk_store::ReceiptRequest { keep, ..receipt }
                    }),
                    7 => receipt(ada, BREAKS, 1),
                    _ => receipt(ada, &format!("key {round} {n}"), 1),
                };
                request
            })
            .collect();
        for (n, outcome) in at_once(&nodes, posts).await.into_iter().enumerate() {
            match (n % 10, outcome) {
                (3, Err(StoreError::Gone)) => {}
                (7, Err(StoreError::Sqlite(_) | StoreError::Postgres(_))) => {}
                (0..=2 | 4..=6 | 8..=9, Ok(Outcome::Done(_))) => {}
                (_, outcome) => panic!("request {n}: {outcome:?}"),
            }
        }
        let done = (round + 1) * AT_ONCE / 10 * 8;
        assert_eq!(h.number("SELECT COUNT(*) FROM jobs").await, done as i64, "what broke has written nothing");
        assert_eq!(h.number("SELECT COUNT(*) FROM receipts").await, done as i64);
        assert_eq!(h.balance(ada).await, 100_000 - 100 * done as i64);
        h.assert_books_balance().await;
    }
    // No lock is left behind: neither the key's nor the wallet's.
    let mut again = h.request(Actor::User(ada), Action::Post(posting(100)));
    again.receipt = receipt(ada, PANICS, 1);
    let again = tokio::time::timeout(Duration::from_secs(2), nodes[1].submit(again)).await;
    assert!(matches!(again, Ok(Ok(Outcome::Done(_)))), "{again:?}");
}

async fn a_panic_over_what_was_done_undoes_nothing_and_stops_nobody(h: &Harness) {
    const UNLUCKY: i64 = 666;
    let ada = h.user("ada", 10_000).await;
    // The other node hears by the feed.
    let other = if h.is_sqlite() { None } else { Some(h.node().await) };
    let observed = std::iter::once(&h.store).chain(&other).map(|node| {
        let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
        node.observe(Arc::new(move |jobs| {
            for job in jobs {
                assert_ne!(job.price.0, UNLUCKY, "on purpose, over what was done");
                tell.send(job.id).unwrap_or_default();
            }
        }));
        heard
    });
    let mut observed: Vec<_> = observed.collect();
    for _ in 0..3 {
        h.post(ada, UNLUCKY).await;
        let job = h.post(ada, 100).await;
        for heard in &mut observed {
            let hear = async { while heard.recv().await.unwrap() != job {} };
            tokio::time::timeout(Duration::from_secs(5), hear).await.expect("who observes hears of the next one");
        }
    }
    assert_eq!(h.balance(ada).await, 10_000 - 3 * (UNLUCKY + 100));
    h.assert_books_balance().await;
}
