//! The open jobs themselves: what pull ranks, what is closed to whom, and the orders of the board.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use clawrk_domain::matching::{Index, Marks, Ranked, Reading, Text, Vector};
use clawrk_domain::{AgentId, Job, JobId, Offer, Status, Timestamp};
use clawrk_store::Place;
use serde_json::value::RawValue;

use super::news::{Event, News};
use super::orders::{Orders, Spot};
use super::wanted::Wanted;
use crate::api::board;

/// The open jobs.
#[derive(Default)]
pub(super) struct Open {
    pub(super) index: Index<JobId>,
    pub(super) jobs: HashMap<JobId, OpenJob>,
    pub(super) closed: HashMap<AgentId, Closed>,
    pub(super) orders: Orders,
    left: Left,
    /// The open jobs whose meaning is to be found out; nothing where there is no model.
    pub(super) wanted: Option<Wanted>,
}

/// What the rules need to know of an open job, and no more: there may be a million.
pub(super) struct OpenJob {
    version: u32,
    closed_to: Box<[AgentId]>,
}

/// The open jobs that an agent was presented with to no end: pull hands it none of them before its time, if ever.
pub(super) type Closed = BTreeMap<JobId, Offer>;

impl Open {
    /// Takes a change in, unless a later one was; whoever follows the board is told of what comes and leaves.
    pub(super) fn changed(&mut self, job: &Job, entering: Option<Entering>, news: &News) {
        let known = self.jobs.get(&job.id).map(|known| known.version);
        if known.or_else(|| self.left.versions.get(&job.id).copied()).is_some_and(|known| known > job.version) {
            return;
        }
        let Some(Entering { reading, marks, body }) = entering else { return self.leave(job, news) };
        if known.is_none() {
            news.add(Event::new(job.id, spot(job).cents, marks, Some(body)));
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
        // Its texts stay the same.
        let meaning = self.index.meaning(&job.id);
        self.index.insert(job.id, reading, job.created_at.micros());
        if let Some(meaning) = meaning {
            self.index.give(&job.id, &meaning);
        } else if !self.jobs.contains_key(&job.id)
            && let Some(wanted) = &mut self.wanted
        {
            wanted.add(place(job));
        }
        self.jobs.insert(job.id, OpenJob { version: job.version, closed_to });
        self.orders.insert(spot(job));
    }

    fn leave(&mut self, job: &Job, news: &News) {
        self.left.note(job.id, job.version);
        self.reopen(&job.id);
        if self.jobs.remove(&job.id).is_some() {
            if let Some(marks) = self.index.marks(&job.id) {
                news.add(Event::new(job.id, spot(job).cents, marks, None));
            }
            self.index.remove(&job.id);
            self.orders.remove(spot(job));
            if let Some(wanted) = &mut self.wanted {
                wanted.remove(place(job));
            }
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

    /// The first so many jobs for an agent, without those that are closed to it.
    pub(super) fn ranked(
        &self,
        agent: AgentId,
        personality: Option<&str>,
        meaning: Option<&Vector>,
        now: Timestamp,
        tried: &[JobId],
        count: usize,
    ) -> Vec<Ranked<JobId>> {
        let closed = self.closed.get(&agent);
        let is_closed =
            |id: &JobId| closed.and_then(|closed| closed.get(id)).is_some_and(|offer| !offer.allows(agent, now));
        let skip = |id: &JobId| tried.contains(id) || is_closed(id);
        self.index.best_by_meaning(personality, meaning, now.micros(), count, skip)
    }
}

fn spot(job: &Job) -> Spot {
    Spot { cents: u32::try_from(job.price.0).unwrap_or(u32::MAX), time: job.created_at, job: job.id }
}

fn place(job: &Job) -> Place {
    Place { time: job.created_at, job: job.id }
}

/// A job that may enter, as everything that keeps it wants it: made before anybody is kept waiting.
pub(super) struct Entering {
    reading: Reading,
    marks: Marks,
    body: Arc<RawValue>,
}

impl Entering {
    /// None for a job that is not open.
    pub(super) fn of(job: &Job) -> Option<Self> {
        (job.status() == Status::Queued).then(|| {
            let reading = Reading::of(&text_of(job));
            Self { marks: Marks::of(&reading), body: board::body(job), reading }
        })
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

/// The words of a job that matching reads.
pub(crate) fn text_of(job: &Job) -> Text<'_> {
    let brief = &job.brief;
    Text { title: &brief.title, description: brief.description.as_deref(), requirements: brief.requirements.as_deref() }
}
