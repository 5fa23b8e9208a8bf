//! What a transaction can do, on either database. What is carried out in one is written once, over this.
//!
//! SQLite answers at once, on its writer's thread, so its futures are ready when they are made;
//! PostgreSQL's wait for the network. Locks mean something on PostgreSQL only: SQLite's writer is alone.

use clawrk_domain::{JobId, Subject, TaskKind, Timestamp, UserId};

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
    /// Of jobs, if this user may know of it.
    JobKnownTo(JobId, UserId),
    /// Of tasks, if nobody else has it in hand.
    Task(TaskKind, Subject),
}

/// Something that other nodes should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum News {
    /// A job changed, and which version it is of now, where that is known.
    Job(JobId, Option<u32>),
    /// Something that nodes remember changed.
    Known(Known),
}

/// One step of a look: what is locked stays so to the end of the transaction, and steps after it see what whoever had the
/// lock before has left.
#[derive(Debug)]
pub(crate) enum Step {
    /// Locks a row; one row of nothing when it is there, and no row when it is not, or was skipped.
    Lock(Lock),
    /// Locks a row and reads it as it is once the lock is had.
    Locked(&'static Locked, Vec<Value>),
    /// Reads.
    Read(&'static str, Vec<Value>),
}

/// What a look found: each step's rows in their order, and the time once all of them were done.
#[derive(Debug)]
pub(crate) struct Found {
    rows: Vec<Vec<Row>>,
    pub(crate) now: Timestamp,
}

impl Found {
    pub(crate) const fn new(rows: Vec<Vec<Row>>, now: Timestamp) -> Self {
        Self { rows, now }
    }

    /// The rows of the step in this place; they can be taken once.
    pub(crate) fn rows(&mut self, step: usize) -> Vec<Row> {
        std::mem::take(&mut self.rows[step])
    }

    /// The one row of the step in this place, if it found any.
    pub(crate) fn row(&mut self, step: usize) -> Option<Row> {
        self.rows(step).into_iter().next()
    }
}

/// An open transaction. SQLite's stays on its thread, so its futures need not be `Send`; PostgreSQL's are.
pub(crate) trait Tx {
    /// Carries out steps in their order. On PostgreSQL they travel together: one look costs one wait for the network.
    async fn look(&mut self, steps: Vec<Step>) -> Result<Found, StoreError>;

    /// Locks the first of these jobs that is queued and that nobody else has in hand.
    async fn lock_queued(&mut self, jobs: &[JobId]) -> Result<Option<JobId>, StoreError>;

    /// Writes, in order, before the next look or the transaction's end. A statement that does not change as many rows as
    /// it must is an error, here or there.
    async fn execute(&mut self, statements: Vec<Statement>) -> Result<(), StoreError>;

    /// Claims the idempotency key; false when another request holds it and did not end in time.
    async fn claim_key(&mut self, user: UserId, key: &str) -> Result<bool, StoreError>;

    /// What has to be written for other nodes to hear of it, where there may be any.
    fn tell(&self, news: News) -> Option<Statement>;
}

/// A statement that changed another number of rows than it must is a broken invariant: nothing of it may stand.
pub(crate) fn broken(sql: &str) -> StoreError {
    StoreError::Corrupt(format!("not the one row was changed that should have been, by: {sql}"))
}
