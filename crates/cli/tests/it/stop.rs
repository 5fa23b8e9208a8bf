//! SIGTERM under load: whoever was connected is answered, nothing acknowledged is lost, and the process ends soon.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::json;

use crate::dice::rounds;
use crate::exchange::{Exchange, Server, beside, connect};
use crate::load::{Load, TroubleKind};
use crate::proof::prove;

/// The process ends within this time.
const END: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_answers_whoever_was_connected_on_sqlite() {
    stops_well(Exchange::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_answers_whoever_was_connected_on_postgresql() {
    let Some(exchange) = Exchange::postgres().await else { return };
    stops_well(exchange).await;
}

async fn stops_well(exchange: Exchange) {
    let mut load = Load::new(&exchange);
    let mut longest = Duration::ZERO;
    for round in 0..rounds(4) {
        load.keep_connections(round % 2 == 0);
        let server = exchange.serve();
        load.at([&server]);
        let took = load
            .during(async {
                tokio::time::sleep(load.dice().millis(100, 500)).await;
                stop(server).await
            })
            .await;
        longest = longest.max(took);
        let troubles = load.troubles();
        assert!(!troubles.is_empty(), "the load went on to the end");
        let reset = troubles.iter().filter(|trouble| trouble.kind != TroubleKind::Refused).count();
        assert_eq!(reset, 0, "connections that were cut in round {round}");
        let server = exchange.serve();
        load.at([&server]);
        load.repeat_the_unanswered().await;
        load.repeat_the_answered().await;
    }
    let server = exchange.serve();
    load.at([&server]);
    prove(&load, &exchange).await;
    println!("the server ended within {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_waits_is_answered_when_the_server_stops() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    let pulls = Load::agents().map(async |agent| {
        let job = load.client(agent).pull(json!({"wait_seconds": 30})).await;
        assert_eq!(job, None);
    });
    let stopping = async {
        // Long enough for all of them to be waiting.
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop(server).await
    };
    let (_, took) = join(join_all(pulls), stopping).await;
    assert!(load.troubles().is_empty(), "each of them got an answer");
    assert!(took < Duration::from_secs(2), "the server waited {took:?} for them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_finish_what_it_has_in_hand_ends_all_the_same() {
    let Some(exchange) = Exchange::postgres().await else { return };
    let server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    load.quiet_sender().post().await.unwrap();
    // The runner waits for the one, and for the other when it writes down that the sender's key was used.
    let other = connect(exchange.database_url()).await.unwrap();
    other.batch_execute("BEGIN; LOCK TABLE tasks, api_keys").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop(server).await;
}

/// Sends SIGTERM; how long it took to end well.
async fn stop(server: Server) -> Duration {
    let began = Instant::now();
    let (code, log) = beside(move || server.stop()).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(began.elapsed() < END, "it took {:?}: {log}", began.elapsed());
    began.elapsed()
}
