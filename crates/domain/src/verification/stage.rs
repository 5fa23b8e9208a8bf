//! How a submission comes to its verdict: checks first, then criteria, then, where no machine can say, the sender.
//!
//! | Stage                | Who acts    | What follows                                                                |
//! |----------------------|-------------|-----------------------------------------------------------------------------|
//! | looking at checks    | a verifier  | one failed: fail. All passed: criteria, or a pass where there are none        |
//! | looking at criteria  | a verifier  | one not met: fail. All met: pass. No judge: review                          |
//! | review               | the sender  | pass or fail; a pass by itself at the end of the window                       |
//!
//! A look that comes to nothing, because a model or a sandbox is away or answers nonsense, is repeated: after 1 s, then
//! twice as long each time, at most 60 s apart. It costs nobody an attempt, and after an hour the sender may decide.

use serde::{Deserialize, Serialize};

use super::{CheckResult, CriterionResult};
use crate::{Check, Policy, Timestamp};

/// For how long a look that comes to nothing is repeated, in seconds.
const PATIENCE_SECONDS: i64 = 3600;
/// Between two looks, at most, in seconds.
const LONGEST_PAUSE_SECONDS: i64 = 60;

/// Where a submission is on its way to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// A verifier looks at it, or is about to.
    Looking(Looking),
    /// The sender decides.
    Review {
        /// When it passes by itself.
        until: Timestamp,
        /// The checks that it has passed.
        checks: Vec<CheckResult>,
    },
}

/// A look at a submission, and those before it that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looking {
    /// What is looked at.
    pub at: Looks,
    /// From when on; also the fence: a finding of an earlier look is stale.
    pub due_at: Timestamp,
    /// How many looks came to nothing.
    pub tries: u32,
    /// When the first one of these was due.
    pub since: Timestamp,
    /// Why the last one came to nothing.
    pub problem: Option<String>,
    /// The checks that the submission has passed.
    pub checks: Vec<CheckResult>,
}

/// What a verifier looks at: each has runners of its own, so that what is quick never waits for what is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Looks {
    /// Checks that need nothing but the submission.
    Checks,
    /// Checks of which some are commands, for a sandbox.
    Commands,
    /// Criteria, for a judge.
    Criteria,
}

/// What a verifier found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What came of each check.
    Checks(Vec<CheckResult>),
    /// What was found about each criterion, and by whom.
    Criteria(Vec<CriterionResult>, String),
    /// Nothing yet: something that it needs is away, or answers nonsense.
    Trouble {
        /// What, for people.
        problem: String,
        /// For how long it asked to be left alone, in seconds.
        pause_seconds: Option<i64>,
    },
    /// Nobody here can judge criteria.
    NoJudge,
}

/// A line of the log of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Of which kind.
    pub kind: LogKind,
    /// What, without a secret and without control characters.
    pub text: String,
}

/// What a line of a log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// How far the verification has come.
    Status,
    /// What was done or said.
    Log,
}

impl Found {
    /// Whether it can come of a look at this.
    pub(crate) const fn is_about(&self, at: Looks) -> bool {
        match self {
            Self::Checks(_) => !matches!(at, Looks::Criteria),
            Self::Criteria(..) | Self::NoJudge => matches!(at, Looks::Criteria),
            Self::Trouble { .. } => true,
        }
    }
}

impl LogKind {
    /// The kind as stored and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Log => "log",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Status, Self::Log].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Stage {
    /// Where a submission begins that came in now.
    pub(crate) fn first(checks: &[Check], criteria: &[String], now: Timestamp, policy: &Policy) -> Self {
        if checks.is_empty() {
            return Self::after_checks(criteria, Vec::new(), now, policy);
        }
        let commands = checks.iter().any(Check::needs_sandbox);
        Self::Looking(Looking::begun(if commands { Looks::Commands } else { Looks::Checks }, now, Vec::new()))
    }

    /// Where a submission is that has passed these checks, and cannot be said to pass.
    pub(crate) fn after_checks(criteria: &[String], passed: Vec<CheckResult>, now: Timestamp, policy: &Policy) -> Self {
        if policy.has_judge && !criteria.is_empty() {
            Self::Looking(Looking::begun(Looks::Criteria, now, passed))
        } else {
            Self::review(passed, now, policy)
        }
    }

    pub(crate) fn review(checks: Vec<CheckResult>, now: Timestamp, policy: &Policy) -> Self {
        Self::Review { until: now.plus_seconds(policy.review_window_seconds), checks }
    }

    /// The checks that the submission has passed.
    pub fn checks(&self) -> &[CheckResult] {
        match self {
            Self::Looking(look) => &look.checks,
            Self::Review { checks, .. } => checks,
        }
    }
}

impl Looking {
    fn begun(at: Looks, now: Timestamp, checks: Vec<CheckResult>) -> Self {
        Self { at, due_at: now, tries: 0, since: now, problem: None, checks }
    }

    /// The next look, or the sender's review once this has gone on for too long.
    pub(crate) fn again(self, problem: String, pause_seconds: Option<i64>, now: Timestamp, policy: &Policy) -> Stage {
        if now.micros() - self.since.micros() >= PATIENCE_SECONDS * 1_000_000 {
            return Stage::review(self.checks, now, policy);
        }
        let doubled = 1_i64 << self.tries.min(6);
        let pause = pause_seconds.unwrap_or(0).max(doubled).min(LONGEST_PAUSE_SECONDS);
        let (due_at, tries) = (now.plus_seconds(pause), self.tries + 1);
        Stage::Looking(Self { due_at, tries, problem: Some(problem), ..self })
    }
}
