//! Clients that take jobs through their lives at a recorded server, and the journal of what they asked for and what
//! was acknowledged.
//!
//! The journal's clock is the length of the recorder's log: whatever a call did to the disk before an answer was
//! sent is in the log when the answer arrives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};

use crate::exchange::{Exchange, Server, User};

/// What every sender begins with, and every job's price and the worker's part of it.
pub(super) const GRANT: i64 = 1_000_000;
pub(super) const PRICE: i64 = 500;
pub(super) const PAYOUT: i64 = 350;

/// In the order in which a job reaches them; a job that is cancelled here was queued before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Queued,
    Held,
    Accepted,
    Submitted,
    Verified,
    Cancelled,
}

/// Something that was asked for, or acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// There is a user of this name.
    User(String),
    /// The job of this title got that far, and the answer to the request that brought it there is kept.
    Job(String, Status),
}

/// What was said, each with the length of the log at that moment.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) asked: Vec<(u64, Fact)>,
    pub(super) acknowledged: Vec<(u64, Fact)>,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Pairs of a sender and a worker that go on at once.
    pub(super) pairs: usize,
    /// Jobs of each pair between two starts of the server.
    pub(super) jobs: usize,
    /// How often the server is started.
    pub(super) starts: usize,
}

/// A sender, and the worker who does that sender's jobs.
struct Pair {
    number: usize,
    sender: User,
    worker: User,
}

struct Load<'a> {
    exchange: &'a Exchange,
    client: Client,
    log: PathBuf,
    journal: Mutex<Journal>,
}

/// Makes the users, puts the servers that `start` starts under load one after the other, and kills the last.
pub(super) async fn run(exchange: &Exchange, log: &Path, size: Size, start: impl Fn() -> Server) -> Journal {
    // Another test of this process may have done it before.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let load = Load { exchange, client, log: log.to_owned(), journal: Mutex::default() };
    let pair = |number| Pair {
        number,
        sender: load.user(&format!("sender {number}"), GRANT),
        worker: load.user(&format!("worker {number}"), 0),
    };
    let pairs: Vec<Pair> = (0..size.pairs).map(pair).collect();
    for round in 0..size.starts {
        let server = start();
        let work = join_all(pairs.iter().map(|pair| load.work(pair, &server.url, round, size.jobs)));
        // The operator makes a user beside the busy server: another process that writes.
        let operator = async { tokio::task::block_in_place(|| load.user(&format!("late {round}"), 0)) };
        futures_util::future::join(work, operator).await;
        if round + 1 < size.starts {
            assert_eq!(server.stop().0, Some(0));
        } else {
            // While this holds the log's lock, nobody is between a call and its record.
            let held = File::open(log).unwrap();
            held.lock().unwrap();
            server.kill();
        }
    }
    load.journal.into_inner().unwrap()
}

impl Load<'_> {
    /// Takes jobs through their lives; some are left on the way.
    async fn work(&self, pair: &Pair, url: &str, round: usize, jobs: usize) {
        let (sender, worker) = (&pair.sender, &pair.worker);
        for n in 0..jobs {
            let title = format!("job-{}-{round}-{n}", pair.number);
            let body = json!({"prompt": "count to ten", "title": title, "description": "to ten", "criteria": [],
                "requirements": null, "price_cents": PRICE, "time_limit_seconds": 600, "confirmed": true});
            let job = self.ask(url, sender, "run", body, &title, Status::Queued).await;
            let id = job["id"].as_str().unwrap();
            let path = |action| format!("{id}/{action}");
            match n % 5 {
                3 => drop(self.ask(url, sender, &path("cancel"), json!({}), &title, Status::Cancelled).await),
                4 => {}
                _ => {
                    self.ask(url, worker, &path("claim"), json!({}), &title, Status::Held).await;
                    self.ask(url, worker, &path("accept"), json!({}), &title, Status::Accepted).await;
                    let output = json!({"output_text": "one to ten"});
                    self.ask(url, worker, &path("submit"), output, &title, Status::Submitted).await;
                    if n % 5 != 2 {
                        let verdict = json!({"verdict": "pass"});
                        self.ask(url, sender, &path("review"), verdict, &title, Status::Verified).await;
                    }
                }
            }
        }
    }

    /// Asks for something that brings a job to this status, and notes both the request and the answer.
    async fn ask(&self, url: &str, user: &User, path: &str, body: Value, title: &str, status: Status) -> Value {
        let job = Fact::Job(title.to_owned(), status);
        self.asked(&job);
        let request = self.client.post(format!("{url}/api/jobs/{path}")).bearer_auth(&user.key);
        let answer = request.header("idempotency-key", receipt(title, status)).json(&body).send().await.unwrap();
        let (code, text) = (answer.status(), answer.text().await.unwrap());
        assert!(code.is_success(), "{path}: {code} {text}");
        self.acknowledged(job);
        serde_json::from_str(&text).unwrap()
    }

    fn user(&self, name: &str, cents: i64) -> User {
        let fact = Fact::User(name.to_owned());
        self.asked(&fact);
        let user = self.exchange.user(name, cents);
        self.acknowledged(fact);
        user
    }

    fn asked(&self, fact: &Fact) {
        let now = self.now();
        self.journal.lock().unwrap().asked.push((now, fact.clone()));
    }

    fn acknowledged(&self, fact: Fact) {
        let now = self.now();
        self.journal.lock().unwrap().acknowledged.push((now, fact));
    }

    /// Before anything is recorded there is no log.
    fn now(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len())
    }
}

/// The `Idempotency-Key` of the request that brings a job to a status.
pub(super) fn receipt(title: &str, status: Status) -> String {
    format!("{title}-{status:?}")
}
