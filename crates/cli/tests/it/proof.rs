//! What an exchange is held to after any load and any fault: its books, its jobs' lives, and every word it gave.
//!
//! | Rule        | How it is looked at                                                                        |
//! |-------------|--------------------------------------------------------------------------------------------|
//! | no loss     | whatever was acknowledged stands in the history of its job                                  |
//! | no double   | each line of a history that a user caused answers one request, told apart by its key        |
//! | lives       | each history is a walk through the states; one holder at a time; three attempts at most     |
//! | money       | each line moves what it should; wallets equal their ledgers and what the jobs say           |
//! | books       | `clawrk admin audit`                                                                        |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;

use crate::exchange::Exchange;
use crate::load::{Asked, Load, PAYOUT, PRICE, Record, Told};

/// Jobs whose histories are read at once.
const SIDE_BY_SIDE: usize = 8;

/// The kinds of lines that a request with a key leaves, each exactly one.
const KEYED: [&str; 8] =
    ["posted", "claimed", "accepted", "rejected", "submitted", "gave_up", "verified", "verification_failed"];

/// The histories of all jobs, which were found to be right.
pub(crate) struct Proof {
    /// By job.
    pub(crate) lives: BTreeMap<String, Vec<Line>>,
}

/// A line of a job's history.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    n: usize,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) created_at: clawrk_domain::Timestamp,
    pub(crate) by: String,
    status: String,
    agent_id: Option<String>,
    attempt: Option<u32>,
    moved: Vec<Moved>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Moved {
    from: String,
    to: String,
    cents: i64,
}

impl Proof {
    /// How late each timer fired, the latest last, and whose it was.
    pub(crate) fn delays(&self, hold_seconds: i64, review_window_seconds: i64) -> Vec<(Duration, &str)> {
        let mut delays = Vec::new();
        for (job, pair) in self.lives.iter().flat_map(|(job, life)| life.windows(2).map(move |pair| (job, pair))) {
            let [before, line] = pair else { continue };
            let seconds = match line.kind.as_str() {
                "hold_expired" => hold_seconds,
                "verified" if line.by == "exchange" => review_window_seconds,
                _ => continue,
            };
            assert!(before.created_at.plus_seconds(seconds) <= line.created_at, "{line:?} after {before:?}");
            delays.push((line.created_at - before.created_at.plus_seconds(seconds), job.as_str()));
        }
        delays.sort_unstable();
        delays
    }

    /// How many lines of this kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.lives.values().flatten().filter(|line| line.kind == kind).count()
    }
}

/// Looks at everything, while nobody changes anything.
pub(crate) async fn prove(load: &Load, exchange: &Exchange) -> Proof {
    let jobs = jobs(load).await;
    let read = |(id, job): (&String, &(usize, Value))| {
        let (id, sender, status) = (id.clone(), job.0, job.1["status"].as_str().unwrap().to_owned());
        async move {
            let life = load.client(sender).get(&format!("jobs/{id}/events")).await.unwrap();
            let life: Vec<Line> = serde_json::from_value(life).unwrap();
            assert_eq!(life.last().unwrap().status, status, "{id}");
            (id, life)
        }
    };
    let lives: BTreeMap<String, Vec<Line>> =
        stream::iter(jobs.iter().map(read)).buffer_unordered(SIDE_BY_SIDE).collect().await;
    lives.iter().for_each(|(id, life)| walk(id, life));
    hold_to_the_record(&lives, &load.record.lock().unwrap());
    count_the_money(load, &jobs, &lives).await;
    exchange.audit();
    Proof { lives }
}

/// All jobs by id, with their senders.
async fn jobs(load: &Load) -> BTreeMap<String, (usize, Value)> {
    let mut jobs = BTreeMap::new();
    for sender in Load::senders() {
        let Value::Array(sent) = load.client(sender).get("jobs").await.unwrap() else { panic!("a list") };
        jobs.extend(sent.into_iter().map(|job| (job["id"].as_str().unwrap().to_owned(), (sender, job))));
    }
    jobs
}

/// A history is a walk through the states that a job may take, with one holder at a time, and moves the right money.
fn walk(id: &str, life: &[Line]) {
    let (mut status, mut worker, mut attempts) = ("", None, 0);
    for (at, line) in life.iter().enumerate() {
        let wrong = || format!("{id}: {line:?} after {status:?} in {life:#?}");
        assert_eq!(line.n, at + 1, "{}", wrong());
        let next = line.status.as_str();
        let fits = match (status, line.kind.as_str()) {
            ("", "posted") => next == "queued",
            ("queued", "pulled" | "claimed") => next == "held",
            ("held", "accepted") => next == "accepted",
            ("held", "rejected" | "hold_expired") => next == "queued",
            ("accepted", "submitted") => next == "submitted",
            ("accepted", "gave_up" | "deadline_passed") | ("submitted", "verification_failed") => {
                next == if cancelled(&life[..at]) {
                    "cancelled"
                } else if attempts == 3 {
                    "failed"
                } else {
                    "queued"
                }
            }
            ("submitted", "verified") => next == "verified",
            ("queued" | "held", "cancelled") => next == "cancelled",
            ("accepted" | "submitted", "cancellation_requested") => next == status && !cancelled(&life[..at]),
            _ => false,
        };
        assert!(fits, "{}", wrong());
        if next == "held" {
            worker.clone_from(&line.agent_id);
        } else if line.agent_id.is_some() {
            assert_eq!(line.agent_id, worker, "{}", wrong());
        }
        attempts += u32::from(line.kind == "accepted");
        assert!(line.attempt.is_none_or(|attempt| attempt == attempts && attempt <= 3), "{}", wrong());
        assert_eq!(line.moved, moves(line), "{}", wrong());
        status = next;
    }
}

fn cancelled(life: &[Line]) -> bool {
    life.iter().any(|line| line.kind == "cancellation_requested")
}

/// The money that a line should have moved.
fn moves(line: &Line) -> Vec<Moved> {
    let moved = |from: &str, to: &str, cents| Moved { from: from.to_owned(), to: to.to_owned(), cents };
    match (line.kind.as_str(), line.status.as_str()) {
        ("posted", _) => vec![moved("wallet", "escrow", PRICE)],
        ("verified", _) => vec![moved("escrow", "wallet", PAYOUT), moved("escrow", "platform", PRICE - PAYOUT)],
        (_, "failed" | "cancelled") => vec![moved("escrow", "wallet", PRICE)],
        _ => Vec::new(),
    }
}

/// Every yes is a line of a history, and every line that a user caused is a yes: nothing is lost, nothing twice.
fn hold_to_the_record(lives: &BTreeMap<String, Vec<Line>>, record: &Record) {
    assert!(record.unanswered.is_empty(), "what nobody answered was asked for again");
    let mut said: HashMap<(String, &str), usize> = HashMap::new();
    for (asked, told) in &record.done {
        *said.entry(word(asked, told)).or_default() += 1;
    }
    for (id, life) in lives {
        for kind in KEYED {
            let happened = life.iter().filter(|line| line.kind == kind && line.by != "exchange").count();
            let said = said.remove(&(id.clone(), kind)).unwrap_or_default();
            assert_eq!(happened, said, "{id}: times it was {kind}, and times it was said to be: {life:#?}");
        }
        // Whoever cancels what is over is told yes, and nothing happens.
        let calls = ["cancelled", "cancellation_requested"];
        let happened = life.iter().filter(|line| calls.contains(&line.kind.as_str())).count();
        let said = said.remove(&(id.clone(), "cancelled")).unwrap_or_default();
        assert!(happened <= said, "{id}: called off {happened} times, and was said to be {said} times: {life:#?}");
        let is_over = matches!(life.last().unwrap().status.as_str(), "verified" | "failed" | "cancelled");
        assert!(said == 0 || happened > 0 || is_over, "{id} was said to be called off: {life:#?}");
    }
    assert!(said.is_empty(), "jobs that were acknowledged and are gone: {said:?}");
    for (id, agent) in &record.handed {
        let pulled = |line: &Line| line.kind == "pulled" && line.agent_id.as_ref() == Some(agent);
        assert!(lives[id].iter().any(pulled), "{id} was handed to {agent}");
    }
}

/// The job and the kind of line that an answer promised.
fn word(asked: &Asked, told: &Told) -> (String, &'static str) {
    let answer: Value = serde_json::from_slice(&told.body).unwrap();
    let kind = match asked.path.rsplit_once('/').unwrap().1 {
        "run" => "posted",
        "claim" => "claimed",
        "accept" => "accepted",
        "reject" => "rejected",
        "submit" => "submitted",
        "fail" => "gave_up",
        "cancel" => "cancelled",
        "review" if answer["status"] == "verified" => "verified",
        "review" => "verification_failed",
        other => panic!("no load does {other}"),
    };
    (answer["id"].as_str().unwrap().to_owned(), kind)
}

/// Each wallet holds what its ledger and the jobs say.
async fn count_the_money(load: &Load, jobs: &BTreeMap<String, (usize, Value)>, lives: &BTreeMap<String, Vec<Line>>) {
    let spent = |status: &str| !matches!(status, "failed" | "cancelled");
    for sender in Load::senders() {
        let sent = jobs.values().filter(|(user, job)| *user == sender && spent(job["status"].as_str().unwrap()));
        let granted = load.granted.lock().unwrap()[sender];
        assert_eq!(balance(load, sender).await, granted - PRICE * i64::try_from(sent.count()).unwrap());
    }
    let mut earned = 0;
    for agent in Load::agents() {
        earned += balance(load, agent).await;
    }
    let verified = lives.values().filter(|life| life.last().unwrap().status == "verified").count();
    assert_eq!(earned, PAYOUT * i64::try_from(verified).unwrap());
}

/// The balance, which is the sum of its ledger, where nothing stands twice.
async fn balance(load: &Load, user: usize) -> i64 {
    let wallet = load.client(user).get("wallet/balance").await.unwrap();
    let (balance, ledger) = (wallet["balance_cents"].as_i64().unwrap(), wallet["ledger"].as_array().unwrap());
    assert_eq!(balance, ledger.iter().map(|line| line["delta"].as_i64().unwrap()).sum::<i64>());
    let mut reasons = BTreeSet::new();
    for line in ledger {
        assert!(reasons.insert(line["reason"].as_str().unwrap()), "{line} stands twice in a ledger");
    }
    balance
}
