//! Load on an exchange: senders and agents who do everything that a job's life knows. Each request with an effect
//! carries an `Idempotency-Key` of its own, is sent again under it until somebody answers, and stands in the record with
//! what was told, which `proof.rs` holds the exchange to.
//!
//! What is done is chosen by dice with a seed; when it meets what else happens is left to the machine.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::exchange::{Exchange, Server, User, variable};

pub(crate) const PRICE: i64 = 500;
pub(crate) const PAYOUT: i64 = 350;
/// What a sender begins with.
pub(crate) const GRANT: i64 = 100_000_000;

/// Who works. Beyond them there are a sender and an agent who do only what a test tells them to.
const SENDERS: usize = 4;
const AGENTS: usize = 4;
/// How long a client that got no answer waits before it asks again.
const PAUSE: Duration = Duration::from_millis(20);
/// Of the requests that were answered, how many are sent again.
const REPEATED: usize = 40;

/// Everyone who puts the exchange under load.
pub(crate) struct Load {
    /// The senders, then the agents; of both the last one is the quiet one.
    pub(crate) users: Vec<User>,
    /// What each sender was given.
    pub(crate) granted: Mutex<Vec<i64>>,
    pub(crate) record: Mutex<Record>,
    /// Some agents take that many seconds to think, a little less or a little more.
    thinking_seconds: Option<u64>,
    client: Client,
    nodes: RwLock<Vec<String>>,
    over: AtomicBool,
    /// Counts keys and rounds, which therefore never repeat.
    count: AtomicU64,
    seed: u64,
}

/// What was asked for, and what was told.
#[derive(Default)]
pub(crate) struct Record {
    /// Requests that were answered with yes, in the order of the answers of each user.
    pub(crate) done: Vec<(Asked, Told)>,
    /// Requests that nobody answered.
    pub(crate) unanswered: Vec<Asked>,
    /// The jobs that were handed to agents.
    pub(crate) handed: Vec<(String, String)>,
    pub(crate) troubles: Vec<Trouble>,
}

/// A request with an effect.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) user: usize,
    /// Behind `/api/`.
    pub(crate) path: String,
    body: Value,
    key: String,
}

/// An answer.
pub(crate) struct Told {
    status: StatusCode,
    pub(crate) body: Vec<u8>,
    replayed: bool,
}

impl Told {
    /// The job that the answer shows.
    pub(crate) fn job(&self) -> Option<String> {
        let answer: Value = serde_json::from_slice(&self.body).ok()?;
        answer["id"].as_str().map(str::to_owned)
    }
}

/// A request that was not answered with yes or no.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: TroubleKind,
    pub(crate) at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// There was nobody to connect to.
    Refused,
    /// The connection broke before the answer was there.
    Broken,
    /// 503 with `Retry-After`.
    Unavailable,
}

fn http(keep_connections: bool) -> Client {
    let idle = if keep_connections { usize::MAX } else { 0 };
    Client::builder().timeout(Duration::from_secs(20)).pool_max_idle_per_host(idle).build().unwrap()
}

impl Load {
    /// Makes the users. `CLAWRK_TEST_SEED` makes for other dice.
    pub(crate) fn new(exchange: &Exchange) -> Self {
        // Another test of this process may have done it before.
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
        let senders = Self::senders().map(|user| exchange.user(&format!("sender {user}"), GRANT));
        let agents = Self::agents().map(|user| exchange.user(&format!("agent {user}"), 0));
        Self {
            users: senders.chain(agents).collect(),
            granted: Mutex::new(vec![GRANT; Self::senders().len()]),
            record: Mutex::default(),
            thinking_seconds: None,
            client: http(true),
            nodes: RwLock::default(),
            over: AtomicBool::new(false),
            count: AtomicU64::new(0),
            seed: variable("CLAWRK_TEST_SEED").map_or(1, |seed| seed.parse().unwrap()),
        }
    }

    /// From now on each request has a connection to itself, or they are kept from one to the next.
    pub(crate) fn keep_connections(&mut self, keep: bool) {
        self.client = http(keep);
    }

    /// Lets some agents think about a job for about that long before they accept it.
    pub(crate) const fn thinking(mut self, seconds: u64) -> Self {
        self.thinking_seconds = Some(seconds);
        self
    }

    /// Where the nodes are from now on.
    pub(crate) fn at<'a>(&self, servers: impl IntoIterator<Item = &'a Server>) {
        self.at_urls(servers.into_iter().map(|server| server.url.clone()).collect());
    }

    pub(crate) fn at_urls(&self, urls: Vec<String>) {
        *self.nodes.write().unwrap() = urls;
    }

    pub(crate) fn dice(&self) -> Dice {
        Dice(self.seed << 32 | self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// Everyone who sends, the quiet one last.
    pub(crate) const fn senders() -> Range<usize> {
        0..SENDERS + 1
    }

    /// Everyone who works, the quiet one last.
    pub(crate) const fn agents() -> Range<usize> {
        SENDERS + 1..SENDERS + AGENTS + 2
    }

    pub(crate) fn quiet_sender(&self) -> Party<'_> {
        self.client(Self::senders().end - 1)
    }

    pub(crate) fn quiet_agent(&self) -> Party<'_> {
        self.client(Self::agents().end - 1)
    }

    /// Everyone is at it until that has happened.
    pub(crate) async fn during<T>(&self, happening: impl Future<Output = T>) -> T {
        self.over.store(false, Ordering::SeqCst);
        let senders = join_all(Self::senders().take(SENDERS).map(|user| async move { self.client(user).send().await }));
        let agents = join_all(Self::agents().take(AGENTS).map(|user| async move { self.client(user).work().await }));
        let happening = async {
            let happened = happening.await;
            self.over.store(true, Ordering::SeqCst);
            happened
        };
        join(join(senders, agents), happening).await.1
    }

    /// One of the users, as a client that knows the nodes.
    pub(crate) fn client(&self, user: usize) -> Party<'_> {
        Party { load: self, user, node: user, dice: self.dice() }
    }

    /// What nobody answered is asked for again, which finds out whether it happened; if not, it does now or is refused.
    pub(crate) async fn repeat_the_unanswered(&self) {
        let unanswered = std::mem::take(&mut self.record.lock().unwrap().unanswered);
        for asked in unanswered {
            let told = self.once(0, &asked).await.expect("the exchange is back");
            if told.status.is_success() {
                // Once more, as for all that was done.
                self.repeat(&asked, &told).await;
                self.record.lock().unwrap().done.push((asked, told));
            }
        }
    }

    /// Some of what was done is asked for again: the same bytes come, and say that they are a repeat.
    pub(crate) async fn repeat_the_answered(&self) {
        let mut dice = self.dice();
        for _ in 0..REPEATED {
            let picked = {
                let record = &self.record.lock().unwrap().done;
                let (asked, told) = &record[dice.roll(record.len() as u64) as usize];
                (asked.clone(), Told { body: told.body.clone(), ..*told })
            };
            self.repeat(&picked.0, &picked.1).await;
        }
    }

    /// The first so many of what was done are asked for again.
    pub(crate) async fn repeat_the_first(&self, count: usize) {
        for n in 0..count {
            let (asked, told) = {
                let (asked, told) = &self.record.lock().unwrap().done[n];
                (asked.clone(), Told { body: told.body.clone(), ..*told })
            };
            self.repeat(&asked, &told).await;
        }
    }

    async fn repeat(&self, asked: &Asked, first: &Told) {
        let again = self.once(0, asked).await.expect("the exchange is there");
        assert!(again.replayed, "{} happened a second time", asked.path);
        assert_eq!(again.status, first.status, "{}", asked.path);
        assert!(again.body == first.body, "the repeat of {} has another answer", asked.path);
    }

    /// The troubles since the last time.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        std::mem::take(&mut self.record.lock().unwrap().troubles)
    }

    /// Asks once; none when there was trouble.
    async fn once(&self, node: usize, asked: &Asked) -> Option<Told> {
        let request = |url: &str| self.client.post(format!("{url}/api/{}", asked.path)).json(&asked.body);
        self.tell(asked.user, node, |url| request(url).header("idempotency-key", &asked.key)).await
    }

    async fn tell(&self, user: usize, node: usize, request: impl FnOnce(&str) -> RequestBuilder) -> Option<Told> {
        let url = {
            let nodes = self.nodes.read().unwrap();
            nodes[node % nodes.len()].clone()
        };
        let answer = match request(&url).bearer_auth(&self.users[user].key).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return self.trouble(TroubleKind::Refused),
            Err(_) => return self.trouble(TroubleKind::Broken),
        };
        let (status, path) = (answer.status(), answer.url().path().to_owned());
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (replayed, retry_after) = (header("idempotent-replayed").as_deref() == Some("true"), header("retry-after"));
        let Ok(body) = answer.bytes().await else { return self.trouble(TroubleKind::Broken) };
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(retry_after.is_some(), "{path}: 503 says when to try again");
                return self.trouble(TroubleKind::Unavailable);
            }
            // Somebody else was faster, or another sender's job is none of this one's business.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => {}
            StatusCode::NOT_FOUND if path.ends_with("/review") => {}
            _ => assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body)),
        }
        Some(Told { status, body: body.into(), replayed })
    }

    fn trouble(&self, kind: TroubleKind) -> Option<Told> {
        self.record.lock().unwrap().troubles.push(Trouble { kind, at: Instant::now() });
        None
    }
}

/// A user at work, who turns to the next node when one does not answer.
pub(crate) struct Party<'a> {
    load: &'a Load,
    user: usize,
    node: usize,
    dice: Dice,
}

impl Party<'_> {
    fn is_over(&self) -> bool {
        self.load.over.load(Ordering::SeqCst)
    }

    /// Posts jobs, calls some off, and reviews what was handed in: rightly, wrongly, and what is another's.
    async fn send(&mut self) {
        let mut posted = Vec::new();
        while !self.is_over() {
            posted.extend(self.post().await);
            if self.dice.one_in(6) && !posted.is_empty() {
                let recent = posted.len() - 1 - self.dice.roll(posted.len().min(12) as u64) as usize;
                self.act(&posted[recent], "cancel", json!({})).await;
            }
            let Some(waiting) = self.get("jobs?status=submitted&limit=4").await else { continue };
            for job in waiting.as_array().unwrap() {
                self.review(job["id"].as_str().unwrap()).await;
            }
        }
    }

    /// Posts a job; its id.
    pub(crate) async fn post(&mut self) -> Option<String> {
        let body = json!({"prompt": "count to ten", "title": "Count", "description": "to ten", "criteria": [],
            "requirements": null, "price_cents": PRICE, "time_limit_seconds": 600, "confirmed": true});
        let job = self.ask("jobs/run".to_owned(), body).await?;
        Some(job["id"].as_str().unwrap().to_owned())
    }

    /// Posts a job with a variable for the agent; its id.
    pub(crate) async fn post_with_token(&mut self, token: &str) -> Option<String> {
        let body = json!({"prompt": "count to ten", "envVars": {"TOKEN": token}, "confirmed": true});
        let job = self.ask("jobs/run".to_owned(), body).await?;
        Some(job["id"].as_str().unwrap().to_owned())
    }

    async fn review(&mut self, job: &str) {
        match self.dice.roll(12) {
            0 => {
                let mut stranger = self.load.client((self.user + 1) % SENDERS);
                let done = stranger.act(job, "review", json!({"verdict": "pass"})).await;
                assert!(done.is_none(), "{job} was reviewed by another sender");
            }
            1 => {
                let done = self.act(job, "review", json!({"verdict": "pass", "attempt": 99})).await;
                assert!(done.is_none(), "an attempt of {job} was reviewed that never was");
            }
            2..5 => drop(self.act(job, "review", json!({"verdict": "fail", "reason": "that is nine"})).await),
            _ => drop(self.act(job, "review", json!({"verdict": "pass"})).await),
        }
    }

    /// Pulls, accepts and submits; rejects some and gives some up.
    async fn work(&mut self) {
        while !self.is_over() {
            let Some(job) = self.pull(json!({"wait_seconds": 1})).await else { continue };
            if let Some(seconds) = self.load.thinking_seconds.filter(|_| self.dice.one_in(8)) {
                tokio::time::sleep(self.dice.millis(1000 * seconds - 60, 1000 * seconds + 60)).await;
            }
            if self.dice.one_in(8) {
                self.act(&job, "reject", json!({})).await;
                continue;
            }
            if self.act(&job, "accept", json!({})).await.is_none() {
                continue;
            }
            if self.dice.one_in(8) {
                self.act(&job, "fail", json!({"reason": "it is too far"})).await;
            } else {
                self.act(&job, "submit", json!({"output_text": "one, two, three"})).await;
            }
        }
    }

    /// The job that is handed to the agent, if any. Pulls carry no key: the agent that holds a job gets it again.
    pub(crate) async fn pull(&mut self, body: Value) -> Option<String> {
        let Load { client, record, .. } = self.load;
        let request = |url: &str| client.post(format!("{url}/api/jobs/pull")).json(&body);
        let Some(told) = self.load.tell(self.user, self.node, request).await else {
            self.turn_away().await;
            return None;
        };
        if told.status == StatusCode::NO_CONTENT {
            return None;
        }
        let job: Value = serde_json::from_slice(&told.body).unwrap();
        let text = |name: &str| job[name].as_str().unwrap().to_owned();
        record.lock().unwrap().handed.push((text("id"), text("held_by_agent_id")));
        Some(text("id"))
    }

    /// Makes an agent of the user's; its id.
    pub(crate) async fn make_agent(&self, name: &str) -> String {
        let body = json!({"name": name});
        let request = |url: &str| self.load.client.post(format!("{url}/api/agents")).json(&body);
        let told = self.load.tell(self.user, self.node, request).await.unwrap();
        let agent: Value = serde_json::from_slice(&told.body).unwrap();
        agent["id"].as_str().unwrap().to_owned()
    }

    /// What an action on a job came to; none when it was refused or nobody answered.
    pub(crate) async fn act(&mut self, job: &str, action: &str, body: Value) -> Option<Value> {
        self.ask(format!("jobs/{job}/{action}"), body).await
    }

    /// Asks until there is an answer or the load is over; now and then twice at the same moment.
    async fn ask(&mut self, path: String, body: Value) -> Option<Value> {
        let key = format!("key {}", self.load.count.fetch_add(1, Ordering::Relaxed));
        let asked = Asked { user: self.user, path, body, key };
        loop {
            let once = || self.load.once(self.node, &asked);
            let twice = self.dice.one_in(8);
            let told = if twice { <[_; 2]>::from(join(once(), once()).await).into() } else { vec![once().await] };
            let answered = told.iter().flatten().count();
            let mut done: Vec<Told> = told.into_iter().flatten().filter(|told| told.status.is_success()).collect();
            if let Some(told) = done.pop() {
                assert_eq!(done.len() + 1, answered, "{} was done and refused", asked.path);
                assert!(done.iter().all(|twin| twin.body == told.body), "{} has two answers", asked.path);
                let effects = done.iter().chain([&told]).filter(|told| !told.replayed).count();
                assert!(effects <= 1, "{} happened twice", asked.path);
                let answer = serde_json::from_slice(&told.body).unwrap();
                self.load.record.lock().unwrap().done.push((asked, told));
                return Some(answer);
            }
            if answered > 0 {
                return None;
            }
            if self.is_over() {
                self.load.record.lock().unwrap().unanswered.push(asked);
                return None;
            }
            self.turn_away().await;
        }
    }

    /// To the next node, after a moment.
    async fn turn_away(&mut self) {
        self.node += 1;
        tokio::time::sleep(PAUSE).await;
    }

    /// What is there; none when nobody answered.
    pub(crate) async fn get(&mut self, path: &str) -> Option<Value> {
        let told = self.load.tell(self.user, self.node, |url| self.load.client.get(format!("{url}/api/{path}"))).await;
        if told.is_none() {
            self.turn_away().await;
        }
        let told = told?;
        assert!(told.status.is_success(), "{path}: {}", told.status);
        Some(serde_json::from_slice(&told.body).unwrap())
    }
}
