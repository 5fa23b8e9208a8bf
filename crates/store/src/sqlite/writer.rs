//! The one writer: a thread that owns the only connection that writes.
//!
//! | Phase  | What happens                                                                     |
//! |--------|----------------------------------------------------------------------------------|
//! | listen | ten times a second: did another process commit? then memory is forgotten          |
//! | gather | wait for an order, then take what else is waiting, up to a batch                  |
//! | carry  | all of them in one `BEGIN IMMEDIATE`, one after the other                          |
//! | commit | once, synced to the disk                                                          |
//! | tell   | the observer of every job that changed, even if nobody waits for the answer       |
//! | answer | only now; an answered payment is on the disk                                      |
//!
//! A refused command has written nothing, so a batch needs no savepoints. When anything fails or
//! panics, the whole batch is rolled back and its orders are run again one by one, so that only
//! the guilty one fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use clawrk_domain::{Policy, Timestamp, UserId};
use futures_util::FutureExt;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::hot::Hot;
use crate::tx::{Lock, News, Tx};
use crate::value::{Row, Value};
use crate::writes::{Statement, Wallet};
use crate::{Clock, Observer, Order, Reply, StoreError, submit, tasks};

/// Orders in one transaction, at most: enough to share a sync among all who wait, few enough to answer soon.
const BATCH: usize = 256;

/// How often the writer listens for other processes when it has nothing to do.
const LISTEN: Duration = Duration::from_millis(100);

type Waiting = (Order, oneshot::Sender<Result<Reply, StoreError>>);

/// The writer's front door.
pub(super) struct Writer {
    orders: mpsc::Sender<Waiting>,
}

impl Writer {
    /// Starts the thread; it ends when the writer is dropped.
    pub(super) fn start(
        connection: Connection,
        policy: Policy,
        clock: Clock,
        hot: Arc<Hot>,
        observer: Arc<OnceLock<Observer>>,
    ) -> Self {
        let (orders, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new().name("clawrk-writer".to_owned());
        thread
            .spawn(move || work(connection, &inbox, &policy, &clock, &hot, &observer))
            .expect("a process that cannot start a thread cannot serve");
        Self { orders }
    }

    /// Hands an order to the writer and waits until it is on the disk.
    pub(super) async fn write(&self, order: Order) -> Result<Reply, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send((order, answer)).map_err(|_| StoreError::Gone)?;
        answered.await.map_err(|_| StoreError::Gone)?
    }
}

fn work(
    mut connection: Connection,
    inbox: &mpsc::Receiver<Waiting>,
    policy: &Policy,
    clock: &Clock,
    hot: &Hot,
    observer: &OnceLock<Observer>,
) {
    let mut others = Others::default();
    loop {
        let first = inbox.recv_timeout(LISTEN);
        // Before the batch, whose answers then rest on what the other process did, and so does memory.
        others.listen(&connection, hot);
        let first = match first {
            Ok(first) => first,
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let mut batch = vec![first];
        batch.extend(inbox.try_iter().take(BATCH - 1));
        let (orders, answers): (Vec<Order>, Vec<_>) = batch.into_iter().unzip();
        let replies = match transact(&mut connection, &orders, policy, clock) {
            Ok(replies) => replies.into_iter().map(Ok).collect(),
            Err(error) if orders.len() == 1 => vec![Err(error)],
            Err(error) => {
                tracing::warn!(%error, orders = orders.len(), "a batch failed; its orders are run one by one");
                let one = |order| {
                    transact(&mut connection, std::slice::from_ref(order), policy, clock)
                        .and_then(|mut replies| replies.pop().ok_or(StoreError::Gone))
                };
                orders.iter().map(one).collect::<Vec<_>>()
            }
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            if let Ok(Reply::Outcome(_, changed)) = &reply {
                changed.known.iter().for_each(|known| hot.forget(*known));
                if let Some(observer) = observer.get() {
                    changed.jobs.iter().for_each(|job| observer(job));
                }
            }
            // Nobody waits any more: the request was given up, its effect stands.
            let _ = answer.send(reply);
        }
    }
}

/// Other processes on the same database: `clawrk admin` beside a running server.
#[derive(Default)]
struct Others {
    version: Option<i64>,
}

impl Others {
    /// Forgets what is remembered when another process has committed something.
    fn listen(&mut self, connection: &Connection, hot: &Hot) {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok();
        if version.is_none() || version != self.version {
            hot.forget_all();
        }
        self.version = version;
    }
}

/// Carries out the orders in one transaction; on any error or panic none of them happened.
fn transact(
    connection: &mut Connection,
    orders: &[Order],
    policy: &Policy,
    clock: &Clock,
) -> Result<Vec<Reply>, StoreError> {
    let transaction = begin(connection)?;
    let mut replies = Vec::with_capacity(orders.len());
    for order in orders {
        let mut tx = SqliteTx { connection: &transaction, clock };
        let carried = catch_unwind(AssertUnwindSafe(|| carry(&mut tx, order, policy)));
        replies.push(carried.unwrap_or(Err(StoreError::Gone))?);
    }
    transaction.commit()?;
    Ok(replies)
}

/// Another process may hold the write lock for a moment (`clawrk admin` beside a running server).
fn begin(connection: &mut Connection) -> Result<rusqlite::Transaction<'_>, StoreError> {
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

fn carry(tx: &mut SqliteTx<'_>, order: &Order, policy: &Policy) -> Result<Reply, StoreError> {
    let ready = match order {
        Order::Submit(request) => submit::submit(tx, request, policy).now_or_never(),
        Order::TakeDueTasks { limit, lease_seconds } => tasks::take_due(tx, *limit, *lease_seconds).now_or_never(),
        Order::DropOldReceipts => tasks::drop_old_receipts(tx).now_or_never(),
        Order::Seal(fresh) => tasks::seal(tx, fresh).now_or_never(),
    };
    ready.expect("SQLite answers at once")
}

struct SqliteTx<'a> {
    connection: &'a Connection,
    clock: &'a Clock,
}

impl Tx for SqliteTx<'_> {
    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn lock(&mut self, _: Lock) -> Result<bool, StoreError> {
        // The writer is alone.
        Ok(true)
    }

    async fn wallet(&mut self, user: UserId) -> Result<Option<Wallet>, StoreError> {
        self.rows(crate::sql::WALLET, vec![user.into()])?.first().map(crate::row::wallet).transpose()
    }

    async fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.rows(sql, values)
    }

    async fn execute(&mut self, statements: Vec<Statement>) -> Result<(), StoreError> {
        for Statement { sql, values, rows } in statements {
            let changed = super::prepared(self.connection, sql)?.execute(rusqlite::params_from_iter(values))?;
            crate::tx::check_rows(sql, rows, changed as u64)?;
        }
        Ok(())
    }

    async fn claim_key(&mut self, _: UserId, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn tell(&self, _: News) -> Option<Statement> {
        None
    }
}

impl SqliteTx<'_> {
    fn rows(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        super::rows(self.connection, sql, &values)
    }
}
