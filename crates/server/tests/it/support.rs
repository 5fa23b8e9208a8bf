//! A whole exchange in a test: identities as objects, requests as methods, time by hand.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use clawrk_domain::action::NewUser;
use clawrk_domain::key::NewKey;
use clawrk_domain::{Action, Actor, Answer as Begun, Cents, Command, Policy, Scopes, Timestamp};
use clawrk_server::apikey::FreshKey;
use clawrk_server::app::Outside;
use clawrk_server::edge::Limits;
use clawrk_server::exchange::Operator;
use clawrk_server::outside::embed::Embedder;
use clawrk_server::outside::files::Files;
use clawrk_server::outside::structurer::Structurer;
use clawrk_server::tasks::{counting, runner, verifying};
use clawrk_server::vault::Vault;
use clawrk_server::{App, meaning, router, serve};
use clawrk_store::{Clock, Outcome, Request as Submitted, Store};
use futures_util::future::{BoxFuture, join_all};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio_postgres::SimpleQueryMessage;
use tower::ServiceExt;

/// A whole exchange.
pub struct TestApp {
    pub app: App,
    pub router: Router,
    pub clock: Clock,
    data: Arc<(Data, tempfile::TempDir)>,
}

/// What the tests' vaults are made from.
pub const SECRET_KEY: &str = "a secret for tests, and for nothing else";

/// What an uploaded file may have, in bytes.
pub const UPLOAD_BYTES: u64 = 1 << 20;
/// What the files of one user may have together, in bytes.
pub const QUOTA_BYTES: u64 = 3 << 20;

const LOOPBACK: &str = "127.0.0.1:40000";

/// Where the exchange keeps everything.
enum Data {
    Folder(tempfile::TempDir),
    Database(String),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("{} is not JSON: {}", self.status, String::from_utf8_lossy(&self.bytes)))
    }

    /// The body, when the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts a refusal: its status and stable code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        assert!(body["request_id"].is_string(), "{body}");
        body
    }
}

/// A user with a key.
#[derive(Clone)]
pub struct User {
    router: Router,
    pub id: String,
    pub key: String,
}

impl TestApp {
    /// An empty exchange at noon of the first day of 2025.
    pub async fn new() -> Self {
        Self::with(Outside::default(), LOOPBACK, unhurried()).await
    }

    /// The same, asked from another machine.
    pub async fn from_afar() -> Self {
        Self::with(Outside::default(), "192.0.2.7:40000", unhurried()).await
    }

    /// The same, where clients may take so much of the server.
    pub async fn limited(limits: Limits) -> Self {
        Self::with(Outside::default(), "192.0.2.7:40000", limits).await
    }

    /// The same, with another structurer.
    pub async fn structured_by(structurer: impl Structurer + 'static, limits: Limits) -> Self {
        let outside = Outside { structurer: Box::new(structurer), ..Outside::default() };
        Self::with(outside, LOOPBACK, limits).await
    }

    /// The same, with a structurer that needs the store.
    pub async fn modelled(structurer: impl FnOnce(Store) -> Box<dyn Structurer>) -> Self {
        let clock = Clock::manual("2025-01-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let (store, data) = store(Policy::default(), clock.clone()).await;
        let structurer = structurer(store.clone());
        let outside = Outside { structurer, ..Outside::default() };
        Self::over(store, outside, LOOPBACK, clock, Arc::new((data, tempfile::tempdir().unwrap())), unhurried()).await
    }

    /// The same, with files kept elsewhere than in a folder.
    pub async fn keeping(files: Files) -> Self {
        let clock = Clock::manual("2025-01-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let (store, data) = store(Policy::default(), clock.clone()).await;
        let outside = Outside { files, ..Outside::default() };
        Self::over(store, outside, LOOPBACK, clock, Arc::new((data, tempfile::tempdir().unwrap())), unhurried()).await
    }

    /// The same, matching by meaning too; the model is at work.
    pub async fn embedding(embedder: Embedder) -> Self {
        let outside = Outside { embedder: Some(embedder), ..Outside::default() };
        let app = Self::with(outside, LOOPBACK, unhurried()).await;
        background(meaning::run(app.app.clone()));
        app
    }

    /// The same, with whatever it uses beyond itself.
    pub async fn using(outside: Outside, limits: Limits) -> Self {
        Self::with(outside, LOOPBACK, limits).await
    }

    async fn with(outside: Outside, peer: &str, limits: Limits) -> Self {
        let policy = Policy { has_judge: outside.judge.is_some(), ..policy() };
        let clock = Clock::manual("2025-01-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let (store, data) = store(policy, clock.clone()).await;
        Self::over(store, outside, peer, clock, Arc::new((data, tempfile::tempdir().unwrap())), limits).await
    }

    async fn over(
        store: Store,
        outside: Outside,
        peer: &str,
        clock: Clock,
        data: Arc<(Data, tempfile::TempDir)>,
        limits: Limits,
    ) -> Self {
        let has_place = outside.files.max_bytes().is_some();
        let files = if has_place { outside.files } else { Files::folder(data.1.path(), UPLOAD_BYTES).unwrap() };
        let outside = Outside { files, ..outside };
        let rules = if has_place { Policy::default() } else { policy() };
        let policy = Policy { has_judge: outside.judge.is_some(), ..rules };
        let app = App::new(store, Vault::new(SECRET_KEY), policy, outside, limits);
        serve::fill(&app).await.unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        let router = router(app.clone()).layer(MockConnectInfo(peer));
        Self { app, router, clock, data }
    }

    /// Another node of the same exchange; on SQLite, where a folder is for one server, the same one again.
    pub async fn node(&self) -> Self {
        let Data::Database(url) = &self.data.0 else {
            let (app, router) = (self.app.clone(), self.router.clone());
            return Self { app, router, clock: self.clock.clone(), data: Arc::clone(&self.data) };
        };
        let store = Store::postgres(url, policy(), self.clock.clone()).await.unwrap();
        Self::over(store, Outside::default(), LOOPBACK, self.clock.clone(), Arc::clone(&self.data), self.app.limits)
            .await
    }

    /// Runs SQL in the exchange's PostgreSQL database, behind its back; false where there is none.
    pub async fn on_postgres(&self, sql: &str) -> bool {
        let Data::Database(url) = &self.data.0 else { return false };
        asked(url, sql).await;
        true
    }

    /// A user with this much in the wallet.
    pub async fn user(&self, name: &str, cents: i64) -> User {
        self.user_with(name, cents, Scopes::USER).await
    }

    /// A user whose key has these scopes.
    pub async fn user_with(&self, name: &str, cents: i64, scopes: Scopes) -> User {
        let grant = (cents > 0).then_some(Cents(cents));
        let new = NewUser { name: name.to_owned(), email: None, is_admin: false, grant, key: None };
        self.made(new, scopes).await
    }

    /// A user such as this, with a key.
    pub async fn user_as(&self, new: NewUser) -> User {
        self.made(new, Scopes::USER).await
    }

    async fn made(&self, new: NewUser, scopes: Scopes) -> User {
        let fresh = FreshKey::new();
        let key = NewKey { id: fresh.id, hash: fresh.hash, name: "test".to_owned(), scopes, expires_at: None };
        let new = NewUser { key: Some(key), ..new };
        let user = Operator(self.app.store.clone()).create_user(new).await.unwrap();
        User { router: self.router.clone(), id: user.id.to_string(), key: fresh.text }
    }

    /// Nobody: requests without a key.
    pub fn anonymous(&self) -> User {
        User { router: self.router.clone(), id: String::new(), key: String::new() }
    }

    /// The same user, asking from another address.
    pub fn elsewhere(&self, user: &User, peer: &str) -> User {
        let peer: SocketAddr = peer.parse().unwrap();
        User { router: router(self.app.clone()).layer(MockConnectInfo(peer)), ..user.clone() }
    }

    /// Moves the clock and runs every task that is due then.
    pub async fn advance(&self, seconds: i64) {
        self.clock.advance(seconds);
        runner::settle(&self.app).await.unwrap();
    }

    /// Looks at every submission that is to be looked at now; how many there were.
    pub async fn verify(&self) -> usize {
        verifying::settle(&self.app).await.unwrap()
    }

    /// Counts what happened to jobs.
    pub async fn count(&self) {
        counting::settle(&self.app).await.unwrap();
    }

    /// The same exchange, opened by another server that has heard of nothing.
    pub async fn again(&self) -> Self {
        let policy = policy();
        let store = match &self.data.0 {
            Data::Folder(folder) => Store::sqlite(folder.path(), policy, self.clock.clone()).unwrap(),
            Data::Database(url) => Store::postgres(url, policy, self.clock.clone()).await.unwrap(),
        };
        let data = Arc::clone(&self.data);
        Self::over(store, Outside::default(), LOOPBACK, self.clock.clone(), data, self.app.limits).await
    }

    /// The user is about to pay in, where there may be nobody to pay; the payment.
    pub async fn payment(&self, user: &User, cents: i64) -> String {
        let (actor, action) = (Actor::User(user.id.parse().unwrap()), Action::TopUp(Cents(cents)));
        let command = Command { seed: clawrk_server::random::seed(), actor, action };
        let done = self.app.store.submit(Submitted { command, receipt: None }).await.unwrap();
        let Outcome::Done(Begun::Payment(payment)) = done else { panic!("a payment was begun: {done:?}") };
        payment.id.to_string()
    }

    /// The operator gives balance.
    pub async fn grant(&self, user: &User, cents: i64) {
        Operator(self.app.store.clone()).grant(user.id.parse().unwrap(), Cents(cents)).await.unwrap();
    }

    /// The names of the files that bytes are kept of, and of those that are on their way.
    pub fn kept_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.data.1.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Puts bytes where files are kept, as a server does that dies before it writes the row.
    pub fn leave_file(&self, name: &str) {
        std::fs::write(self.data.1.path().join(name), "left behind").unwrap();
    }

    /// Where uploaded files are kept.
    pub fn upload_folder(&self) -> &std::path::Path {
        self.data.1.path()
    }

    /// Every byte that the exchange keeps: its files, or its tables as text.
    pub async fn kept(&self) -> Vec<u8> {
        match &self.data.0 {
            Data::Folder(folder) => {
                let files = std::fs::read_dir(folder.path()).unwrap();
                files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Data::Database(url) => {
                let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
                let mut kept = String::new();
                for table in asked(url, tables).await {
                    // Bytes as escaped text, so that what is not encrypted shows.
                    let rows = format!("SET bytea_output = 'escape'; SELECT t::text FROM {table} t");
                    kept.push_str(&asked(url, &rows).await.join("\n"));
                }
                kept.into_bytes()
            }
        }
    }

    /// The books balance.
    pub async fn audit(&self) {
        let audit = self.app.store.audit().await.unwrap();
        assert_eq!(audit.offence, None, "{audit:?}");
        assert_eq!(audit.sum(), Cents::ZERO);
    }
}

/// The rules that tests go by.
fn policy() -> Policy {
    Policy { upload_quota_bytes: QUOTA_BYTES, ..Policy::default() }
}

/// What a client may take when that is not what is tested: a clock that stands still makes a long minute.
pub fn unhurried() -> Limits {
    Limits { requests_per_minute: 1_000_000, ..Limits::default() }
}

impl User {
    /// The same user, asking another node.
    pub fn on(&self, node: &TestApp) -> Self {
        Self { router: node.router.clone(), ..self.clone() }
    }

    /// The same user with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body.to_string().into_bytes()), &[]).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(body.to_string().into_bytes()), &[]).await
    }

    /// Posts with an idempotency key.
    pub async fn post_once(&self, key: &str, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body.to_string().into_bytes()), &[("idempotency-key", key)]).await
    }

    /// Any request.
    pub async fn send(&self, method: &str, path: &str, body: Option<Vec<u8>>, headers: &[(&str, &str)]) -> Answer {
        let (parts, mut body) = self.begin(method, path, body, headers).await.into_parts();
        // A stream has no end: this is what it begins with.
        let bytes = if parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            body.frame().await.unwrap().unwrap().into_data().unwrap()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        Answer { status: parts.status, headers: parts.headers, bytes: bytes.to_vec() }
    }

    /// Any request, its answer's body not read yet.
    pub async fn begin(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.map_or_else(Body::empty, Body::from)).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Posts a job at this price; its id.
    pub async fn job(&self, prompt: &str, price_cents: i64) -> String {
        let body = json!({"prompt": prompt, "title": prompt, "price_cents": price_cents, "time_limit_seconds": 600,
            "criteria": ["it is right"], "confirmed": true});
        let job = self.post("/api/jobs/run", body).await.expect(201);
        job["id"].as_str().unwrap().to_owned()
    }

    /// An action on a job, without a body; the job.
    pub async fn act(&self, job: &str, action: &str) -> Answer {
        self.post(&format!("/api/jobs/{job}/{action}"), json!({})).await
    }

    /// Claims and accepts; the answer to the submission.
    pub async fn work(&self, job: &str, output: &str) -> Answer {
        self.act(job, "claim").await.expect(200);
        self.act(job, "accept").await.expect(200);
        self.submit(job, output).await
    }

    pub async fn submit(&self, job: &str, output: &str) -> Answer {
        self.post(&format!("/api/jobs/{job}/submit"), json!({"output_text": output})).await
    }

    pub async fn review(&self, job: &str, verdict: &str) -> Answer {
        self.post(&format!("/api/jobs/{job}/review"), json!({"verdict": verdict, "reason": "looked at it"})).await
    }

    pub async fn balance(&self) -> i64 {
        self.get("/api/wallet/balance").await.expect(200)["balance_cents"].as_i64().unwrap()
    }

    pub async fn status(&self, job: &str) -> String {
        self.get(&format!("/api/jobs/{job}")).await.expect(200)["status"].as_str().unwrap().to_owned()
    }
}

/// Starts all of it at the same moment, each beside the others, and waits for what comes of each.
pub async fn at_once<T: Send + 'static>(work: Vec<BoxFuture<'static, T>>) -> Vec<T> {
    let start = Arc::new(Barrier::new(work.len()));
    let begun: Vec<_> = work
        .into_iter()
        .map(|work| {
            let start = Arc::clone(&start);
            background(async move {
                start.wait().await;
                work.await
            })
        })
        .collect();
    join_all(begun).await.into_iter().map(Result::unwrap).collect()
}

#[expect(clippy::disallowed_methods, reason = "the one place where the tests start what runs beside them")]
pub fn background<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}

/// The names of an object's fields, sorted.
pub fn keys_of(value: &Value) -> String {
    value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// A fresh store: a folder, or a database of its own on the server that the tests were given.
async fn store(policy: Policy, clock: Clock) -> (Store, Data) {
    if variable("CLAWRK_TEST_STORE").as_deref() != Some("postgres") {
        let folder = tempfile::tempdir().unwrap();
        return (Store::sqlite(folder.path(), policy, clock).unwrap(), Data::Folder(folder));
    }
    let server = variable("CLAWRK_TEST_POSTGRES").expect("CLAWRK_TEST_POSTGRES names a server for the tests");
    let name = format!("http_{:032x}", clawrk_server::random::seed());
    asked(&server, &format!("CREATE DATABASE {name}")).await;
    let (base, _) = server.rsplit_once('/').expect("a URL names a database");
    let url = format!("{base}/{name}");
    let store = Store::postgres(&url, policy, clock).await.unwrap();
    (store, Data::Database(url))
}

/// What a database answers: the first column of every row.
async fn asked(url: &str, sql: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let asking = async {
        let answer = client.simple_query(sql).await;
        drop(client);
        answer
    };
    let (answer, _) = futures_util::future::join(asking, connection).await;
    let text = |message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    answer.unwrap().into_iter().filter_map(text).collect()
}

#[expect(clippy::disallowed_methods, reason = "which database the tests run on comes from the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
