//! A job: what is asked, at what price, and where it stands.
//!
//! [`State`] makes impossible states unspeakable; the only functions that move a job are in
//! [`moves`], each of which ends in a [`Change`](crate::Change).

pub mod moves;
mod step;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::verification::Stage;
use crate::{AgentId, Cents, Check, JobId, Subject, Task, TaskKind, Timestamp, Upload, UserId, Verification};

/// What a sender wants done; never changes once posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The sender's own words; for the parties only.
    pub prompt: String,
    /// One line; public while the job is queued.
    pub title: String,
    /// What is to be done; public while the job is queued.
    pub description: Option<String>,
    /// The skills needed, as prose; public while the job is queued.
    pub requirements: Option<String>,
    /// What a judge holds the submission against; for the parties only.
    pub criteria: Vec<String>,
    /// What a machine holds it against; for the parties only.
    pub checks: Vec<Check>,
    /// Files that come with the job, as they were then; for the parties only.
    pub attachments: Vec<Upload>,
    /// The environment variables, encrypted by the server; the rules never look inside.
    pub sealed_env: Option<Vec<u8>>,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which job.
    pub id: JobId,
    /// Who pays.
    pub sender: UserId,
    /// What is asked.
    pub brief: Arc<Brief>,
    /// What the sender pays.
    pub price: Cents,
    /// What of it the exchange keeps; fixed when the job was created.
    pub fee: Cents,
    /// How long an attempt may take, in seconds.
    pub time_limit_seconds: i64,
    /// Where it stands.
    pub state: State,
    /// Attempts begun so far.
    pub attempt_count: u32,
    /// The sender wants it cancelled as soon as an attempt fails.
    pub cancellation_requested: bool,
    /// Every agent that was presented the job, in that order.
    pub offers: Vec<Offer>,
    /// Counts the changes; numbers the job's history.
    pub version: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where a job stands, with all that this implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Created, but the wallet had too little.
    PendingPayment,
    /// Paid into escrow, waiting for an agent.
    Queued,
    /// An agent thinks about it.
    Held {
        /// Which agent.
        by: Worker,
        /// Until when.
        until: Timestamp,
    },
    /// An agent works on it.
    Accepted(Attempt),
    /// A submission waits for its verdict.
    Submitted(Attempt, Submission, Stage),
    /// A submission passed; the worker is paid.
    Verified(Finished),
    /// All attempts failed; the sender has the money back.
    Failed(Finished),
    /// The sender called it off; with the last attempt, where one had failed.
    Cancelled(Option<Finished>),
}

/// A state's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// See [`State::PendingPayment`].
    PendingPayment,
    /// See [`State::Queued`].
    Queued,
    /// See [`State::Held`].
    Held,
    /// See [`State::Accepted`].
    Accepted,
    /// See [`State::Submitted`].
    Submitted,
    /// See [`State::Verified`].
    Verified,
    /// See [`State::Failed`].
    Failed,
    /// See [`State::Cancelled`].
    Cancelled,
}

impl Status {
    /// Every status, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::PendingPayment,
        Self::Queued,
        Self::Held,
        Self::Accepted,
        Self::Submitted,
        Self::Verified,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The status as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingPayment => "pending_payment",
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Accepted => "accepted",
            Self::Submitted => "submitted",
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job's price is in its escrow.
    pub const fn is_funded(self) -> bool {
        matches!(self, Self::Queued | Self::Held | Self::Accepted | Self::Submitted)
    }

    /// Whether nothing happens to the job any more.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Verified | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// An agent at a job, and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Which agent.
    pub agent: AgentId,
    /// Whose agent: who is paid.
    pub user: UserId,
}

/// One try at a job, from accepting it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The first is 1.
    pub number: u32,
    /// Whose try.
    pub worker: Worker,
    /// When it began.
    pub accepted_at: Timestamp,
    /// When it must be submitted by.
    pub deadline_at: Timestamp,
}

/// What was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The work itself.
    pub output_text: Option<Arc<str>>,
    /// Files that are part of it, as they were then.
    pub output_files: Vec<Upload>,
    /// When it came in.
    pub submitted_at: Timestamp,
}

/// The last attempt of a job that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The attempt.
    pub attempt: Attempt,
    /// What it handed in, if it got so far.
    pub submission: Option<Submission>,
    /// What was found about it, if it was judged.
    pub verification: Option<Verification>,
}

/// An agent was presented a job: a fact that outlives the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// To whom.
    pub worker: Worker,
    /// It rejected or failed the job: pull never offers it again.
    pub barred: bool,
    /// Its hold ran out: pull does not offer it again before this time.
    pub not_before: Option<Timestamp>,
}

impl Offer {
    /// Whether this offer leaves the job open to the agent: it was another's, or did not end badly, or long ago.
    pub fn allows(&self, agent: AgentId, now: Timestamp) -> bool {
        self.worker.agent != agent || !(self.barred || self.not_before.is_some_and(|time| time > now))
    }
}

/// What a user may see of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Everything: the sender.
    Sender,
    /// Everything but, once the attempt is over, the variables' values: the owner of the current or last receiver.
    Receiver,
    /// Everything but the variables' values: the holder's owner.
    Holder,
    /// What the board shows, in every state: a user one of whose agents was presented the job.
    Presented,
    /// What the board shows, as the job is on it.
    Board,
    /// Not even that it exists.
    Nothing,
}

impl Job {
    /// The state's name.
    pub const fn status(&self) -> Status {
        match self.state {
            State::PendingPayment => Status::PendingPayment,
            State::Queued => Status::Queued,
            State::Held { .. } => Status::Held,
            State::Accepted(_) => Status::Accepted,
            State::Submitted(..) => Status::Submitted,
            State::Verified(_) => Status::Verified,
            State::Failed(_) => Status::Failed,
            State::Cancelled(_) => Status::Cancelled,
        }
    }

    /// What a worker gets when it passes.
    pub fn payout(&self) -> Cents {
        self.price - self.fee
    }

    /// The current attempt, or the last one of a job that is over.
    pub const fn attempt(&self) -> Option<&Attempt> {
        match &self.state {
            State::Accepted(attempt) | State::Submitted(attempt, ..) => Some(attempt),
            State::Verified(end) | State::Failed(end) | State::Cancelled(Some(end)) => Some(&end.attempt),
            _ => None,
        }
    }

    /// What the current or last attempt handed in.
    pub const fn submission(&self) -> Option<&Submission> {
        match &self.state {
            State::Submitted(_, submission, _) => Some(submission),
            State::Verified(end) | State::Failed(end) | State::Cancelled(Some(end)) => end.submission.as_ref(),
            _ => None,
        }
    }

    /// What was found about the last attempt.
    pub const fn verification(&self) -> Option<&Verification> {
        match &self.state {
            State::Verified(end) | State::Failed(end) | State::Cancelled(Some(end)) => end.verification.as_ref(),
            _ => None,
        }
    }

    /// Who received the job.
    pub fn receiver(&self) -> Option<Worker> {
        self.attempt().map(|attempt| attempt.worker)
    }

    /// What the user may see of this job.
    pub fn sight(&self, user: UserId) -> Sight {
        if self.sender == user {
            return Sight::Sender;
        }
        if self.receiver().is_some_and(|worker| worker.user == user) {
            return Sight::Receiver;
        }
        match &self.state {
            State::Held { by, .. } if by.user == user => Sight::Holder,
            _ if self.offers.iter().any(|offer| offer.worker.user == user) => Sight::Presented,
            State::Queued => Sight::Board,
            _ => Sight::Nothing,
        }
    }

    /// Whether the user may have the values of the job's environment variables now.
    pub fn releases_env_to(&self, user: UserId) -> bool {
        self.sender == user
            || matches!(&self.state, State::Accepted(attempt) | State::Submitted(attempt, ..) if attempt.worker.user == user)
    }

    /// Whether pull may hand this job to the agent now.
    pub fn is_open_to(&self, agent: AgentId, now: Timestamp) -> bool {
        self.state == State::Queued && self.offers.iter().all(|offer| offer.allows(agent, now))
    }

    /// What the exchange itself has to do about this job, if nobody does anything before.
    pub const fn timer(&self) -> Option<Task> {
        let (kind, due_at) = match &self.state {
            State::Held { until, .. } => (TaskKind::ExpireHold, *until),
            State::Accepted(attempt) => (TaskKind::ExpireDeadline, attempt.deadline_at),
            State::Submitted(_, _, Stage::Review { until, .. }) => (TaskKind::CloseReview, *until),
            State::Submitted(_, _, Stage::Looking(look)) => (TaskKind::Verify(look.at), look.due_at),
            _ => return None,
        };
        Some(Task { kind, subject: Subject::Job(self.id), due_at })
    }
}
