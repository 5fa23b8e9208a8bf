//! Backups beside a server under load, and what a backup or a restore leaves that is killed or cannot write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::json;

use crate::crash::{Load, Status, status};
use crate::exchange::{Exchange, Server};

/// Backups that are taken one after the other while everybody works.
const BACKUPS: usize = 4;
/// Acknowledged jobs between two backups.
const BETWEEN: usize = 20;

/// What was acknowledged until now, by job.
type Acknowledged = Mutex<BTreeMap<String, Status>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_all_that_was_acknowledged_before_it() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let load = Load::new(&exchange);
    let (acknowledged, over) = (Acknowledged::default(), AtomicBool::new(false));
    let senders = (0..load.senders.len()).map(|n| send(&load, n, &server.url, &acknowledged, &over));
    let agents = load.agents.iter().map(|agent| load.work(agent, &server.url, &over));
    let backing_up = async {
        let mut taken = Vec::new();
        for n in 1..=BACKUPS {
            while acknowledged.lock().unwrap().len() < n * BETWEEN {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let before = acknowledged.lock().unwrap().clone();
            let file = beside(&exchange, &format!("{n}.db"));
            let mut command = exchange.command(["admin", "backup", file.to_str().unwrap(), "--json"]);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let meanwhile = acknowledged.lock().unwrap().len() - before.len();
            taken.push((file, before, meanwhile));
        }
        over.store(true, Ordering::Relaxed);
        taken
    };
    let (taken, _) = join(backing_up, join(join_all(senders), join_all(agents))).await;
    let meanwhile: usize = taken.iter().map(|(_, _, meanwhile)| meanwhile).sum();
    assert!(meanwhile > 0, "the server goes on while it is backed up");
    let all = acknowledged.into_inner().unwrap();
    assert!(all.values().any(|status| *status == Status::Verified), "the load reaches the end of a job's life");
    for (file, before, _) in &taken {
        check_restored(&exchange, &load, file, before, &all).await;
    }
    drop(server);
    exchange.audit();
}

/// Posts and reviews until it is over; writes down what was acknowledged when it was.
async fn send(load: &Load, sender: usize, url: &str, acknowledged: &Acknowledged, over: &AtomicBool) {
    let user = &load.senders[sender];
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let job = load.post(url, user, &format!("{sender} {n}")).await.unwrap();
        acknowledged.lock().unwrap().insert(job, Status::Queued);
        let waiting = load.get(url, user, "jobs?status=submitted&limit=3").await.unwrap();
        for job in waiting.as_array().unwrap() {
            let id = job["id"].as_str().unwrap();
            if load.act(url, user, id, "review", json!({"verdict": "pass"})).await.is_some() {
                acknowledged.lock().unwrap().insert(id.to_owned(), Status::Verified);
            }
        }
    }
}

/// Restores a backup into a fresh folder, serves it, looks for what it must hold, and goes on with it.
async fn check_restored(
    exchange: &Exchange,
    load: &Load,
    file: &Path,
    before: &BTreeMap<String, Status>,
    all: &BTreeMap<String, Status>,
) {
    let restored = Exchange::sqlite();
    let told = restored.json(["admin", "restore", file.to_str().unwrap(), "--json"]);
    assert_eq!((&told["secret_key_missing"], &told["replaced"]), (&json!(true), &json!(null)));
    std::fs::copy(exchange.data().join("secret_key"), restored.data().join("secret_key")).unwrap();
    restored.audit();
    let server = restored.serve();
    let jobs = jobs(load, &server).await;
    for (id, acknowledged) in before {
        let found = jobs.get(id).unwrap_or_else(|| panic!("{id} was acknowledged before the backup began"));
        assert!(found >= acknowledged, "{id} was acknowledged as {acknowledged:?} and is {found:?}");
    }
    assert!(jobs.keys().all(|id| all.contains_key(id)), "nothing is there that was never posted");
    let posted = load.post(&server.url, &load.senders[0], "after the restore").await.unwrap();
    assert!(!all.contains_key(&posted));
    drop(server);
    restored.audit();
}

async fn jobs(load: &Load, server: &Server) -> BTreeMap<String, Status> {
    let mut jobs = BTreeMap::new();
    for sender in &load.senders {
        for job in load.get(&server.url, sender, "jobs").await.unwrap().as_array().unwrap() {
            jobs.insert(job["id"].as_str().unwrap().to_owned(), status(job));
        }
    }
    jobs
}

#[test]
fn a_backup_that_is_killed_or_cannot_be_written_leaves_the_last_one() {
    let exchange = Exchange::sqlite();
    exchange.user("ada", 2000);
    let file = beside(&exchange, "backup.db");
    let arguments = ["admin", "backup", file.to_str().unwrap(), "--force"];
    exchange.json(arguments.into_iter().chain(["--json"]));
    let last = std::fs::read(&file).unwrap();
    exchange.user("bob", 0);

    let killed = limited(&exchange, &arguments, "").output().unwrap();
    assert_eq!(killed.status.code(), None, "a signal ended it in the middle of its writing");
    assert_eq!(std::fs::read(&file).unwrap(), last);
    let failed = limited(&exchange, &arguments, "trap '' XFSZ;").output().unwrap();
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("The copy cannot be written to") && said.contains("backup.db.partial"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), last);
    let names = || {
        let entries = std::fs::read_dir(file.parent().unwrap()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name.starts_with("backup"))
    };
    assert_eq!(names().collect::<Vec<_>>(), ["backup.db"], "also what was left of the killed one");

    assert_eq!(exchange.json(arguments.into_iter().chain(["--json"]))["users"], 2);
    assert_ne!(std::fs::read(&file).unwrap(), last);
    assert_eq!(names().collect::<Vec<_>>(), ["backup.db"]);
}

#[test]
fn a_restore_that_cannot_be_written_leaves_the_exchange() {
    let exchange = Exchange::sqlite();
    exchange.user("ada", 2000);
    let file = beside(&exchange, "backup.db");
    exchange.json(["admin", "backup", file.to_str().unwrap(), "--json"]);
    exchange.user("bob", 0);
    let arguments = ["admin", "restore", file.to_str().unwrap(), "--force"];
    for (trap, code) in [("", None), ("trap '' XFSZ;", Some(1))] {
        assert_eq!(limited(&exchange, &arguments, trap).output().unwrap().status.code(), code);
        assert_eq!(wallets(&exchange), 2);
    }
    assert!(!exchange.data().join("clawrk.db.partial").exists());
    exchange.json(arguments.into_iter().chain(["--json"]));
    assert_eq!(wallets(&exchange), 1);
}

/// How many restores are killed, each a little later than the one before.
const KILLS: u32 = 24;

#[test]
fn a_restore_killed_at_any_instant_leaves_the_old_exchange_or_the_new_one() {
    let exchange = Exchange::sqlite();
    exchange.user("ada", 2000);
    let file = beside(&exchange, "backup.db");
    exchange.json(["admin", "backup", file.to_str().unwrap(), "--json"]);
    // The old exchange is two users, one of them only in the log.
    let server = exchange.serve();
    exchange.user("bob", 0);
    server.kill();
    let old = beside(&exchange, "old");
    copy(&exchange.data(), &old);
    assert!(std::fs::metadata(old.join("clawrk.db-wal")).unwrap().len() > 0);

    let restore = || {
        let mut command = exchange.command(["admin", "restore", file.to_str().unwrap(), "--force"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begun = Instant::now();
    assert!(restore().wait().unwrap().success());
    let whole = begun.elapsed();
    let mut seen = [0, 0];
    for n in 0..KILLS {
        std::fs::remove_dir_all(exchange.data()).unwrap();
        copy(&old, &exchange.data());
        let mut child = restore();
        wait(whole * n / (KILLS - 1));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = wallets(&exchange);
        assert!([1, 2].contains(&left), "{left} wallets");
        seen[left - 1] += 1;
        drop(exchange.serve());
        assert_eq!(wallets(&exchange), left);
        assert!(restore().wait().unwrap().success(), "the next one succeeds");
        assert_eq!(wallets(&exchange), 1);
    }
    assert!(seen[1] > 0, "none was killed before its end");
}

/// How many wallets there are, in books that balance.
#[track_caller]
fn wallets(exchange: &Exchange) -> usize {
    let audit = exchange.json(["admin", "audit", "--json"]);
    assert_eq!(audit["ok"], true);
    usize::try_from(audit["wallets"]["count"].as_u64().unwrap()).unwrap()
}

/// A command that may write no file beyond 50 kB or 100 kB, by the shell: more than locks and indexes, less than a
/// database. The signal for it kills unless it is trapped; then the write fails.
fn limited(exchange: &Exchange, arguments: &[&str], trap: &str) -> Command {
    let command = exchange.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{trap} ulimit -c 0; ulimit -f 100; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    shell.env_clear().stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell
}

fn beside(exchange: &Exchange, name: &str) -> PathBuf {
    exchange.data().with_file_name(name)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Lets another process get so far.
#[expect(clippy::disallowed_methods, reason = "when a process is killed is a matter of time")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
