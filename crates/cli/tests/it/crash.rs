//! `kill -9` under load: what was acknowledged is there after the restart, what was not has happened once or not at
//! all, and the books balance.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::exchange::{Exchange, Server, User};

const SENDERS: usize = 4;
const AGENTS: usize = 4;
const ROUNDS: usize = 3;
const PRICE: i64 = 500;
const PAYOUT: i64 = 350;
const GRANT: i64 = 10_000_000;
/// Acknowledged jobs in a round before the server is killed.
const LOAD: usize = 40;

/// Everyone who puts the exchange under load, and what it acknowledged to them.
pub(crate) struct Load {
    client: Client,
    pub(crate) senders: Vec<User>,
    pub(crate) agents: Vec<User>,
    /// The last status that was acknowledged, by job.
    acknowledged: BTreeMap<String, Status>,
    /// Idempotency keys of postings that nobody answered, by sender.
    unanswered: Vec<(usize, String)>,
    postings: usize,
}

/// In the order of a job's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Queued,
    Held,
    Accepted,
    Submitted,
    Verified,
}

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
    let mut load = Load::new(&exchange);
    for round in 0..ROUNDS {
        load.round(round, &mut servers).await;
        servers.insert(0, exchange.serve());
        load.repeat_the_unanswered(&servers[nodes - 1]).await;
        load.check(&servers[0]).await;
        exchange.audit();
    }
    let verified = load.acknowledged.values().filter(|status| **status == Status::Verified).count();
    assert!(verified > 0, "the load reaches the end of a job's life");
}

impl Load {
    pub(crate) fn new(exchange: &Exchange) -> Self {
        // Another test of this process may have done it before.
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
        Self {
            client: Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
            senders: (0..SENDERS).map(|n| exchange.user(&format!("sender {n}"), GRANT)).collect(),
            agents: (0..AGENTS).map(|n| exchange.user(&format!("agent {n}"), 0)).collect(),
            acknowledged: BTreeMap::new(),
            unanswered: Vec::new(),
            postings: 0,
        }
    }

    /// Everyone works until the first server is killed in the middle of it.
    async fn round(&mut self, round: usize, servers: &mut Vec<Server>) {
        let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
        let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let this = &*self;
        let (over, done, urls) = (&over, &done, &urls);
        let senders = (0..SENDERS).map(|n| this.send(n, round, &urls[n % urls.len()], over, done));
        let agents = (0..AGENTS).map(|n| this.work(&this.agents[n], &urls[n % urls.len()], over));
        let killing = async {
            while done.load(Ordering::Relaxed) < LOAD {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            servers.remove(0).kill();
            over.store(true, Ordering::Relaxed);
        };
        let ((sent, worked), ()) = join(join(join_all(senders), join_all(agents)), killing).await;
        let (reviewed, unanswered): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        for (job, status) in reviewed.into_iter().chain(worked).flatten() {
            let known = self.acknowledged.entry(job).or_insert(status);
            *known = status.max(*known);
        }
        let unanswered: Vec<(usize, String)> = unanswered.into_iter().flatten().collect();
        self.postings += done.load(Ordering::Relaxed) + unanswered.len();
        self.unanswered = unanswered;
    }

    /// Posts jobs and passes what waits for review; what was acknowledged, and the keys of postings that were not.
    async fn send(
        &self,
        sender: usize,
        round: usize,
        url: &str,
        over: &AtomicBool,
        done: &AtomicUsize,
    ) -> (Vec<(String, Status)>, Vec<(usize, String)>) {
        let user = &self.senders[sender];
        let mut acknowledged = Vec::new();
        for n in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("{round} {n}");
            match self.post(url, user, &key).await {
                Some(job) => acknowledged.push((job, Status::Queued)),
                None => return (acknowledged, vec![(sender, key)]),
            }
            done.fetch_add(1, Ordering::Relaxed);
            let Some(waiting) = self.get(url, user, "jobs?status=submitted&limit=3").await else { break };
            for job in waiting.as_array().unwrap() {
                let id = job["id"].as_str().unwrap();
                let body = json!({"verdict": "pass"});
                if self.act(url, user, id, "review", body).await.is_some() {
                    acknowledged.push((id.to_owned(), Status::Verified));
                }
            }
        }
        (acknowledged, Vec::new())
    }

    /// Pulls, accepts and submits; what was acknowledged.
    pub(crate) async fn work(&self, user: &User, url: &str, over: &AtomicBool) -> Vec<(String, Status)> {
        let mut acknowledged = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let Some(job) = self.ask(url, user, "jobs/pull", json!({"wait_seconds": 1}), None).await else { continue };
            let Some(id) = job["id"].as_str() else { continue };
            acknowledged.push((id.to_owned(), Status::Held));
            let Some(_) = self.act(url, user, id, "accept", json!({})).await else { continue };
            acknowledged.push((id.to_owned(), Status::Accepted));
            let Some(_) = self.act(url, user, id, "submit", json!({"output_text": "done"})).await else { continue };
            acknowledged.push((id.to_owned(), Status::Submitted));
        }
        acknowledged
    }

    /// A posting that nobody answered is sent again with its key: whether or not it had happened, now it has once.
    async fn repeat_the_unanswered(&mut self, server: &Server) {
        for (sender, key) in std::mem::take(&mut self.unanswered) {
            let job = self.post(&server.url, &self.senders[sender], &key).await.expect("the server is back");
            self.acknowledged.entry(job).or_insert(Status::Queued);
        }
    }

    /// Every acknowledged job is as far as it was said to be, none was posted twice, and everyone has their money.
    async fn check(&self, server: &Server) {
        let (mut jobs, mut verified) = (BTreeMap::new(), 0);
        for sender in &self.senders {
            let sent = self.get(&server.url, sender, "jobs").await.unwrap();
            let sent = sent.as_array().unwrap();
            for job in sent {
                jobs.insert(job["id"].as_str().unwrap().to_owned(), status(job));
            }
            assert_eq!(self.balance(server, sender).await, GRANT - PRICE * i64::try_from(sent.len()).unwrap());
        }
        for (id, acknowledged) in &self.acknowledged {
            let found = jobs.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
            assert!(found >= acknowledged, "{id} was acknowledged as {acknowledged:?} and is {found:?}");
        }
        assert_eq!(jobs.len(), self.postings, "each posting happened once");
        verified += jobs.values().filter(|status| **status == Status::Verified).count();
        let mut earned = 0;
        for agent in &self.agents {
            earned += self.balance(server, agent).await;
        }
        assert_eq!(earned, PAYOUT * i64::try_from(verified).unwrap());
    }

    async fn balance(&self, server: &Server, user: &User) -> i64 {
        self.get(&server.url, user, "wallet/balance?limit=1").await.unwrap()["balance_cents"].as_i64().unwrap()
    }

    /// The id of the posted job, when it was acknowledged.
    pub(crate) async fn post(&self, url: &str, user: &User, key: &str) -> Option<String> {
        let body = json!({"prompt": "count to ten", "title": "Count", "description": "to ten", "criteria": [],
            "requirements": null, "price_cents": PRICE, "time_limit_seconds": 600, "confirmed": true});
        let job = self.ask(url, user, "jobs/run", body, Some(key)).await?;
        Some(job["id"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn act(&self, url: &str, user: &User, job: &str, action: &str, body: Value) -> Option<Value> {
        self.ask(url, user, &format!("jobs/{job}/{action}"), body, None).await
    }

    pub(crate) async fn get(&self, url: &str, user: &User, path: &str) -> Option<Value> {
        let request = self.client.get(format!("{url}/api/{path}")).bearer_auth(&user.key);
        request.send().await.ok()?.error_for_status().unwrap().json().await.ok()
    }

    /// The answer to a POST; none when the server was gone. A refusal can only be that of an action whose first
    /// answer was lost, or that somebody else was faster.
    async fn ask(&self, url: &str, user: &User, path: &str, body: Value, key: Option<&str>) -> Option<Value> {
        let mut request = self.client.post(format!("{url}/api/{path}")).bearer_auth(&user.key).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.ok()?;
        match answer.status() {
            StatusCode::NO_CONTENT => Some(Value::Null),
            status if status.is_success() => answer.json().await.ok(),
            StatusCode::BAD_REQUEST => None,
            status => panic!("{path}: {status} {}", answer.text().await.unwrap_or_default()),
        }
    }
}

pub(crate) fn status(job: &Value) -> Status {
    match job["status"].as_str().unwrap() {
        "queued" => Status::Queued,
        "held" => Status::Held,
        "accepted" => Status::Accepted,
        "submitted" => Status::Submitted,
        "verified" => Status::Verified,
        other => panic!("no job of this load becomes {other}"),
    }
}
