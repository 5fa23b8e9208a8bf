//! Verification: whoever looks at submissions, here and now, and what they need for it.
//!
//! | Looks at | With            | Seats on a node                                    |
//! |----------|-----------------|----------------------------------------------------|
//! | checks   | the submission  | a few: they take milliseconds                      |
//! | commands | a sandbox       | as many as the sandbox has room for                |
//! | criteria | a model         | some: they wait for somebody else's machine        |
//!
//! A submission's way from look to look is the domain's: see `domain/verification/stage.rs`. A look is a leased task,
//! see `tasks/verifying.rs`: whoever looks keeps the lease for as long as it takes, and a node that dies is followed by
//! another once the lease runs out. What is found is written down once, with the verdict and the money that it moves.

mod commands;
mod followers;
pub mod judge;
mod log;
mod look;
mod scrub;
mod subject;

use std::sync::Arc;

use clawrk_domain::verification::Looks;
use clawrk_domain::{Job, TaskKind};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub use commands::Commands;
pub(crate) use followers::Followers;
pub use judge::{Judge, JudgeFailure};
pub(crate) use log::Log;
pub(crate) use look::{LEASE_SECONDS, look};
pub(crate) use scrub::Scrubber;
pub(crate) use subject::Subject;

/// How much is verified at once outside of any job.
const VISITORS: usize = 16;

/// What verifiers share.
pub struct Verifiers {
    seats: [Arc<Semaphore>; 3],
    nudges: [Notify; 3],
    /// The seats of what is verified outside of any job.
    visitors: Arc<Semaphore>,
    /// Who follows the log of which job.
    pub(crate) followers: Followers,
}

impl Verifiers {
    pub(crate) fn new() -> Self {
        Self {
            seats: [8, 4, 16].map(|seats| Arc::new(Semaphore::new(seats))),
            nudges: Default::default(),
            visitors: Arc::new(Semaphore::new(VISITORS)),
            followers: Followers::default(),
        }
    }

    /// The seats of those that look at this.
    pub(crate) fn seats(&self, at: Looks) -> &Arc<Semaphore> {
        &self.seats[place(at)]
    }

    /// A seat for what is verified outside of any job; none when all are taken.
    pub(crate) fn visitor(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.visitors).try_acquire_owned().ok()
    }

    /// Resolves when there may be something new to look at.
    pub(crate) async fn nudged(&self, at: Looks) {
        self.nudges[place(at)].notified().await;
    }

    /// A job has changed.
    pub(crate) fn hear(&self, job: &Job) {
        self.followers.tell(job.id);
        if let Some(TaskKind::Verify(at)) = job.timer().map(|task| task.kind) {
            self.nudge(at);
        }
    }

    /// There is something to look at.
    pub(crate) fn nudge(&self, at: Looks) {
        self.nudges[place(at)].notify_one();
    }
}

const fn place(at: Looks) -> usize {
    match at {
        Looks::Checks => 0,
        Looks::Commands => 1,
        Looks::Criteria => 2,
    }
}
