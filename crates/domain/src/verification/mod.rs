//! Verification: what a submission is held against, and what came of it.
//!
//! A job has checks, which a machine decides, and criteria, which a judge does. [`Verification`] is the verdict with all
//! that it rests on; [`Stage`] is how far a submission has come on its way there.

mod check;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

pub use check::{Check, CheckResult};

/// Whether a submission is what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is; the worker is paid.
    Pass,
    /// It is not.
    Fail,
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people.
    pub reasoning: String,
    /// What was found about each criterion, where they were judged one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<CriterionResult>,
    /// What came of each check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
    /// Who or what decided: `sender`, `checks`, `judge:<model>`, or `review_window` when the window closed.
    pub verifier: String,
    /// When.
    pub verified_at: Timestamp,
}

impl Verification {
    /// Who decides when nobody does: the review window closed.
    pub(crate) const SILENCE: &'static str = "review_window";

    /// Whether it passed because nobody looked at it in time.
    pub fn is_silence(&self) -> bool {
        self.verifier == Self::SILENCE
    }
}

/// What was found about one criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriterionResult {
    /// The criterion.
    pub text: String,
    /// Whether the submission meets it.
    pub pass: bool,
    /// Why, for people.
    pub reason: String,
}
