//! Jobs from the agent's side: pull or claim, accept or reject, submit or fail.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use clawrk_domain::{Action, AgentId, Answer, Scope, limits};
use serde::Deserialize;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;

use super::agents::own;
use super::job_body::JobBody;
use super::jobs::{NoBody, act, job_reply};
use super::uploads::upload_ids;
use super::{ErrorBody, id};
use crate::auth::Caller;
use crate::input::{Input, Named, Take};
use crate::reply::Reply;
use crate::{App, Error};

/// For how long a job that another pull has in hand is left alone.
const IN_OTHER_HANDS: Duration = Duration::from_millis(100);

/// What an agent looks for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PullBody {
    /// Which of one's agents; the default one if absent.
    agent_id: Option<String>,
    /// How long to wait for a job when there is none, 0 to 30.
    wait_seconds: Option<i64>,
}

impl Take for PullBody {}

/// Who claims a job.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ClaimBody {
    /// Which of one's agents; the default one if absent.
    agent_id: Option<String>,
}

impl Take for ClaimBody {}

/// Work to be handed in.
#[derive(Deserialize, ToSchema)]
pub struct SubmitBody {
    /// The work, at most 1 MiB.
    output_text: Option<String>,
    /// Ids of files that you uploaded, at most 10.
    output_attachments: Option<Vec<String>>,
}

impl Take for SubmitBody {
    const LIMIT_BYTES: usize = 4 << 20;
}

/// Why an agent gives up.
#[derive(Debug, Deserialize, ToSchema)]
pub struct FailBody {
    /// For the sender; at most 8,000 characters.
    reason: Option<String>,
}

impl Take for FailBody {}

/// Take a hold of the best open job for an agent: 30 seconds to accept or reject it. While it holds one, the same again.
#[utoipa::path(post, path = "/api/jobs/pull", tag = "work", request_body = PullBody,
    responses((status = 200, body = JobBody), (status = 204, description = "Nothing open to this agent"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn pull(State(app): State<App>, caller: Caller, input: Input<PullBody>) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    let wait = input.body.wait_seconds.unwrap_or(0);
    limits::within("wait_seconds", wait, &(0..=30))?;
    let agent = own(&app, caller, input.body.agent_id.as_deref()).await?;
    // A pull may wait for long, and needs nothing of its body meanwhile.
    drop(input);
    let render = job_reply(StatusCode::OK, caller.user, &app);
    let end = Instant::now() + Duration::from_secs(wait.unsigned_abs());
    let mut arrivals = app.market.watch();
    loop {
        arrivals.borrow_and_update();
        let personality = agent.personality.as_deref();
        let meaning = app.meanings.of(personality).await;
        let answer = app.exchange.pull(caller.user, agent.id, personality, meaning.as_ref(), &app.market).await?;
        if answer != Answer::Nothing {
            return Ok(render(&answer));
        }
        if Instant::now() >= end || app.stopping.is_cancelled() {
            return Ok(Reply::nothing());
        }
        wait_for_a_job(&app, agent.id, &mut arrivals, end).await;
        caller.still_counts(&app).await?;
    }
}

/// Waits until a job is open to the agent here, or the time is over. All who wait hear of each job that comes, and most
/// are too late for it: they need not ask the store. A job that is still open after a pull was in other hands; it may
/// be put back without a word, so that is tried again soon.
async fn wait_for_a_job(app: &App, agent: AgentId, arrivals: &mut Receiver<u64>, end: Instant) {
    let passed_over = app.market.has_open(agent, app.store.clock().now());
    let again = passed_over.then(|| Instant::now() + IN_OTHER_HANDS);
    loop {
        let now = app.store.clock().now();
        let opening = app.market.next_opening(agent, now).map(|time| Instant::now() + (time - now));
        let opening = opening.into_iter().chain(again).min();
        let opens = opening.is_some_and(|time| time <= end);
        tokio::select! {
            _ = arrivals.changed() => {}
            () = sleep_until(opening.map_or(end, |time| time.min(end))) => if opens || Instant::now() >= end { return },
            () = app.stopping.cancelled() => return,
        }
        if app.market.has_open(agent, app.store.clock().now()) {
            return;
        }
    }
}

/// Take a hold of this very job, matching aside.
#[utoipa::path(post, path = "/api/jobs/{id}/claim", tag = "work", request_body = ClaimBody,
    params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn claim(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<ClaimBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    let agent = input.body.agent_id.as_deref().map(|agent| id("agent", agent)).transpose()?;
    act(&app, caller, &job, |job| Action::Claim { agent, job }, input.once).await
}

/// Take on the job that one's agent holds; the time limit starts now.
#[utoipa::path(post, path = "/api/jobs/{id}/accept", tag = "work", params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn accept(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<NoBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    act(&app, caller, &job, Action::Accept, input.once).await
}

/// Put the job that one's agent holds back; pull never offers it to that agent again.
#[utoipa::path(post, path = "/api/jobs/{id}/reject", tag = "work", params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn reject(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<NoBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    act(&app, caller, &job, Action::Reject, input.once).await
}

/// Hand in the work, before the deadline; verification starts at once.
#[utoipa::path(post, path = "/api/jobs/{id}/submit", tag = "work", request_body = SubmitBody,
    params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<SubmitBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    let SubmitBody { output_text, output_attachments } = input.body;
    let files = upload_ids("output_attachments", output_attachments)?;
    act(&app, caller, &job, |job| Action::Submit { job, output_text, files }, input.once).await
}

/// Give up: it counts as a failed attempt.
#[utoipa::path(post, path = "/api/jobs/{id}/fail", tag = "work", request_body = FailBody,
    params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn fail(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<FailBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Work)?;
    act(&app, caller, &job, |job| Action::Fail { job, reason: input.body.reason }, input.once).await
}
