//! What is measured beside an anchor: one function a row. A row that cannot be measured here says why.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clawrk_domain::action::{Posting, Review};
use clawrk_domain::{Action, Actor, Answer, Cents, Command, JobId, UserId, Verdict};
use clawrk_server::random;
use clawrk_store::{Outcome, Request, Store};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::load::{Client, Server, Watch, measure};
use crate::place::{Person, Place};
use crate::{Measured, anchor};

type Row = fn() -> Pin<Box<dyn Future<Output = Result<Measured, &'static str>>>>;

/// Every row, by name.
pub(crate) const ALL: [(&str, Row); 8] = [
    ("reads", || Box::pin(reads())),
    ("reads-postgres", || Box::pin(reads_postgres())),
    ("creation-engine", || Box::pin(creation_engine())),
    ("creation-engine-postgres", || Box::pin(creation_engine_postgres())),
    ("creation-http", || Box::pin(creation_http())),
    ("paid-job", || Box::pin(paid_job())),
    ("paid-job-postgres", || Box::pin(paid_job_postgres())),
    ("paid-job-engine", || Box::pin(paid_job_engine())),
];

pub(crate) const CLIENTS: usize = 64;
const LASTING: Duration = Duration::from_secs(5);
const PLENTY: i64 = 100_000_000_000;
const NO_POSTGRES: &str = "skipped: PostgreSQL's server is not installed";
const NO_BULLMQ: &str = "skipped: the anchor needs Redis, Node and npm";
pub(crate) const POSTING: &str = r#"{"prompt":"Count to ten","title":"Count","description":"To ten","requirements":"counting",
    "criteria":["it is ten"],"price_cents":500,"time_limit_seconds":600,"confirmed":true}"#;

/// Authenticated `GET /api/agents` among 10,000 users.
async fn reads() -> Result<Measured, &'static str> {
    reads_in(&Place::folder(), "GET /api/agents, 64 connections", 0.80).await
}

async fn reads_postgres() -> Result<Measured, &'static str> {
    let place = Place::postgres().ok_or(NO_POSTGRES)?;
    reads_in(&place, "the same, a node of PostgreSQL", 0.30).await
}

async fn reads_in(place: &Place, what: &'static str, aim: f64) -> Result<Measured, &'static str> {
    let people = place.people(10_000, 0).await;
    let server = Server::ours(place);
    let (ours, p99_ms) = gets(&server, &people).await;
    drop(server);
    let (anchor, _) = gets(&Server::bare(), &people).await;
    Ok(Measured { what, ours, p99_ms, anchor: ("bare axum", anchor), aim })
}

async fn gets(server: &Server, people: &Arc<[Person]>) -> (f64, f64) {
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let (mut client, people) = (Client::connect(&server.address).await, Arc::clone(people));
        workers.push(move |mut watch: Watch| async move {
            let mut at = worker * 157;
            while watch.goes_on() {
                at = (at + 1) % people.len();
                let (status, _) = watch.time(client.ask(Method::GET, "/api/agents", &people[at].key, "")).await;
                assert_eq!(status, StatusCode::OK);
            }
            watch
        });
    }
    measure(workers, LASTING).await
}

/// Jobs posted and paid straight at the store, from a million wallets.
async fn creation_engine() -> Result<Measured, &'static str> {
    creation_engine_in(&Place::folder(), 1_000_000, "a job posted and paid, in the engine, a million wallets", 8.0)
        .await
}

async fn creation_engine_postgres() -> Result<Measured, &'static str> {
    let place = Place::postgres().ok_or(NO_POSTGRES)?;
    creation_engine_in(&place, 10_000, "the same on PostgreSQL, 10,000 wallets", 1.0).await
}

async fn creation_engine_in(
    place: &Place,
    wallets: usize,
    what: &'static str,
    aim: f64,
) -> Result<Measured, &'static str> {
    let store = place.store().await;
    let people = crate::place::people(&store, wallets, PLENTY).await;
    let mut workers = Vec::new();
    for worker in 0..256 {
        let (store, people) = (store.clone(), Arc::clone(&people));
        workers.push(move |mut watch: Watch| async move {
            let mut at = worker * 31;
            while watch.goes_on() {
                at = (at + 7919) % people.len();
                watch.time(job_of(submit(&store, Actor::User(people[at].id), Action::Post(posting())))).await;
            }
            watch
        });
    }
    let (ours, p99_ms) = measure(workers, LASTING).await;
    Ok(Measured { what, ours, p99_ms, anchor: ("one commit each", one_commit_each(place)), aim })
}

fn one_commit_each(place: &Place) -> f64 {
    let elsewhere = Place::folder();
    let folder = place.path().or(elsewhere.path()).expect("a folder has a path");
    anchor::one_commit_each(folder, 10_000, 10_000)
}

/// Jobs posted and paid over HTTP.
async fn creation_http() -> Result<Measured, &'static str> {
    let place = Place::folder();
    let people = place.people(1_000, PLENTY).await;
    let server = Server::ours(&place);
    let (ours, p99_ms) = posts(&server, &people, StatusCode::CREATED).await;
    drop(server);
    let (anchor, _) = posts(&Server::bare(), &people, StatusCode::OK).await;
    let what = "POST /api/jobs/run, paid, 64 connections";
    Ok(Measured { what, ours, p99_ms, anchor: ("bare axum", anchor), aim: 0.30 })
}

async fn posts(server: &Server, people: &Arc<[Person]>, expected: StatusCode) -> (f64, f64) {
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let (mut client, people) = (Client::connect(&server.address).await, Arc::clone(people));
        workers.push(move |mut watch: Watch| async move {
            let mut at = worker * 15;
            while watch.goes_on() {
                at = (at + 1) % people.len();
                let key = &people[at].key;
                let (status, body) = watch.time(client.ask(Method::POST, "/api/jobs/run", key, POSTING)).await;
                assert_eq!(status, expected, "{body:?}");
            }
            watch
        });
    }
    measure(workers, LASTING).await
}

/// Post, pull, accept, submit, pass and payout, each durable, all over HTTP, 64 clients at once.
async fn paid_job() -> Result<Measured, &'static str> {
    paid_job_in(&Place::folder(), "a whole paid job over HTTP, 64 clients", 1.0).await
}

async fn paid_job_postgres() -> Result<Measured, &'static str> {
    let place = Place::postgres().ok_or(NO_POSTGRES)?;
    paid_job_in(&place, "the same, a node of PostgreSQL", 1.0).await
}

async fn paid_job_in(place: &Place, what: &'static str, aim: f64) -> Result<Measured, &'static str> {
    let people = place.people(CLIENTS * 2, PLENTY).await;
    let server = Server::ours(place);
    for person in people.iter().skip(1).step_by(2) {
        describe(&server, person).await;
    }
    let senders = Arc::new(Senders::default());
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let mut client = Client::connect(&server.address).await;
        let (people, senders) = (Arc::clone(&people), Arc::clone(&senders));
        workers.push(move |mut watch: Watch| async move {
            while watch.goes_on() {
                let pair = (worker * 2, worker * 2 + 1);
                watch.time(one_paid_job(&mut client, &people, pair, &senders, &mut |_, _| ())).await;
            }
            watch
        });
    }
    let (ours, p99_ms) = measure(workers, LASTING).await;
    drop(server);
    let cycles = anchor::bullmq(LASTING.as_secs()).ok_or(NO_BULLMQ)?;
    Ok(Measured { what, ours, p99_ms, anchor: ("BullMQ's three steps", cycles), aim })
}

/// Gives the default agent something for matching to read.
pub(crate) async fn describe(server: &Server, person: &Person) {
    let mut client = Client::connect(&server.address).await;
    let (_, agents) = client.ask(Method::GET, "/api/agents", &person.key, "").await;
    let agents: Value = serde_json::from_slice(&agents).expect("the answer is JSON");
    let path = format!("/api/agents/{}", agents[0]["id"].as_str().expect("an agent has an id"));
    let body = r#"{"personality":"counts vowels, words and everything else, quickly and carefully"}"#;
    let (status, _) = client.ask(Method::PATCH, &path, &person.key, body).await;
    assert_eq!(status, StatusCode::OK);
}

/// Who posted which job: the one that is pulled may be another client's.
pub(crate) type Senders = Mutex<HashMap<String, usize>>;

/// One job on its whole way, posted by the first of the pair and worked by the second; each step's name and time are
/// told.
pub(crate) async fn one_paid_job(
    client: &mut Client,
    people: &[Person],
    (poster, worker): (usize, usize),
    senders: &Senders,
    told: &mut impl FnMut(&'static str, Duration),
) {
    let agent = &people[worker].key;
    let mut ask = async |step: &'static str, path: &str, key: &str, body: &str| {
        let begun = Instant::now();
        let (status, bytes) = client.ask(Method::POST, path, key, body).await;
        told(step, begun.elapsed());
        assert!(status.is_success(), "{path}: {status} {bytes:?}");
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("the answer is JSON") }
    };
    let id = |job: &Value| job["id"].as_str().map(str::to_owned);
    let posted = ask("run", "/api/jobs/run", &people[poster].key, POSTING).await;
    senders.lock().expect("nobody panics").insert(id(&posted).expect("a job has an id"), poster);
    let pulled = loop {
        // Somebody else may have been faster to every job that was open.
        if let Some(job) = id(&ask("pull", "/api/jobs/pull", agent, r#"{"wait_seconds":5}"#).await) {
            break job;
        }
    };
    ask("accept", &format!("/api/jobs/{pulled}/accept"), agent, "{}").await;
    ask("submit", &format!("/api/jobs/{pulled}/submit"), agent, r#"{"output_text":"1 2 3 4 5 6 7 8 9 10"}"#).await;
    // It may have been pulled before its sender had the answer to the posting.
    let sender = loop {
        let known = senders.lock().expect("nobody panics").remove(&pulled);
        match known {
            Some(sender) => break sender,
            None => tokio::task::yield_now().await,
        }
    };
    ask("review", &format!("/api/jobs/{pulled}/review"), &people[sender].key, r#"{"verdict":"pass"}"#).await;
}

/// The same straight at the store, without matching.
async fn paid_job_engine() -> Result<Measured, &'static str> {
    let place = Place::folder();
    let store = place.store().await;
    let people = crate::place::people(&store, 20_000, PLENTY).await;
    let count = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for worker in 0..256 {
        let (store, people, count) = (store.clone(), Arc::clone(&people), Arc::clone(&count));
        workers.push(move |mut watch: Watch| async move {
            while watch.goes_on() {
                let sender = people[(count.fetch_add(1, Ordering::Relaxed) * 7919) % 10_000].id;
                watch.time(one_paid_in_engine(&store, sender, people[10_000 + worker].id)).await;
            }
            watch
        });
    }
    let (ours, p99_ms) = measure(workers, LASTING).await;
    let cycles = anchor::bullmq(LASTING.as_secs()).ok_or(NO_BULLMQ)?;
    let what = "a whole paid job, in the engine";
    Ok(Measured { what, ours, p99_ms, anchor: ("BullMQ's three steps", cycles), aim: 5.0 })
}

pub(crate) async fn one_paid_in_engine(store: &Store, sender: UserId, worker: UserId) -> JobId {
    let (sender, worker) = (Actor::User(sender), Actor::User(worker));
    let job = job_of(submit(store, sender, Action::Post(posting()))).await;
    job_of(submit(store, worker, Action::Pull { agent: None, candidates: vec![job] })).await;
    job_of(submit(store, worker, Action::Accept(job))).await;
    let output_text = Some("1 2 3 4 5 6 7 8 9 10".to_owned());
    job_of(submit(store, worker, Action::Submit { job, output_text, files: Vec::new() })).await;
    let review = Review { verdict: Verdict::Pass, reason: None, attempt: None };
    job_of(submit(store, sender, Action::Review { job, review })).await
}

/// Carries out a command at the store.
pub(crate) async fn submit(store: &Store, actor: Actor, action: Action) -> Answer {
    let command = Command { seed: random::seed(), actor, action };
    match store.submit(Request { command, receipt: None }).await {
        Ok(Outcome::Done(answer)) => answer,
        other => panic!("the command is in order: {other:?}"),
    }
}

/// The job that a command was about.
pub(crate) async fn job_of(answer: impl Future<Output = Answer>) -> JobId {
    match answer.await {
        Answer::Job(job) => job.id,
        other => panic!("it is about a job: {other:?}"),
    }
}

pub(crate) fn posting() -> Posting {
    Posting {
        checks: Vec::new(),
        attachments: Vec::new(),
        prompt: "Count to ten".to_owned(),
        title: "Count".to_owned(),
        description: Some("To ten".to_owned()),
        requirements: Some("counting".to_owned()),
        criteria: vec!["it is ten".to_owned()],
        sealed_env: None,
        price: Cents(500),
        time_limit_seconds: 600,
    }
}
