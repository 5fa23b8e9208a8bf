//! Verification: what a submission is held against, and what came of it.
//!
//! A job has checks, which a machine decides, and criteria, which a judge does. [`Verification`] is the verdict with all
//! that it rests on; [`Stage`] is how far a submission has come on its way there.

pub mod check;
pub mod judge;
mod stage;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

pub use check::{Check, CheckResult, Handed, HandedFile, read_checks};
pub use stage::{Found, LogKind, LogLine, Looking, Looks, Stage};

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
    /// The verdict of checks alone: all must pass.
    pub fn of_checks(checks: Vec<CheckResult>, now: Timestamp) -> Self {
        let failed: Vec<&CheckResult> = checks.iter().filter(|check| !check.pass).collect();
        let (verdict, reasoning) = match failed.first() {
            None => (Verdict::Pass, format!("{} passed.", all_of(checks.len(), "check"))),
            Some(first) => {
                let many = if checks.len() == 1 {
                    String::new()
                } else {
                    format!("{} of {} checks failed. ", failed.len(), checks.len())
                };
                (Verdict::Fail, format!("{many}{}: {}", first.kind, first.detail))
            }
        };
        Self { verdict, reasoning, criteria: Vec::new(), checks, verifier: "checks".to_owned(), verified_at: now }
    }

    /// The verdict of a judge about criteria, of which all must be met, of a submission that has passed these checks.
    pub fn of_criteria(
        criteria: Vec<CriterionResult>,
        checks: Vec<CheckResult>,
        verifier: String,
        now: Timestamp,
    ) -> Self {
        let failed: Vec<&CriterionResult> = criteria.iter().filter(|criterion| !criterion.pass).collect();
        let (verdict, reasoning) = match failed.first() {
            None => (Verdict::Pass, format!("{} met.", all_are(criteria.len()))),
            Some(first) => {
                let many = if criteria.len() == 1 {
                    String::new()
                } else {
                    format!("{} of {} criteria not met. ", failed.len(), criteria.len())
                };
                (Verdict::Fail, format!("{many}\"{}\": {}", first.text, first.reason))
            }
        };
        Self { verdict, reasoning, criteria, checks, verifier, verified_at: now }
    }

    /// Who decides when nobody does: the review window closed.
    pub(crate) const SILENCE: &'static str = "review_window";

    /// Whether it passed because nobody looked at it in time.
    pub fn is_silence(&self) -> bool {
        self.verifier == Self::SILENCE
    }
}

fn all_of(many: usize, what: &str) -> String {
    if many == 1 { format!("The {what}") } else { format!("All {many} {what}s") }
}

fn all_are(criteria: usize) -> String {
    if criteria == 1 { "The criterion is".to_owned() } else { format!("All {criteria} criteria are") }
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
