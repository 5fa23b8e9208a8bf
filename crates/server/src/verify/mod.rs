//! Verification: whoever looks at submissions, here and now, and what they need for it.
//!
//! | Looks at | With            | Seats on a node                                    |
//! |----------|-----------------|----------------------------------------------------|
//! | checks   | the submission  | a few: they take milliseconds                      |
//! | commands | a sandbox       | a few: those without a turn in the sandbox wait    |
//! | criteria | a model         | some: they wait for somebody else's machine        |
//!
//! Commands and criteria may take minutes: of their seats on a node no sender has more than half, whoever else waits.
//!
//! A submission's way from look to look is the domain's: see `domain/verification/stage.rs`. A look is a leased task,
//! see `tasks/verifying.rs`: whoever looks keeps the lease for as long as it takes, and a node that dies is followed by
//! another once the lease runs out. What is found is written down once, with the verdict and the money that it moves.

mod commands;
mod followers;
mod in_hand;
pub mod judge;
mod log;
mod look;
mod scrub;
mod subject;

use std::sync::Arc;

use clawrk_domain::verification::Looks;
use clawrk_domain::{Job, TaskKind, UserId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub use commands::Commands;
pub(crate) use followers::Followers;
use in_hand::InHand;
pub(crate) use in_hand::One;
pub use judge::{Judge, JudgeFailure};
pub(crate) use log::Log;
pub(crate) use look::look;
pub(crate) use scrub::Scrubber;
pub(crate) use subject::Subject;

/// How much is looked at at once: checks, commands, criteria.
const SEATS: [usize; 3] = [8, 4, 16];
/// How much is verified at once outside of any job.
const VISITORS: usize = 16;
/// How much of that for one user.
const VISITS: usize = 4;
/// How many of them are in the sandbox at once: the other turns there are for jobs.
const VISITORS_IN_SANDBOX: usize = 1;
/// How many of them are before the judge at once, who is asked two things at a time of each, and of each job.
const VISITORS_JUDGED: usize = 8;

/// What verifiers share.
pub struct Verifiers {
    seats: [Arc<Semaphore>; 3],
    /// Whose submissions are looked at.
    senders: [InHand; 3],
    nudges: [Notify; 3],
    /// The seats of what is verified outside of any job.
    visitors: Arc<Semaphore>,
    /// Who has some of them.
    visiting: InHand,
    /// The turns that these have in the sandbox.
    pub(crate) visitors_in_sandbox: Semaphore,
    /// The turns that these have before the judge.
    pub(crate) visitors_judged: Semaphore,
    /// Who follows the log of which job.
    pub(crate) followers: Followers,
}

impl Verifiers {
    pub(crate) fn new() -> Self {
        Self {
            seats: SEATS.map(|seats| Arc::new(Semaphore::new(seats))),
            senders: Default::default(),
            nudges: Default::default(),
            visitors: Arc::new(Semaphore::new(VISITORS)),
            visiting: InHand::default(),
            visitors_in_sandbox: Semaphore::new(VISITORS_IN_SANDBOX),
            visitors_judged: Semaphore::new(VISITORS_JUDGED),
            followers: Followers::default(),
        }
    }

    /// The seats of those that look at this.
    pub(crate) fn seats(&self, at: Looks) -> &Arc<Semaphore> {
        &self.seats[place(at)]
    }

    /// Whether of these seats no sender has more than half.
    pub(crate) const fn are_shared(at: Looks) -> bool {
        !matches!(at, Looks::Checks)
    }

    /// The senders who have half of these seats.
    pub(crate) fn have_their_share(&self, at: Looks) -> [Option<UserId>; 2] {
        let mut senders = self.senders[place(at)].with(SEATS[place(at)] / 2).into_iter();
        [senders.next(), senders.next()]
    }

    /// A sender's submission is looked at, until this is dropped.
    pub(crate) fn look_for(&self, sender: UserId, at: Looks) -> One {
        self.senders[place(at)].add(sender)
    }

    /// A seat for what is verified outside of any job; none when all are taken, or as many as one user may have.
    pub(crate) fn visitor(&self, user: UserId) -> Option<Visit> {
        let seat = Arc::clone(&self.visitors).try_acquire_owned().ok()?;
        Some(Visit { _one: self.visiting.add_below(user, VISITS)?, _seat: seat })
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
    _one: One,
    _seat: OwnedSemaphorePermit,
}

const fn place(at: Looks) -> usize {
    match at {
        Looks::Checks => 0,
        Looks::Commands => 1,
        Looks::Criteria => 2,
    }
}
