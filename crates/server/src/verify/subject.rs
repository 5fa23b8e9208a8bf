//! What is looked at, wherever it comes from: a job's submission, or what somebody sent to be verified outside of any job.

use std::collections::BTreeMap;
use std::pin::pin;

use clawrk_domain::verification::judge::{Case, CaseFile};
use clawrk_domain::verification::{Found, Handed, HandedFile};
use clawrk_domain::{Brief, Check, CheckResult, CriterionResult, Submission, Upload};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{SemaphorePermit, oneshot};
use tokio_util::io::StreamReader;

use super::commands::{self, Run};
use super::judge::JudgeFailure;
use super::log::{Log, harmless};
use crate::App;
use crate::error::causes;
use crate::outside::sandbox::{Sandbox, Staging};

/// How much of a file is read for a judge, in bytes: more than is shown of it.
const READ_BYTES: u64 = 256 << 10;

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
    /// The files that came with the job.
    pub(crate) attachments: &'a [Upload],
    /// The variables, for commands that are to have them.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// What it is worth, which decides who judges; no judge is told.
    pub(crate) price_cents: i64,
}

/// A turn in the sandbox, with the submission where commands can see it.
struct Staged<'a> {
    sandbox: Sandbox,
    staging: Staging,
    /// What is verified outside of any job has fewer turns.
    _visitor: Option<SemaphorePermit<'a>>,
}

impl Subject<'_> {
    /// What comes of its checks: of all of them, so that a worker learns of everything at once.
    pub(crate) async fn checked(&self, app: &App, log: &Log) -> Found {
        log.status(&format!("Running {}", count(self.checks.len(), "check", "checks")));
        let commands = self.checks.iter().any(Check::needs_sandbox);
        if let Err(problem) = self.files_are_whole(app).await {
            return Found::Trouble { problem, pause_seconds: None };
        }
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
                (Check::Command { run, timeout_seconds, env }, Some(Staged { sandbox, staging, .. })) => {
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
        let file = |file: &Upload| HandedFile {
            name: file.name.clone(),
            size: file.size_bytes,
            sha256: hex::encode(file.sha256),
        };
        let files: Vec<HandedFile> = self.submission.output_files.iter().map(file).collect();
        let (tell, applied) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let handed = Handed { output_text: text.as_deref(), files: &files };
            // Where nobody waits any more, what is left is not begun.
            let apply = |check: &Check| (!tell.is_closed()).then(|| check.apply(&handed));
            let results = checks.iter().map_while(apply).collect();
            drop(tell.send(results));
        });
        applied.await.inspect_err(|error| tracing::error!(%error, "checks broke off")).ok()
    }

    /// The submission where commands can see it, when it is its turn; or why it is not.
    async fn staged<'s>(&self, app: &'s App, log: &Log) -> Result<Staged<'s>, String> {
        let sandbox = app.commands.sandbox().await.map_err(|why| format!("no command can be run here: {why}"))?;
        log.status("Waiting for a turn in the sandbox");
        let visitor = match self.asked {
            Some(_) => None,
            None => Some(app.verifiers.visitors_in_sandbox.acquire().await.expect("nobody closes it")),
        };
        let staging = sandbox.stage().await.map_err(|error| trouble("the sandbox", &error))?;
        if let Some(text) = &self.submission.output_text {
            staging.write_output_text(text).map_err(|error| trouble("the sandbox", &error))?;
        }
        for file in &self.submission.output_files {
            let added = staging.add_submission_file(&file.name, pin!(bytes_of(app, file).await?)).await;
            added.map_err(|error| trouble("the sandbox", &error))?;
        }
        for file in self.attachments {
            let added = staging.add_attachment(&file.name, pin!(bytes_of(app, file).await?)).await;
            added.map_err(|error| trouble("the sandbox", &error))?;
        }
        Ok(Staged { sandbox, staging, _visitor: visitor })
    }

    /// What a judge finds about its criteria.
    pub(crate) async fn judged(&self, app: &App, log: &Log) -> Found {
        let Some(judge) = &app.judge else { return Found::NoJudge };
        let _turn = match self.asked {
            Some(_) => None,
            None => Some(app.verifiers.visitors_judged.acquire().await.expect("nobody closes it")),
        };
        log.status(&format!("Judging {}", count(self.criteria.len(), "criterion", "criteria")));
        let case = match self.case(app, log).await {
            Ok(case) => case,
            Err(problem) => return Found::Trouble { problem, pause_seconds: None },
        };
        match judge.judge(&case, self.price_cents, &|line| log.say(line)).await {
            Ok(results) => {
                let results = results.into_iter().zip(self.criteria);
                let results = results.map(|(result, criterion)| judged_without_secrets(result, criterion, log));
                Found::Criteria(results.collect(), judge.name())
            }
            Err(JudgeFailure { problem, pause_seconds }) => Found::Trouble { problem, pause_seconds },
        }
    }

    /// What is decided about a file is decided about what was uploaded, or not at all.
    async fn files_are_whole(&self, app: &App) -> Result<(), String> {
        for file in self.submission.output_files.iter().chain(self.attachments) {
            app.files.verify(file).await.map_err(|error| trouble("reading a file", &error))?;
        }
        Ok(())
    }

    /// What a judge is shown: no variable's value is in it, wherever it was repeated.
    async fn case(&self, app: &App, log: &Log) -> Result<Case, String> {
        self.files_are_whole(app).await?;
        let mut files = Vec::with_capacity(self.submission.output_files.len());
        for file in &self.submission.output_files {
            files.push(CaseFile {
                name: file.name.clone(),
                size_bytes: file.size_bytes,
                content_type: file.content_type.clone(),
                text: text_of(app, file).await?.map(|text| log.clean(&text)),
            });
        }
        let clean = |text: &String| log.clean(text);
        let asked = self.asked;
        Ok(Case {
            title: asked.map(|brief| clean(&brief.title)).unwrap_or_default(),
            prompt: asked.map(|brief| clean(&brief.prompt)).unwrap_or_default(),
            description: asked.and_then(|brief| brief.description.as_ref()).map(clean),
            requirements: asked.and_then(|brief| brief.requirements.as_ref()).map(clean),
            criteria: self.criteria.iter().map(clean).collect(),
            output_text: self.submission.output_text.as_deref().map(|text| log.clean(text)),
            files,
        })
    }
}

/// A file's bytes, as they come.
async fn bytes_of(app: &App, file: &Upload) -> Result<impl AsyncRead + use<>, String> {
    let pieces = app.files.read(file).await.map_err(|error| trouble("reading a file", &error))?;
    Ok(StreamReader::new(pieces.map(|piece| piece.map_err(std::io::Error::other))))
}

/// What a judge may read of a file: its beginning, if it is text.
async fn text_of(app: &App, file: &Upload) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read = pin!(bytes_of(app, file).await?.take(READ_BYTES)).read_to_end(&mut bytes).await;
    read.map_err(|error| trouble("reading a file", &error))?;
    let whole = bytes.len() as u64 == file.size_bytes;
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => Some(text.to_owned()),
        // Cut off within a letter.
        Err(error) if !whole && error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()])
            .ok()
            .filter(|text| !text.contains('\0'))
            .map(str::to_owned),
        _ => None,
    })
}

/// What failed, for people; the log has the rest.
fn trouble(what: &str, error: &dyn std::error::Error) -> String {
    tracing::error!(cause = causes(error), "a submission cannot be looked at");
    format!("{what} failed")
}

/// A check's own words may quote the submission.
fn without_secrets(result: CheckResult, log: &Log) -> CheckResult {
    CheckResult { detail: harmless(&log.clean(&result.detail)), ..result }
}

/// A judge may say again what it has read. The criterion stands there as its sender wrote it: the result is known by it.
fn judged_without_secrets(result: CriterionResult, criterion: &str, log: &Log) -> CriterionResult {
    CriterionResult { text: criterion.to_owned(), reason: harmless(&log.clean(&result.reason)), ..result }
}

fn count(many: usize, one: &str, more: &str) -> String {
    if many == 1 { format!("one {one}") } else { format!("{many} {more}") }
}
