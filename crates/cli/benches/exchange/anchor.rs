//! What we are compared with: a bare axum server that answers JSON from memory, a writer with one commit per
//! transaction, and BullMQ where it can be had.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::{get, post};
use rusqlite::Connection;
use tokio::net::TcpListener;

/// An agents list as ours answers it, and nothing else: no keys, no headers, no limits, no logs.
const AGENTS: &str = r#"[{"id":"01941f29-7c00-7000-8000-000000000000","owner_id":"01941f29-7c00-7000-8000-000000000001",
"name":"default","personality":null,"avatar_url":null,"is_default":true,"created_at":"2025-01-01T00:00:00.000Z"}]"#;

/// BullMQ's cycle of three steps, so many a second; none where Redis, Node or npm is not there.
pub(crate) fn bullmq(seconds: u64) -> Option<f64> {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|said| said.status.success());
    if !["redis-server", "redis-cli", "node", "npm"].into_iter().all(there) {
        return None;
    }
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bullmq");
    std::fs::create_dir_all(&package).expect("a folder can be made");
    if !package.join("node_modules/bullmq").exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "bullmq@5"]).current_dir(&package);
        npm.status().ok().filter(ExitStatus::success)?;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free");
    let port = port.port().to_string();
    let mut redis = Command::new("redis-server");
    redis.args([
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ]);
    let mut redis = redis.arg("--dir").arg(folder.path()).stdout(Stdio::null()).spawn().ok()?;
    let ready =
        || Command::new("redis-cli").args(["-p", &port, "ping"]).output().is_ok_and(|said| said.stdout == b"PONG\n");
    let began = Instant::now();
    while !ready() && began.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/exchange/bullmq.mjs");
    let cycles = Command::new("node")
        .arg(script)
        .args([port.as_str(), &seconds.to_string()])
        .env("BULLMQ_FROM", package.join("package.json"))
        .output();
    redis.kill().and_then(|()| redis.wait()).map(|_| ()).unwrap_or_default();
    String::from_utf8(cycles.ok()?.stdout).ok()?.trim().parse().ok()
}

/// Serves until it is killed; prints its address first.
pub(crate) async fn serve() {
    let body: Arc<str> = AGENTS.into();
    let answer = move || {
        let body = Arc::clone(&body);
        async move { ([(header::CONTENT_TYPE, "application/json")], body.to_string()) }
    };
    let router = Router::new().route("/api/agents", get(answer.clone())).route("/api/jobs/run", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("listens on http://{}", listener.local_addr().expect("a listener has an address"));
    axum::serve(listener, router).await.expect("it serves until it is killed");
}

/// Paid jobs a second with one transaction and one sync each: a wallet is debited with a check, a job and a ledger
/// row are written.
pub(crate) fn one_commit_each(folder: &Path, wallets: usize, jobs: usize) -> f64 {
    let mut connection = Connection::open(folder.join("anchor.db")).expect("a database can be made");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE wallets (id TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0)) WITHOUT ROWID;
             CREATE TABLE jobs (id TEXT PRIMARY KEY, sender TEXT NOT NULL, prompt TEXT NOT NULL, status TEXT NOT NULL,
                 price INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
             CREATE INDEX jobs_by_sender ON jobs (sender, at);
             CREATE TABLE ledger (seq INTEGER PRIMARY KEY, wallet TEXT NOT NULL, job TEXT NOT NULL, cents INTEGER NOT NULL);",
        )
        .expect("the schema is right");
    let filling = connection.transaction().expect("nobody else writes");
    for wallet in 0..wallets {
        filling.execute("INSERT INTO wallets VALUES (?1, 100000000)", [name(wallet)]).expect("an empty table takes it");
    }
    filling.commit().expect("the disk has room");
    let started = Instant::now();
    for job in 0..jobs {
        let (id, wallet) = (name(job), name(job.wrapping_mul(7919) % wallets));
        let one = connection.transaction().expect("nobody else writes");
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            one.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).expect("the statement is right")
        };
        assert_eq!(run("UPDATE wallets SET cents = cents - 500 WHERE id = ?1 AND cents >= 500", &[&wallet]), 1);
        run("INSERT INTO jobs VALUES (?1, ?2, 'count to ten', 'queued', 500, ?3)", &[&id, &wallet, &(job as i64)]);
        run("INSERT INTO ledger (wallet, job, cents) VALUES (?1, ?2, -500)", &[&wallet, &id]);
        one.commit().expect("the disk has room");
    }
    jobs as f64 / started.elapsed().as_secs_f64()
}

fn name(number: usize) -> String {
    format!("{:08x}-7c00-7000-8000-000000000000", number.wrapping_mul(0x9E37_79B1) as u32)
}
