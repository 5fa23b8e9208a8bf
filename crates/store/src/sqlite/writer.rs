//! The one writer: a thread that owns the only connection that writes, and one beside it that tells what was written.
//!
//! | Phase  | Thread | What happens                                                              |
//! |--------|--------|---------------------------------------------------------------------------|
//! | listen | writer | ten times a second: did another process commit? then memory is forgotten   |
//! | gather | writer | wait for an order, then take what else is waiting, up to a batch           |
//! | carry  | writer | all of them in one `BEGIN IMMEDIATE`, one after the other                   |
//! | commit | writer | once, synced to the disk                                                   |
//! | tell   | teller | the observer of every job that changed, even if nobody waits for the answer |
//! | answer | teller | only now; an answered payment is on the disk                               |
//!
//! While the teller tells of one batch, the writer carries the next. A refused command has written
//! nothing, so a batch needs no savepoints. When anything fails or panics, the whole batch is
//! rolled back and its orders are run again one by one, so that only the guilty one fails.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use clawrk_domain::{JobId, Policy, UserId};
use futures_util::FutureExt;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::hot::Hot;
use crate::tx::{Found, News, Step, Tx, broken};
use crate::value::{Row, Value};
use crate::writes::Statement;
use crate::{Clock, Observer, Order, Reply, StoreError, sealed, sql, submit, tally, tasks};

/// Orders in one transaction, at most: enough to share a sync among all who wait, few enough to answer soon.
const BATCH: usize = 256;

/// How often the writer listens for other processes when it has nothing to do.
const LISTEN: Duration = Duration::from_millis(100);

type Answer = oneshot::Sender<Result<Reply, StoreError>>;
type Waiting = (Order, Answer);
type Written = Vec<(Result<Reply, StoreError>, Answer)>;

/// The writer's front door.
pub(super) struct Writer {
    orders: mpsc::Sender<Waiting>,
}

impl Writer {
    /// Starts the threads; they end when the writer is dropped.
    pub(super) fn start(
        connection: Connection,
        policy: Policy,
        clock: Clock,
        hot: Arc<Hot>,
        observer: Arc<OnceLock<Observer>>,
    ) -> Self {
        let (orders, inbox) = mpsc::channel();
        let (written, to_tell) = mpsc::channel();
        let memory = Arc::clone(&hot);
        thread("clawrk-teller", move || tell(&to_tell, &memory, &observer));
        thread("clawrk-writer", move || work(&connection, &inbox, &written, &policy, &clock, &hot));
        Self { orders }
    }

    /// Hands an order to the writer and waits until it is on the disk.
    pub(super) async fn write(&self, order: Order) -> Result<Reply, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send((order, answer)).map_err(|_| StoreError::Gone)?;
        answered.await.map_err(|_| StoreError::Gone)?
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    drop(started.expect("a process that cannot start a thread cannot serve"));
}

fn work(
    connection: &Connection,
    inbox: &mpsc::Receiver<Waiting>,
    written: &mpsc::Sender<Written>,
    policy: &Policy,
    clock: &Clock,
    hot: &Hot,
) {
    let mut session = Session { connection, clock, statements: HashMap::new() };
    let mut others = Others::default();
    loop {
        let first = inbox.recv_timeout(LISTEN);
        // Before the batch, whose answers then rest on what the other process did, and so does memory.
        others.listen(&mut session, hot);
        let first = match first {
            Ok(first) => first,
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let mut batch = vec![first];
        batch.extend(inbox.try_iter().take(BATCH - 1));
        let (orders, answers): (Vec<Order>, Vec<Answer>) = batch.into_iter().unzip();
        let replies = match transact(&mut session, &orders, policy) {
            Ok(replies) => replies.into_iter().map(Ok).collect(),
            Err(error) if orders.len() == 1 => vec![Err(error)],
            Err(error) => {
                tracing::warn!(%error, orders = orders.len(), "a batch failed; its orders are run one by one");
                let one = |order| {
                    transact(&mut session, std::slice::from_ref(order), policy)
                        .and_then(|mut replies| replies.pop().ok_or(StoreError::Gone))
                };
                orders.iter().map(one).collect::<Vec<_>>()
            }
        };
        if written.send(replies.into_iter().zip(answers).collect()).is_err() {
            return;
        }
    }
}

/// Tells of what was written, in its order: memory first, then the observer, then whoever asked.
fn tell(written: &mpsc::Receiver<Written>, hot: &Hot, observer: &OnceLock<Observer>) {
    for written in written {
        let mut jobs = Vec::new();
        for (reply, _) in &written {
            if let Ok(Reply::Outcome(_, changed)) = reply {
                changed.known.iter().for_each(|known| hot.forget(*known));
                jobs.extend_from_slice(&changed.jobs);
            }
        }
        if let Some(observer) = observer.get()
            && !jobs.is_empty()
        {
            observer(&jobs);
        }
        for (reply, answer) in written {
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
    fn listen(&mut self, session: &mut Session<'_>, hot: &Hot) {
        let version = session.rows(sql::OTHERS_COMMITTED, &[]).ok();
        let version = version.and_then(|rows| rows.first().and_then(|row| row.int(0).ok()));
        if version.is_none() || version != self.version {
            hot.forget_all();
        }
        self.version = version;
    }
}

/// Carries out the orders in one transaction; on any error or panic none of them happened.
fn transact(session: &mut Session<'_>, orders: &[Order], policy: &Policy) -> Result<Vec<Reply>, StoreError> {
    // Another process may hold the write lock for a moment: it is waited for.
    session.run("BEGIN IMMEDIATE")?;
    let carried = orders.iter().map(|order| {
        let carried = catch_unwind(AssertUnwindSafe(|| carry(session, order, policy)));
        carried.unwrap_or(Err(StoreError::Gone))
    });
    let carried = carried.collect::<Result<Vec<Reply>, StoreError>>();
    let ended = carried.and_then(|replies| session.run("COMMIT").map(|()| replies));
    if ended.is_err() && !session.connection.is_autocommit() {
        session.run("ROLLBACK")?;
    }
    ended
}

fn carry(session: &mut Session<'_>, order: &Order, policy: &Policy) -> Result<Reply, StoreError> {
    let ready = match order {
        Order::Submit(request) => submit::submit(session, request, policy).now_or_never(),
        Order::TakeDueTasks { due, limit, lease_seconds } => {
            tasks::take_due(session, *due, *limit, *lease_seconds).now_or_never()
        }
        Order::EndLeases => tasks::end_leases(session).now_or_never(),
        Order::RenewLease { lease, seconds } => tasks::renew(session, lease, *seconds).now_or_never(),
        Order::Log { lease, attempt, lines } => tasks::log(session, lease, *attempt, lines).now_or_never(),
        Order::Spend { user, what, limit } => tasks::spend(session, *user, what, *limit).now_or_never(),
        Order::DropOldReceipts => tasks::drop_old_receipts(session).now_or_never(),
        Order::DropUnusedUploads { older_than_seconds, limit } => {
            tasks::drop_unused_uploads(session, *older_than_seconds, *limit).now_or_never()
        }
        Order::Seal(fresh) => tasks::seal(session, fresh).now_or_never(),
        Order::Reseal(list) => sealed::reseal(session, list).now_or_never(),
        Order::Count(jobs) => tally::count(session, jobs).now_or_never(),
        Order::ForgetCounts => tally::forget(session).now_or_never(),
    };
    ready.expect("SQLite answers at once")
}

/// The writer's connection and its statements, each prepared once and found by the address of its text.
struct Session<'c> {
    connection: &'c Connection,
    clock: &'c Clock,
    statements: HashMap<*const str, rusqlite::Statement<'c>>,
}

impl<'c> Session<'c> {
    fn prepared(&mut self, sql: &'static str) -> Result<&mut rusqlite::Statement<'c>, StoreError> {
        use std::collections::hash_map::Entry;
        match self.statements.entry(std::ptr::from_ref(sql)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let statement = self.connection.prepare(sql)?;
                super::check_parameters(&statement, sql);
                Ok(place.insert(statement))
            }
        }
    }

    fn rows(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        super::rows(self.prepared(sql)?, values)
    }

    fn run(&mut self, sql: &'static str) -> Result<(), StoreError> {
        Ok(self.prepared(sql)?.execute(()).map(|_| ())?)
    }
}

impl Tx for Session<'_> {
    async fn look(&mut self, steps: Vec<Step>) -> Result<Found, StoreError> {
        let carry_out = |step| match step {
            // The writer is alone.
            Step::Lock(_) => Ok(vec![Row(Vec::new())]),
            Step::Locked(query, values) => self.rows(query.read, &values),
            Step::Read(sql, values) => self.rows(sql, &values),
        };
        Ok(Found::new(steps.into_iter().map(carry_out).collect::<Result<_, _>>()?, self.clock.now()))
    }

    async fn lock_queued(&mut self, jobs: &[JobId]) -> Result<Option<JobId>, StoreError> {
        for job in jobs {
            if !self.rows(sql::IS_QUEUED, &[(*job).into()])?.is_empty() {
                return Ok(Some(*job));
            }
        }
        Ok(None)
    }

    async fn execute(&mut self, statements: Vec<Statement>) -> Result<(), StoreError> {
        for Statement { sql, values, one_row } in statements {
            let changed = self.prepared(sql)?.execute(rusqlite::params_from_iter(values))?;
            if one_row && changed != 1 {
                return Err(broken(sql));
            }
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
