//! What it costs to find the best of many open jobs: in the engine alone, and pulled over HTTP.
//!
//! Jobs and personalities are made of words as common as words are: a few stand everywhere, most hardly anywhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawrk_domain::action::Posting;
use clawrk_domain::matching::{Index, Reading, Text};
use clawrk_domain::{Action, Actor};
use comfy_table::{Table, presets};
use futures_util::stream::{self, StreamExt};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::anchor;
use crate::load::{Client, Server, Watch, measure};
use crate::place::{Person, Place, people};
use crate::rows::{CLIENTS, job_of, posting, submit};

const SIZES: [usize; 2] = [100_000, 1_000_000];
const PLENTY: i64 = 100_000_000_000;
/// Words of a personality.
const PERSONALITY: usize = 60;
/// How often one thing is tried, one after the other.
const TRIES: usize = 1_000;
const LASTING: Duration = Duration::from_secs(5);

/// Words by their rank, the same ones in each run.
struct Words(u64);

impl Words {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to below 1.
    fn dice(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// So many words out of thirty thousand, each as common as its rank says.
    fn text(&mut self, count: usize) -> String {
        (0..count).map(|_| spelled(30_000_f64.powf(self.dice()) as usize)).collect::<Vec<_>>().join(" ")
    }

    /// A job of 32 words.
    fn posting(&mut self) -> Posting {
        Posting { title: self.text(6), description: Some(self.text(20)), requirements: Some(self.text(6)), ..posting() }
    }
}

fn spelled(mut rank: usize) -> String {
    let (consonants, vowels) = (b"bdfgklmnprstvz", b"aeiou");
    let mut word = String::new();
    rank += 69;
    while rank > 0 {
        word.push(char::from(consonants[rank % consonants.len()]));
        rank /= consonants.len();
        word.push(char::from(vowels[rank % vowels.len()]));
        rank /= vowels.len();
    }
    word
}

/// Milliseconds that half of the times stayed within, and 99 of 100.
fn within(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
    format!("{:.2} ({:.2})", ms(50), ms(99))
}

/// The engine alone, on one core, nothing stored.
pub(crate) fn engine() -> Table {
    let columns: Vec<Vec<(String, String)>> = SIZES.map(engine_with).into();
    let heading = ["the best 16 in the engine, one core", "100,000 jobs", "1,000,000 jobs"];
    side_by_side(&heading, &columns)
}

fn side_by_side(heading: &[&str], columns: &[Vec<(String, String)>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heading);
    for row in 0..columns[0].len() {
        let name = columns[0][row].0.clone();
        table.add_row(std::iter::once(name).chain(columns.iter().map(|column| column[row].1.clone())));
    }
    table
}

fn engine_with(jobs: usize) -> Vec<(String, String)> {
    let mut words = Words::new(1);
    let mut index = Index::new();
    let (mut reading, mut taking_in) = (Duration::ZERO, Duration::ZERO);
    let take_in = |index: &mut Index<usize>, words: &mut Words, id: usize| {
        let posting = words.posting();
        let began = Instant::now();
        let (description, requirements) = (posting.description.as_deref(), posting.requirements.as_deref());
        let read = Reading::of(&Text { title: &posting.title, description, requirements });
        let read_in = began.elapsed();
        index.insert(id, read, 0);
        (read_in, began.elapsed().saturating_sub(read_in))
    };
    for id in 0..jobs {
        let (read_in, taken_in) = take_in(&mut index, &mut words, id);
        reading += read_in;
        taking_in += taken_in;
    }
    let mut lines = vec![
        ("their words read, s in all".to_owned(), format!("{:.1}", reading.as_secs_f64())),
        ("taken in, s in all".to_owned(), format!("{:.1}", taking_in.as_secs_f64())),
    ];
    for length in [10, PERSONALITY, 300] {
        let times = (0..TRIES).map(|_| {
            let personality = words.text(length);
            let began = Instant::now();
            let best = index.best(Some(&personality), 0, 16, |_| false);
            assert_eq!(best.len(), 16);
            began.elapsed()
        });
        lines.push((format!("for a personality of {length} words, ms (p99)"), within(times.collect())));
    }
    let more: Vec<Duration> = (0..TRIES).map(|n| take_in(&mut index, &mut words, jobs + n).1).collect();
    lines.push(("one more taken in, ms (p99)".to_owned(), within(more)));
    let fewer = (0..TRIES).map(|n| {
        let began = Instant::now();
        assert!(index.remove(&(n * (jobs / TRIES))));
        began.elapsed()
    });
    lines.push(("one taken out, ms (p99)".to_owned(), within(fewer.collect())));
    lines
}

/// Pulls over HTTP beside many open jobs.
pub(crate) async fn pulls() -> Table {
    let mut columns = Vec::new();
    for jobs in SIZES {
        columns.push(pulls_beside(jobs).await);
    }
    let cycles = anchor::bullmq(LASTING.as_secs()).map_or("–".to_owned(), |cycles| format!("{cycles:.0}"));
    for column in &mut columns {
        column.push(("BullMQ's three steps by 64 clients, its queue short, jobs/s".to_owned(), cycles.clone()));
    }
    side_by_side(&["beside so many open jobs, over HTTP", "100,000", "1,000,000"], &columns)
}

async fn pulls_beside(jobs: usize) -> Vec<(String, String)> {
    let place = Place::folder();
    let everybody = open_jobs(&place, jobs).await;
    let began = Instant::now();
    let server = Server::ours(&place);
    let (ready, memory) = (began.elapsed(), server.resident_mib());
    let mut lines = vec![
        ("ready after, s".to_owned(), format!("{:.1}", ready.as_secs_f64())),
        ("memory for each, bytes".to_owned(), format!("{:.0}", memory * 1024.0 * 1024.0 / jobs as f64)),
    ];
    lines.push(("one agent's pulls, ms (p99)".to_owned(), within(one_by_one(&server, &everybody).await)));
    let (rate, p99_ms) = pull_and_accept(&server, &everybody).await;
    lines.push(("pulled and accepted by 64 agents, jobs/s (p99 ms)".to_owned(), format!("{rate:.0} ({p99_ms:.1})")));
    lines
}

/// So many varied jobs are posted, and each person's agent is told what it is good at.
async fn open_jobs(place: &Place, jobs: usize) -> Arc<[Person]> {
    let store = place.store().await;
    let everybody = people(&store, CLIENTS, PLENTY).await;
    let mut words = Words::new(2);
    let postings = (0..jobs).map(|n| (n, words.posting())).collect::<Vec<_>>();
    let posted = stream::iter(postings).map(async |(n, posting)| {
        job_of(submit(&store, Actor::User(everybody[n % CLIENTS].id), Action::Post(posting))).await;
    });
    posted.buffer_unordered(1024).for_each(|()| std::future::ready(())).await;
    drop(store);
    place.wait_until_closed();
    everybody
}

/// Gives the default agent of a person a personality.
async fn describe(client: &mut Client, person: &Person, personality: &str) {
    let (_, agents) = client.ask(Method::GET, "/api/agents", &person.key, "").await;
    let agents: Value = serde_json::from_slice(&agents).expect("the answer is JSON");
    let path = format!("/api/agents/{}", agents[0]["id"].as_str().expect("an agent has an id"));
    let body = json!({"personality": personality}).to_string();
    let (status, _) = client.ask(Method::PATCH, &path, &person.key, &body).await;
    assert_eq!(status, StatusCode::OK);
}

/// Pulls a job and takes it on; how long the pull took.
async fn pull(client: &mut Client, key: &str) -> Duration {
    let began = Instant::now();
    let (status, job) = client.ask(Method::POST, "/api/jobs/pull", key, "{}").await;
    let took = began.elapsed();
    assert_eq!(status, StatusCode::OK, "{job:?}");
    let job: Value = serde_json::from_slice(&job).expect("the answer is JSON");
    let path = format!("/api/jobs/{}/accept", job["id"].as_str().expect("a job has an id"));
    let (status, said) = client.ask(Method::POST, &path, key, "").await;
    assert_eq!(status, StatusCode::OK, "{said:?}");
    took
}

/// How long each pull of one agent takes while nobody else is there, each time with another personality.
async fn one_by_one(server: &Server, everybody: &Arc<[Person]>) -> Vec<Duration> {
    let (mut client, mut words) = (Client::connect(&server.address).await, Words::new(3));
    let mut times = Vec::new();
    for n in 0..TRIES {
        let person = &everybody[n % CLIENTS];
        describe(&mut client, person, &words.text(PERSONALITY)).await;
        times.push(pull(&mut client, &person.key).await);
    }
    times
}

/// Jobs that 64 agents pull and take on at once, each with its own personality.
async fn pull_and_accept(server: &Server, everybody: &Arc<[Person]>) -> (f64, f64) {
    let mut words = Words::new(4);
    let mut workers = Vec::new();
    for n in 0..CLIENTS {
        let (mut client, everybody) = (Client::connect(&server.address).await, Arc::clone(everybody));
        describe(&mut client, &everybody[n], &words.text(PERSONALITY)).await;
        workers.push(move |mut watch: Watch| async move {
            while watch.goes_on() {
                watch.time(pull(&mut client, &everybody[n].key)).await;
            }
            watch
        });
    }
    measure(workers, LASTING).await
}
