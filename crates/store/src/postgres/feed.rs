//! How nodes hear of each other's changes.
//!
//! Every transaction that changes a job, a key or an agent leaves a row in `feed`, with its own transaction id. After
//! the commit the node announces that there is something, at most every 20 ms and never inside a
//! transaction, since PostgreSQL commits those that notify one after the other. Each node listens
//! on a connection of its own, and looks every 500 ms whatever it heard.
//!
//! Transactions do not end in the order of their ids. So a look at the feed remembers not the last
//! row it saw but the oldest transaction that was still open, and the next look begins there.
//! What was told already is left out by its (transaction, news), and so are versions of jobs that
//! the node itself made and told of. Its own changes come back to it this way too: that is how it
//! hears of one whose commit went unanswered.
//!
//! Rows are kept for ten minutes. A node that could not look for five reads all jobs that changed
//! meanwhile, and all queued ones, instead.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use clawrk_domain::{JobId, Timestamp};
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::{AsyncMessage, NoTls};

use super::{Node, broadcast, unreachable};
use crate::hot::Known;
use crate::tx::News;
use crate::{Observer, StoreError, row, sql};

/// Where it is announced that something was committed.
const CHANNEL: &str = "clawrk_jobs";
const COALESCE: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_millis(500);
/// For how long a look is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long what is remembered is believed after a look.
const TRUSTED: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(60);
/// Sweeps that a row outlives.
const KEPT_SWEEPS: usize = 10;
/// Sweeps without a look at the feed after which it is no longer trusted.
const LOST_SWEEPS: u32 = 5;
/// How much earlier than its commit a transaction may have asked for the time, in seconds.
const SLACK_SECONDS: i64 = 120;
/// Jobs that are read at once.
const CHUNK: usize = 100;

const HORIZON: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// The horizon and the rows come from one statement, so from one snapshot.
const LOOK: &str = "SELECT moment.horizon, moment.now, feed.xid, feed.kind, feed.id, feed.version
       FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
                    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) moment
       LEFT JOIN feed ON feed.xid >= $1";
const CHANGED_SINCE: &str = "SELECT id FROM jobs WHERE status = 'queued' OR updated_at >= $1";
const FORGET: &str = "DELETE FROM feed WHERE xid < $1";

/// A place in the feed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The oldest transaction that was not finished then.
    horizon: i64,
    /// When that was.
    time: Timestamp,
}

/// Where the feed is now: a node follows it from before it reads anything else.
pub(super) async fn start(node: &Node) -> Result<Place, StoreError> {
    let rows = node.query(HORIZON, Vec::new()).await?;
    let row = rows.first().ok_or_else(|| StoreError::Corrupt("no horizon".to_owned()))?;
    Ok(Place { horizon: row.int(0)?, time: node.clock.by_hand().unwrap_or(row.time(1)?) })
}

/// Tells the other nodes that something was committed here.
pub(super) async fn announce(node: Arc<Node>) {
    loop {
        node.committed.notified().await;
        if let Err(error) = notify(&node).await {
            tracing::debug!(%error, "other nodes could not be notified; they will see it at their next poll");
        }
        sleep(COALESCE).await;
    }
}

async fn notify(node: &Node) -> Result<(), StoreError> {
    let client = node.readers.get().await.map_err(unreachable)?;
    Ok(client.batch_execute(&format!("NOTIFY {CHANNEL}")).await?)
}

/// Listens for the other nodes, again whenever the connection is lost.
pub(super) async fn listen(node: Arc<Node>) {
    const LONGEST: Duration = Duration::from_secs(5);
    let mut pause = Duration::from_millis(100);
    loop {
        let mut heard_once = false;
        if let Err(error) = hear(&node, &mut heard_once).await {
            tracing::warn!(%error, "the connection that listens for other nodes was lost");
        }
        pause = if heard_once { Duration::from_millis(100) } else { LONGEST.min(pause * 2) };
        sleep(pause).await;
    }
}

async fn hear(node: &Node, listening: &mut bool) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = node.config.connect(NoTls).await?;
    let mut messages = stream::poll_fn(|context| connection.poll_message(context));
    let channels = format!("LISTEN {CHANNEL}; LISTEN {}", broadcast::CHANNEL);
    let mut listen = pin!(client.batch_execute(&channels));
    loop {
        tokio::select! {
            done = &mut listen, if !*listening => {
                done?;
                *listening = true;
                // What was announced before is found by a look.
                node.heard.notify_one();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(said))) if broadcast::hear(node, &said) => {}
                Some(Ok(AsyncMessage::Notification(_))) => node.heard.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

/// How far the looks at the feed have come, by number, and when the last one that succeeded began.
#[derive(Default)]
pub(super) struct Looks {
    begun: AtomicU64,
    done: watch::Sender<u64>,
    last: RwLock<Option<Instant>>,
}

impl Looks {
    /// Whether all that was committed until a second ago has been heard of.
    pub(super) fn is_recent(&self) -> bool {
        let last = self.last.read().expect("nothing panics while it is held");
        last.is_some_and(|began| began.elapsed() < TRUSTED)
    }

    /// Waits for a look that begins from now on; not for ever, since the next poll looks anyway.
    pub(super) async fn next(&self, heard: &Notify) {
        let mut done = self.done.subscribe();
        let begun = self.begun.load(Ordering::SeqCst);
        heard.notify_one();
        // Nobody is told whether it came in time: what follows reads the database itself.
        let _ = timeout(PATIENCE, done.wait_for(|number| *number > begun)).await;
    }
}

/// What this node has told its observer of its own changes, so that the feed need not tell it again. Forgotten when it
/// is much: then the feed tells it twice.
#[derive(Default)]
pub(super) struct Own(Mutex<HashMap<JobId, u32>>);

impl Own {
    const MOST: usize = 10_000;

    /// The observer has heard of this version.
    pub(super) fn told(&self, job: JobId, version: u32) {
        let mut told = self.0.lock().expect("nothing panics while it is held");
        if told.len() >= Self::MOST {
            told.clear();
        }
        told.insert(job, version);
    }

    fn has_told(&self, job: JobId, version: Option<u32>) -> bool {
        let told = self.0.lock().expect("nothing panics while it is held");
        told.get(&job).is_some_and(|told| version.is_some_and(|version| version <= *told))
    }
}

/// Follows the feed and tells the observer.
pub(super) async fn follow(node: Arc<Node>, start: Place) {
    let mut follower =
        Follower { node: Arc::clone(&node), place: start, told: HashSet::new(), swept: VecDeque::new(), lost: 0 };
    let (mut poll, mut sweep) = (interval(POLL), interval(SWEEP));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = poll.tick() => {}
            () = node.heard.notified() => {}
            _ = sweep.tick() => follower.sweep().await,
        }
        let Some(observer) = node.observer.get() else { continue };
        let number = node.looks.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let began = Instant::now();
        match follower.look(observer).await {
            Ok(()) => {
                follower.lost = 0;
                *node.looks.last.write().expect("nothing panics while it is held") = Some(began);
                node.looks.done.send_replace(number);
            }
            Err(error) => tracing::debug!(%error, "the feed of changes could not be read"),
        }
    }
}

struct Follower {
    node: Arc<Node>,
    place: Place,
    /// What was told of transactions at or above the horizon.
    told: HashSet<(i64, News)>,
    /// The horizons at the last sweeps.
    swept: VecDeque<i64>,
    /// Sweeps since the last look that succeeded.
    lost: u32,
}

impl Follower {
    async fn look(&mut self, observer: &Observer) -> Result<(), StoreError> {
        let rows = self.node.query(LOOK, vec![self.place.horizon.into()]).await?;
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("no horizon".to_owned()))?;
        let place = Place { horizon: first.int(0)?, time: self.node.clock.by_hand().unwrap_or(first.time(1)?) };
        let mut fresh = HashSet::new();
        for row in &rows {
            let Some(xid) = row.int_or_null(2)? else { continue };
            fresh.insert((
                xid,
                match row.str(3)? {
                    "key" => News::Known(Known::Key(row.parsed(4)?)),
                    "agents" => News::Known(Known::Agents(row.parsed(4)?)),
                    _ => News::Job(row.parsed(4)?, row.int_or_null(5)?.map(|_| row.count(5)).transpose()?),
                },
            ));
        }
        if self.lost >= LOST_SWEEPS {
            tracing::warn!("the feed of changes was out of reach for minutes; all that may have changed is read again");
            self.node.hot.forget_all();
            let since = self.place.time.plus_seconds(-SLACK_SECONDS);
            let changed = self.node.query(CHANGED_SINCE, vec![since.into()]).await?;
            self.tell(changed.iter().map(|row| row.parsed(0)).collect::<Result<_, _>>()?, observer).await?;
        }
        let mut jobs = HashSet::new();
        for (_, news) in fresh.difference(&self.told) {
            match news {
                News::Job(job, version) if self.node.own.has_told(*job, *version) => {}
                News::Job(job, _) => drop(jobs.insert(*job)),
                News::Known(known) => self.node.hot.forget(*known),
            }
        }
        self.tell(jobs, observer).await?;
        fresh.retain(|(xid, _)| *xid >= place.horizon);
        (self.place, self.told) = (place, fresh);
        Ok(())
    }

    async fn tell(&self, jobs: HashSet<JobId>, observer: &Observer) -> Result<(), StoreError> {
        let jobs: Vec<JobId> = jobs.into_iter().collect();
        for some in jobs.chunks(CHUNK) {
            let found = self.node.query_each(sql::JOB, some.iter().map(|job| (*job).into()).collect()).await?;
            let found = found.iter().filter_map(|rows| rows.first()).map(|row| row::job(row).map(Arc::new));
            observer(&found.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(())
    }

    /// Forgets rows that every node has seen, or counts as lost.
    async fn sweep(&mut self) {
        self.lost += 1;
        self.swept.push_back(self.place.horizon);
        if self.swept.len() <= KEPT_SWEEPS {
            return;
        }
        let Some(horizon) = self.swept.pop_front() else { return };
        let forgotten = async {
            let client = self.node.readers.get().await.map_err(unreachable)?;
            Ok::<_, StoreError>(client.execute(FORGET, &[&horizon]).await?)
        };
        if let Err(error) = forgotten.await {
            tracing::debug!(%error, "old rows of the feed could not be deleted");
        }
    }
}
