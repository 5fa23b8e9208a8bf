//! What is looked at, wherever it comes from: a job's submission, or what somebody sent to be verified outside of any job.

use std::collections::BTreeMap;

use clawrk_domain::verification::judge::Case;
use clawrk_domain::verification::{Found, Handed};
use clawrk_domain::{Brief, Check, CheckResult, CriterionResult, Submission};

use super::commands::{self, Run};
use super::judge::JudgeFailure;
use super::log::{Log, harmless};
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
    /// What it is worth, which decides who judges; no judge is told.
    pub(crate) price_cents: i64,
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
        let Some(mut applied) = self.applied().await else {
            return Found::Trouble { problem: "the checks broke off".to_owned(), pause_seconds: None };
        };
        let mut results = Vec::with_capacity(self.checks.len());
        for (check, applied) in self.checks.iter().zip(&mut applied) {
            let result = match (check, &staged) {
                (Check::Command { run, timeout_seconds, env }, Some((sandbox, staging))) => {
                    let variables = if *env { self.variables.clone() } else { BTreeMap::new() };
                    let command = Run { run, timeout_seconds: *timeout_seconds, variables };
                    commands::run(sandbox, staging, command, log).await.ok()
                }
                _ => applied.take().map(|result| without_secrets(result, log)),
            };
            let Some(result) = result else {
                return Found::Trouble { problem: "the sandbox failed".to_owned(), pause_seconds: None };
            };
            log.say(&format!("{}: {}: {}", result.kind, if result.pass { "pass" } else { "fail" }, result.detail));
            results.push(result);
        }
        Found::Checks(results)
    }

    /// What comes of the checks that are no commands, each at its place. Patterns and schemas may take a while, and
    /// requests would wait for the thread: it is one of those that may be kept.
    async fn applied(&self) -> Option<Vec<Option<CheckResult>>> {
        let (checks, text) = (self.checks.to_vec(), self.submission.output_text.clone());
        let apply = move || {
            let handed = Handed { output_text: text.as_deref(), files: &[] };
            checks.iter().map(|check| check.apply(&handed)).collect()
        };
        let applied = tokio::task::spawn_blocking(apply).await;
        applied.inspect_err(|error| tracing::error!(%error, "checks broke off")).ok()
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
    pub(crate) async fn judged(&self, app: &App, log: &Log) -> Found {
        let Some(judge) = &app.judge else { return Found::NoJudge };
        log.status(&format!("Judging {}", count(self.criteria.len(), "criterion", "criteria")));
        let case = self.case(log);
        match judge.judge(&case, self.price_cents, &|line| log.say(line)).await {
            Ok(results) => Found::Criteria(
                results.into_iter().map(|result| judged_without_secrets(result, log)).collect(),
                judge.name(),
            ),
            Err(JudgeFailure { problem, pause_seconds }) => Found::Trouble { problem, pause_seconds },
        }
    }

    /// What a judge is shown: no variable's value is in it, wherever it was repeated.
    fn case(&self, log: &Log) -> Case {
        let clean = |text: &String| log.clean(text);
        let asked = self.asked;
        Case {
            title: asked.map(|brief| clean(&brief.title)).unwrap_or_default(),
            prompt: asked.map(|brief| clean(&brief.prompt)).unwrap_or_default(),
            description: asked.and_then(|brief| brief.description.as_ref()).map(clean),
            requirements: asked.and_then(|brief| brief.requirements.as_ref()).map(clean),
            criteria: self.criteria.to_vec(),
            output_text: self.submission.output_text.as_deref().map(|text| log.clean(text)),
            files: Vec::new(),
        }
    }
}

/// A check's own words may quote the submission.
fn without_secrets(result: CheckResult, log: &Log) -> CheckResult {
    CheckResult { detail: harmless(&log.clean(&result.detail)), ..result }
}

/// A judge may say again what it has read, but for the criterion itself, by which the result is known.
fn judged_without_secrets(result: CriterionResult, log: &Log) -> CriterionResult {
    CriterionResult { reason: harmless(&log.clean(&result.reason)), ..result }
}

fn count(many: usize, one: &str, more: &str) -> String {
    if many == 1 { format!("one {one}") } else { format!("{many} {more}") }
}
