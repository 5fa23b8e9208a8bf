//! What is measured: one function a row.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clawrk_domain::action::{NewUser, Posting};
use clawrk_domain::key::NewKey;
use clawrk_domain::{Action, Actor, Cents, Command, Policy, Scopes, UserId};
use clawrk_server::apikey::FreshKey;
use clawrk_server::exchange::Operator;
use clawrk_server::random;
use clawrk_store::{Clock, Outcome, Request, Store};
use futures_util::stream::{self, StreamExt};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::load::{Client, Server, Watch, measure};
use crate::{Measured, anchor};

type Row = fn() -> Pin<Box<dyn Future<Output = Measured>>>;

/// Every row, by name.
pub(crate) const ALL: [(&str, Row); 4] = [
    ("reads", || Box::pin(reads())),
    ("creation-engine", || Box::pin(creation_engine())),
    ("creation-http", || Box::pin(creation_http())),
    ("paid-job", || Box::pin(paid_job())),
];

const CLIENTS: usize = 64;
const LASTING: Duration = Duration::from_secs(5);
const POSTING: &str = r#"{"prompt":"Count to ten","title":"Count","description":"To ten","requirements":"counting",
    "criteria":["it is ten"],"price_cents":500,"time_limit_seconds":600,"confirmed":true}"#;

/// Authenticated `GET /api/agents` among 10,000 users.
async fn reads() -> Measured {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let keys = people(folder.path(), 10_000, 0).await;
    let server = Server::ours(folder.path());
    let (ours, p99_ms) = gets(&server, &keys).await;
    drop(server);
    let bare = Server::bare();
    let (anchor, _) = gets(&bare, &keys).await;
    Measured { what: "GET /api/agents, 64 connections", ours, p99_ms, anchor: ("bare axum", anchor), aim: 0.80 }
}

async fn gets(server: &Server, keys: &Arc<[String]>) -> (f64, f64) {
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let (mut client, keys) = (Client::connect(&server.address).await, Arc::clone(keys));
        workers.push(move |mut watch: Watch| async move {
            let mut at = worker * 157;
            while watch.goes_on() {
                at = (at + 1) % keys.len();
                let (status, _) = watch.time(client.ask(Method::GET, "/api/agents", &keys[at], "")).await;
                assert_eq!(status, StatusCode::OK);
            }
            watch
        });
    }
    measure(workers, LASTING).await
}

/// Jobs posted and paid straight at the store, from 10,000 wallets.
async fn creation_engine() -> Measured {
    const WALLETS: usize = 1_000_000;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = Store::sqlite(folder.path(), Policy::default(), Clock::System).expect("a store can be made");
    let users = wallets(&store, WALLETS).await;
    let mut workers = Vec::new();
    for worker in 0..256 {
        let (store, users) = (store.clone(), Arc::clone(&users));
        workers.push(move |mut watch: Watch| async move {
            let mut at = worker * 31;
            while watch.goes_on() {
                at = (at + 7919) % users.len();
                let action = Action::Post(posting());
                let command = Command { seed: random::seed(), actor: Actor::User(users[at]), action };
                let done = watch.time(store.submit(Request { command, receipt: None })).await;
                assert!(matches!(done, Ok(Outcome::Done(_))), "{done:?}");
            }
            watch
        });
    }
    let (ours, p99_ms) = measure(workers, LASTING).await;
    let anchor = anchor::one_commit_each(folder.path(), WALLETS, 10_000);
    let anchor = ("one commit each", anchor);
    Measured { what: "a job posted and paid, in the engine, a million wallets", ours, p99_ms, anchor, aim: 8.0 }
}

/// The same over HTTP.
async fn creation_http() -> Measured {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let keys = people(folder.path(), 1_000, 100_000_000_000).await;
    let server = Server::ours(folder.path());
    let (ours, p99_ms) = posts(&server, &keys, StatusCode::CREATED).await;
    drop(server);
    let bare = Server::bare();
    let (anchor, _) = posts(&bare, &keys, StatusCode::OK).await;
    Measured {
        what: "POST /api/jobs/run, paid, 64 connections",
        ours,
        p99_ms,
        anchor: ("bare axum", anchor),
        aim: 0.30,
    }
}

async fn posts(server: &Server, keys: &Arc<[String]>, expected: StatusCode) -> (f64, f64) {
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let (mut client, keys) = (Client::connect(&server.address).await, Arc::clone(keys));
        workers.push(move |mut watch: Watch| async move {
            let mut at = worker * 15;
            while watch.goes_on() {
                at = (at + 1) % keys.len();
                let (status, body) = watch.time(client.ask(Method::POST, "/api/jobs/run", &keys[at], POSTING)).await;
                assert_eq!(status, expected, "{body:?}");
            }
            watch
        });
    }
    measure(workers, LASTING).await
}

/// Post, pull, accept, submit, pass and payout, each durable, all over HTTP, 64 clients at once.
async fn paid_job() -> Measured {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let keys = people(folder.path(), CLIENTS * 2, 100_000_000_000).await;
    let server = Server::ours(folder.path());
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let (mut client, keys) = (Client::connect(&server.address).await, Arc::clone(&keys));
        workers.push(move |mut watch: Watch| async move {
            let (sender, agent) = (keys[worker * 2].clone(), keys[worker * 2 + 1].clone());
            while watch.goes_on() {
                watch.time(one_paid_job(&mut client, &sender, &agent)).await;
            }
            watch
        });
    }
    let (ours, p99_ms) = measure(workers, LASTING).await;
    drop(server);
    let anchor = anchor::one_commit_each(folder.path(), 10_000, 10_000);
    let anchor = ("one commit each, one step", anchor);
    Measured { what: "a whole paid job over HTTP, 64 clients", ours, p99_ms, anchor, aim: 1.0 }
}

/// The job that is pulled may be another client's; who reviews it is found by the job itself.
async fn one_paid_job(client: &mut Client, sender: &str, agent: &str) {
    let mut ask = async |path: &str, key: &str, body: &str| {
        let (status, bytes) = client.ask(Method::POST, path, key, body).await;
        assert!(status.is_success(), "{path}: {status} {bytes:?}");
        serde_json::from_slice::<Value>(&bytes).expect("the answer is JSON")
    };
    let posted = ask("/api/jobs/run", sender, POSTING).await;
    let id = posted["id"].as_str().expect("a job has an id").to_owned();
    ask(&format!("/api/jobs/{id}/claim"), agent, "{}").await;
    ask(&format!("/api/jobs/{id}/accept"), agent, "{}").await;
    ask(&format!("/api/jobs/{id}/submit"), agent, r#"{"output_text":"1 2 3 4 5 6 7 8 9 10"}"#).await;
    ask(&format!("/api/jobs/{id}/review"), sender, r#"{"verdict":"pass"}"#).await;
}

fn posting() -> Posting {
    Posting {
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

/// Users with a key and so much in the wallet; their keys.
async fn people(folder: &Path, count: usize, cents: i64) -> Arc<[String]> {
    let store = Store::sqlite(folder, Policy::default(), Clock::System).expect("a store can be made");
    let made = stream::iter(0..count).map(|number| {
        let operator = Operator(store.clone());
        async move {
            let fresh = FreshKey::new();
            let scopes = Scopes::USER;
            let key = NewKey { id: fresh.id, hash: fresh.hash, name: "bench".to_owned(), scopes, expires_at: None };
            let new = NewUser {
                name: format!("user {number}"),
                email: None,
                is_admin: false,
                grant: (cents > 0).then_some(Cents(cents)),
                key: Some(key),
            };
            operator.create_user(new).await.expect("the user is new");
            fresh.text
        }
    });
    made.buffer_unordered(256).collect::<Vec<_>>().await.into()
}

/// Users with plenty in their wallets.
async fn wallets(store: &Store, count: usize) -> Arc<[UserId]> {
    let made = stream::iter(0..count).map(|number| {
        let operator = Operator(store.clone());
        async move {
            let grant = Some(Cents(100_000_000_000));
            let new = NewUser { name: format!("user {number}"), email: None, is_admin: false, grant, key: None };
            operator.create_user(new).await.expect("the user is new").id
        }
    });
    made.buffer_unordered(1024).collect::<Vec<_>>().await.into()
}
