//! Everything that can follow from a command: an answer, and what is written down.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::{Attempt, Status, Submission, Worker};
use crate::payment::{AutoTopUp, NewNotice, NoticeEnd, Payment, StripeIds};
use crate::verification::{LogLine, Stage};
use crate::{
    Agent, ApiKey, Cents, Job, JobId, KeyId, NoticeId, Task, Timestamp, Transfer, Upload, UploadId, User, UserId,
    Verification,
};

/// What follows from a command that was not refused; all of it or nothing is written.
#[derive(Debug, Clone)]
pub struct Change {
    /// What the asker is told.
    pub answer: Answer,
    /// What is written down, in this order.
    pub writes: Vec<Write>,
}

impl Change {
    /// An answer and nothing written.
    pub(crate) const fn none(answer: Answer) -> Self {
        Self { answer, writes: Vec::new() }
    }

    /// One more thing to write.
    pub(crate) fn and(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// This change after another one's writes; the answer is this one's.
    pub(crate) fn after(mut self, earlier: Self) -> Self {
        let mut writes = earlier.writes;
        writes.append(&mut self.writes);
        self.writes = writes;
        self
    }
}

/// What the asker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The user as created.
    User(User),
    /// The agent as it is now.
    Agent(Agent),
    /// The key as created.
    Key(ApiKey),
    /// The file as kept.
    Upload(Upload),
    /// The payment as it is now.
    Payment(Payment),
    /// When the wallet is topped up by itself.
    AutoTopUp(AutoTopUp),
    /// The job as it is now.
    Job(Arc<Job>),
    /// The job was kept, but not paid: the wallet had too little.
    Short {
        /// The job, waiting for payment.
        job: Arc<Job>,
        /// What it takes.
        required: Cents,
        /// What the wallet had.
        available: Cents,
    },
    /// Done, or nothing there: there is no more to say.
    Nothing,
}

/// One thing to write down.
#[derive(Debug, Clone)]
pub enum Write {
    /// A user comes, with an empty wallet.
    CreateUser(User),
    /// An agent comes.
    CreateAgent(Agent),
    /// An agent changes.
    UpdateAgent(Agent),
    /// An agent goes.
    DeleteAgent(Agent, Timestamp),
    /// A key comes.
    CreateKey(ApiKey),
    /// A key goes.
    RevokeKey(KeyId, Timestamp),
    /// A key was used.
    TouchKey(KeyId, Timestamp),
    /// A job comes.
    CreateJob(Arc<Job>),
    /// A job changes; its brief and price never do.
    UpdateJob(Arc<Job>),
    /// An attempt begins or gets further.
    Attempt(AttemptRecord),
    /// Money moves.
    Transfer(Transfer),
    /// Something happened to a job.
    Event(Event),
    /// Something is to be done at a time.
    Schedule(Task),
    /// It is no longer to be done.
    Unschedule(Task),
    /// A file comes.
    CreateUpload(Upload),
    /// A file goes.
    DeleteUpload(UploadId),
    /// A job names a file: attempt 0 for what comes with the job, else the attempt that hands it in.
    UseUpload(UploadId, JobId, u32),
    /// The log of an attempt's verification goes on.
    Log(JobId, u32, Vec<LogLine>),
    /// A payment begins.
    CreatePayment(Payment),
    /// A payment gets further.
    UpdatePayment(Payment),
    /// A wallet owes so much more.
    Owe(UserId, Cents),
    /// What is known of a user's dealings with Stripe.
    Stripe(UserId, StripeIds),
    /// When a wallet is topped up by itself.
    AutoTopUp(UserId, AutoTopUp),
    /// A notice of Stripe's comes, unless it is there.
    CreateNotice(NewNotice, Timestamp),
    /// A notice is worked off.
    EndNotice(NoticeId, NoticeEnd, Timestamp),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Verified,
    /// It did not.
    Failed,
}

impl Outcome {
    /// The outcome as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
}

/// An attempt in the job's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// At which job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// What it handed in.
    pub submission: Option<Submission>,
    /// Where that is on its way to a verdict, while it is.
    pub stage: Option<Stage>,
    /// What was found about it.
    pub verification: Option<Verification>,
    /// How it ended; none while it is the current one.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Who moved a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mover {
    /// Its sender.
    Sender,
    /// The agent at it.
    Agent,
    /// The exchange, when a time had come.
    Exchange,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was posted.
    Posted,
    /// It was paid later.
    Paid,
    /// It was presented to an agent that asked for work.
    Pulled,
    /// An agent asked for this very job.
    Claimed,
    /// The holder took it on.
    Accepted,
    /// The holder did not want it.
    Rejected,
    /// The hold ran out.
    HoldExpired,
    /// Work was handed in.
    Submitted,
    /// The receiver gave up.
    GaveUp,
    /// The deadline passed.
    DeadlinePassed,
    /// No machine could say whether the submission passes: its sender decides.
    ReviewNeeded,
    /// The submission did not pass.
    VerificationFailed,
    /// The submission passed.
    Verified,
    /// The sender wants it cancelled at the next failure.
    CancellationRequested,
    /// It was cancelled.
    Cancelled,
}

/// A line of a job's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Of which job.
    pub job: JobId,
    /// Its place in the history, from 1.
    pub n: u32,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Who did it.
    pub by: Mover,
    /// The job's status from then on.
    pub status: Status,
    /// The agent it concerns.
    pub worker: Option<Worker>,
    /// The attempt it concerns.
    pub attempt: Option<u32>,
    /// Why, in people's words.
    pub reason: Option<String>,
    /// The money it moved.
    pub moved: Vec<Moved>,
}

/// Money that an event moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The kind of account it came from.
    pub from: Cow<'static, str>,
    /// The kind of account it went to.
    pub to: Cow<'static, str>,
    /// How much.
    pub cents: Cents,
}

impl Write {
    /// The job that this write changes.
    pub fn job(&self) -> Option<&Arc<Job>> {
        match self {
            Self::CreateJob(job) | Self::UpdateJob(job) => Some(job),
            _ => None,
        }
    }

    /// The wallet that this write changes.
    pub fn wallet(&self) -> Option<(UserId, Cents)> {
        if let Self::Transfer(transfer) = self { transfer.wallet() } else { None }
    }
}
