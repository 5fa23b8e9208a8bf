//! The pages of one moment, from one database file into another.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::place::Partial;
use super::{BackupError, Progress, unread};

/// Pages in one step; between two it is told how far it is, and may be stopped.
const STEP: i32 = 256;

/// Steps after which the disk is given what was written, so that the end is no flood that a server's commits drown in.
const SYNC: u32 = 32;

/// Copies what the source's open transaction sees; the copy is in rollback mode, one file without company.
pub(super) fn copy(
    source: &Connection,
    from: &Path,
    partial: &Partial,
    progress: &Progress,
) -> Result<(), BackupError> {
    let unwritable = |source| BackupError::Unwritable { path: partial.path().to_owned(), source };
    let mut target = Connection::open(partial.path()).map_err(unwritable)?;
    // A copy that was not finished is thrown away, so it needs no journal, and it is synced as a whole.
    target.pragma_update(None, "journal_mode", "OFF").map_err(unwritable)?;
    target.pragma_update(None, "synchronous", "OFF").map_err(unwritable)?;
    let backup = Backup::new(source, &mut target).map_err(unwritable)?;
    for step in 1_u32.. {
        if progress.is_stopped() {
            return Err(BackupError::Stopped);
        }
        let stepped = backup.step(STEP).map_err(|error| match unread(from, error) {
            // The source only reads: what else fails is the copy.
            BackupError::Store(crate::StoreError::Sqlite(error)) => unwritable(error),
            error => error,
        })?;
        let seen = backup.progress();
        progress.tell((seen.pagecount - seen.remaining).unsigned_abs().into(), seen.pagecount.unsigned_abs().into());
        match stepped {
            StepResult::More if step % SYNC == 0 => partial.sync()?,
            StepResult::More => {}
            StepResult::Done => break,
            // Nobody else knows of the copy.
            _ => return Err(BackupError::UnderWay(partial.path().to_owned())),
        }
    }
    drop(backup);
    drop(target);
    // The first page says that there is a write-ahead log, as in the source.
    let target = Connection::open(partial.path()).map_err(unwritable)?;
    target.pragma_update(None, "journal_mode", "DELETE").map_err(unwritable)
}
