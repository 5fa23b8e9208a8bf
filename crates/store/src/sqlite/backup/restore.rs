//! Putting a backup in an exchange's place, so that at every instant the folder holds one exchange that opens.
//!
//! | Phase   | What happens                                                              | Killed then, there is |
//! |---------|---------------------------------------------------------------------------|-----------------------|
//! | prepare | the backup is copied beside the database, compared with its digest,       | the old exchange      |
//! |         | brought up to date and checked                                            |                       |
//! | claim   | nobody opens the database any more; a server must not run at all          | the old exchange      |
//! | fold    | the old write-ahead log goes into its database, and its files go          | the old exchange      |
//! | keep    | the old database gets a second name, synced                               | the old exchange      |
//! | swap    | the copy takes the first name, in one step                                | the old or the new one|
//! | settle  | the folder is synced                                                      | the new exchange      |
//!
//! The fold comes before the swap because SQLite believes any log that lies beside a database: the old one's beside
//! the new database would be written into it. SQLite folds only when no other program has the database open, so the
//! fold is also the proof that nobody goes on writing to what is replaced; the lock that it takes is held until the
//! swap is done. The second name is a hard link, so the first is never without a file: a server that starts between
//! two phases never takes the folder for a new one. Killed after `keep`, the old database has two names until the next
//! restore, which takes the second one away.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawrk_domain::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::place::{self, Partial};
use super::{BackupError, Contents, Progress, check, copy, digest, of_original, open, unread};
use crate::StoreError;
use crate::sqlite::{FILE, LOCK, alone, embedded};

/// Between the database's name and the moment when it was replaced.
const KEPT: &str = ".replaced-";

/// A backup that lies beside the database, checked, and has not taken its place yet. Dropped, it is gone.
pub struct Restore {
    dir: PathBuf,
    partial: Partial,
    contents: Contents,
    replace: bool,
}

impl Restore {
    /// Brings a backup into a data folder, which a server must not have and keeps what it holds.
    pub fn prepare(file: &Path, dir: &Path, replace: bool, progress: &Arc<Progress>) -> Result<Self, BackupError> {
        let found = std::fs::metadata(file);
        let found = found.map_err(|source| BackupError::File { path: file.to_owned(), what: "read", source })?;
        if !found.is_file() {
            return Err(BackupError::NotAFile(file.to_owned()));
        }
        place::check_own(file, dir)?;
        let database = dir.join(FILE);
        replaces(&database, replace)?;
        let partial = Partial::beside(&database)?;
        let digest = digest::copy(file, &partial, progress)?;
        if digest.is_some() {
            check::age(&open(partial.path())?, file)?;
        } else {
            let source = open(file)?;
            let source = source.unchecked_transaction().map_err(|error| unread(file, error))?;
            check::age(&source, file)?;
            copy::copy(&source, file, &partial, progress)?;
        }
        update(partial.path())?;
        let mut contents = check::contents(partial.path(), progress).map_err(|error| of_original(error, file))?;
        contents.digest = digest;
        partial.sync()?;
        Ok(Self { dir: dir.to_owned(), partial, contents, replace })
    }

    /// What it holds.
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Puts it in the database's place; the name under which what was there is kept, if there was an exchange.
    pub fn finish(self, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
        self.carry_out(now, |_| {})
    }

    /// Tells of every phase that is over.
    fn carry_out(self, now: Timestamp, passed: impl Fn(&str)) -> Result<Option<PathBuf>, BackupError> {
        let Self { dir, partial, replace, .. } = self;
        let database = dir.join(FILE);
        let _alone = alone(&dir)?;
        passed("claim");
        let old = replaces(&database, replace)?.then(|| fold(&database)).transpose()?;
        passed("fold");
        belong(&dir, partial.file())?;
        let kept = old.is_some().then(|| keep(&database, now)).transpose()?;
        passed("keep");
        if let Err(error) = partial.put_at(&database) {
            let_go_of_second_names(&database)?;
            return Err(error);
        }
        passed("swap");
        Ok(kept)
    }
}

/// Whether there is a database to be replaced.
fn replaces(database: &Path, replace: bool) -> Result<bool, BackupError> {
    let dir = || database.parent().unwrap_or(database).to_owned();
    match std::fs::symlink_metadata(database) {
        Ok(found) if !found.is_file() => Err(BackupError::NotAFile(database.to_owned())),
        Ok(_) if !replace => Err(BackupError::Occupied(dir())),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => check_nothing_left(database).map(|()| false),
        Err(source) => Err(BackupError::File { path: database.to_owned(), what: "read", source }),
    }
}

/// A log without its database may hold what was acknowledged, and would be written into the next database here.
fn check_nothing_left(database: &Path) -> Result<(), BackupError> {
    match place::company(database).find(|path| std::fs::symlink_metadata(path).is_ok()) {
        Some(left) => Err(BackupError::Leftover(left)),
        None => Ok(()),
    }
}

/// Makes one file of a database, its log and its index, with nobody else at it while the connection is kept.
fn fold(database: &Path) -> Result<Connection, BackupError> {
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => BackupError::InUse(database.to_owned()),
        _ => BackupError::Unopenable { path: database.to_owned(), source: error },
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(failed)?;
    if mode != "delete" {
        return Err(BackupError::InUse(database.to_owned()));
    }
    connection.execute_batch("BEGIN EXCLUSIVE").map_err(failed)?;
    check_nothing_left(database)?;
    Ok(connection)
}

/// Gives a database a second name.
fn keep(database: &Path, now: Timestamp) -> Result<PathBuf, BackupError> {
    let_go_of_second_names(database)?;
    let moment: String = now.to_string().chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    let named = |n: u32| match n {
        1 => place::with_suffix(database, &format!("{KEPT}{moment}")),
        _ => place::with_suffix(database, &format!("{KEPT}{moment}-{n}")),
    };
    let free = (1..).map(named).find(|path| std::fs::symlink_metadata(path).is_err());
    let kept = free.expect("a folder does not hold every name");
    let linked = std::fs::hard_link(database, &kept);
    linked.map_err(|source| BackupError::File { path: kept.clone(), what: "make", source })?;
    place::sync_folder(&kept)?;
    Ok(kept)
}

/// Takes away the second names of the very database that is in place: a restore was killed before it was replaced.
fn let_go_of_second_names(database: &Path) -> Result<(), BackupError> {
    let dir = database.parent().unwrap_or(database);
    let fail = |source| BackupError::File { path: dir.to_owned(), what: "read", source };
    let this = std::fs::symlink_metadata(database).map_err(fail)?;
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_kept = entry.file_name().to_string_lossy().starts_with(&format!("{FILE}{KEPT}"));
        let other = entry.metadata().map_err(fail)?;
        if is_kept && (other.dev(), other.ino()) == (this.dev(), this.ino()) {
            std::fs::remove_file(entry.path()).map_err(fail)?;
        }
    }
    Ok(())
}

/// Brings the copy's schema up to date.
fn update(path: &Path) -> Result<(), BackupError> {
    let mut connection = Connection::open(path).map_err(StoreError::from)?;
    embedded::migrations::runner().run(&mut connection).map_err(StoreError::from)?;
    Ok(())
}

/// What root makes in somebody else's folder is theirs: the server that runs as them has to open it.
fn belong(dir: &Path, copy: &File) -> Result<(), BackupError> {
    let fail = |source| BackupError::File { path: dir.to_owned(), what: "give files to the owner of", source };
    let (copied, owner) = (copy.metadata().map_err(fail)?, std::fs::metadata(dir).map_err(fail)?);
    if copied.uid() != 0 || owner.uid() == 0 {
        return Ok(());
    }
    let to = (Some(owner.uid()), Some(owner.gid()));
    std::os::unix::fs::fchown(copy, to.0, to.1).map_err(fail)?;
    for lock in [LOCK, "serve.lock"].map(|name| dir.join(name)) {
        if std::fs::symlink_metadata(&lock).is_ok_and(|found| found.uid() == 0) {
            std::os::unix::fs::lchown(&lock, to.0, to.1).map_err(fail)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
