//! `kill -9` under load: what was acknowledged is there after the restart, what was not has happened once or not at
//! all, and the books balance.

use std::time::{Duration, Instant};

use crate::dice::rounds;
use crate::exchange::{Exchange, Server};
use crate::load::{Load, TroubleKind};
use crate::proof::{Proof, prove};

/// A server that was killed answers again within this time.
const BACK: Duration = Duration::from_secs(2);

/// Requests that are done before the server is killed, at least.
const ENOUGH: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_sqlite() {
    survives(Exchange::sqlite(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_two_nodes_of_postgresql() {
    let Some(exchange) = Exchange::postgres().await else { return };
    survives(exchange, 2).await;
}

/// Rounds of load, each ended by `kill -9` of the first node and followed by a look at everything.
async fn survives(exchange: Exchange, nodes: usize) {
    let mut servers: Vec<Server> = (0..nodes).map(|_| exchange.serve()).collect();
    let load = Load::new(&exchange);
    let (mut cut_off, mut slowest) = (0, Duration::ZERO);
    for _ in 0..rounds(3) {
        load.at(&servers);
        let moment = load.dice().millis(200, 900);
        let enough = load.record.lock().unwrap().done.len() + ENOUGH;
        load.during(async {
            tokio::time::sleep(moment).await;
            // A busy machine may not have got anywhere yet.
            while load.record.lock().unwrap().done.len() < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            servers.remove(0).kill();
        })
        .await;
        cut_off += load.record.lock().unwrap().unanswered.len();
        let began = Instant::now();
        servers.insert(0, exchange.serve());
        assert!(servers[0].is_ready().await);
        slowest = slowest.max(began.elapsed());
        load.at(&servers);
        load.repeat_the_unanswered().await;
        load.repeat_the_answered().await;
        exchange.audit();
        assert!(load.troubles().iter().all(|trouble| trouble.kind != TroubleKind::Unavailable));
    }
    let done = load.record.lock().unwrap().done.len();
    println!("{done} requests were done, {cut_off} were cut off; the server came back within {slowest:?}");
    assert!(slowest < BACK, "the server took {slowest:?} to come back");
    assert!(cut_off > 0, "no request was in hand when the server was killed");
    // Histories and the record only grow: what was wrong after any round still is.
    reaches_everything(&prove(&load, &exchange).await);
}

/// The load does everything that a job's life knows, and it works.
fn reaches_everything(proof: &Proof) {
    let kinds = ["posted", "pulled", "accepted", "rejected", "submitted", "gave_up"];
    for kind in kinds.into_iter().chain(["verified", "verification_failed", "cancelled"]) {
        assert!(proof.count(kind) > 0, "nothing was {kind}");
    }
}
