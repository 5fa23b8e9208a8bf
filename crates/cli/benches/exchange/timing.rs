//! Whether the time that a refusal takes tells what the refusal itself does not: two questions that are answered alike
//! are asked in turns, and Welch's t says how surely their times differ.

use std::time::{Duration, Instant};

use clawrk_domain::{Ids, Timestamp};
use clawrk_server::{apikey, random};
use comfy_table::{Table, presets};
use hyper::{Method, StatusCode};

use crate::load::{Client, Server};
use crate::place::{Person, Place};
use crate::rows::one_paid_in_engine;

/// Requests of each kind that count.
const TIMES: usize = 5_000;
/// Requests of each kind before them, which do not count.
const BEFORE: usize = 500;
/// Of both kinds together, so many of a hundred are left out: the slowest ones, which met something else.
const LEFT_OUT_PERCENT: usize = 5;
/// Jobs that are asked for, and as many that are not there.
const JOBS: usize = 64;
const AIM: f64 = 4.5;

/// A question that is to take as long as another.
struct Question {
    path: String,
    key: String,
}

/// Two kinds of questions that are answered alike.
struct Pair {
    what: &'static str,
    method: Method,
    kinds: [Vec<Question>; 2],
    answer: StatusCode,
}

/// What two kinds of questions took, in microseconds.
struct Compared {
    means: [f64; 2],
    t: f64,
}

/// The means of each pair, how they differ, and |t|.
pub(crate) async fn table() -> Table {
    let place = Place::folder();
    let people = place.people(1_000, 1_000_000).await;
    let [read, accept] = jobs(&place, &people).await;
    let pairs = [wrong_keys(&people[0]), users(&people), read, accept];
    let server = Server::limited(&place, 0);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["time to refuse", "µs", "µs", "difference, µs", "|t|", "aim"]);
    for pair in pairs {
        let found = compare(&server, &pair).await;
        let [one, other] = found.means;
        let numbers = [format!("{one:.2}"), format!("{other:.2}"), format!("{:.2}", one - other)];
        let [one, other, difference] = numbers;
        let t = format!("{:.1}", found.t.abs());
        table.add_row([pair.what.to_owned(), one, other, difference, t, format!("< {AIM}")]);
    }
    table
}

/// Keys that are wrong in one secret letter, with the checksum that belongs to them.
fn wrong_keys(person: &Person) -> Pair {
    const FIRST: usize = "clawrk_".len() + 12;
    const LAST: usize = FIRST + 42;
    let wrong_at = |at: usize| {
        let mut body = person.key[..=LAST].to_owned();
        let letter = if body[at..].starts_with('a') { "b" } else { "a" };
        body.replace_range(at..=at, letter);
        vec![Question { path: "/api/agents".to_owned(), key: apikey::with_checksum(&body) }]
    };
    let what = "a key wrong in its first secret letter, and in its last";
    Pair { what, method: Method::GET, kinds: [wrong_at(FIRST), wrong_at(LAST)], answer: StatusCode::UNAUTHORIZED }
}

/// Users that are there, and users that are not.
fn users(people: &[Person]) -> Pair {
    let ask = |id: String| Question { path: format!("/api/users/{id}"), key: people[0].key.clone() };
    let there = people[1..=JOBS].iter().map(|person| ask(person.id.to_string())).collect();
    let mut ids = ids();
    let unknown = (0..JOBS).map(|_| ask(ids.user().to_string())).collect();
    let what = "another user's id, and nobody's";
    Pair { what, method: Method::GET, kinds: [there, unknown], answer: StatusCode::FORBIDDEN }
}

/// Jobs of others that are there, paid and over, and jobs that are not: to read, and to accept.
async fn jobs(place: &Place, people: &[Person]) -> [Pair; 2] {
    let store = place.store().await;
    let mut there = Vec::new();
    for person in &people[1..=JOBS] {
        there.push(one_paid_in_engine(&store, person.id, people[999].id).await);
    }
    let mut ids = ids();
    let unknown: Vec<_> = (0..JOBS).map(|_| ids.job()).collect();
    let ask = |what, method, ending: &str| {
        let question = |id| Question { path: format!("/api/jobs/{id}{ending}"), key: people[0].key.clone() };
        let kinds = [&there, &unknown].map(|jobs| jobs.iter().map(question).collect());
        Pair { what, method, kinds, answer: StatusCode::NOT_FOUND }
    };
    [
        ask("another user's job, and none", Method::GET, ""),
        ask("another user's job to accept, and none", Method::POST, "/accept"),
    ]
}

/// Ids such as the exchange itself makes.
fn ids() -> Ids {
    let now = jiff::Timestamp::now().as_microsecond();
    Ids::new(random::seed(), Timestamp::from_micros(now))
}

/// Asks in turns, in an order that is thrown anew for each turn, on one connection.
async fn compare(server: &Server, pair: &Pair) -> Compared {
    let mut client = Client::connect(&server.address).await;
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..BEFORE + TIMES {
        let first = random::bytes::<1>()[0] as usize % 2;
        for kind in [first, 1 - first] {
            let Question { path, key } = &pair.kinds[kind][turn % pair.kinds[kind].len()];
            let begun = Instant::now();
            let (status, _) = client.ask(pair.method.clone(), path, key, "").await;
            let took = begun.elapsed();
            assert_eq!(status, pair.answer, "{path}");
            if turn >= BEFORE {
                times[kind].push(took);
            }
        }
    }
    welch(times)
}

/// Welch's t of two samples, without the slowest of both together.
fn welch(times: [Vec<Duration>; 2]) -> Compared {
    let mut all: Vec<Duration> = times.iter().flatten().copied().collect();
    all.sort_unstable();
    let slowest = all[all.len() * (100 - LEFT_OUT_PERCENT) / 100];
    let [one, other] = times.map(|times| {
        let kept: Vec<f64> =
            times.into_iter().filter(|time| *time < slowest).map(|time| time.as_secs_f64() * 1e6).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    Compared { means: [one.0, other.0], t: (one.0 - other.0) / (one.1 + other.1).sqrt() }
}
