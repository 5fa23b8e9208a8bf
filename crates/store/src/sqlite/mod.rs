//! SQLite inside the process: one writer that commits many commands at once, and readers beside it.

pub mod backup;
mod reader;
mod writer;

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clawrk_domain::Policy;
use rusqlite::{Connection, OpenFlags, Statement};

use crate::hot::Hot;
use crate::value::{Row, Value};
use crate::{Backend, Clock, Observer, Order, Reply, StoreError};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Pages in the log before they are copied into the database: enough for a page that is written again and again to be
/// copied once, few enough (64 MiB) to be read in no time after a crash. Tests come by often.
const CHECKPOINT_PAGES: i64 = if cfg!(debug_assertions) { 500 } else { 16_384 };

/// The writer's cache, in KiB as SQLite counts them below zero; it grows only with what is read and written. A million
/// wallets fit.
const CACHE_KIB: i64 = -128 * 1024;

/// The name of the database in the data folder.
const FILE: &str = "clawrk.db";

/// The name of the file that is locked while the database is opened.
const LOCK: &str = "clawrk.lock";

/// When SQLite syncs: at every commit.
pub(crate) const SYNCHRONOUS: &str = "FULL";

pub(crate) struct Sqlite {
    writer: writer::Writer,
    readers: reader::Readers,
    path: PathBuf,
    observer: Arc<OnceLock<Observer>>,
}

impl Sqlite {
    pub(crate) fn open(
        dir: &Path,
        policy: Policy,
        clock: Clock,
        hot: Arc<Hot>,
        synchronous: &str,
    ) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let file = |source| StoreError::File { path: path.display().to_string(), source };
        crate::data_folder(dir).map_err(file)?;
        let alone = alone(dir)?;
        restrict(&path).map_err(file)?;
        let mut connection = Connection::open(&path)?;
        configure(&connection, synchronous)?;
        // Grouped: otherwise a migration and the note that it was made are two transactions, and whoever is cut off
        // between them finds the tables there and tries to make them again.
        embedded::migrations::runner().set_grouped(true).run(&mut connection)?;
        backup::unmark(&connection)?;
        drop(alone);
        let observer = Arc::new(OnceLock::new());
        Ok(Self {
            writer: writer::Writer::start(connection, policy, clock, hot, Arc::clone(&observer)),
            readers: reader::Readers::new(path.clone()),
            path,
            observer,
        })
    }
}

#[async_trait::async_trait]
impl Backend for Sqlite {
    async fn query(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.readers.read(move |connection| cached_rows(connection, sql, &values)).await
    }

    async fn query_each(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Vec<Row>>, StoreError> {
        let each = move |connection: &Connection| {
            values.into_iter().map(|value| cached_rows(connection, sql, &[value])).collect()
        };
        self.readers.read(each).await
    }

    async fn snapshot(&self, queries: &'static [&'static str]) -> Result<Vec<Vec<Row>>, StoreError> {
        let all = |connection: &Connection| {
            let moment = connection.unchecked_transaction()?;
            queries.iter().map(|sql| cached_rows(&moment, sql, &[])).collect()
        };
        self.readers.read(all).await
    }

    async fn write(&self, order: Order) -> Result<Reply, StoreError> {
        self.writer.write(order).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.readers.read(move |_| sweep(&path)).await
    }

    fn observe(&self, observer: Observer) {
        // A second observer is a mistake of the caller that only tests could make.
        assert!(self.observer.set(observer).is_ok(), "there is one observer");
    }
}

/// Makes the database file for its owner alone, before SQLite would make it for everybody.
fn restrict(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// What was acknowledged must survive a power cut: write-ahead log, synced at every commit. Anything less is refused.
fn configure(connection: &Connection, synchronous: &str) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let sync: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if mode != "wal" || synchronous == SYNCHRONOUS && sync != 2 {
        return Err(StoreError::Unsafe(format!(
            "SQLite runs with journal_mode={mode} and synchronous={sync} here, which could lose acknowledged payments \
             at a power cut: put the data folder on a local file system"
        )));
    }
    Ok(())
}

/// Writes the database anew without its free pages, and empties the log.
fn sweep(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "synchronous", SYNCHRONOUS)?;
    connection.execute_batch("VACUUM")?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
    if busy != 0 {
        return Err(StoreError::KeptOut("another program reads the database: end that, and do this again".to_owned()));
    }
    Ok(())
}

/// One process at a time opens the database, brings its schema up to date, or puts another one in its place: whoever
/// has the result keeps the others waiting.
fn alone(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let file = |source| StoreError::File { path: path.display().to_string(), source };
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(file)?;
    lock.lock().map_err(file)?;
    Ok(lock)
}

/// Another process holds the lock, or an id was made twice: the next try makes another one.
pub(crate) fn is_unavailable(error: &rusqlite::Error) -> bool {
    use rusqlite::{ErrorCode, ffi};
    match error.sqlite_error() {
        Some(error) if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => true,
        Some(error) => error.extended_code == ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
        None => false,
    }
}

fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// SQLite numbers parameters by their first appearance and PostgreSQL by their number: these must be the same.
fn check_parameters(statement: &Statement<'_>, sql: &str) {
    debug_assert!(
        (1..=statement.parameter_count()).all(|at| statement.parameter_name(at) == Some(&format!("${at}"))),
        "parameters out of order: {sql}"
    );
}

/// Runs a query that is kept ready with its connection.
fn cached_rows(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    check_parameters(&statement, sql);
    rows(&mut statement, values)
}

/// Runs a query and takes its rows.
fn rows(statement: &mut Statement<'_>, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let width = statement.column_count();
    let mut found = statement.query(rusqlite::params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(Row((0..width).map(|at| row.get_ref(at).map(value)).collect::<Result<_, _>>()?));
    }
    Ok(rows)
}

fn value(column: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match column {
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_owned()),
        // No column of ours holds floating-point numbers.
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
    }
}
