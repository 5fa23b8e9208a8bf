//! Verification: whoever looks at submissions, here and now, and what they need for it.
//!
//! | Looks at | With            | Seats on a node                                    |
//! |----------|-----------------|----------------------------------------------------|
//! | checks   | the submission  | a few: they take milliseconds                      |
//! | commands | a sandbox       | a few: those without a turn in the sandbox wait    |
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

use std::sync::{Arc, Mutex, MutexGuard};

use clawrk_domain::verification::Looks;
use clawrk_domain::{Job, TaskKind, UserId};
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
/// How much of that for one user.
const VISITS: usize = 4;
/// How many of them are in the sandbox at once: the other turns there are for jobs.
const VISITORS_IN_SANDBOX: usize = 1;

/// What verifiers share.
pub struct Verifiers {
    seats: [Arc<Semaphore>; 3],
    nudges: [Notify; 3],
    /// The seats of what is verified outside of any job.
    visitors: Arc<Semaphore>,
    /// Who has some of them, a user as often as seats.
    visiting: Arc<Mutex<Vec<UserId>>>,
    /// The turns that these have in the sandbox.
    pub(crate) visitors_in_sandbox: Semaphore,
    /// Who follows the log of which job.
    pub(crate) followers: Followers,
}

impl Verifiers {
    pub(crate) fn new() -> Self {
        Self {
            seats: [8, 4, 16].map(|seats| Arc::new(Semaphore::new(seats))),
            nudges: Default::default(),
            visitors: Arc::new(Semaphore::new(VISITORS)),
            visiting: Arc::default(),
            visitors_in_sandbox: Semaphore::new(VISITORS_IN_SANDBOX),
            followers: Followers::default(),
        }
    }

    /// The seats of those that look at this.
    pub(crate) fn seats(&self, at: Looks) -> &Arc<Semaphore> {
        &self.seats[place(at)]
    }

    /// A seat for what is verified outside of any job; none when all are taken, or as many as one user may have.
    pub(crate) fn visitor(&self, user: UserId) -> Option<Visit> {
        let seat = Arc::clone(&self.visitors).try_acquire_owned().ok()?;
        let mut visiting = lock(&self.visiting);
        if visiting.iter().filter(|other| **other == user).count() >= VISITS {
            return None;
        }
        visiting.push(user);
        Some(Visit { user, visiting: Arc::clone(&self.visiting), _seat: seat })
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

/// The seat of somebody who has something verified outside of any job, until it is dropped.
pub(crate) struct Visit {
    user: UserId,
    visiting: Arc<Mutex<Vec<UserId>>>,
    _seat: OwnedSemaphorePermit,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut visiting = lock(&self.visiting);
        if let Some(at) = visiting.iter().position(|user| *user == self.user) {
            visiting.swap_remove(at);
        }
    }
}

fn lock(visiting: &Mutex<Vec<UserId>>) -> MutexGuard<'_, Vec<UserId>> {
    visiting.lock().expect("nothing panics while it is held")
}

const fn place(at: Looks) -> usize {
    match at {
        Looks::Checks => 0,
        Looks::Commands => 1,
        Looks::Criteria => 2,
    }
}
