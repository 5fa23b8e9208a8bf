//! Tasks: what the exchange itself has to do at a time.

use std::fmt;

use crate::verification::Looks;
use crate::{JobId, NoticeId, PaymentId, Timestamp, UserId};

/// What kind of thing is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKind {
    /// Put a held job back when the hold has run out.
    ExpireHold,
    /// End an attempt at its deadline.
    ExpireDeadline,
    /// Pass a submission whose review window is over.
    CloseReview,
    /// Look at a submission.
    Verify(Looks),
    /// Charge a card if a balance is low.
    TopUp,
    /// Have Stripe carry out a payment, or find out whether it did.
    Pay,
    /// Work off what Stripe told.
    Heed,
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ExpireHold,
        Self::ExpireDeadline,
        Self::CloseReview,
        Self::Verify(Looks::Checks),
        Self::Verify(Looks::Commands),
        Self::Verify(Looks::Criteria),
        Self::TopUp,
        Self::Pay,
        Self::Heed,
    ];

    /// The kind's name, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpireHold => "expire_hold",
            Self::ExpireDeadline => "expire_deadline",
            Self::CloseReview => "close_review",
            Self::Verify(Looks::Checks) => "verify_checks",
            Self::Verify(Looks::Commands) => "verify_commands",
            Self::Verify(Looks::Criteria) => "verify_criteria",
            Self::TopUp => "top_up",
            Self::Pay => "stripe_pay",
            Self::Heed => "stripe_heed",
        }
    }

    /// What the text, which is the id of what a task of this kind is about, stands for.
    pub fn subject(self, id: &str) -> Option<Subject> {
        match self {
            Self::TopUp => id.parse().ok().map(Subject::User),
            Self::Pay => id.parse().ok().map(Subject::Payment),
            Self::Heed => id.parse().ok().map(Subject::Notice),
            _ => id.parse().ok().map(Subject::Job),
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a task is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A job.
    Job(JobId),
    /// A payment.
    Payment(PaymentId),
    /// A notice of Stripe's.
    Notice(NoticeId),
    /// A user.
    User(UserId),
}

impl fmt::Display for Subject {
    /// The id alone: of which kind it is follows from the task's kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => job.fmt(f),
            Self::Payment(payment) => payment.fmt(f),
            Self::Notice(notice) => notice.fmt(f),
            Self::User(user) => user.fmt(f),
        }
    }
}

/// Something to be done about something, at a time. There is at most one of each kind for one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// What.
    pub kind: TaskKind,
    /// About what.
    pub subject: Subject,
    /// From when on; also the fence: a task whose time is not the current one of its subject is stale.
    pub due_at: Timestamp,
}

impl Task {
    /// The job that it is about, if it is about one.
    pub const fn job(&self) -> Option<JobId> {
        if let Subject::Job(job) = self.subject { Some(job) } else { None }
    }
}

/// A task that one runner has taken for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// What is to be done.
    pub task: Task,
    /// Who has it: a later lease of the same task has another token.
    pub token: i64,
}
