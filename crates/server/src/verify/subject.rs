//! What is looked at, wherever it comes from: a job's submission, or what somebody sent to be verified outside of any job.

use std::collections::BTreeMap;

use clawrk_domain::verification::{Found, Handed};
use clawrk_domain::{Brief, Check, Submission};

use super::commands::{self, Run};
use super::log::Log;
use crate::App;
use crate::error::causes;
use crate::outside::sandbox::{Sandbox, SandboxError, Staging};

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
    pub(crate) async fn checked(&self, app: &App, log: &Log) -> Found {
        log.status(&format!("Running {}", count(self.checks.len(), "check", "checks")));
        let commands = self.checks.iter().any(Check::needs_sandbox);
        let staged = if commands { self.staged(app, log).await.map(Some) } else { Ok(None) };
        let staged = match staged {
            Ok(staged) => staged,
            Err(problem) => return Found::Trouble { problem, pause_seconds: None },
        };
        let mut results = Vec::with_capacity(self.checks.len());
        let handed = Handed { output_text: self.submission.output_text.as_deref(), files: &[] };
        for check in self.checks {
            let result = match (check, &staged) {
                (Check::Command { run, timeout_seconds, env }, Some((sandbox, staging))) => {
                    let variables = if *env { self.variables.clone() } else { BTreeMap::new() };
                    let command = Run { run, timeout_seconds: *timeout_seconds, variables };
                    commands::run(sandbox, staging, command, log).await.ok()
                }
                (check, _) => check.apply(&handed),
            };
            let Some(result) = result else {
                return Found::Trouble { problem: "the sandbox failed".to_owned(), pause_seconds: None };
            };
            log.say(&format!("{}: {}: {}", result.kind, if result.pass { "pass" } else { "fail" }, result.detail));
            results.push(result);
        }
        Found::Checks(results)
    }

    /// The submission where commands can see it, when it is its turn; or why it is not.
    async fn staged<'s>(&self, app: &'s App, log: &Log) -> Result<(&'s Sandbox, Staging), String> {
        let sandbox = app.commands.sandbox().await.map_err(|why| format!("no command can be run here: {why}"))?;
        log.status("Waiting for a turn in the sandbox");
        let staging = async {
            let staging = sandbox.stage().await?;
            if let Some(text) = &self.submission.output_text {
                staging.write_output_text(text)?;
            }
            Ok::<_, SandboxError>(staging)
        };
        let staging = staging.await.map_err(|error| {
            tracing::error!(cause = causes(&error), "a submission could not be laid out for commands");
            "the sandbox failed".to_owned()
        })?;
        Ok((sandbox, staging))
    }

    /// What a judge finds about its criteria.
    pub(crate) async fn judged(&self, _app: &App, _log: &Log) -> Found {
        Found::NoJudge
    }
}

fn count(many: usize, one: &str, more: &str) -> String {
    if many == 1 { format!("one {one}") } else { format!("{many} {more}") }
}
