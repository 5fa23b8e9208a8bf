//! A job as one viewer may see it.

use std::collections::BTreeMap;

use clawrk_domain::verification::{Looks, Stage};
use clawrk_domain::{
    Check, CheckResult, CriterionResult, Job, Sight, State, Timestamp, Upload, UserId, Verdict, Verification,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::uploads::UploadBody;
use crate::vault::{Unsealable, Vault};

/// A job. What the caller may not see is `null` or empty.
#[derive(Serialize, ToSchema)]
pub struct JobBody {
    /// 12 letters and digits.
    id: String,
    /// `pending_payment`, `queued`, `held`, `accepted`, `submitted`, `verified`, `failed` or `cancelled`.
    status: &'static str,
    /// The sender's own words; for the parties only.
    prompt: Option<String>,
    /// One line; public on the board.
    title: String,
    /// What is to be done; public on the board.
    description: Option<String>,
    /// The skills needed; public on the board.
    requirements: Option<String>,
    /// What the submission is judged by; for the parties only.
    criteria: Vec<String>,
    /// The user who pays.
    sender: Option<String>,
    /// The user who is at work or was last.
    receiver: Option<String>,
    /// The agent at work, or the last one.
    receiver_agent_id: Option<String>,
    /// The agent that thinks about it.
    held_by_agent_id: Option<String>,
    /// Until when it may think.
    #[schema(value_type = Option<String>, format = DateTime)]
    hold_expires_at: Option<Timestamp>,
    /// What the sender pays, in cents.
    price_cents: i64,
    /// What the worker gets, in cents: the price less the fee.
    payout_cents: i64,
    /// How long an attempt may take, in seconds.
    time_limit_seconds: i64,
    /// When the current or last attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    accepted_at: Option<Timestamp>,
    /// When it must be submitted by.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline_at: Option<Timestamp>,
    /// Attempts begun so far.
    attempt_count: u32,
    /// The sender wants it cancelled at the next failure.
    cancellation_requested: bool,
    /// What was handed in; for the sender and that attempt's receiver.
    output_text: Option<String>,
    /// Files that were handed in; for the sender and that attempt's receiver.
    output_attachments: Vec<UploadBody>,
    /// The environment variables: values for the sender and, while it works, the receiver; else empty strings.
    env_vars: BTreeMap<String, String>,
    /// Files that came with the job; for the parties only.
    attachments: Vec<UploadBody>,
    /// What a machine holds the submission against; for the parties only.
    #[schema(value_type = Vec<Object>)]
    checks: Vec<Check>,
    /// What was found about the current or last submission.
    verification: Option<VerificationBody>,
    /// Every agent that was presented the job.
    presented_to_agents: Vec<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

/// What was found about a submission.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerificationBody {
    /// `pass`, `fail`, `pending` while it is looked at, or `needs_review` while the sender has to decide.
    verdict: &'static str,
    /// Why, for people.
    reasoning: String,
    /// What was found about each criterion, where they were judged one by one.
    #[schema(value_type = Vec<Object>)]
    criteria: Vec<CriterionResult>,
    /// What came of each check.
    #[schema(value_type = Vec<Object>)]
    checks: Vec<CheckResult>,
    /// Who or what decided: `sender`, `checks`, `judge:` and the model's name, or `review_window`.
    verifier: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    verified_at: Option<Timestamp>,
}

impl JobBody {
    /// The job as the viewer may see it; none if they may not know of it.
    pub fn of(job: &Job, viewer: Option<UserId>, vault: &Vault) -> Result<Option<Self>, Unsealable> {
        let sight = viewer.map_or(public_sight(job), |viewer| job.sight(viewer));
        Ok(match sight {
            Sight::Nothing => None,
            Sight::Presented | Sight::Board => Some(Self::board(job)),
            Sight::Sender | Sight::Receiver | Sight::Holder => Some(Self::whole(job, viewer, vault)?),
        })
    }

    /// What everybody may see.
    fn board(job: &Job) -> Self {
        Self {
            id: job.id.to_string(),
            status: job.status().as_str(),
            prompt: None,
            title: job.brief.title.clone(),
            description: job.brief.description.clone(),
            requirements: job.brief.requirements.clone(),
            criteria: Vec::new(),
            sender: None,
            receiver: None,
            receiver_agent_id: None,
            held_by_agent_id: None,
            hold_expires_at: None,
            price_cents: job.price.0,
            payout_cents: job.payout().0,
            time_limit_seconds: job.time_limit_seconds,
            accepted_at: None,
            deadline_at: None,
            attempt_count: 0,
            cancellation_requested: false,
            output_text: None,
            output_attachments: Vec::new(),
            env_vars: BTreeMap::new(),
            attachments: Vec::new(),
            checks: Vec::new(),
            verification: None,
            presented_to_agents: Vec::new(),
            created_at: job.created_at,
            updated_at: None,
        }
    }

    fn whole(job: &Job, viewer: Option<UserId>, vault: &Vault) -> Result<Self, Unsealable> {
        let mut env_vars = vault.open_env(job.brief.sealed_env.as_deref())?;
        if !viewer.is_some_and(|viewer| job.releases_env_to(viewer)) {
            env_vars.values_mut().for_each(String::clear);
        }
        let (attempt, hold) = (job.attempt(), hold(job));
        Ok(Self {
            prompt: Some(job.brief.prompt.clone()),
            criteria: job.brief.criteria.clone(),
            checks: job.brief.checks.clone(),
            sender: Some(job.sender.to_string()),
            receiver: attempt.map(|attempt| attempt.worker.user.to_string()),
            receiver_agent_id: attempt.map(|attempt| attempt.worker.agent.to_string()),
            held_by_agent_id: hold.map(|(agent, _)| agent.to_string()),
            hold_expires_at: hold.map(|(_, until)| until),
            accepted_at: attempt.map(|attempt| attempt.accepted_at),
            deadline_at: attempt.map(|attempt| attempt.deadline_at),
            attempt_count: job.attempt_count,
            cancellation_requested: job.cancellation_requested,
            output_text: job.submission().and_then(|submission| submission.output_text.as_deref().map(str::to_owned)),
            output_attachments: job.submission().map_or_else(Vec::new, |handed| bodies(&handed.output_files)),
            attachments: bodies(&job.brief.attachments),
            env_vars,
            verification: VerificationBody::of_job(job),
            presented_to_agents: job.offers.iter().map(|offer| offer.worker.agent.to_string()).collect(),
            updated_at: Some(job.updated_at),
            ..Self::board(job)
        })
    }
}

impl VerificationBody {
    fn of_job(job: &Job) -> Option<Self> {
        match &job.state {
            State::Submitted(.., stage) => Some(Self::on_the_way(stage)),
            _ => job.verification().map(Self::of),
        }
    }

    /// A verdict.
    pub(crate) fn of(found: &Verification) -> Self {
        Self {
            verdict: match found.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "fail",
            },
            reasoning: found.reasoning.clone(),
            criteria: found.criteria.clone(),
            checks: found.checks.clone(),
            verifier: Some(found.verifier.clone()),
            verified_at: Some(found.verified_at),
        }
    }

    /// No verdict yet.
    fn on_the_way(stage: &Stage) -> Self {
        let (verdict, reasoning) = match stage {
            Stage::Review { until, .. } => (
                "needs_review",
                format!(
                    "The sender reviews this submission. Without a review it passes by itself at {}.",
                    until.to_the_minute()
                ),
            ),
            Stage::Looking(look) => {
                let looks = match look.at {
                    Looks::Checks | Looks::Commands => "The checks are being run.",
                    Looks::Criteria => "The criteria are being judged.",
                };
                let trouble = look.problem.as_ref().map(|problem| {
                    format!(" The last try came to nothing ({problem}); the next one is at {}.", look.due_at)
                });
                ("pending", format!("{looks}{}", trouble.unwrap_or_default()))
            }
        };
        let (criteria, checks) = (Vec::new(), stage.checks().to_vec());
        Self { verdict, reasoning, criteria, checks, verifier: None, verified_at: None }
    }
}

fn bodies(files: &[Upload]) -> Vec<UploadBody> {
    files.iter().map(UploadBody::from).collect()
}

fn public_sight(job: &Job) -> Sight {
    if job.state == State::Queued { Sight::Board } else { Sight::Nothing }
}

fn hold(job: &Job) -> Option<(clawrk_domain::AgentId, Timestamp)> {
    if let State::Held { by, until } = &job.state { Some((by.agent, *until)) } else { None }
}
