//! What nodes tell one another in passing.

use std::time::{Duration, Instant};

use clawrk_store::{BROADCAST_BYTES, Store};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::Harness;
use crate::throwaway::connect;

fn listening(store: &Store) -> UnboundedReceiver<String> {
    let (tell, heard) = unbounded_channel();
    store.listen(std::sync::Arc::new(move |text| tell.send(text.to_owned()).unwrap_or_default()));
    heard
}

/// Broadcasts until it comes back: until then the node did not listen yet.
async fn listens(store: &Store, heard: &mut UnboundedReceiver<String>) {
    let began = Instant::now();
    loop {
        // While the database is away, nobody can be told.
        store.broadcast(vec!["is somebody there?".to_owned()]).await.unwrap_or_default();
        if tokio::time::timeout(Duration::from_millis(100), heard.recv()).await.is_ok() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(6), "what was told does not come back");
    }
}

async fn next(heard: &mut UnboundedReceiver<String>) -> String {
    loop {
        let text = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await.unwrap().unwrap();
        if text != "is somebody there?" {
            return text;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broadcast_reaches_every_node_in_one_order() {
    let Some(h) = Harness::postgres().await else { return };
    let other = h.node().await;
    let (mut here, mut there) = (listening(&h.store), listening(&other));
    listens(&h.store, &mut here).await;
    listens(&other, &mut there).await;
    let (one, two) = (vec!["1 a".to_owned(), "2 ü".repeat(10)], vec!["x".repeat(BROADCAST_BYTES)]);
    tokio::try_join!(h.store.broadcast(one.clone()), other.broadcast(two.clone())).unwrap();
    let mut orders = Vec::new();
    for heard in [&mut here, &mut there] {
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(next(heard).await);
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    assert!([[&one[..], &two].concat(), [&two[..], &one].concat()].contains(&orders[0]), "{orders:?}");
    assert!(h.store.broadcast(vec!["x".repeat(BROADCAST_BYTES + 1)]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_connections_listens_again() {
    let Some(h) = Harness::postgres().await else { return };
    let mut heard = listening(&h.store);
    listens(&h.store, &mut heard).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'clawrk'";
    assert!(!connect(h.url().unwrap()).await.query(kill, &[]).await.unwrap().is_empty());
    while heard.try_recv().is_ok() {}
    listens(&h.store, &mut heard).await;
}

#[tokio::test]
async fn on_sqlite_there_is_nobody_to_tell() {
    let h = Harness::sqlite().await;
    let mut heard = listening(&h.store);
    assert!(!h.store.is_shared());
    h.store.broadcast(vec!["anything".to_owned()]).await.unwrap();
    assert!(heard.try_recv().is_err());
}
