//! The open jobs in memory: what pull chooses from and the board shows. Fed by the store, never the truth: the store
//! decides who holds a job, and a candidate that is gone costs one more look.
//!
//! Changes may come out of order, so each job's version decides: an older one never undoes a later one.
//!
//! | File        | What it has                                                             |
//! |-------------|-------------------------------------------------------------------------|
//! | `open.rs`   | the open jobs: their index, the orders, what is closed to whom           |
//! | `orders.rs` | the board's orders, and places in them                                   |
//! | `pages.rs`  | the board's pages, bounded in what they look at                          |
//! | `wanted.rs` | the jobs whose meaning is to be found out, where there is a model        |
//! | `news.rs`   | what came and left lately, for those who follow the board                |

mod news;
mod open;
mod orders;
mod pages;
mod wanted;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clawrk_domain::matching::{Ranked, Share, Vector};
use clawrk_domain::{AgentId, Job, JobId, Timestamp};
use tokio::sync::watch;

pub use news::{After, Event, News};
pub(crate) use open::text_of;
use open::{Closed, Entering, Open};
pub use orders::{Sort, Spot};
use pages::Bounds;
pub use pages::{Page, View};
use wanted::Wanted;

/// The open jobs of one node.
pub struct Market {
    open: RwLock<Open>,
    changes: watch::Sender<u64>,
    /// What followers of the board are told.
    pub news: News,
    bounds: Bounds,
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
    /// A market whose jobs are matched by their meaning too, once somebody tells of it.
    pub(crate) fn wanting_meanings() -> Self {
        let market = Self::default();
        market.write().wanted = Some(Wanted::default());
        market
    }

    /// Jobs changed: each enters, stays or leaves.
    pub fn changed(&self, jobs: &[Arc<Job>]) {
        // Most of the work, done before anybody is kept waiting.
        let entering: Vec<Option<Entering>> = jobs.iter().map(|job| Entering::of(job)).collect();
        let any_enters = entering.iter().any(Option::is_some);
        {
            let mut open = self.write();
            for (job, entering) in jobs.iter().zip(entering) {
                open.changed(job, entering, &self.news);
            }
        }
        self.news.tell();
        if any_enters {
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
