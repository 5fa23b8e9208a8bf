//! What becomes of the hot calls, the start and the memory as finished and open jobs pile up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clawrk_domain::{Action, Actor};
use comfy_table::{Table, presets};
use futures_util::stream::{self, StreamExt};
use hyper::Method;
use serde_json::Value;

use crate::load::{Client, Server, Watch, measure};
use crate::place::{Person, Place, people};
use crate::rows::{CLIENTS, POSTING, one_paid_in_engine, posting, submit};

/// Finished jobs at which everything is measured.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const SENDERS: usize = 1_000;
const WORKERS: usize = 256;
const LASTING: Duration = Duration::from_secs(2);
const PLENTY: i64 = 100_000_000_000;

/// The hot calls: a name, a method, a path (`{job}` is a finished job of the caller) and a body.
const CALLS: [(&str, Method, &str, &str); 8] = [
    ("GET /api/agents", Method::GET, "/api/agents", ""),
    ("GET /api/jobs/:id", Method::GET, "/api/jobs/{job}", ""),
    ("GET /api/jobs?limit=50", Method::GET, "/api/jobs?limit=50", ""),
    ("GET /api/jobs?status=submitted", Method::GET, "/api/jobs?status=submitted", ""),
    ("GET /api/wallet/balance?limit=50", Method::GET, "/api/wallet/balance?limit=50", ""),
    ("GET /api/board", Method::GET, "/api/board", ""),
    ("POST /api/jobs/pull, nothing open", Method::POST, "/api/jobs/pull", "{}"),
    ("POST /api/jobs/run, paid", Method::POST, "/api/jobs/run", POSTING),
];

/// Calls a second, and the time that 99 of 100 took no longer than, at each size; start and memory below.
pub(crate) async fn table() -> Table {
    let place = Place::folder();
    let everybody = place.people(SENDERS + WORKERS, PLENTY).await;
    let mut lines: Vec<Vec<String>> = CALLS.iter().map(|(name, ..)| vec![(*name).to_owned()]).collect();
    for name in [
        "GET /api/users/status?limit=50, a worker",
        "ready after, ms",
        "memory before any call, MiB",
        "memory after all, MiB",
    ] {
        lines.push(vec![name.to_owned()]);
    }
    let mut finished = 0;
    for size in SIZES {
        finish(&place, &everybody, size - finished).await;
        finished = size;
        wait_until_closed(&place);
        let began = Instant::now();
        let server = Server::ours(&place);
        let ready = began.elapsed();
        let before = server.resident_mib();
        let mut column = Vec::new();
        for (_, method, path, body) in CALLS {
            column.push(calls(&server, &everybody[..SENDERS], &method, path, body).await);
        }
        column.push(calls(&server, &everybody[SENDERS..], &Method::GET, "/api/users/status?limit=50", "").await);
        column.push(format!("{:.0}", ready.as_secs_f64() * 1000.0));
        column.push(format!("{before:.0}"));
        column.push(format!("{:.0}", server.resident_mib()));
        drop(server);
        lines.iter_mut().zip(column).for_each(|(line, cell)| line.push(cell));
        empty_the_queue(&place).await;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["calls/s (p99 ms)", "1,000 jobs", "100,000 jobs", "1,000,000 jobs"]);
    for line in lines {
        table.add_row(line);
    }
    table
}

/// A million jobs wait: how long a start takes that reads them all, and what they take up.
pub(crate) async fn open_jobs() -> Table {
    const JOBS: usize = 1_000_000;
    let place = Place::folder();
    let store = place.store().await;
    let senders = people(&store, SENDERS, PLENTY).await;
    let posted =
        stream::iter(0..JOBS).map(|n| submit(&store, Actor::User(senders[n % SENDERS].id), Action::Post(posting())));
    posted.buffer_unordered(1024).for_each(|_| std::future::ready(())).await;
    drop(store);
    wait_until_closed(&place);
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
    table
}

/// A store that was dropped copies its log into the database, on a thread of its own.
fn wait_until_closed(place: &Place) {
    while place.path().is_some_and(|folder| folder.join("clawrk.db-wal").exists()) {
        std::thread::yield_now();
    }
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
async fn calls(server: &Server, callers: &[Person], method: &Method, path: &str, body: &'static str) -> String {
    let mut workers = Vec::new();
    for worker in 0..CLIENTS {
        let mut client = Client::connect(&server.address).await;
        // Each client is a few of the callers, and knows a job of each.
        let mut own = Vec::new();
        for person in callers.iter().skip(worker).step_by(CLIENTS).take(4) {
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
    format!("{rate:.0} ({p99_ms:.1})")
}
