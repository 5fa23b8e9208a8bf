//! The last line of a backup: a SHA-256 of all that stands before it.
//!
//! SQLite's own check sees whether pages fit together and the audit sees sums; neither sees a bit that fell over in a
//! text or in a key's hash. SQLite reads as many pages as the first one says there are, so that a line behind them does
//! not disturb it. The first page also says that a line must follow: a backup that lost its end is not taken for one of
//! an earlier version, which has none, nor for a database that a restore replaced.
//!
//! The line is no signature: whoever may write the file may write the line too. It reads
//! `clawrk backup sha256 <64 digits>`; `head -c -86 FILE | sha256sum` finds the same digits.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::place::Partial;
use super::{BackupError, Progress};

/// What the line begins with, and ends with.
const BEGIN: &str = "clawrk backup sha256 ";
const END: &str = "\n";

/// How long the line is.
pub(super) const LINE: u64 = BEGIN.len() as u64 + 64 + END.len() as u64;

/// Where SQLite keeps the number that says whose file it is; SQLite itself has no use for it.
const MARK_AT: u64 = 68;

/// The number's bytes in a backup.
const MARK: [u8; 4] = *b"clwb";

/// So much is read at once.
const PIECE: usize = 1 << 20;

/// After so many pieces the disk is given what was written.
const SYNC: usize = 8;

/// Says on the first page that a line follows the last one.
pub(super) fn mark(partial: &Partial) -> Result<(), BackupError> {
    partial.file().write_all_at(&MARK, MARK_AT).map_err(unwritten(partial))
}

/// A database that is written to is no backup any more, also when somebody put one in its place by hand.
pub(in crate::sqlite) fn unmark(connection: &Connection) -> rusqlite::Result<()> {
    let found: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if found == 0 { Ok(()) } else { connection.pragma_update(None, "application_id", 0) }
}

/// Puts the line behind a copy that is whole, and says its digits.
pub(super) fn append(partial: &Partial, progress: &Progress) -> Result<String, BackupError> {
    let file = partial.file();
    let end = file.metadata().map_err(unwritten(partial))?.len();
    let digest = digest(file, partial.path(), end, progress, |_, _| Ok(()))?;
    file.write_all_at(format!("{BEGIN}{digest}{END}").as_bytes(), end).map_err(unwritten(partial))?;
    Ok(digest)
}

/// Copies a backup up to its line and compares; the digits that stood there, or none in a file without a line, of which
/// nothing is copied then.
pub(super) fn copy(from: &Path, partial: &Partial, progress: &Progress) -> Result<Option<String>, BackupError> {
    let unread = |source| BackupError::File { path: from.to_owned(), what: "read", source };
    let file = File::open(from).map_err(unread)?;
    let length = file.metadata().map_err(unread)?.len();
    let Some(said) = line(&file, length).map_err(unread)? else {
        let lost = is_marked(&file, length).map_err(unread)?;
        return if lost { Err(BackupError::Changed(from.to_owned())) } else { Ok(None) };
    };
    let end = length - LINE;
    let mut pieces = 0;
    let found = digest(&file, from, end, progress, |at, piece| {
        partial.file().write_all_at(piece, at).map_err(unwritten(partial))?;
        progress.tell(at + piece.len() as u64, length);
        pieces += 1;
        if pieces % SYNC == 0 { partial.sync() } else { Ok(()) }
    })?;
    if said != found {
        return Err(BackupError::Changed(from.to_owned()));
    }
    partial.file().write_all_at(&[0; MARK.len()], MARK_AT).map_err(unwritten(partial))?;
    progress.tell(length, length);
    Ok(Some(found))
}

/// Goes through a file up to its end, handing on each piece that went into the digest.
fn digest(
    file: &File,
    path: &Path,
    end: u64,
    progress: &Progress,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), BackupError>,
) -> Result<String, BackupError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < end {
        if progress.is_stopped() {
            return Err(BackupError::Stopped);
        }
        let piece = &mut buffer[..usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE))];
        let read = file.read_exact_at(piece, at);
        read.map_err(|source| BackupError::File { path: path.to_owned(), what: "read", source })?;
        hasher.update(&*piece);
        each(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the line says, if there is one. It is compared as it stands: a digit in a capital letter is another line.
fn line(file: &File, length: u64) -> std::io::Result<Option<String>> {
    let Some(end) = length.checked_sub(LINE) else { return Ok(None) };
    let mut line = [0; LINE as usize];
    file.read_exact_at(&mut line, end)?;
    let said = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix(BEGIN)?.strip_suffix(END));
    Ok(said.map(str::to_owned))
}

fn is_marked(file: &File, length: u64) -> std::io::Result<bool> {
    let mut found = [0; MARK.len()];
    if length < MARK_AT + MARK.len() as u64 {
        return Ok(false);
    }
    file.read_exact_at(&mut found, MARK_AT)?;
    Ok(found == MARK)
}

fn unwritten(partial: &Partial) -> impl Fn(std::io::Error) -> BackupError {
    let path = partial.path().to_owned();
    move |source| BackupError::File { path: path.clone(), what: "write", source }
}
