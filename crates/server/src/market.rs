//! The open jobs in memory: what pull chooses from and the board shows. Fed by the store, never the truth: the store
//! decides who holds a job, and a candidate that is gone costs one more look.
//!
//! Changes may come out of order, so each job's version decides: an older one never undoes a later one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clawrk_domain::matching::{Index, Ranked, Reading, Share, Text, Vector};
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
    /// In the order of the board, the newest last.
    places: BTreeSet<Place>,
    left: Left,
    /// The open jobs whose meaning is to be found out; nothing where there is no model.
    wanted: Option<Wanted>,
}

/// Open jobs whose meaning is not known.
#[derive(Default)]
struct Wanted {
    places: BTreeSet<Place>,
    /// Those that the model did not take.
    refused: BTreeSet<Place>,
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
        meaning: Option<&Vector>,
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<Ranked<JobId>> {
        let skip = |id: &JobId| {
            tried.contains(id)
                || self.jobs.get(id).is_none_or(|job| !job.offers.iter().all(|offer| offer.allows(agent, now)))
        };
        self.index.best_by_meaning(personality, meaning, now.micros(), count, skip)
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
        Self { open: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Market {
    /// A market whose jobs are matched by their meaning too, once somebody tells of it.
    pub(crate) fn wanting_meanings() -> Self {
        let open = Open { wanted: Some(Wanted::default()), ..Open::default() };
        Self { open: RwLock::new(open), ..Self::default() }
    }

    /// A job changed: it enters, stays or leaves.
    pub fn changed(&self, job: &Arc<Job>) {
        let queued = job.status() == Status::Queued;
        let place = Place { time: job.created_at, job: job.id };
        // Most of the work, done before anybody is kept waiting.
        let reading = queued.then(|| Reading::of(&text_of(job)));
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
                // Its texts stay the same.
                let meaning = open.index.meaning(&job.id);
                open.index.insert(job.id, reading, job.created_at.micros());
                if let Some(meaning) = meaning {
                    open.index.give(&job.id, &meaning);
                } else if known.is_none()
                    && let Some(wanted) = &mut open.wanted
                {
                    wanted.places.insert(place);
                }
                open.jobs.insert(job.id, OpenJob { version: job.version, offers: job.offers.clone() });
                open.places.insert(place);
            } else {
                open.left.note(job.id, job.version);
                if open.jobs.remove(&job.id).is_some() {
                    open.index.remove(&job.id);
                    open.places.remove(&place);
                    if let Some(wanted) = &mut open.wanted {
                        wanted.places.remove(&place);
                        wanted.refused.remove(&place);
                    }
                }
            }
        }
        if queued {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The best jobs for an agent, best first; those that pull may not hand to it and those tried already left out.
    pub fn candidates(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        meaning: Option<&Vector>,
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<JobId> {
        let open = self.read();
        open.ranked(agent, personality, meaning, now, tried, count).into_iter().map(|ranked| ranked.id).collect()
    }

    /// What pull would choose from, best first, each with what it has in common with the personality.
    pub fn matches(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        meaning: Option<&Vector>,
        now: Timestamp,
        count: usize,
    ) -> Vec<(Ranked<JobId>, Vec<Share>)> {
        let open = self.read();
        let ranked = open.ranked(agent, personality, meaning, now, &[], count);
        let explained = ranked.into_iter().map(|ranked| {
            let shares = open.index.shares(personality.unwrap_or_default(), &ranked.id);
            (ranked, shares)
        });
        explained.collect()
    }

    /// Up to `count` jobs whose meaning is wanted, the newest first; they are wanted no more until somebody says so.
    pub(crate) fn without_meaning(&self, count: usize) -> Vec<Place> {
        let mut open = self.write();
        let Some(wanted) = &mut open.wanted else { return Vec::new() };
        std::iter::from_fn(|| wanted.places.pop_last()).take(count).collect()
    }

    /// How many jobs there are whose meaning is wanted.
    pub(crate) fn count_without_meaning(&self) -> usize {
        self.read().wanted.as_ref().map_or(0, |wanted| wanted.places.len() + wanted.refused.len())
    }

    /// The meaning of these jobs is wanted still, as far as they are open and it is not known.
    pub(crate) fn want(&self, places: &[Place]) {
        let mut open = self.write();
        let still = |place: &&Place| open.places.contains(place) && open.index.meaning(&place.job).is_none();
        let still: Vec<Place> = places.iter().filter(still).copied().collect();
        if let Some(wanted) = &mut open.wanted {
            wanted.places.extend(still);
        }
    }

    /// The model does not take this job.
    pub(crate) fn refused(&self, place: Place) {
        let mut open = self.write();
        if open.places.contains(&place)
            && let Some(wanted) = &mut open.wanted
        {
            wanted.refused.insert(place);
        }
    }

    /// Those that the model did not take are wanted again: it may be another by now.
    pub(crate) fn want_refused_again(&self) {
        if let Some(wanted) = &mut self.write().wanted {
            wanted.places.append(&mut wanted.refused);
        }
    }

    /// What jobs mean; those that are no longer open are passed over.
    pub(crate) fn mean(&self, meanings: &[(JobId, Vector)]) {
        let mut open = self.write();
        for (job, meaning) in meanings {
            open.index.give(job, meaning);
        }
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
        assert!(market.candidates(nobody, None, None, now, &[], 16).is_empty());
        drop(market.write());
    }
}
