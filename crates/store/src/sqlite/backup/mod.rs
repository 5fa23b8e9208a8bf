//! Backups: one moment of a SQLite database as one file, made beside a running server, and put back.
//!
//! A backup is taken page by page (`copy.rs`) inside one read transaction. In the write-ahead log a reader has its
//! moment for as long as it reads, and no writer waits for it: the copy is of the moment when the transaction began,
//! whatever is committed meanwhile; only the log cannot be begun anew until it ends. Without the transaction, SQLite's
//! backup would begin again at every commit of another process, and under load never end. `VACUUM INTO` has a moment
//! too, but takes half as long again, writing every row and index anew, and it cannot tell how far it is or let the disk
//! breathe between two steps.
//!
//! What was copied is checked before it counts (`check.rs`), and ends with a digest (`digest.rs`). A backup is in
//! rollback mode, so that it is one file, and can be read where nothing can be written. Putting one back is in
//! `restore.rs`.

mod check;
mod copy;
mod digest;
mod place;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clawrk_domain::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{Clock, StoreError};

pub use check::Contents;
pub use restore::Restore;

use check::Age;
pub(super) use digest::unmark;
use place::Partial;

/// Why nothing was copied, or nothing put back. Whatever was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data folder holds no database.
    #[error("there is no exchange in {}", .0.display())]
    NoExchange(PathBuf),
    /// Something is there already.
    #[error("there is a file {} already", .0.display())]
    Exists(PathBuf),
    /// The data folder holds an exchange already.
    #[error("there is an exchange in {} already", .0.display())]
    Occupied(PathBuf),
    /// The file belongs to the exchange itself.
    #[error("the file {} is the exchange's own", .0.display())]
    Own(PathBuf),
    /// Neither a file nor the name of a new one.
    #[error("a file is needed, and {} is none", .0.display())]
    NotAFile(PathBuf),
    /// Another process writes to the same place.
    #[error("another copy is being written to {}", .0.display())]
    UnderWay(PathBuf),
    /// The operating system said no.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What could not be done.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite could not write the copy.
    #[error("the copy cannot be written to {}", .path.display())]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Something else than an exchange.
    #[error("the file {} is no exchange's database: {why}", .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// The schema is of a later version of this program.
    #[error("a newer clawrk than this one wrote {}", .0.display())]
    Newer(PathBuf),
    /// The schema is of an earlier version of this program.
    #[error("an older clawrk than this one wrote {}", .0.display())]
    Older(PathBuf),
    /// The digest at a backup's end is another one than its content's, or is gone.
    #[error("the backup {} is not as it was written: something in it was changed or lost since", .0.display())]
    Changed(PathBuf),
    /// SQLite finds damage.
    #[error("the database {} is damaged: {found}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first thing that is wrong.
        found: String,
    },
    /// The books are not in order.
    #[error("the books in {} are not in order: {rule}: {detail}", .path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The rule that is broken.
        rule: &'static str,
        /// Where, and by how much.
        detail: String,
    },
    /// Another program is at work on the database that is to be replaced.
    #[error("another program has {} open", .0.display())]
    InUse(PathBuf),
    /// The database that is to be replaced cannot be opened, so it cannot be kept as one file either.
    #[error("the database that is there, {}, cannot be opened", .path.display())]
    Unopenable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// What SQLite leaves beside a database is there without its database.
    #[error("the file {} is there without its database", .0.display())]
    Leftover(PathBuf),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a copy is, and the wish that it stop: shared by the one who copies and the one who watches.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    all: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// How much is copied, of a hundred; none when all is, and it is being checked.
    pub fn percent(&self) -> Option<u64> {
        let (done, all) = (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed));
        (all == 0 || done < all).then(|| done * 100 / all.max(1))
    }

    /// Asks for an end: what was begun goes away, what was there before stays.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell(&self, done: u64, all: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
    }
}

/// Copies the exchange in a data folder to a file, and checks the copy before it gets that name. What was answered
/// before the moment that comes back is in it.
pub fn back_up(
    dir: &Path,
    file: &Path,
    overwrite: bool,
    clock: &Clock,
    progress: &Arc<Progress>,
) -> Result<(Timestamp, Contents), BackupError> {
    let database = dir.join(super::FILE);
    if !database.exists() {
        return Err(BackupError::NoExchange(dir.to_owned()));
    }
    place::check_target(file, dir, overwrite)?;
    let moment = clock.now();
    // Nobody puts another database in this one's place before it is being read.
    let alone = super::alone(dir)?;
    let source = open(&database)?;
    let source = source.unchecked_transaction().map_err(|error| unread(&database, error))?;
    match check::age(&source, &database) {
        Ok(Age::Same) => {}
        Ok(Age::Older) => return Err(BackupError::Older(database)),
        Err(BackupError::Foreign { .. }) if check::is_empty(&source) => {
            return Err(BackupError::NoExchange(dir.to_owned()));
        }
        Err(error) => return Err(error),
    }
    drop(alone);
    let partial = Partial::beside(file)?;
    copy::copy(&source, &database, &partial, progress)?;
    drop(source);
    digest::mark(&partial)?;
    let mut contents = check::contents(partial.path(), progress).map_err(|error| of_original(error, &database))?;
    contents.digest = Some(digest::append(&partial, progress)?);
    contents.bytes += digest::LINE;
    place::check_target(file, dir, overwrite)?;
    partial.put_at(file)?;
    Ok((moment, contents))
}

/// Opens a database that is only read.
fn open(path: &Path) -> Result<Connection, BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unread(path, error))?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(|error| unread(path, error))?;
    // Whoever made the file does not choose what runs here.
    connection.pragma_update(None, "trusted_schema", false).map_err(|error| unread(path, error))?;
    Ok(connection)
}

/// What it means that SQLite cannot read a file.
fn unread(path: &Path, error: rusqlite::Error) -> BackupError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            BackupError::Foreign { path: path.to_owned(), why: "SQLite does not know it".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            BackupError::Damaged { path: path.to_owned(), found: "its pages do not fit together".to_owned() }
        }
        Some(ErrorCode::OperationInterrupted) => BackupError::Stopped,
        _ => BackupError::Store(error.into()),
    }
}

/// What is wrong with a copy is wrong with what was copied.
fn of_original(error: BackupError, original: &Path) -> BackupError {
    let path = original.to_owned();
    match error {
        BackupError::Foreign { why, .. } => BackupError::Foreign { path, why },
        BackupError::Damaged { found, .. } => BackupError::Damaged { path, found },
        BackupError::Broken { rule, detail, .. } => BackupError::Broken { path, rule, detail },
        error => error,
    }
}
