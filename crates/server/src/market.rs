//! The open jobs in memory: what pull chooses from and the board shows. Fed by the store, never the truth: the store
//! decides who holds a job, and a candidate that is gone costs one more look.
//!
//! Changes may come out of order, so each job's version decides: an older one never undoes a later one.

mod news;
mod orders;
mod pages;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clawrk_domain::matching::{Index, Marks, Ranked, Reading, Share, Text};
use clawrk_domain::{AgentId, Job, JobId, Offer, Status, Timestamp};
use tokio::sync::watch;

use crate::api::board;
pub use news::{After, Event, News};
use orders::Orders;
pub use orders::{Sort, Spot};
use pages::Bounds;
pub use pages::{Page, View};

/// The open jobs of one node.
pub struct Market {
    open: RwLock<Open>,
    changes: watch::Sender<u64>,
    /// What followers of the board are told.
    pub news: News,
    bounds: Bounds,
}

#[derive(Default)]
struct Open {
    index: Index<JobId>,
    jobs: HashMap<JobId, OpenJob>,
    orders: Orders,
    left: Left,
}

/// What the rules need to know of an open job, and no more: there may be a million.
struct OpenJob {
    version: u32,
    offers: Vec<Offer>,
}

impl Open {
    fn ranked(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<Ranked<JobId>> {
        let skip = |id: &JobId| {
            tried.contains(id)
                || self.jobs.get(id).is_none_or(|job| !job.offers.iter().all(|offer| offer.allows(agent, now)))
        };
        self.index.best(personality, now.micros(), count, skip)
    }
}

/// The versions in which jobs left lately. News that is older may still be under way: from a read that began before, or
/// from another node.
#[derive(Default)]
struct Left {
    versions: HashMap<JobId, u32>,
    /// The oldest first.
    order: VecDeque<(JobId, u32)>,
}

impl Left {
    /// Far more than leave while news are under way.
    const MOST: usize = 50_000;

    fn note(&mut self, job: JobId, version: u32) {
        self.versions.insert(job, version);
        self.order.push_back((job, version));
        if self.order.len() > Self::MOST
            && let Some((job, version)) = self.order.pop_front()
            && self.versions.get(&job) == Some(&version)
        {
            self.versions.remove(&job);
        }
    }
}

impl Default for Market {
    fn default() -> Self {
        Self {
            open: RwLock::default(),
            changes: watch::Sender::new(0),
            news: News::default(),
            bounds: Bounds::default(),
        }
    }
}

impl Market {
    /// A job changed: it enters, stays or leaves.
    pub fn changed(&self, job: &Arc<Job>) {
        let queued = job.status() == Status::Queued;
        let cents = u32::try_from(job.price.0).unwrap_or(u32::MAX);
        let spot = Spot { cents, time: job.created_at, job: job.id };
        // Most of the work, done before anybody is kept waiting.
        let reading = queued.then(|| Reading::of(&text_of(job)));
        let shown = reading.as_ref().map(|reading| (Marks::of(reading), board::body(job)));
        {
            let mut open = self.write();
            let known = open.jobs.get(&job.id).map(|known| known.version);
            if known.or_else(|| open.left.versions.get(&job.id).copied()).is_some_and(|known| known > job.version) {
                return;
            }
            if let Some(reading) = reading {
                // What agents hand back again and again is no other job each time.
                if known.is_none() && job.offers.is_empty() {
                    open.index.learn(&reading);
                }
                open.index.insert(job.id, reading, job.created_at.micros());
                open.jobs.insert(job.id, OpenJob { version: job.version, offers: job.offers.clone() });
                open.orders.insert(spot);
                if let Some((marks, body)) = shown.filter(|_| known.is_none()) {
                    self.news.add(Event::new(job.id, cents, marks, Some(body)));
                }
            } else {
                open.left.note(job.id, job.version);
                if open.jobs.remove(&job.id).is_some() {
                    if let Some(marks) = open.index.marks(&job.id) {
                        self.news.add(Event::new(job.id, cents, marks, None));
                    }
                    open.index.remove(&job.id);
                    open.orders.remove(spot);
                }
            }
        }
        self.news.tell();
        if queued {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The best jobs for an agent, best first; those that pull may not hand to it and those tried already left out.
    pub fn candidates(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<JobId> {
        let open = self.read();
        open.ranked(agent, personality, now, tried, count).into_iter().map(|ranked| ranked.id).collect()
    }

    /// What pull would choose from, best first, each with what it has in common with the personality.
    pub fn matches(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        now: Timestamp,
        count: usize,
    ) -> Vec<(Ranked<JobId>, Vec<Share>)> {
        let open = self.read();
        let ranked = open.ranked(agent, personality, now, &[], count);
        let explained = ranked.into_iter().map(|ranked| {
            let shares = open.index.shares(personality.unwrap_or_default(), &ranked.id);
            (ranked, shares)
        });
        explained.collect()
    }

    /// Whether any job is open to the agent.
    pub fn has_open(&self, agent: AgentId, now: Timestamp) -> bool {
        let open = self.read();
        open.jobs.values().any(|job| job.offers.iter().all(|offer| offer.allows(agent, now)))
    }

    /// When the next open job that is closed to the agent for now opens to it.
    pub fn next_opening(&self, agent: AgentId, now: Timestamp) -> Option<Timestamp> {
        let open = self.read();
        let offers = open.jobs.values().flat_map(|job| &job.offers);
        let mine = offers.filter(|offer| offer.worker.agent == agent && !offer.barred);
        mine.filter_map(|offer| offer.not_before.filter(|time| *time > now)).min()
    }

    /// Tells of each job that enters.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How many jobs are open.
    pub fn len(&self) -> usize {
        self.read().jobs.len()
    }

    /// Whether no job is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // It is never the truth: where a bug showed over one job, the market goes on with the others.

    fn read(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words of a job that matching reads.
pub(crate) fn text_of(job: &Job) -> Text<'_> {
    let brief = &job.brief;
    Text { title: &brief.title, description: brief.description.as_deref(), requirements: brief.requirements.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_one_job_does_not_close_the_market() {
        let market = Market::default();
        let broken = std::thread::scope(|scope| {
            let panics = || {
                let _open = market.open.write().unwrap();
                panic!("on purpose, over one job");
            };
            scope.spawn(panics).join()
        });
        assert!(broken.is_err());
        let (nobody, now) = (AgentId(uuid::Uuid::nil()), Timestamp::from_micros(0));
        assert!(market.is_empty() && !market.has_open(nobody, now) && market.next_opening(nobody, now).is_none());
        assert!(market.candidates(nobody, None, now, &[], 16).is_empty());
        drop(market.write());
    }
}
