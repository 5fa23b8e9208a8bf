//! What becomes of the hot calls, the start and the memory as finished and open jobs pile up.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clawrk_domain::{Action, Actor};
use comfy_table::{Table, presets};
use futures_util::stream::{self, StreamExt};
use hyper::Method;
use serde_json::Value;

use crate::load::{Client, Server, Watch, measure};
use crate::place::{Person, Place, people};
use crate::rows::{CLIENTS, POSTING, Senders, describe, job_of, one_paid_in_engine, one_paid_job, posting, submit};

/// Finished jobs at which everything is measured.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
/// So few that each has a page of 50 jobs at the smallest size.
const SENDERS: usize = 20;
const WORKERS: usize = 256;
/// Jobs that are open while the board is read and jobs are worked.
const OPEN: usize = 1_000;
const LASTING: Duration = Duration::from_secs(2);
const PLENTY: i64 = 100_000_000_000;

/// A call: a name, a method, a path (`{job}` is a finished job of the caller) and a body.
type Call = (&'static str, Method, &'static str, &'static str);

/// The hot calls with nothing open.
const CALLS: [Call; 9] = [
    ("POST /api/whoami", Method::POST, "/api/whoami", ""),
    AGENTS,
    ("GET /api/jobs/:id", Method::GET, "/api/jobs/{job}", ""),
    ("GET /api/jobs/:id/events", Method::GET, "/api/jobs/{job}/events", ""),
    ("GET /api/jobs?limit=50", Method::GET, "/api/jobs?limit=50", ""),
    ("GET /api/jobs?status=verified&limit=50", Method::GET, "/api/jobs?status=verified&limit=50", ""),
    ("GET /api/jobs?status=submitted, none", Method::GET, "/api/jobs?status=submitted", ""),
    ("GET /api/wallet/balance?limit=50", Method::GET, "/api/wallet/balance?limit=50", ""),
    ("POST /api/jobs/pull, nothing open", Method::POST, "/api/jobs/pull", "{}"),
];
const AGENTS: Call = ("GET /api/agents", Method::GET, "/api/agents", "");
const STATUS: Call = ("GET /api/users/status?limit=50, a worker", Method::GET, "/api/users/status?limit=50", "");
const BOARD: Call = ("GET /api/board", Method::GET, "/api/board", "");
const RUN: Call = ("POST /api/jobs/run, paid", Method::POST, "/api/jobs/run", POSTING);

/// A line of the table: what, and a cell for each size.
type Line = (String, String);

/// Calls a second, and the time that 99 of 100 took no longer than, at each size; start and memory below.
pub(crate) async fn table() -> Table {
    let place = Place::folder();
    let everybody = place.people(SENDERS + WORKERS, PLENTY).await;
    let mut columns: Vec<Vec<Line>> = Vec::new();
    let mut finished = 0;
    for size in SIZES {
        finish(&place, &everybody, size - finished).await;
        finished = size;
        columns.push(at_this_size(&place, &everybody).await);
        empty_the_queue(&place).await;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["calls/s (p99 ms)", "1,000 jobs", "100,000 jobs", "1,000,000 jobs"]);
    for row in 0..columns[0].len() {
        let name = columns[0][row].0.clone();
        table.add_row(std::iter::once(name).chain(columns.iter().map(|column| column[row].1.clone())));
    }
    table
}

async fn at_this_size(place: &Place, everybody: &Arc<[Person]>) -> Vec<Line> {
    place.wait_until_closed();
    let began = Instant::now();
    let server = Server::ours(place);
    let ready = began.elapsed();
    let before = server.resident_mib();
    let mut lines = Vec::new();
    for call in CALLS {
        lines.push(calls(&server, &everybody[..SENDERS], call).await);
    }
    lines.push(calls(&server, &everybody[SENDERS..], STATUS).await);
    let open = post(&server, everybody, OPEN).await;
    lines.push(calls(&server, &everybody[..SENDERS], BOARD).await);
    lines.extend(paid_jobs(&server, everybody, open).await);
    lines.push(calls(&server, &everybody[..SENDERS], RUN).await);
    lines.push(("ready after, ms".to_owned(), format!("{:.0}", ready.as_secs_f64() * 1000.0)));
    lines.push(("memory before any call, MiB".to_owned(), format!("{before:.0}")));
    lines.push(("memory after all, MiB".to_owned(), format!("{:.0}", server.resident_mib())));
    lines
}

/// Posts so many jobs; who posted which.
async fn post(server: &Server, people: &[Person], count: usize) -> Senders {
    let mut client = Client::connect(&server.address).await;
    let mut senders = HashMap::new();
    for n in 0..count {
        let sender = n % SENDERS;
        let (_, job) = client.ask(Method::POST, "/api/jobs/run", &people[sender].key, POSTING).await;
        let job: Value = serde_json::from_slice(&job).expect("the answer is JSON");
        senders.insert(job["id"].as_str().expect("a job has an id").to_owned(), sender);
    }
    Senders::new(senders)
}

/// Whole jobs by 64 clients among those that are open, and each step of them.
async fn paid_jobs(server: &Server, everybody: &Arc<[Person]>, senders: Senders) -> Vec<Line> {
    let senders = Arc::new(senders);
    let steps: Arc<Mutex<HashMap<&str, Vec<Duration>>>> = Arc::default();
    let mut workers = Vec::new();
    for n in 0..CLIENTS {
        describe(server, &everybody[SENDERS + n]).await;
        let mut client = Client::connect(&server.address).await;
        let (everybody, senders, steps) = (Arc::clone(everybody), Arc::clone(&senders), Arc::clone(&steps));
        workers.push(move |mut watch: Watch| async move {
            let mut told = |step, time| steps.lock().expect("nobody panics").entry(step).or_default().push(time);
            while watch.goes_on() {
                let pair = (n % SENDERS, SENDERS + n);
                watch.time(one_paid_job(&mut client, &everybody, pair, &senders, &mut told)).await;
            }
            watch
        });
    }
    let (rate, p99_ms) = measure(workers, LASTING).await;
    let mut lines = vec![("a whole paid job, jobs/s (p99 ms)".to_owned(), format!("{rate:.0} ({p99_ms:.1})"))];
    let mut steps = steps.lock().expect("nobody panics");
    for step in ["run", "pull", "accept", "submit", "review"] {
        let times = steps.get_mut(step).expect("each was taken");
        times.sort_unstable();
        let ms = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
        lines.push((format!("– its {step}, median ms (p99 ms)"), format!("{:.1} ({:.1})", ms(50), ms(99))));
    }
    lines
}

/// A million jobs wait: how long a start takes that reads them all, what they take up, and what calls cost beside them.
pub(crate) async fn open_jobs() -> Table {
    const JOBS: usize = 1_000_000;
    let place = Place::folder();
    let store = place.store().await;
    let everybody = people(&store, SENDERS + WORKERS, PLENTY).await;
    let posted = stream::iter(0..JOBS).map(async |n| {
        let sender = n % SENDERS;
        let job = job_of(submit(&store, Actor::User(everybody[sender].id), Action::Post(posting()))).await;
        (job.to_string(), sender)
    });
    let senders = Senders::new(posted.buffer_unordered(1024).collect().await);
    drop(store);
    place.wait_until_closed();
    let began = Instant::now();
    let server = Server::ours(&place);
    let (ready, memory) = (began.elapsed(), server.resident_mib());
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["a million open jobs", ""]);
    table.add_row(["ready after, s".to_owned(), format!("{:.1}", ready.as_secs_f64())]);
    table.add_row(["memory, MiB".to_owned(), format!("{memory:.0}")]);
    table.add_row(["memory for each, bytes".to_owned(), format!("{:.0}", memory * 1024.0 * 1024.0 / JOBS as f64)]);
    let path = place.path().map(|path| size_of(path) / JOBS as f64).unwrap_or_default();
    table.add_row(["on the disk for each, bytes".to_owned(), format!("{path:.0}")]);
    for call in [AGENTS, BOARD] {
        let (name, cell) = calls(&server, &everybody[..SENDERS], call).await;
        table.add_row([format!("{name}, calls/s (p99 ms)"), cell]);
    }
    for (name, cell) in paid_jobs(&server, &everybody, senders).await {
        table.add_row([name, cell]);
    }
    let (name, cell) = calls(&server, &everybody[..SENDERS], RUN).await;
    table.add_row([format!("{name}, calls/s (p99 ms)"), cell]);
    table
}

fn size_of(folder: &Path) -> f64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len() as f64).sum()
}

/// So many more jobs are posted, worked and paid.
async fn finish(place: &Place, everybody: &[Person], count: usize) {
    let store = place.store().await;
    let (senders, workers) = everybody.split_at(SENDERS);
    let left = AtomicUsize::new(count);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok();
    let work = workers.iter().map(|worker| async {
        while let Some(number) = take() {
            one_paid_in_engine(&store, senders[number % SENDERS].id, worker.id).await;
        }
    });
    futures_util::future::join_all(work).await;
}

/// What the measurement has posted goes, so that the next one begins alike.
async fn empty_the_queue(place: &Place) {
    let store = place.store().await;
    let open = store.job_places(clawrk_store::JobList::Queued, None, i64::MAX).await.expect("the list can be read");
    let store = &store;
    let called_off = stream::iter(open).map(|place| async move {
        let job = store.job(place.job).await.expect("the job can be read").expect("it is there");
        submit(store, Actor::User(job.sender), Action::Cancel(job.id)).await
    });
    called_off.buffer_unordered(256).for_each(|_| std::future::ready(())).await;
}

/// Calls a second by 64 clients, each time by another caller.
async fn calls(server: &Server, callers: &[Person], (name, method, path, body): Call) -> Line {
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let mut client = Client::connect(&server.address).await;
        // Each client is a few of the callers, and knows a job of each.
        let mut own = Vec::new();
        for person in callers.iter().cycle().skip(worker).step_by(CLIENTS).take(4) {
            let (_, jobs) = client.ask(Method::GET, "/api/jobs?limit=1", &person.key, "").await;
            let jobs: Value = serde_json::from_slice(&jobs).expect("the answer is JSON");
            let path = path.replace("{job}", jobs[0]["id"].as_str().unwrap_or_default());
            own.push((person.key.clone(), path));
        }
        let (method, own) = (method.clone(), Arc::new(own));
        workers.push(move |mut watch: Watch| async move {
            let mut at = 0;
            while watch.goes_on() {
                at = (at + 1) % own.len();
                let (key, path) = &own[at];
                let (status, said) = watch.time(client.ask(method.clone(), path, key, body)).await;
                assert!(status.is_success(), "{path}: {status} {said:?}");
            }
            watch
        });
    }
    let (rate, p99_ms) = measure(workers, LASTING).await;
    (name.to_owned(), format!("{rate:.0} ({p99_ms:.1})"))
}
