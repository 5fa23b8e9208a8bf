//! Whether a file is an exchange's database, whole, with books that balance; and what it holds.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clawrk_domain::Timestamp;
use rusqlite::Connection;

use super::{BackupError, Progress, open, unread};
use crate::sqlite::{cached_rows, embedded};
use crate::{Audit, StoreError, audit, sql};

/// Instructions of SQLite between two looks at whether it should stop.
const PATIENCE: i32 = 100_000;

const APPLIED: &str = "SELECT version, name, checksum FROM refinery_schema_history ORDER BY version";
const OBJECTS: &str = "SELECT type, name FROM sqlite_schema
      WHERE name NOT LIKE 'sqlite_%' AND name <> 'refinery_schema_history'";
const HOLDS: &str = "SELECT
    (SELECT COUNT(*) FROM users),
    (SELECT MAX(at) FROM (SELECT MAX(created_at) AS at FROM users UNION ALL SELECT MAX(updated_at) FROM jobs
                          UNION ALL SELECT MAX(at) FROM transfers)),
    (SELECT COUNT(*) FROM uploads),
    (SELECT COALESCE(SUM(size_bytes), 0) FROM uploads)";

/// What a checked copy holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The size of the file.
    pub bytes: u64,
    /// How many users.
    pub users: i64,
    /// The proof of its books, which also counts jobs and transfers.
    pub audit: Audit,
    /// How many files were uploaded, and what they have together, in bytes: they lie elsewhere.
    pub uploads: (i64, i64),
    /// When a user, a job or a balance last changed, if there is any.
    pub changed_at: Option<Timestamp>,
    /// Opens only under the `secret_key` that the exchange was served with; none if it never was.
    pub seal: Option<Vec<u8>>,
    /// The SHA-256 that was written with the backup, or was found to be right; none where a file carries none.
    pub digest: Option<String>,
}

/// How a database's schema relates to this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Same,
    Older,
}

/// A migration: its number, name and checksum.
type Migration = (i64, String, String);

/// Whether a database is ours, and which program's.
pub(super) fn age(connection: &Connection, path: &Path) -> Result<Age, BackupError> {
    let foreign = |why: &str| BackupError::Foreign { path: path.to_owned(), why: why.to_owned() };
    if !objects(connection, "SELECT type, name FROM sqlite_schema", path)?
        .contains(&("table".to_owned(), "refinery_schema_history".to_owned()))
    {
        return Err(foreign("it has no such tables"));
    }
    let applied = read(connection, APPLIED, path)?;
    let applied = applied.iter().map(|row| Ok((row.int(0)?, row.text(1)?, row.text(2)?)));
    let applied: Vec<Migration> = applied.collect::<Result<_, StoreError>>()?;
    let runner = embedded::migrations::runner();
    let known = runner.get_migrations().iter();
    let known = known.map(|one| (one.version().into(), one.name().to_owned(), one.checksum().to_string()));
    let mut known: Vec<Migration> = known.collect();
    known.sort();
    match compare(&applied, &known) {
        Some(std::cmp::Ordering::Equal) => Ok(Age::Same),
        Some(std::cmp::Ordering::Less) => Ok(Age::Older),
        Some(std::cmp::Ordering::Greater) => Err(BackupError::Newer(path.to_owned())),
        None => Err(foreign("its tables have another history")),
    }
}

/// Whether one history is the beginning of the other.
fn compare(applied: &[Migration], known: &[Migration]) -> Option<std::cmp::Ordering> {
    let related = !applied.is_empty() && (known.starts_with(applied) || applied.starts_with(known));
    related.then(|| applied.len().cmp(&known.len()))
}

/// Whether nothing is in the database: its making was cut short.
pub(super) fn is_empty(connection: &Connection) -> bool {
    connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0)) == Ok(0)
}

/// Checks a copy in every way there is, and says what it holds.
pub(super) fn contents(path: &Path, progress: &Arc<Progress>) -> Result<Contents, BackupError> {
    let mut connection = open(path)?;
    let watched = Arc::clone(progress);
    let stop = Some(move || watched.is_stopped());
    connection.progress_handler(PATIENCE, stop).map_err(|error| unread(path, error))?;
    let found = read(&connection, "PRAGMA integrity_check(1)", path)?;
    let found = found.first().map_or(Ok(""), |row| row.str(0))?;
    if found != "ok" {
        return Err(BackupError::Damaged { path: path.to_owned(), found: found.to_owned() });
    }
    check_objects(&connection, path)?;
    let answers = audit::QUERIES.iter().map(|sql| read(&connection, sql, path)).collect::<Result<Vec<_>, _>>()?;
    let audit = audit::judge(&answers)?;
    if let Some(offence) = audit.offence {
        return Err(BackupError::Broken { path: path.to_owned(), rule: offence.rule, detail: offence.detail });
    }
    let holds = read(&connection, HOLDS, path)?;
    let holds = holds.first().ok_or_else(|| StoreError::Corrupt("no counts".to_owned()))?;
    let seal = read(&connection, sql::SEAL, path)?;
    let size = std::fs::metadata(path);
    Ok(Contents {
        bytes: size.map_err(|source| BackupError::File { path: path.to_owned(), what: "read", source })?.len(),
        users: holds.int(0)?,
        audit,
        uploads: (holds.int(2)?, holds.int(3)?),
        changed_at: holds.int_or_null(1)?.map(Timestamp::from_micros),
        seal: seal.first().map(|row| row.bytes(0).map(<[u8]>::to_owned)).transpose()?,
        digest: None,
    })
}

/// Every table and index that this program's migrations make is there (indexes guard against paying twice), and
/// nothing that would run by itself. More indexes do no harm.
fn check_objects(connection: &Connection, path: &Path) -> Result<(), BackupError> {
    let foreign = |why| BackupError::Foreign { path: path.to_owned(), why };
    let mut model = Connection::open_in_memory().map_err(StoreError::from)?;
    embedded::migrations::runner().run(&mut model).map_err(StoreError::from)?;
    let (expected, found) = (objects(&model, OBJECTS, path)?, objects(connection, OBJECTS, path)?);
    if let Some((kind, name)) = expected.difference(&found).next() {
        return Err(foreign(format!("it lacks the {kind} {name}")));
    }
    match found.difference(&expected).find(|(kind, _)| kind == "trigger" || kind == "view") {
        Some((kind, name)) => Err(foreign(format!("it has the {kind} {name}"))),
        None => Ok(()),
    }
}

fn objects(connection: &Connection, sql: &str, path: &Path) -> Result<BTreeSet<(String, String)>, BackupError> {
    let found = read(connection, sql, path)?;
    let named = found.iter().map(|row| Ok((row.text(0)?, row.text(1)?)));
    Ok(named.collect::<Result<_, StoreError>>()?)
}

fn read(connection: &Connection, sql: &str, path: &Path) -> Result<Vec<crate::value::Row>, BackupError> {
    cached_rows(connection, sql, &[]).map_err(|error| match error {
        StoreError::Sqlite(error) => unread(path, error),
        error => BackupError::Store(error),
    })
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{Equal, Greater, Less};

    use super::*;

    #[test]
    fn a_history_is_the_same_older_newer_or_another_one() {
        let all = [(1, "start"), (2, "more"), (3, "most")].map(|(n, name)| (n, name.to_owned(), "1".to_owned()));
        assert_eq!(compare(&all[..2], &all[..2]), Some(Equal));
        assert_eq!(compare(&all[..1], &all[..2]), Some(Less));
        assert_eq!(compare(&all, &all[..2]), Some(Greater));
        let mut bent = all.clone();
        bent[0].2 = "2".to_owned();
        for other in [&bent[..], &bent[..1], &all[1..], &[]] {
            assert_eq!(compare(other, &all[..2]), None, "{other:?}");
        }
    }
}
