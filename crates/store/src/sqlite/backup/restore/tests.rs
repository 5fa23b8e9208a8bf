//! The phases of a restore, each looked at as if the process were killed after it, and what is refused.

use std::cell::RefCell;

use tempfile::TempDir;

use super::*;
use crate::sqlite::backup::back_up;
use crate::{Clock, Store};

const NOW: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

/// How long a digest's line is.
const LINE: usize = digest::LINE as usize;

/// A folder as a server leaves it that was killed: these users are in the log, not in the database.
fn exchange(users: &[&str]) -> TempDir {
    let (served, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::sqlite(served.path(), clawrk_domain::Policy::default(), Clock::manual(NOW)).unwrap();
    let beside = Connection::open(served.path().join(FILE)).unwrap();
    for user in users {
        let sql = "INSERT INTO users (id, name, is_admin, created_at) VALUES (?1, ?1, 0, 0)";
        beside.execute(sql, [user]).unwrap();
        beside.execute("INSERT INTO wallets (user_id, balance_cents) VALUES (?1, 0)", [user]).unwrap();
    }
    copied(served.path(), left.path());
    drop((store, beside));
    left
}

/// What is in a folder at this instant is what a process leaves that is killed at it.
fn copied(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The users of the exchange that opens from a copy of this folder.
fn opens(dir: &Path) -> Vec<String> {
    let killed = tempfile::tempdir().unwrap();
    copied(dir, killed.path());
    let store = Store::sqlite(killed.path(), clawrk_domain::Policy::default(), Clock::manual(NOW)).unwrap();
    let users = users(&killed.path().join(FILE));
    drop(store);
    users
}

fn users(database: &Path) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    let whole: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let mut users = connection.prepare("SELECT name FROM users ORDER BY name").unwrap();
    users.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A backup of an exchange with these users; the exchange may go.
fn backup(users: &[&str], tampered: &str) -> (TempDir, PathBuf) {
    let (dir, kept) = (exchange(users), tempfile::tempdir().unwrap());
    let file = kept.path().join("backup.db");
    back_up(dir.path(), &file, false, &Clock::manual(NOW), &Arc::default()).unwrap();
    if !tampered.is_empty() {
        Connection::open(&file).unwrap().execute_batch(tampered).unwrap();
        seal_anew(&file);
    }
    (kept, file)
}

/// What whoever tampers with a backup may do too: the digest of what it has become.
fn seal_anew(file: &Path) {
    let partial = Partial::beside(file).unwrap();
    let bytes = std::fs::read(file).unwrap();
    std::io::Write::write_all(&mut partial.file(), &bytes[..bytes.len() / 4096 * 4096]).unwrap();
    digest::append(&partial, &Progress::default()).unwrap();
    partial.put_at(file).unwrap();
}

/// Why the file is not taken, or what was found of its digest.
fn refusal(file: &Path, dir: &Path) -> String {
    match Restore::prepare(file, dir, true, &Arc::default()) {
        Ok(restore) => format!("Ok, {}", restore.contents().digest.as_deref().unwrap_or("no digest")),
        Err(BackupError::Changed(path)) if path == file => "Changed".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A backup that holds texts, a key and money.
fn rich() -> (TempDir, PathBuf) {
    backup(
        &["new"],
        "INSERT INTO agents VALUES (x'01', x'02', 'an agent', 'a personality, word for word', NULL, 1, 0, NULL);
         INSERT INTO api_keys VALUES ('id', x'02', 'a key', CAST('the hash of a key, 32 bytes long' AS BLOB), 1, 0, NULL,
                                      NULL, NULL);
         INSERT INTO transfers VALUES (x'03', 0, 'outside', 'wallet', 'new', NULL, 500, 'grant', NULL, NULL);
         UPDATE wallets SET balance_cents = 500, last_transfer = x'03'",
    )
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| name != LOCK).collect();
    names.sort();
    names
}

#[test]
fn killed_between_any_two_phases_the_folder_opens_as_one_exchange() {
    let (dir, (_kept, file)) = (exchange(&["old", "older"]), backup(&["new"], ""));
    let database = dir.path().join(FILE);
    assert!(std::fs::metadata(place::with_suffix(&database, "-wal")).unwrap().len() > 0, "the log holds the users");

    let restore = Restore::prepare(&file, dir.path(), true, &Arc::default()).unwrap();
    assert_eq!(opens(dir.path()), ["old", "older"], "prepare");
    let opened = RefCell::new(Vec::new());
    let kept = restore
        .carry_out(NOW, |phase| {
            let users = if phase == "swap" { &["new"][..] } else { &["old", "older"] };
            assert_eq!(opens(dir.path()), users, "{phase}");
            opened.borrow_mut().push(phase.to_owned());
        })
        .unwrap()
        .unwrap();
    assert_eq!(opened.take(), ["claim", "fold", "keep", "swap"]);
    assert_eq!(opens(dir.path()), ["new"], "settle");
    assert_eq!(names(dir.path()), ["clawrk.db", "clawrk.db.replaced-20250101T000000"], "no log is left");
    assert_eq!(users(&kept), ["old", "older"], "what was replaced is kept whole");
}

#[test]
fn a_restore_after_one_that_was_killed_finds_one_exchange_with_one_name() {
    let (dir, (_kept, file)) = (exchange(&["old"]), backup(&["new"], ""));
    let database = dir.path().join(FILE);
    drop(fold(&database).unwrap());
    keep(&database, NOW).unwrap();
    std::fs::write(dir.path().join("clawrk.db.partial"), "half").unwrap();
    let restore = Restore::prepare(&file, dir.path(), true, &Arc::default()).unwrap();
    let kept = restore.finish(NOW).unwrap().unwrap();
    assert_eq!(names(dir.path()), ["clawrk.db", "clawrk.db.replaced-20250101T000000"]);
    assert_eq!((users(&database), users(&kept)), (vec!["new".to_owned()], vec!["old".to_owned()]));
    // What was kept goes back the same way, and both are kept.
    Restore::prepare(&kept, dir.path(), true, &Arc::default()).unwrap().finish(NOW).unwrap();
    assert_eq!(users(&database), ["old"]);
    let again = dir.path().join("clawrk.db.replaced-20250101T000000-2");
    assert_eq!(users(&again), ["new"]);
    assert_eq!(refusal(&again, dir.path()), "Ok, no digest", "it was no backup any more");
}

#[test]
fn a_database_that_another_program_has_open_is_not_replaced() {
    let (dir, (_kept, file)) = (exchange(&["old"]), backup(&["new"], ""));
    let other = Store::sqlite(dir.path(), clawrk_domain::Policy::default(), Clock::manual(NOW)).unwrap();
    let restore = Restore::prepare(&file, dir.path(), true, &Arc::default()).unwrap();
    assert!(matches!(restore.finish(NOW), Err(BackupError::InUse(_))));
    drop(other);
    assert_eq!(opens(dir.path()), ["old"]);
    assert_eq!(names(dir.path()).iter().filter(|name| name.contains(KEPT) || name.contains("partial")).count(), 0);
}

#[test]
fn a_log_without_its_database_is_not_taken_for_the_new_ones() {
    let (dir, (_kept, file)) = (exchange(&["old"]), backup(&["new"], ""));
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    for replace in [false, true] {
        let refused = Restore::prepare(&file, dir.path(), replace, &Arc::default());
        assert!(matches!(refused, Err(BackupError::Leftover(_))));
    }
    assert_eq!(names(dir.path()), ["clawrk.db-shm", "clawrk.db-wal"]);
}

#[test]
fn what_is_not_a_sound_backup_of_this_program_is_refused_and_nothing_changes() {
    let tampers = [
        ("", "Ok"),
        ("DROP TABLE refinery_schema_history", "it has no such tables"),
        ("UPDATE refinery_schema_history SET checksum = '1'", "another history"),
        ("INSERT INTO refinery_schema_history VALUES (9999, 'later', '', '1')", "a newer clawrk"),
        ("DROP INDEX transfers_once", "it lacks the index transfers_once"),
        (
            "CREATE TRIGGER gift AFTER INSERT ON users BEGIN UPDATE wallets SET balance_cents = 9; END",
            "it has the trigger gift",
        ),
        ("UPDATE wallets SET balance_cents = 9", "the books"),
        ("INSERT INTO tasks VALUES ('expire_hold', 'nobody', 0, 0, 0)", "job nobody is not there and has the timer"),
        ("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'jobs_queued'", "is damaged"),
    ];
    for (tampered, reason) in tampers {
        let (dir, (_kept, file)) = (exchange(&["old"]), backup(&["new"], tampered));
        let before = names(dir.path());
        let prepared = Restore::prepare(&file, dir.path(), true, &Arc::default());
        let said = prepared.map_or_else(|error| error.to_string(), |_| "Ok".to_owned());
        assert!(said.contains(reason), "{tampered}: {said}");
        assert_eq!(names(dir.path()), before, "{tampered}");
        assert_eq!(opens(dir.path()), ["old"], "{tampered}");
    }
}

#[test]
fn a_backup_with_a_bent_page_or_cut_short_is_refused() {
    let (_kept, file) = backup(&["new"], "");
    let sound = std::fs::read(&file).unwrap();
    let mut bent = sound.clone();
    bent[sound.len() - 4096..].fill(0x5a);
    let cuts = [sound.len() - 4096, sound.len() / 2, 4096, 50, 0].map(|length| sound[..length].to_owned());
    for broken in cuts.into_iter().chain([bent]) {
        std::fs::write(&file, &broken).unwrap();
        let dir = exchange(&["old"]);
        let refused = Restore::prepare(&file, dir.path(), true, &Arc::default());
        assert!(
            matches!(refused, Err(BackupError::Changed(_) | BackupError::Damaged { .. } | BackupError::Foreign { .. })),
            "{} bytes: {:?}",
            broken.len(),
            refused.err()
        );
        assert_eq!(opens(dir.path()), ["old"]);
    }
}

#[test]
fn a_bit_that_fell_over_in_a_backup_is_noticed_wherever_it_stands() {
    let (dir, (_kept, file)) = (exchange(&["old"]), rich());
    let sound = std::fs::read(&file).unwrap();
    let found = refusal(&file, dir.path());
    assert_eq!(found.len(), "Ok, ".len() + 64, "{found}");
    let place = |text: &str| sound.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
    let spoken_for = [place("a personality"), place("the hash of a key"), place("an agent")];
    let line = sound.len() - LINE;
    let places = spoken_for.into_iter().chain(0..100).chain((100..line).step_by(1009)).chain(line..sound.len());
    for (n, place) in places.enumerate() {
        let mut bent = sound.clone();
        bent[place] ^= 1 << (n % 8);
        std::fs::write(&file, &bent).unwrap();
        assert_eq!(refusal(&file, dir.path()), "Changed", "bit {} of byte {place}", n % 8);
    }
    assert_eq!(opens(dir.path()), ["old"]);
}

#[test]
fn a_backup_that_was_written_to_is_noticed_even_if_its_books_balance() {
    for (change, without_digest) in [
        ("UPDATE wallets SET balance_cents = 600; UPDATE transfers SET cents = 600", "Ok, no digest"),
        ("UPDATE wallets SET balance_cents = 600", "the books in"),
        ("DELETE FROM api_keys", "Ok, no digest"),
        ("UPDATE users SET is_admin = 1", "Ok, no digest"),
        ("VACUUM", "Ok, no digest"),
    ] {
        let (dir, (_kept, file)) = (exchange(&["old"]), rich());
        let mut sound = std::fs::read(&file).unwrap();
        let line = sound.split_off(sound.len() - LINE);
        Connection::open(&file).unwrap().execute_batch(change).unwrap();
        assert_eq!(refusal(&file, dir.path()), "Changed", "{change}");
        // The old line behind the new pages, should SQLite have cut it off.
        let pages = std::fs::read(&file).unwrap();
        let pages = &pages[..pages.len() / 4096 * 4096];
        std::fs::write(&file, [pages, &line].concat()).unwrap();
        assert_eq!(refusal(&file, dir.path()), "Changed", "{change}");
        // All else that is checked has nothing against most of it.
        let mut plain = pages.to_vec();
        plain[68..72].fill(0);
        std::fs::write(&file, plain).unwrap();
        assert!(refusal(&file, dir.path()).starts_with(without_digest), "{change}");
    }
}

#[test]
fn a_backup_that_lost_its_end_is_not_taken_for_one_that_never_had_a_digest() {
    let (dir, (_kept, file)) = (exchange(&["old"]), rich());
    let sound = std::fs::read(&file).unwrap();
    let pages = sound.len() - LINE;
    for length in [sound.len() - 1, pages + 1, pages, pages - 1, pages - 4096, pages / 2, 4096, 72] {
        std::fs::write(&file, &sound[..length]).unwrap();
        assert_eq!(refusal(&file, dir.path()), "Changed", "{length} bytes");
    }
    std::fs::write(&file, [&sound[..], &[0]].concat()).unwrap();
    assert_eq!(refusal(&file, dir.path()), "Changed", "one byte more");
    // An earlier version wrote neither the line nor the word that there is one.
    let mut earlier = sound[..pages].to_owned();
    earlier[68..72].fill(0);
    std::fs::write(&file, &earlier).unwrap();
    assert_eq!(refusal(&file, dir.path()), "Ok, no digest");
}

#[test]
fn a_backup_that_became_an_exchange_is_one_like_any_other() {
    let (_kept, file) = backup(&["new"], "");
    // By a restore, or by hand.
    for by_hand in [false, true] {
        let (dir, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let database = dir.path().join(FILE);
        if by_hand {
            std::fs::copy(&file, &database).unwrap();
        } else {
            Restore::prepare(&file, dir.path(), false, &Arc::default()).unwrap().finish(NOW).unwrap();
            assert_eq!(std::fs::metadata(&database).unwrap().len() % 4096, 0, "the line is not in it");
        }
        assert_eq!(opens(dir.path()), ["new"]);
        drop(Store::sqlite(dir.path(), clawrk_domain::Policy::default(), Clock::manual(NOW)).unwrap());
        let again = later.path().join("again.db");
        let (_, made) = back_up(dir.path(), &again, false, &Clock::manual(NOW), &Arc::default()).unwrap();
        assert_eq!(made.bytes, std::fs::metadata(&again).unwrap().len());
        let restore = Restore::prepare(&again, dir.path(), true, &Arc::default()).unwrap();
        assert_eq!((&restore.contents().digest, made.digest.is_some()), (&made.digest, true));
        let kept = restore.finish(NOW).unwrap().unwrap();
        assert_eq!(refusal(&kept, dir.path()), "Ok, no digest", "by hand: {by_hand}");
    }
}

#[test]
fn what_is_asked_to_stop_leaves_nothing_behind() {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
        INSERT INTO events (job_id, n, at, kind, by_whom, status) SELECT 'x', i, 0, 'x', 'x', 'x' FROM n";
    let (dir, (kept, file)) = (exchange(&["old"]), backup(&["new"], many));
    let progress = Arc::new(Progress::default());
    progress.stop();
    let stopped = Restore::prepare(&file, dir.path(), true, &progress);
    assert!(matches!(stopped, Err(BackupError::Stopped)));
    let stopped = back_up(dir.path(), &kept.path().join("more.db"), false, &Clock::System, &progress);
    assert!(matches!(stopped, Err(BackupError::Stopped)));
    assert!(matches!(check::contents(&file, &progress), Err(BackupError::Stopped)), "also in the middle of a check");
    assert_eq!(names(kept.path()), ["backup.db"]);
    assert_eq!(opens(dir.path()), ["old"]);
}

#[test]
fn files_belong_to_the_owner_of_the_folder() {
    let (_kept, file) = backup(&["new"], "");
    let dir = tempfile::tempdir().unwrap();
    if std::fs::metadata(dir.path()).unwrap().uid() == 0 {
        std::os::unix::fs::chown(dir.path(), Some(4711), Some(4712)).unwrap();
    }
    Restore::prepare(&file, dir.path(), false, &Arc::default()).unwrap().finish(NOW).unwrap();
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    for name in [FILE, LOCK] {
        assert_eq!(owner(&dir.path().join(name)), owner(dir.path()), "{name}");
    }
}

#[test]
fn nobody_opens_a_database_while_another_is_put_in_its_place() {
    let dir = exchange(&["old"]);
    let (target, path) = (tempfile::tempdir().unwrap(), dir.path().to_owned());
    let file = target.path().join("backup.db");
    let putting_in_place = alone(&path).unwrap();
    let (done, opened) = std::sync::mpsc::channel();
    let (also_done, also_path) = (done.clone(), path.clone());
    let server = std::thread::spawn(move || {
        done.send(Store::sqlite(&path, clawrk_domain::Policy::default(), Clock::manual(NOW)).is_ok()).unwrap();
    });
    let backup = std::thread::spawn(move || {
        also_done.send(back_up(&also_path, &file, false, &Clock::manual(NOW), &Arc::default()).is_ok()).unwrap();
    });
    assert!(opened.recv_timeout(std::time::Duration::from_millis(200)).is_err(), "both wait");
    drop(putting_in_place);
    assert_eq!((opened.recv(), opened.recv()), (Ok(true), Ok(true)));
    server.join().unwrap();
    backup.join().unwrap();
}
