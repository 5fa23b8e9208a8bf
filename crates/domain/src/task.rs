//! Tasks: what the exchange itself has to do at a time.

use crate::verification::Looks;
use crate::{JobId, Timestamp};

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
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::ExpireHold,
        Self::ExpireDeadline,
        Self::CloseReview,
        Self::Verify(Looks::Checks),
        Self::Verify(Looks::Commands),
        Self::Verify(Looks::Criteria),
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
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Something to be done for a job, at a time. A job has at most one of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// What.
    pub kind: TaskKind,
    /// For which job.
    pub job: JobId,
    /// From when on; also the fence: a task whose time is not the job's current one is stale.
    pub due_at: Timestamp,
}

/// A task that one runner has taken for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// What is to be done.
    pub task: Task,
    /// Who has it: a later lease of the same task has another token.
    pub token: i64,
}
