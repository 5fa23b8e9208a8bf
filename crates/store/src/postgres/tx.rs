//! A transaction on PostgreSQL.

use clawrk_domain::{JobId, Timestamp, UserId};
use deadpool_postgres::Transaction;
use futures_util::future::try_join_all;
use tokio_postgres::error::SqlState;

use crate::hot::Known;
use crate::sql::Locked;
use crate::tx::{Lock, News, Tx, check_rows};
use crate::value::{Row, Value};
use crate::writes::Statement;
use crate::{Clock, StoreError};

/// Statements that are sent without waiting for the answer to the one before.
const PIPELINE: usize = 16;

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// The names come as one text; the first that is free, in their order.
const LOCK_QUEUED: &str = "SELECT id FROM jobs WHERE id = ANY (string_to_array($1, ' ')) AND status = 'queued'
      ORDER BY array_position(string_to_array($1, ' '), id) LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED";
const TELL: &str = "INSERT INTO feed (kind, id, version) VALUES ($1, $2, $3)";

/// The key's lock: free again when the transaction ends, however it ends.
const TRY_KEY: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))::int";
const WAIT_FOR_KEY: &str = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 0))) AS waited";

/// An open transaction.
pub(super) struct PostgresTx<'a> {
    transaction: Transaction<'a>,
    clock: &'a Clock,
    wrote: bool,
}

impl<'a> PostgresTx<'a> {
    pub(super) const fn new(transaction: Transaction<'a>, clock: &'a Clock) -> Self {
        Self { transaction, clock, wrote: false }
    }

    /// Commits what was written; where nothing was, there is nothing to wait for the disk for.
    pub(super) async fn end(self) -> Result<(), StoreError> {
        let ended = if self.wrote { self.transaction.commit().await } else { self.transaction.rollback().await };
        Ok(ended?)
    }

    /// Rolls back after an error; when even that fails, the server does it as the connection ends.
    pub(super) async fn undo(self) {
        if let Err(error) = self.transaction.rollback().await {
            tracing::debug!(%error, "a transaction could not be rolled back");
        }
    }

    async fn rows(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let statement = self.transaction.prepare_cached(sql).await?;
        super::rows(self.transaction.client(), &statement, values).await
    }
}

impl Tx for PostgresTx<'_> {
    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        if let Some(time) = self.clock.by_hand() {
            return Ok(time);
        }
        let rows = self.rows(NOW, &[]).await?;
        rows.first().ok_or_else(|| StoreError::Corrupt("no time".to_owned()))?.time(0)
    }

    async fn lock(&mut self, row: Lock) -> Result<bool, StoreError> {
        let (sql, place) = match row {
            Lock::User(user) => ("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE", vec![user.into()]),
            Lock::Job(job) => ("SELECT 1 FROM jobs WHERE id = $1 FOR NO KEY UPDATE", vec![job.into()]),
            Lock::Task(kind, job) => (
                "SELECT 1 FROM tasks WHERE kind = $1 AND job_id = $2 FOR UPDATE SKIP LOCKED",
                vec![kind.as_str().into(), job.into()],
            ),
        };
        Ok(!self.rows(sql, &place).await?.is_empty())
    }

    async fn locked(&mut self, query: &Locked, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(query.locking, &values).await?.pop())
    }

    async fn lock_queued(&mut self, jobs: &[JobId]) -> Result<Option<JobId>, StoreError> {
        let names: Vec<&str> = jobs.iter().map(JobId::as_str).collect();
        self.rows(LOCK_QUEUED, &[names.join(" ").into()]).await?.first().map(|row| row.parsed(0)).transpose()
    }

    async fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.rows(sql, &values).await
    }

    async fn execute(&mut self, statements: Vec<Statement>) -> Result<(), StoreError> {
        self.wrote |= !statements.is_empty();
        let client = self.transaction.client();
        for some in statements.chunks(PIPELINE) {
            let mut prepared = Vec::with_capacity(some.len());
            for statement in some {
                prepared.push(self.transaction.prepare_cached(statement.sql).await?);
            }
            // Polled in order for the first time, which is when each is sent.
            let answers = some
                .iter()
                .zip(&prepared)
                .map(async |(statement, prepared)| client.execute(prepared, &super::bound(&statement.values)).await);
            let changed = try_join_all(answers).await?;
            for (statement, changed) in some.iter().zip(changed) {
                check_rows(statement.sql, statement.rows, changed)?;
            }
        }
        Ok(())
    }

    /// Waits for the key's other request as long as for any lock: 10 s.
    async fn claim_key(&mut self, user: UserId, key: &str) -> Result<bool, StoreError> {
        let name = [Value::Text(format!("{user}:{key}"))];
        if self.rows(TRY_KEY, &name).await?.first().is_some_and(|row| row.flag(0).unwrap_or(false)) {
            return Ok(true);
        }
        match self.rows(WAIT_FOR_KEY, &name).await {
            Ok(_) => Ok(true),
            // The transaction is over now, but it has written nothing and its caller ends it.
            Err(StoreError::Postgres(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn tell(&self, news: News) -> Option<Statement> {
        let (kind, id, version) = match news {
            News::Job(job, version) => ("job", job.into(), version),
            News::Known(Known::Key(key)) => ("key", key.into(), None),
            News::Known(Known::Agents(owner)) => ("agents", owner.to_string().into(), None),
        };
        Some(Statement { sql: TELL, values: vec![kind.into(), id, version.into()], rows: Some(1) })
    }
}
