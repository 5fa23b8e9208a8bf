//! The open jobs in memory: what pull chooses from. Fed by the store, never the truth: the store
//! decides who holds a job, and a candidate that is gone costs one more look.
//!
//! Changes may come out of order, so each job's version decides: an older one never undoes a later one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clawrk_domain::matching::{Index, Text};
use clawrk_domain::{AgentId, Job, JobId, Offer, Status, Timestamp};
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
}

/// What the rules need to know of an open job, and no more: there may be a million.
struct OpenJob {
    version: u32,
    offers: Vec<Offer>,
}

impl Default for Market {
    fn default() -> Self {
        Self { open: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Market {
    /// A job changed: it enters, stays or leaves.
    pub fn changed(&self, job: &Arc<Job>) {
        let queued = job.status() == Status::Queued;
        {
            let mut open = self.write();
            if open.jobs.get(&job.id).is_some_and(|known| known.version > job.version) {
                return;
            }
            if queued {
                let brief = &job.brief;
                let text = Text {
                    title: &brief.title,
                    description: brief.description.as_deref(),
                    requirements: brief.requirements.as_deref(),
                };
                open.index.insert(job.id, &text, job.created_at.micros());
                open.jobs.insert(job.id, OpenJob { version: job.version, offers: job.offers.clone() });
            } else if open.jobs.remove(&job.id).is_some() {
                open.index.remove(&job.id);
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
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<JobId> {
        let open = self.read();
        let skip = |id: &JobId| {
            tried.contains(id)
                || open.jobs.get(id).is_none_or(|job| !job.offers.iter().all(|offer| offer.allows(agent, now)))
        };
        open.index.best(personality, count, skip).into_iter().map(|ranked| ranked.id).collect()
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
