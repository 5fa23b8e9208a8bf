//! The open jobs in memory: what pull chooses from and the board shows. Fed by the store, never the truth: the store
//! decides who holds a job, and a candidate that is gone costs one more look.
//!
//! Changes may come out of order, so each job's version decides: an older one never undoes a later one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clawrk_domain::matching::{Index, Ranked, Reading, Share, Text};
use clawrk_domain::{AgentId, Job, JobId, Offer, Status, Timestamp};
use clawrk_store::Place;
use tokio::sync::watch;

/// The open jobs of one node.
pub struct Market {
    open: RwLock<Open>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Open {
    index: Index<JobId>,
    jobs: HashMap<JobId, OpenJob>,
    closed: HashMap<AgentId, Closed>,
    /// In the order of the board, the newest last.
    places: BTreeSet<Place>,
    left: Left,
}

/// What the rules need to know of an open job, and no more: there may be a million.
struct OpenJob {
    version: u32,
    closed_to: Box<[AgentId]>,
}

/// The open jobs that an agent was presented with to no end: pull hands it none of them before its time, if ever.
type Closed = BTreeMap<JobId, Offer>;

impl Open {
    fn changed(&mut self, job: &Job, reading: Option<Reading>) {
        let known = self.jobs.get(&job.id).map(|known| known.version);
        if known.or_else(|| self.left.versions.get(&job.id).copied()).is_some_and(|known| known > job.version) {
            return;
        }
        let Some(reading) = reading else { return self.leave(job) };
        // What agents hand back again and again is no other job each time.
        if known.is_none() && job.offers.is_empty() {
            self.index.learn(&reading);
        }
        self.enter(job, reading);
    }

    fn enter(&mut self, job: &Job, reading: Reading) {
        self.reopen(&job.id);
        let closed_to = job.offers.iter().filter(|offer| offer.barred || offer.not_before.is_some());
        let closed_to = closed_to.map(|offer| {
            self.closed.entry(offer.worker.agent).or_default().insert(job.id, *offer);
            offer.worker.agent
        });
        let closed_to = closed_to.collect();
        self.index.insert(job.id, reading, job.created_at.micros());
        self.jobs.insert(job.id, OpenJob { version: job.version, closed_to });
        self.places.insert(place(job));
    }

    fn leave(&mut self, job: &Job) {
        self.left.note(job.id, job.version);
        self.reopen(&job.id);
        if self.jobs.remove(&job.id).is_some() {
            self.index.remove(&job.id);
            self.places.remove(&place(job));
        }
    }

    /// Forgets to whom a job is closed.
    fn reopen(&mut self, job: &JobId) {
        for agent in self.jobs.get(job).into_iter().flat_map(|known| &known.closed_to) {
            if let Entry::Occupied(mut closed) = self.closed.entry(*agent) {
                closed.get_mut().remove(job);
                if closed.get().is_empty() {
                    closed.remove();
                }
            }
        }
    }

    fn ranked(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<Ranked<JobId>> {
        let closed = self.closed.get(&agent);
        let is_closed =
            |id: &JobId| closed.and_then(|closed| closed.get(id)).is_some_and(|offer| !offer.allows(agent, now));
        self.index.best(personality, now.micros(), count, |id| tried.contains(id) || is_closed(id))
    }
}

fn place(job: &Job) -> Place {
    Place { time: job.created_at, job: job.id }
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
        Self { open: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Market {
    /// Jobs changed: each enters, stays or leaves.
    pub fn changed(&self, jobs: &[Arc<Job>]) {
        let is_queued = |job: &Job| job.status() == Status::Queued;
        // Most of the work, done before anybody is kept waiting.
        let readings: Vec<_> = jobs.iter().map(|job| is_queued(job).then(|| Reading::of(&text_of(job)))).collect();
        let mut open = self.write();
        for (job, reading) in jobs.iter().zip(readings) {
            open.changed(job, reading);
        }
        drop(open);
        if jobs.iter().any(|job| is_queued(job)) {
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

    /// The places of up to `count` open jobs, newest first, from behind a place on.
    pub fn newest(&self, after: Option<Place>, count: usize) -> Vec<Place> {
        let open = self.read();
        let before = after.map_or(Bound::Unbounded, Bound::Excluded);
        open.places.range((Bound::Unbounded, before)).rev().take(count).copied().collect()
    }

    /// Whether any job is open to the agent.
    pub fn has_open(&self, agent: AgentId, now: Timestamp) -> bool {
        let open = self.read();
        let closed = open.closed.get(&agent);
        let closed = closed.map_or(0, |closed| closed.values().filter(|offer| !offer.allows(agent, now)).count());
        closed < open.jobs.len()
    }

    /// When the next open job that is closed to the agent for now opens to it.
    pub fn next_opening(&self, agent: AgentId, now: Timestamp) -> Option<Timestamp> {
        let open = self.read();
        let mine = open.closed.get(&agent).into_iter().flat_map(Closed::values).filter(|offer| !offer.barred);
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
