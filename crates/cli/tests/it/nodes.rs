//! Three nodes on one PostgreSQL, some of which die with timers in hand: each timer fires once, and soon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::json;
use tokio_postgres::Client;

use crate::dice::rounds;
use crate::exchange::{Exchange, Server, ask, beside, connect};
use crate::load::Load;
use crate::proof::prove;

/// Timers of each kind that come due at one moment.
const TIMERS: usize = 12;
const HOLD_SECONDS: i64 = 1;
const REVIEW_WINDOW_SECONDS: i64 = 2;
/// A timer fires within a second; a machine that is busy with other tests may take one more.
const SOON: Duration = Duration::from_secs(2);
/// One that a dead node had in hand, or that a test held up, fires when its lease is over.
const AFTER_A_DEATH: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_once_and_soon_when_the_node_that_has_them_in_hand_dies() {
    let Some(exchange) = Exchange::postgres().await.map(hurried) else { return };
    let exchange = Arc::new(exchange);
    let mut nodes: Vec<(String, Server)> =
        ["node_a", "node_b", "node_c"].into_iter().map(|name| (name.to_owned(), exchange.serve_as(name))).collect();
    let load = Load::new(&exchange).thinking(1);
    let database = connect(exchange.database_url()).await.unwrap();
    let (mut dead, mut in_hand) = (Vec::new(), BTreeSet::new());
    load.at(nodes.iter().map(|(_, server)| server));
    let thinkers = thinkers(&load).await;
    for _ in 0..rounds(1) {
        let jobs = prepare(&load).await;
        load.during(async {
            come_due(&load, &jobs, &thinkers).await;
            let (died, leased) = die_with_timers_in_hand(&database, &jobs, &mut nodes).await;
            in_hand.extend(leased);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let (again, name) = (Arc::clone(&exchange), died.clone());
            nodes.push((died.clone(), beside(move || again.serve_as(&name)).await));
            load.at(nodes.iter().map(|(_, server)| server));
            tokio::time::sleep(Duration::from_millis(500)).await;
            dead.push(died);
        })
        .await;
        load.repeat_the_unanswered().await;
        load.repeat_the_answered().await;
    }
    // The last one that came back does what the other two would have done.
    nodes.drain(..2).for_each(|(_, server)| server.kill());
    load.at(nodes.iter().map(|(_, server)| server));
    settle(&load).await;
    let proof = prove(&load, &exchange).await;
    let delays = proof.delays(HOLD_SECONDS, REVIEW_WINDOW_SECONDS);
    let (held_up, free): (Vec<_>, Vec<_>) = delays.iter().partition(|(_, job)| in_hand.contains(*job));
    let [(held_up_latest, _), (latest, _)] = [*held_up.last().unwrap(), *free.last().unwrap()];
    println!("{} timers fired, the latest {latest:?} late; {dead:?} died", free.len());
    println!("{} jobs had timers in hand then, the latest {held_up_latest:?} late", in_hand.len());
    assert!(delays.len() >= 2 * TIMERS && free.len() >= TIMERS, "{} timers fired", delays.len());
    assert!(held_up_latest < AFTER_A_DEATH, "a timer that was in hand fired {held_up_latest:?} late");
    assert!(latest < SOON, "a timer that nobody dead had in hand fired {latest:?} late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptance_at_the_end_of_the_hold_wins_or_the_end_does() {
    let exchange = hurried(Exchange::sqlite());
    let server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    let (mut won, mut lost) = (0, 0);
    let thinkers = thinkers(&load).await;
    for _ in 0..rounds(3) {
        let tries = thinkers.iter().map(async |agent| {
            let (mut dice, mut worker) = (load.dice(), load.quiet_agent());
            load.quiet_sender().post().await.unwrap();
            let job = worker.pull(json!({"agent_id": agent})).await?;
            tokio::time::sleep(dice.millis(860, 1040)).await;
            let accepted = worker.act(&job, "accept", json!({})).await.is_some();
            // Whoever was told that it has the job still has it, and whoever was not never gets it.
            let hand_in = worker.act(&job, "submit", json!({"output_text": "ten"})).await;
            assert_eq!(hand_in.is_some(), accepted, "{job}");
            Some(accepted)
        });
        let tried: Vec<bool> = join_all(tries).await.into_iter().flatten().collect();
        won += tried.iter().filter(|accepted| **accepted).count();
        lost += tried.iter().filter(|accepted| !**accepted).count();
    }
    settle(&load).await;
    let proof = prove(&load, &exchange).await;
    let (latest, _) = proof.delays(HOLD_SECONDS, REVIEW_WINDOW_SECONDS).pop().unwrap();
    println!("{won} acceptances came in time, {lost} did not; the latest timer fired {latest:?} late");
    assert!(latest < SOON, "a timer fired {latest:?} late");
    assert_eq!((proof.count("accepted"), proof.count("hold_expired")), (won, lost));
    assert!(won > 0 && lost > 0, "there was no race: {won} won, {lost} lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_waits_gets_a_job_that_was_in_other_hands_and_is_put_back() {
    let Some(exchange) = Exchange::postgres().await else { return };
    let server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    let job = load.quiet_sender().post().await.unwrap();
    let database = connect(exchange.database_url()).await.unwrap();
    database.batch_execute(&format!("BEGIN; SELECT 1 FROM jobs WHERE id = '{job}' FOR UPDATE")).await.unwrap();
    let began = Instant::now();
    let mut agent = load.quiet_agent();
    let put_back = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        database.batch_execute("ROLLBACK").await.unwrap();
    };
    let (pulled, ()) = join(agent.pull(json!({"wait_seconds": 20})), put_back).await;
    assert_eq!(pulled, Some(job));
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// Holds of a second, and review windows of two: whoever has handed in much has to get ready before they are over.
fn hurried(exchange: Exchange) -> Exchange {
    exchange.with("CLAWRK_HOLD_SECONDS", "1").with("CLAWRK_REVIEW_WINDOW_SECONDS", "2")
}

/// Agents of the quiet user, each of which may hold a job.
async fn thinkers(load: &Load) -> Vec<String> {
    let mut thinkers = Vec::new();
    for n in 0..TIMERS {
        thinkers.push(load.quiet_agent().make_agent(&format!("thinker {n}")).await);
    }
    thinkers
}

/// Jobs that are being worked on.
async fn prepare(load: &Load) -> Vec<String> {
    let (mut sender, mut agent) = (load.quiet_sender(), load.quiet_agent());
    let mut jobs = Vec::new();
    for _ in 0..TIMERS {
        let job = sender.post().await.unwrap();
        agent.act(&job, "claim", json!({})).await.unwrap();
        agent.act(&job, "accept", json!({})).await.unwrap();
        jobs.push(job);
    }
    jobs
}

/// The agents hold jobs, which they never accept, and the jobs are handed in, for nobody to review.
async fn come_due(load: &Load, jobs: &[String], thinkers: &[String]) {
    join_all(thinkers.iter().map(async |agent| {
        load.quiet_agent().pull(json!({"agent_id": agent, "wait_seconds": 1})).await;
    }))
    .await;
    // Last, since a pull may have to wait, and whoever comes next wants to be there before the window is over.
    join_all(jobs.iter().map(async |job| {
        load.quiet_agent().act(job, "submit", json!({"output_text": "ten"})).await.unwrap();
    }))
    .await;
}

/// Stops the first runner that would pass one of the jobs, and kills its node as it waits; the name of the node, and the
/// jobs whose timers were in some node's hands then: those of the dead one among them.
async fn die_with_timers_in_hand(
    database: &Client,
    jobs: &[String],
    nodes: &mut Vec<(String, Server)>,
) -> (String, Vec<String>) {
    let jobs = format!("('{}')", jobs.join("', '"));
    database.batch_execute(&format!("BEGIN; SELECT 1 FROM jobs WHERE id IN {jobs} FOR UPDATE")).await.unwrap();
    let began = Instant::now();
    let waiting = "SELECT application_name FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))";
    let name = loop {
        // A transaction sees the backends that there were when it first looked, else.
        database.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        if let Some(name) = ask(database, waiting).await.pop() {
            break name;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "no runner came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let at = nodes.iter().position(|(node, _)| *node == name).unwrap();
    nodes.remove(at).1.kill();
    let leased = "SELECT subject FROM tasks
        WHERE leased_until > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let leased = ask(database, leased).await;
    database.batch_execute("COMMIT").await.unwrap();
    assert!(leased.iter().any(|job| jobs.contains(job.as_str())), "the node had nothing in hand");
    (name, leased)
}

/// Waits until no timer is left but deadlines, which are minutes away.
async fn settle(load: &Load) {
    let began = Instant::now();
    for sender in Load::senders() {
        for status in ["held", "submitted"] {
            let path = format!("jobs?status={status}&limit=1");
            while load.client(sender).get(&path).await.unwrap() != json!([]) {
                assert!(began.elapsed() < Duration::from_secs(10), "jobs stay {status}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
