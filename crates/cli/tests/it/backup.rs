//! Backups beside a server under load, and what a backup or a restore leaves that is killed or cannot write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::exchange::Exchange;
use crate::load::Load;
use crate::proof::prove;

/// Backups that are taken one after the other while everybody works.
const BACKUPS: usize = 3;
/// Requests that are done between two backups.
const BETWEEN: usize = 60;

#[test]
fn a_restore_does_not_wait_for_somebody_to_write_to_a_pipe() {
    let (exchange, folder) = (Exchange::sqlite(), tempfile::tempdir().unwrap());
    let pipe = folder.path().join("a.db");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = exchange.command(["admin", "restore", pipe.to_str().unwrap(), "--force"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("A file is needed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_all_that_was_acknowledged_before_it() {
    let exchange = Exchange::sqlite();
    let server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    let done = || load.record.lock().unwrap().done.len();
    let taken = load.during(async {
        let mut taken = Vec::new();
        for n in 1..=BACKUPS {
            while done() < n * BETWEEN {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let before = done();
            let file = beside(&exchange, &format!("{n}.db"));
            let mut command = exchange.command(["admin", "backup", file.to_str().unwrap(), "--json"]);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            taken.push((file, before, done() - before));
        }
        taken
    });
    let taken = taken.await;
    assert!(taken.iter().any(|(_, _, meanwhile)| *meanwhile > 0), "the server goes on while it is backed up");
    prove(&load, &exchange).await;
    let posted: BTreeSet<String> = load.record.lock().unwrap().done.iter().filter_map(|(_, told)| told.job()).collect();
    for (file, before, _) in &taken {
        check_restored(&exchange, &load, file, *before, &posted).await;
    }
    drop(server);
    exchange.audit();
}

/// Restores a backup into a fresh folder and serves it: whatever was done before the backup began has happened there
/// too, and is answered with the same bytes when it is asked for again. Then it goes on.
async fn check_restored(exchange: &Exchange, load: &Load, file: &Path, before: usize, posted: &BTreeSet<String>) {
    let restored = Exchange::sqlite();
    let told = restored.json(["admin", "restore", file.to_str().unwrap(), "--json"]);
    assert_eq!((&told["secret_key_missing"], &told["replaced"]), (&json!(true), &json!(null)));
    std::fs::copy(exchange.data().join("secret_key"), restored.data().join("secret_key")).unwrap();
    restored.audit();
    let server = restored.serve();
    load.at([&server]);
    load.repeat_the_first(before).await;
    for sender in Load::senders() {
        let jobs = load.client(sender).get("jobs").await.unwrap();
        let ids = jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        ids.for_each(|id| assert!(posted.contains(&id), "{id} was never posted"));
    }
    let fresh = load.quiet_sender().post().await.unwrap();
    assert!(!posted.contains(&fresh));
    drop(server);
    restored.audit();
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
fn a_backup_says_when_the_secret_beside_it_does_not_open_it() {
    let exchange = Exchange::sqlite();
    drop(exchange.serve());
    let secret = exchange.data().join("secret_key");
    let back_up = |name: &str| {
        let file = beside(&exchange, name);
        let told = exchange.json(["admin", "backup", file.to_str().unwrap(), "--json"]);
        let again = exchange.command(["admin", "backup", file.to_str().unwrap(), "--force"]).output().unwrap();
        assert!(again.status.success());
        (told["secret_key_opens"].as_bool().unwrap(), String::from_utf8(again.stderr).unwrap())
    };
    let (opens, said) = back_up("right.db");
    assert!(opens && !said.contains("Careful"), "{said}");
    std::fs::write(&secret, "another secret, which is long enough too").unwrap();
    let (opens, said) = back_up("wrong.db");
    assert!(!opens && said.contains("does not open it"), "{said}");
    std::fs::remove_file(&secret).unwrap();
    let (opens, said) = back_up("gone.db");
    assert!(!opens && said.contains("is gone"), "{said}");
}

#[test]
fn programs_are_told_what_was_checked() {
    let exchange = Exchange::sqlite();
    exchange.user("ada", 2000);
    let file = beside(&exchange, "backup.db");
    let made = exchange.json(["admin", "backup", file.to_str().unwrap(), "--json"]);
    assert_eq!(made["checked"], json!(["pages", "books"]));
    // Anybody can check the digest with the shell.
    let shell = format!("head -c -86 {} | sha256sum | head -c 64", file.display());
    let summed = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert_eq!(made["sha256"], String::from_utf8(summed.stdout).unwrap());
    let said = exchange.json(["admin", "restore", file.to_str().unwrap(), "--force", "--json"]);
    assert_eq!((&said["checked"], &said["sha256"]), (&json!(["pages", "books", "digest"]), &made["sha256"]));
    let kept = said["replaced"].as_str().unwrap();
    let said = exchange.json(["admin", "restore", kept, "--force", "--json"]);
    assert_eq!((&said["checked"], &said["sha256"]), (&json!(["pages", "books"]), &json!(null)));
}

#[test]
fn a_refused_restore_leaves_nothing_behind() {
    let exchange = Exchange::sqlite();
    drop(exchange.serve());
    let file = beside(&exchange, "backup.db");
    exchange.json(["admin", "backup", file.to_str().unwrap(), "--json"]);
    let (notes, bent) = (beside(&exchange, "notes.db"), beside(&exchange, "bent.db"));
    std::fs::write(&notes, "no database").unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&bent, bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (fresh, there) = (folder.path().join("a/b/data"), folder.path().join("there"));
    std::fs::create_dir(&there).unwrap();
    let other = "a third secret, which is long enough too";
    for dir in [&fresh, &there] {
        for (file, more) in [(&notes, &[][..]), (&bent, &[]), (&file, &["--secret-key", other])] {
            let arguments = ["admin", "restore", file.to_str().unwrap(), "--data-dir", dir.to_str().unwrap()];
            let refused = exchange.command(arguments.iter().chain(more)).output().unwrap();
            assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
            let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|left| left.unwrap().path()).collect();
            assert_eq!(left, std::slice::from_ref(&there), "{}", file.display());
            assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0, "{}", file.display());
        }
    }
}

#[test]
fn help_fills_its_lines_at_any_width() {
    let exchange = Exchange::sqlite();
    for (width, command) in [60, 80, 100, 120].into_iter().flat_map(|width| [(width, "backup"), (width, "restore")]) {
        let mut help = exchange.command(["admin", command, "--help"]);
        let output = help.env("COLUMNS", width.to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, prose) = text.split_once("Examples:\n").unwrap();
        let lines: Vec<&str> = prose.lines().collect();
        assert!(lines.len() > 3);
        for pair in lines.windows(2).filter(|pair| !pair[0].is_empty() && !pair[1].starts_with("  ")) {
            let next = pair[1].split(' ').next().unwrap();
            assert!(pair[0].chars().count() <= width, "{text}");
            let fits = !next.is_empty() && pair[0].chars().count() + 1 + next.chars().count() <= width;
            assert!(!fits, "at {width} columns, {next:?} stands on a line of its own:\n{text}");
        }
    }
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
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Lets another process get so far.
#[expect(clippy::disallowed_methods, reason = "when a process is killed is a matter of time")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
