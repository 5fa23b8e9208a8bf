//! PostgreSQL beside any number of equal nodes.
//!
//! A command has a connection to itself and is carried to its end even when nobody waits for the
//! answer any more.
//!
//! | Phase    | What happens                                          | When it fails                            |
//! |----------|-------------------------------------------------------|------------------------------------------|
//! | connect  | a connection from the pool, within 5 s                | `Unreachable`; nothing happened          |
//! | look     | locks and reads, see `submit.rs`; the first one begins | rolled back; a lost race is run again    |
//! | commit   | travels behind what is written, else rolled back      | see below                                |
//! | observe  | this node's observer, then the answer                 | –                                        |
//! | announce | a `NOTIFY` soon after, see `feed.rs`                  | the other nodes' polls find it           |
//!
//! A lost race is a deadlock, a serialization failure, or a name or an e-mail address that another
//! command took at the same moment: the server says that nothing of the transaction stands, so it
//! is run again, at most five times. When the connection is lost during the commit, nobody knows
//! whether it took place: that is never run again here but is an error, and the client's repeat
//! with the same `Idempotency-Key` finds out.
//!
//! Whatever a decision rests on is read by a statement after the lock that guards it, so that the
//! statement's snapshot is later than the lock.

mod broadcast;
mod feed;
mod prepare;
mod presence;
mod tx;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clawrk_domain::Policy;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{IsolationLevel, NoTls};

use self::presence::Presence;
use crate::hot::Hot;
use crate::value::{Row, Value};
use crate::{Backend, Clock, Listener, Observer, Order, Reply, StoreError, sealed, sql, submit, tally, tasks};

/// Connections that carry commands, at most.
const WRITERS: usize = 16;
/// Connections that read, at most.
const READERS: usize = 8;
/// For how long anyone waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long a read may go unanswered.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a transaction that lost a race is run again.
const RETRIES: u32 = 5;
/// So often it is looked whether others still see what has gone, and so long is waited between: half a minute.
const OTHERS_END: u32 = 120;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What each connection is set to. No lock is waited for longer than 10 s: whoever holds one that long is stuck.
const SESSION: &str = "SET lock_timeout = '10s'; SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '30s'; SET client_encoding = 'UTF8'";

pub(crate) struct Postgres {
    node: Arc<Node>,
    background: Vec<JoinHandle<()>>,
}

/// This process among those on the database.
struct Node {
    config: tokio_postgres::Config,
    writers: Pool,
    readers: Pool,
    policy: Policy,
    clock: Clock,
    hot: Arc<Hot>,
    observer: OnceLock<Observer>,
    listener: OnceLock<Listener>,
    /// Something was committed here that the other nodes should hear of.
    committed: Notify,
    /// Another node committed something.
    heard: Notify,
    looks: feed::Looks,
    own: feed::Own,
    /// The seal that this node started under.
    seal: Arc<OnceLock<Vec<u8>>>,
}

impl Postgres {
    /// Connects, checks the server, brings the schema up to date and starts listening.
    pub(crate) async fn connect(
        url: &str,
        policy: Policy,
        clock: Clock,
        hot: Arc<Hot>,
        alone: bool,
    ) -> Result<Self, StoreError> {
        let config = configure(url)?;
        let seal = Arc::new(OnceLock::new());
        let beside = Presence::Beside(Arc::clone(&seal));
        let (writers, readers) = if alone {
            // What writes is what holds the lock.
            (pool(&config, 1, Presence::Alone)?, pool(&config, READERS, Presence::Reading)?)
        } else {
            (pool(&config, WRITERS, beside.clone())?, pool(&config, READERS, beside)?)
        };
        prepare::prepare(&writers).await?;
        let node = Arc::new(Node {
            config,
            writers,
            readers,
            policy,
            clock,
            hot,
            observer: OnceLock::new(),
            listener: OnceLock::new(),
            committed: Notify::new(),
            heard: Notify::new(),
            looks: feed::Looks::default(),
            own: feed::Own::default(),
            seal,
        });
        let start = feed::start(&node).await?;
        let background = vec![
            spawn(feed::announce(Arc::clone(&node))),
            spawn(feed::listen(Arc::clone(&node))),
            spawn(feed::follow(Arc::clone(&node), start)),
        ];
        Ok(Self { node, background })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.background.iter().for_each(JoinHandle::abort);
    }
}

#[async_trait::async_trait]
impl Backend for Postgres {
    async fn query(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.node.query(sql, values).await
    }

    async fn query_each(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Vec<Row>>, StoreError> {
        self.node.query_each(sql, values).await
    }

    async fn snapshot(&self, queries: &'static [&'static str]) -> Result<Vec<Vec<Row>>, StoreError> {
        let mut client = self.node.readers.get().await.map_err(unreachable)?;
        let moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let moment = moment.start().await?;
        // Whole tables are read here, which may take its time.
        moment.batch_execute("SET LOCAL statement_timeout = 0").await?;
        let mut answers = Vec::with_capacity(queries.len());
        for sql in queries {
            let statement = moment.prepare_cached(sql).await?;
            answers.push(rows(moment.client(), &statement, &[]).await?);
        }
        moment.rollback().await?;
        Ok(answers)
    }

    async fn write(&self, order: Order) -> Result<Reply, StoreError> {
        let node = Arc::clone(&self.node);
        spawn(async move { node.write(&order).await }).await.map_err(|_| StoreError::Gone)?
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let client = self.node.writers.get().await.map_err(unreachable)?;
        // Whole tables are written anew, which may take its time.
        client.batch_execute("SET statement_timeout = 0").await?;
        for table in sql::SEALED_TABLES {
            // Whoever began before the rows went still sees them, an ANALYZE for one: they would be written anew, too.
            for _ in 0..OTHERS_END {
                if client.query_one(sql::SEEN_BY_OTHERS, &[]).await?.get::<_, i64>(0) == 0 {
                    break;
                }
                sleep(BETWEEN_LOOKS).await;
            }
            client.batch_execute(&format!("VACUUM (FULL) {table}")).await?;
        }
        client.batch_execute("SET statement_timeout = '30s'").await?;
        Ok(())
    }

    async fn catch_up(&self) {
        self.node.looks.next(&self.node.heard).await;
    }

    fn hears(&self) -> bool {
        self.node.looks.is_recent()
    }

    fn observe(&self, observer: Observer) {
        // A second observer is a mistake of the caller that only tests could make.
        assert!(self.node.observer.set(observer).is_ok(), "there is one observer");
        self.node.heard.notify_one();
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn broadcast(&self, texts: Vec<String>) -> Result<(), StoreError> {
        broadcast::tell(&self.node, &texts).await
    }

    fn listen(&self, listener: Listener) {
        assert!(self.node.listener.set(listener).is_ok(), "there is one listener");
    }
}

impl Node {
    async fn query(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.reading(async |client| rows(client, &client.prepare_cached(sql).await?, &values).await).await
    }

    /// Reads; a server that takes a connection and then says nothing is as good as away.
    async fn reading<T>(
        &self,
        read: impl AsyncFnOnce(&deadpool_postgres::Object) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let client = self.readers.get().await.map_err(unreachable)?;
        let read = timeout(SILENCE, read(&client)).await;
        read.unwrap_or_else(|silence| {
            // Whoever had the connection next would wait behind this one's answer.
            drop(deadpool_postgres::Object::take(client));
            Err(StoreError::Unreachable(Box::new(silence)))
        })
    }

    /// Carries out an order, again when it lost a race, and tells of it.
    async fn write(&self, order: &Order) -> Result<Reply, StoreError> {
        let mut again = 0;
        let reply = loop {
            match self.transact(order).await {
                Err(error) if lost_race(&error) && again < RETRIES => {
                    tracing::debug!(%error, again, "a transaction lost a race and is run again");
                    sleep(backoff(order, again)).await;
                    again += 1;
                }
                reply => break reply?,
            }
        };
        if let Reply::Outcome(_, changed) = &reply {
            changed.known.iter().for_each(|known| self.hot.forget(*known));
            if let Some(observer) = self.observer.get()
                && !changed.jobs.is_empty()
            {
                observer(&changed.jobs);
                changed.jobs.iter().for_each(|job| self.own.told(job.id, job.version));
            }
            if !changed.jobs.is_empty() || !changed.known.is_empty() {
                self.committed.notify_one();
            }
        }
        Ok(reply)
    }

    async fn transact(&self, order: &Order) -> Result<Reply, StoreError> {
        let mut tx = tx::PostgresTx::new(self.writers.get().await.map_err(unreachable)?, &self.clock);
        let reply = match order {
            Order::Submit(request) => submit::submit(&mut tx, request, &self.policy).await,
            Order::TakeDueTasks { due, limit, lease_seconds } => {
                tasks::take_due(&mut tx, *due, *limit, *lease_seconds).await
            }
            Order::EndLeases => tasks::end_leases(&mut tx).await,
            Order::RenewLease { lease, seconds } => tasks::renew(&mut tx, lease, *seconds).await,
            Order::Log { lease, attempt, lines } => tasks::log(&mut tx, lease, *attempt, lines).await,
            Order::Spend { user, what, limit } => tasks::spend(&mut tx, *user, what, *limit).await,
            Order::DropOldReceipts => tasks::drop_old_receipts(&mut tx).await,
            Order::DropUnusedUploads { older_than_seconds, limit } => {
                tasks::drop_unused_uploads(&mut tx, *older_than_seconds, *limit).await
            }
            Order::Seal(fresh) => tasks::seal(&mut tx, fresh).await,
            Order::Reseal(list) => sealed::reseal(&mut tx, list).await,
            Order::Count(jobs) => tally::count(&mut tx, jobs).await,
            Order::ForgetCounts => tally::forget(&mut tx).await,
        };
        match reply {
            Ok(reply) => {
                tx.end().await?;
                if let Reply::Seal(kept) = &reply {
                    self.seal.get_or_init(|| kept.clone());
                }
                Ok(reply)
            }
            Err(error) => {
                tx.undo().await;
                Err(error)
            }
        }
    }

    /// Sends the query for each value without waiting for the answer to the one before.
    async fn query_each(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Vec<Row>>, StoreError> {
        self.reading(async |client| {
            let statement = client.prepare_cached(sql).await?;
            let each = values.into_iter().map(async |value| rows(client, &statement, &[value]).await);
            try_join_all(each).await
        })
        .await
    }
}

/// Starts what runs by itself: the background work, which ends with the store, and each command.
#[expect(clippy::disallowed_methods, reason = "the one place where the store starts what runs by itself")]
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

/// What the URL says, and bounds on how long a connection may hang where it says nothing.
fn configure(url: &str) -> Result<tokio_postgres::Config, StoreError> {
    // What the parser says of it may repeat a part of the password.
    let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
        let form = "postgres://USER:PASSWORD@HOST:PORT/NAME, with percent signs for what is special in the password";
        StoreError::Unsafe(format!("database_url cannot be read: it should be like {form}"))
    })?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(PATIENCE);
    }
    if config.get_application_name().is_none() {
        config.application_name("clawrk");
    }
    config.keepalives_idle(Duration::from_secs(10)).keepalives_interval(PATIENCE).keepalives_retries(3);
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(15));
    }
    Ok(config)
}

fn pool(config: &tokio_postgres::Config, size: usize, presence: Presence) -> Result<Pool, StoreError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let set_up = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let presence = presence.clone();
        Box::pin(async move {
            client.batch_execute(SESSION).await.map_err(HookError::Backend)?;
            presence.enter(client).await
        })
    });
    Pool::builder(Manager::from_config(config.clone(), NoTls, recycling))
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .post_create(set_up)
        .build()
        .map_err(|error| StoreError::Unreachable(Box::new(error)))
}

fn unreachable(error: PoolError) -> StoreError {
    match error {
        PoolError::PostCreateHook(HookError::Message(why)) => StoreError::KeptOut(why.into_owned()),
        error => StoreError::Unreachable(Box::new(error)),
    }
}

/// Another command was faster, and the server said so: nothing of the transaction stands, and a second look decides.
fn lost_race(error: &StoreError) -> bool {
    use tokio_postgres::error::SqlState;
    let StoreError::Postgres(error) = error else { return false };
    let Some(said) = error.as_db_error() else { return false };
    match *said.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => true,
        SqlState::UNIQUE_VIOLATION => matches!(said.constraint(), Some("users_email_key" | "agents_by_name")),
        _ => false,
    }
}

/// The server is away, shutting down or starting, has no connection to spare, a lock was held for too long, or an id was
/// made twice.
pub(crate) fn is_unavailable(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    let Some(code) = error.code() else {
        // What has no code did not come from the server: the connection broke.
        return error.is_closed()
            || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    };
    const AWAY: [SqlState; 10] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CONNECTION_EXCEPTION,
        SqlState::CONNECTION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    // An id was made twice by chance: the next try makes another one.
    let taken = error.as_db_error().and_then(|said| said.constraint());
    let id_taken = matches!(taken, Some("jobs_pkey" | "briefs_pkey" | "events_pkey"));
    id_taken || AWAY.contains(code)
}

/// Doubles from 5 ms on; the command's own random bits keep two that met from meeting again.
fn backoff(order: &Order, again: u32) -> Duration {
    let seed = if let Order::Submit(request) = order { request.command.seed } else { 0 };
    let base = 5_u64 << again;
    let jitter = (seed >> (16 * again)) as u64 % base;
    Duration::from_millis(base + jitter)
}

/// Runs a query and takes its rows.
async fn rows(
    client: &tokio_postgres::Client,
    statement: &tokio_postgres::Statement,
    values: &[Value],
) -> Result<Vec<Row>, StoreError> {
    let found = client.query(statement, &bound(values)).await?;
    found.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect::<Result<_, _>>().map(Row)).collect()
}

fn bound(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn value(row: &tokio_postgres::Row, at: usize) -> Result<Value, StoreError> {
    Ok(match *row.columns()[at].type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(at)?.into(),
        Type::INT4 => row.try_get::<_, Option<i32>>(at)?.map(i64::from).into(),
        Type::BYTEA => row.try_get::<_, Option<&[u8]>>(at)?.into(),
        Type::UUID => row.try_get::<_, Option<uuid::Uuid>>(at)?.map_or(Value::Null, Value::Uuid),
        _ => row.try_get::<_, Option<&str>>(at)?.into(),
    })
}
