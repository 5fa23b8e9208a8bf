//! What is looked at, wherever it comes from: a job's submission, or what somebody sent to be verified outside of any job.

use std::collections::BTreeMap;

use clawrk_domain::verification::{Found, Handed};
use clawrk_domain::{Brief, Check, Submission};

use super::log::Log;
use crate::App;

/// What is looked at.
pub(crate) struct Subject<'a> {
    /// What was asked for, where it was: a judge reads it.
    pub(crate) asked: Option<&'a Brief>,
    /// What a machine holds the submission against.
    pub(crate) checks: &'a [Check],
    /// What a judge holds it against.
    pub(crate) criteria: &'a [String],
    /// What was handed in.
    pub(crate) submission: &'a Submission,
    /// The variables, for commands that are to have them.
    pub(crate) variables: &'a BTreeMap<String, String>,
}

impl Subject<'_> {
    /// What comes of its checks: of all of them, so that a worker learns of everything at once.
    pub(crate) async fn checked(&self, _app: &App, log: &Log) -> Found {
        log.status(&format!("Running {}", count(self.checks.len(), "check", "checks")));
        let mut results = Vec::with_capacity(self.checks.len());
        let handed = Handed { output_text: self.submission.output_text.as_deref(), files: &[] };
        for check in self.checks {
            let Some(result) = check.apply(&handed) else {
                return Found::Trouble { problem: "no sandbox is sound here".to_owned(), pause_seconds: None };
            };
            log.say(&format!("{}: {}: {}", result.kind, if result.pass { "pass" } else { "fail" }, result.detail));
            results.push(result);
        }
        Found::Checks(results)
    }

    /// What a judge finds about its criteria.
    pub(crate) async fn judged(&self, _app: &App, _log: &Log) -> Found {
        Found::NoJudge
    }
}

fn count(many: usize, one: &str, more: &str) -> String {
    if many == 1 { format!("one {one}") } else { format!("{many} {more}") }
}
