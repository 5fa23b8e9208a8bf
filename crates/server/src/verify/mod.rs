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

mod followers;
pub mod judge;
mod log;
mod look;
mod scrub;

use std::sync::Arc;

use clawrk_domain::verification::Looks;
use clawrk_domain::{Job, TaskKind};
use tokio::sync::{Notify, Semaphore};

pub(crate) use followers::Followers;
pub use judge::{Judge, JudgeFailure};
pub(crate) use look::{LEASE_SECONDS, look};

/// What verifiers share.
pub struct Verifiers {
    seats: [Arc<Semaphore>; 3],
    nudges: [Notify; 3],
    /// Who follows the log of which job.
    pub(crate) followers: Followers,
}

impl Verifiers {
    pub(crate) fn new() -> Self {
        Self {
            seats: [8, 2, 16].map(|seats| Arc::new(Semaphore::new(seats))),
            nudges: Default::default(),
            followers: Followers::default(),
        }
    }

    /// The seats of those that look at this.
    pub(crate) fn seats(&self, at: Looks) -> &Arc<Semaphore> {
        &self.seats[place(at)]
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

    /// For how long a look must be overdue before this node takes it: without what it takes, another one may have it.
    pub(crate) fn leaves_to_others_seconds(&self, at: Looks) -> i64 {
        match at {
            Looks::Checks => 0,
            Looks::Commands | Looks::Criteria => 60,
        }
    }
}

const fn place(at: Looks) -> usize {
    match at {
        Looks::Checks => 0,
        Looks::Commands => 1,
        Looks::Criteria => 2,
    }
}
