//! What a transaction can do, on either database. What is carried out in one is written once, over this.
//!
//! SQLite answers at once, on its writer's thread, so its futures are ready when they are made;
//! PostgreSQL's wait for the network. Locks mean something on PostgreSQL only: SQLite's writer is alone.

use clawrk_domain::{JobId, TaskKind, Timestamp, UserId};

use crate::StoreError;
use crate::hot::Known;
use crate::sql::Locked;
use crate::value::{Row, Value};
use crate::writes::Statement;

/// A row that is about to be decided about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lock {
    /// Of users: guards the user's agents and keys as sets.
    User(UserId),
    /// Of jobs.
    Job(JobId),
    /// Of tasks, if nobody else has it in hand.
    Task(TaskKind, JobId),
}

/// Something that other nodes should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum News {
    /// A job changed, and which version it is of now, where that is known.
    Job(JobId, Option<u32>),
    /// Something that nodes remember changed.
    Known(Known),
}

/// An open transaction. SQLite's stays on its thread, so its futures need not be `Send`; PostgreSQL's are.
pub(crate) trait Tx {
    /// The time that this transaction decides by.
    async fn now(&mut self) -> Result<Timestamp, StoreError>;

    /// Locks a row to the end of the transaction; false when it is not there, or skipped.
    async fn lock(&mut self, row: Lock) -> Result<bool, StoreError>;

    /// Locks a row to the end of the transaction and reads it, as it is once the lock is had; none if it is not there.
    async fn locked(&mut self, query: &Locked, values: Vec<Value>) -> Result<Option<Row>, StoreError>;

    /// Locks the first of these jobs that is queued and that nobody else has in hand.
    async fn lock_queued(&mut self, jobs: &[JobId]) -> Result<Option<JobId>, StoreError>;

    /// Reads.
    async fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError>;

    /// Writes, in order; fails when a statement does not change as many rows as it must.
    async fn execute(&mut self, statements: Vec<Statement>) -> Result<(), StoreError>;

    /// Claims the idempotency key; false when another request holds it and did not end in time.
    async fn claim_key(&mut self, user: UserId, key: &str) -> Result<bool, StoreError>;

    /// What has to be written for other nodes to hear of it, where there may be any.
    fn tell(&self, news: News) -> Option<Statement>;
}

/// A statement that changed another number of rows than it must is a broken invariant: nothing of it may stand.
pub(crate) fn check_rows(sql: &'static str, must: Option<u64>, changed: u64) -> Result<(), StoreError> {
    if must.is_some_and(|must| must != changed) {
        return Err(StoreError::Corrupt(format!("{changed} rows where one was expected, after: {sql}")));
    }
    Ok(())
}
