//! Where the exchange is kept.
//!
//! One set of statements and one way to carry out a command serve two databases: SQLite inside the
//! process, and PostgreSQL beside any number of nodes. A database differs only in how it gets a
//! transaction, how it locks and how it tells of changes: see [`tx`]. SQL stands in this crate and
//! nowhere else.

mod audit;
mod clock;
mod folder;
mod hot;
mod payments;
mod postgres;
mod reads;
mod row;
mod sealed;
mod sql;
mod sqlite;
mod stage;
mod submit;
mod tally;
mod tasks;
mod tx;
mod value;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use clawrk_domain::verification::{LogLine, Looks};
use clawrk_domain::{Answer, Command, Job, JobId, Lease, Policy, Rejection, UploadId, UserId};

pub use audit::{Audit, Offence};
pub use clock::Clock;
pub use folder::data_folder;
pub use payments::ParkedNotice;
pub use reads::{HandedIn, JobList, Place};
pub use sealed::{Place as SealedPlace, Sealed};
pub use sqlite::backup;
pub use tally::{DirectoryPlace, Listed, Market, Uncounted};

use hot::{Hot, Known};
use value::{Row, Value};

/// The exchange's memory; cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    clock: Clock,
    hot: Arc<Hot>,
}

/// What one database has to be able to do.
#[async_trait::async_trait]
trait Backend: Send + Sync {
    /// Reads, each query for itself.
    async fn query(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError>;

    /// The same query for each of these values, in their order.
    async fn query_each(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Vec<Row>>, StoreError>;

    /// Reads several things of one moment.
    async fn snapshot(&self, queries: &'static [&'static str]) -> Result<Vec<Vec<Row>>, StoreError>;

    /// Writes, durably before it returns.
    async fn write(&self, order: Order) -> Result<Reply, StoreError>;

    /// Leaves nothing in the database's files of sealed pieces that were replaced.
    async fn sweep(&self) -> Result<(), StoreError>;

    /// Tells the observer of all that other nodes have committed by now, where there are any.
    async fn catch_up(&self) {}

    /// Whether all that others changed until a second ago has been heard of, so that memory may be believed.
    fn hears(&self) -> bool {
        true
    }

    /// Whom to tell of every job that changed, here or on another node.
    fn observe(&self, observer: Observer);

    /// Whether other nodes may be on the same database.
    fn is_shared(&self) -> bool {
        false
    }

    /// Tells the listener of every node, this one's too.
    async fn broadcast(&self, _texts: Vec<String>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whom to tell of what nodes broadcast.
    fn listen(&self, _listener: Listener) {}
}

/// Is told of every job that changed, after the commit and before the answer; of those together that were committed
/// together. It may be told of changes out of order: the job's version tells which is the later one.
pub type Observer = Arc<dyn Fn(&[Arc<Job>]) + Send + Sync>;

/// Is told of every text that a node broadcasts, this one's own too; it must not wait.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// What a text that is broadcast may have, in bytes.
pub const BROADCAST_BYTES: usize = 7999;

/// Which tasks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Everything but what verifiers do and what waits for Stripe.
    Timers,
    /// What waits for Stripe.
    AtStripe,
    /// What a verifier looks at.
    Looks {
        /// What.
        at: Looks,
        /// Only what nobody has taken for so long, in seconds.
        overdue_seconds: i64,
        /// Senders who have as much in hand as they may.
        but_of: [Option<UserId>; 2],
    },
}

/// Something to be written in one transaction.
enum Order {
    Submit(Box<Request>),
    TakeDueTasks { due: Due, limit: u32, lease_seconds: i64 },
    EndLeases,
    RenewLease { lease: Lease, seconds: i64 },
    Log { lease: Lease, attempt: u32, lines: Vec<LogLine> },
    Spend { user: UserId, what: &'static str, limit: u32 },
    DropOldReceipts,
    DropUnusedUploads { older_than_seconds: i64, limit: u32 },
    Seal(Vec<u8>),
    Reseal(Vec<(Sealed, Vec<u8>)>),
    Count(Vec<JobId>),
    ForgetCounts,
}

/// What came of an order.
#[expect(clippy::large_enum_variant, reason = "there is one of them for each order, and most are outcomes")]
enum Reply {
    Outcome(Outcome, Changed),
    Leases(Vec<Lease>),
    /// Whether the lease was still the task's current one.
    IsCurrent(bool),
    /// Whether there was something left of a budget.
    Spent(bool),
    Seal(Vec<u8>),
    /// Jobs of which more is left to be counted.
    Left(Vec<JobId>),
    /// Files that were dropped.
    Uploads(Vec<UploadId>),
    Done,
}

/// What a command changed that others should hear of.
#[derive(Default)]
struct Changed {
    jobs: Vec<Arc<Job>>,
    known: Vec<Known>,
}

/// A command, and whether its answer is to be kept for repeats.
#[derive(Clone)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// How to keep the answer, when the caller sent an `Idempotency-Key`.
    pub receipt: Option<ReceiptRequest>,
}

/// How to keep an answer so that a repeat gets the same one.
#[derive(Clone)]
pub struct ReceiptRequest {
    /// Whose key.
    pub user: UserId,
    /// The key.
    pub key: String,
    /// What was asked: a repeat must ask the same.
    pub fingerprint: [u8; 32],
    /// Makes the bytes that are kept; runs in the transaction.
    pub keep: Keep,
}

/// Makes of an answer the bytes that are kept.
pub type Keep = Arc<dyn Fn(&Answer) -> Vec<u8> + Send + Sync>;

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Carried out.
    Done(Answer),
    /// Refused; nothing was written.
    Rejected(Rejection),
    /// Carried out before: the bytes that were kept then.
    Replayed(Vec<u8>),
    /// The key came with another request before.
    KeyReused,
    /// The key's first request is still being carried out.
    KeyInProgress,
}

/// Something broke; trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("SQLite failed")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL failed.
    #[error("PostgreSQL failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// PostgreSQL cannot be reached.
    #[error("PostgreSQL cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The secret is being changed, was changed since the store was opened, or cannot be changed beside others.
    #[error("{0}")]
    KeptOut(String),
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migration(#[from] refinery::Error),
    /// A value in the database makes no sense.
    #[error("the database holds {0}")]
    Corrupt(String),
    /// The database is set up in a way that could lose what was acknowledged.
    #[error("{0}")]
    Unsafe(String),
    /// The store is shutting down, or a command broke.
    #[error("the command could not be carried out")]
    Gone,
    /// A file could not be opened.
    #[error("{path} could not be opened")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Whether the database is away, overloaded or closed to this node, or an id was made twice by chance, so that the same request may succeed in a moment.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::KeptOut(_) => true,
            Self::Postgres(error) => postgres::is_unavailable(error),
            Self::Sqlite(error) => sqlite::is_unavailable(error),
            _ => false,
        }
    }
}

impl Store {
    /// Opens the SQLite database in this folder, making it when there is none.
    pub fn sqlite(dir: &std::path::Path, policy: Policy, clock: Clock) -> Result<Self, StoreError> {
        Self::sqlite_synchronous(dir, policy, clock, sqlite::SYNCHRONOUS)
    }

    /// The same with another `PRAGMA synchronous`: for the test that shows what would be lost.
    #[doc(hidden)]
    pub fn sqlite_synchronous(
        dir: &std::path::Path,
        policy: Policy,
        clock: Clock,
        synchronous: &str,
    ) -> Result<Self, StoreError> {
        let hot = Arc::new(Hot::default());
        let backend = Arc::new(sqlite::Sqlite::open(dir, policy, clock.clone(), Arc::clone(&hot), synchronous)?);
        Ok(Self { backend, clock, hot })
    }

    /// Connects to the PostgreSQL database of this URL and brings its schema up to date.
    ///
    /// The connection is not encrypted: put the database on a network that is yours, or a tunnel before it.
    pub async fn postgres(url: &str, policy: Policy, clock: Clock) -> Result<Self, StoreError> {
        Self::on_postgres(url, policy, clock, false).await
    }

    /// The same for a change of the secret: only while no other store is on the database, and none gets in meanwhile.
    pub async fn postgres_alone(url: &str, policy: Policy, clock: Clock) -> Result<Self, StoreError> {
        Self::on_postgres(url, policy, clock, true).await
    }

    async fn on_postgres(url: &str, policy: Policy, clock: Clock, alone: bool) -> Result<Self, StoreError> {
        let hot = Arc::new(Hot::default());
        let backend = postgres::Postgres::connect(url, policy, clock.clone(), Arc::clone(&hot), alone).await?;
        Ok(Self { backend: Arc::new(backend), clock, hot })
    }

    /// The clock that decisions are made by; on PostgreSQL the database's own is close to it.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whom to tell of every job that changed; set once, before the first request.
    pub fn observe(&self, observer: Observer) {
        self.backend.observe(Arc::new(move |jobs| {
            // What it is told of is done, and others are to be told of more.
            let panics = |jobs: &[Arc<Job>]| catch_unwind(AssertUnwindSafe(|| observer(jobs))).is_err();
            if !panics(jobs) {
                return;
            }
            for job in jobs.iter().filter(|job| panics(std::slice::from_ref(*job))) {
                tracing::error!(job = %job.id, version = job.version, "whoever observes the jobs panicked over one");
            }
        }));
    }

    /// Whether other nodes may be on the same database: never on SQLite.
    pub fn is_shared(&self) -> bool {
        self.backend.is_shared()
    }

    /// Tells all nodes on the database, this one too, what need not be kept: whoever does not listen now never hears of
    /// it, and all hear it in one order. Where no other nodes can be, nobody is told.
    pub async fn broadcast(&self, texts: Vec<String>) -> Result<(), StoreError> {
        self.backend.broadcast(texts).await
    }

    /// Whom to tell of what nodes broadcast; set once. Anything that may connect to the database can broadcast.
    pub fn listen(&self, listener: Listener) {
        self.backend.listen(Arc::new(move |text| {
            if catch_unwind(AssertUnwindSafe(|| listener(text))).is_err() {
                tracing::error!("whoever listens to the nodes panicked over what one of them told");
            }
        }));
    }

    /// Tells the observer of all that other nodes have committed by now, where there are any.
    pub async fn catch_up(&self) {
        self.backend.catch_up().await;
    }

    /// Carries out a command in one transaction; durable before it returns.
    pub async fn submit(&self, request: Request) -> Result<Outcome, StoreError> {
        match self.backend.write(Order::Submit(Box::new(request))).await? {
            Reply::Outcome(outcome, _) => Ok(outcome),
            _ => Err(StoreError::Gone),
        }
    }

    /// Leases tasks that are due, the oldest first, so that no other runner takes them for a while.
    pub async fn take_due_tasks(&self, due: Due, limit: u32, lease_seconds: i64) -> Result<Vec<Lease>, StoreError> {
        match self.backend.write(Order::TakeDueTasks { due, limit, lease_seconds }).await? {
            Reply::Leases(leases) => Ok(leases),
            _ => Err(StoreError::Gone),
        }
    }

    /// Ends all leases. Only for whoever knows that no other runner has one.
    pub async fn end_leases(&self) -> Result<(), StoreError> {
        match self.backend.write(Order::EndLeases).await? {
            Reply::Done => Ok(()),
            _ => Err(StoreError::Gone),
        }
    }

    /// Keeps a task for so many seconds from now on; false when it is no longer one's own.
    pub async fn renew(&self, lease: Lease, seconds: i64) -> Result<bool, StoreError> {
        self.is_current(Order::RenewLease { lease, seconds }).await
    }

    /// Goes on with the log of an attempt's verification; false, and nothing written, when the task is no longer one's
    /// own.
    pub async fn log(&self, lease: Lease, attempt: u32, lines: Vec<LogLine>) -> Result<bool, StoreError> {
        self.is_current(Order::Log { lease, attempt, lines }).await
    }

    async fn is_current(&self, order: Order) -> Result<bool, StoreError> {
        match self.backend.write(order).await? {
            Reply::IsCurrent(is_current) => Ok(is_current),
            _ => Err(StoreError::Gone),
        }
    }

    /// Takes one of what a user may have of something on a day (UTC), over all nodes; false when the day's are gone.
    pub async fn spend(&self, user: UserId, what: &'static str, limit: u32) -> Result<bool, StoreError> {
        if limit == 0 {
            return Ok(false);
        }
        match self.backend.write(Order::Spend { user, what, limit }).await? {
            Reply::Spent(was_left) => Ok(was_left),
            _ => Err(StoreError::Gone),
        }
    }

    /// Forgets the answers that were kept for longer than a day, and what was spent on days that are over.
    pub async fn drop_old_receipts(&self) -> Result<(), StoreError> {
        self.backend.write(Order::DropOldReceipts).await.map(|_| ())
    }

    /// Drops up to `limit` files that no job has named for so many seconds; which they were. Their bytes are the
    /// caller's to delete.
    pub async fn drop_unused_uploads(&self, older_than_seconds: i64, limit: u32) -> Result<Vec<UploadId>, StoreError> {
        match self.backend.write(Order::DropUnusedUploads { older_than_seconds, limit }).await? {
            Reply::Uploads(dropped) => Ok(dropped),
            _ => Err(StoreError::Gone),
        }
    }

    /// The seal that is kept, if there is one.
    pub async fn kept_seal(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.backend.query(sql::SEAL, Vec::new()).await?;
        rows.first().map(|row| row.bytes(0).map(<[u8]>::to_owned)).transpose()
    }

    /// Keeps this seal if there is none yet; the one that is kept. It tells whether two nodes have the same secret.
    pub async fn seal(&self, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        match self.backend.write(Order::Seal(fresh)).await? {
            Reply::Seal(kept) => Ok(kept),
            _ => Err(StoreError::Gone),
        }
    }
}
