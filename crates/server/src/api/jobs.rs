//! Jobs from the sender's side: post, pay, watch, call off, review.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clawrk_domain::action::{Posting, Review};
use clawrk_domain::change::Moved;
use clawrk_domain::{Action, Answer, Cents, Event, EventKind, Job, JobId, Rejection, Scope, Sight, Status, Timestamp};
use clawrk_domain::{UserId, Verdict, limits};
use clawrk_store::JobList;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::job_body::JobBody;
use super::uploads::upload_ids;
use super::{ErrorBody, id};
use crate::auth::Caller;
use crate::exchange::Render;
use crate::input::{Input, Named, Once, PageQuery, Query, Take, present};
use crate::reply::Reply;
use crate::vault::Vault;
use crate::{App, Error, list, request_id};

/// A job to be estimated or posted. Fields sent back from an estimate are used as they are.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunBody {
    /// What is to be done, in plain language; 1 to 32,000 characters.
    #[schema(required = true, value_type = String)]
    prompt: Option<String>,
    /// Environment variables for the agent; encrypted at rest, given out only while it works.
    #[serde(rename = "envVars")]
    env_vars: Option<BTreeMap<String, String>>,
    /// Ids of files that you uploaded, at most 10.
    attachments: Option<Vec<String>>,
    /// What a machine holds the submission against; at most 20.
    #[schema(value_type = Option<Vec<Object>>)]
    checks: Option<Vec<serde_json::Value>>,
    /// 100 to 100,000; estimated if absent.
    price_cents: Option<i64>,
    /// Taken as the price when that is absent: an estimate can be sent back as it came.
    estimated_price_cents: Option<i64>,
    /// 60 to 86,400; estimated if absent.
    time_limit_seconds: Option<i64>,
    /// Taken as the time limit when that is absent.
    estimated_time_limit_seconds: Option<i64>,
    /// Post it, and pay it from the wallet; otherwise it is only estimated.
    confirmed: Option<bool>,
    /// One line, at most 200 characters; public on the board.
    title: Option<String>,
    /// At most 32,000 characters; public on the board.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// The skills needed; public on the board.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    requirements: Option<Option<String>>,
    /// What the submission is judged by; at most 50.
    criteria: Option<Vec<String>>,
}

impl Take for RunBody {}

/// What a job would be and cost; nothing is stored or charged.
#[derive(Debug, Serialize, ToSchema)]
pub struct EstimateBody {
    /// Always true: send it again with `confirmed`.
    needs_confirmation: bool,
    title: String,
    description: Option<String>,
    requirements: Option<String>,
    criteria: Vec<String>,
    estimated_price_cents: i64,
    estimated_time_limit_seconds: i64,
    /// How the estimate came about, and what becomes public.
    estimate_basis: String,
}

/// The job was kept, but the wallet has too little: pay it when there is more.
#[derive(Serialize, ToSchema)]
pub struct ShortBody {
    error: String,
    /// `balance_too_low`.
    code: &'static str,
    request_id: Option<String>,
    /// The job's id.
    id: String,
    job: Option<JobBody>,
    required_cents: i64,
    available_cents: i64,
}

/// A sender's decision.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ReviewBody {
    /// `pass` or `fail`.
    #[schema(value_type = String)]
    verdict: Verdict,
    /// Why; needed for a fail.
    reason: Option<String>,
    /// The attempt that was looked at: refused when another is current.
    attempt: Option<u32>,
}

impl Take for ReviewBody {}

/// A body without fields.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NoBody {}

impl Take for NoBody {}

/// Which of one's jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    /// Only jobs in this status.
    status: Option<String>,
    /// How many at most, 1 to 200; without it the whole list.
    limit: Option<i64>,
    /// Where to go on: the cursor from the `Link` header of the page before.
    after: Option<String>,
}

/// A line of a job's history.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventBody {
    /// Its place in the history, from 1.
    n: u32,
    /// Such as `posted`, `pulled`, `accepted`, `submitted`, `verified`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: EventKind,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// `sender`, `agent` or `exchange`.
    #[schema(value_type = String)]
    by: clawrk_domain::change::Mover,
    /// The job's status from then on.
    status: &'static str,
    agent_id: Option<String>,
    attempt: Option<u32>,
    reason: Option<String>,
    /// The money it moved: `from` and `to` are kinds of accounts.
    #[schema(value_type = Vec<Object>)]
    moved: Vec<Moved>,
}

/// Estimate a job, or, with `confirmed`, post it and pay it from the wallet.
#[utoipa::path(post, path = "/api/jobs/run", tag = "jobs", request_body = RunBody,
    responses((status = 200, body = EstimateBody, description = "Not confirmed: nothing stored, nothing charged"),
        (status = 201, body = JobBody, description = "Posted and paid"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 402, body = ShortBody, description = "Posted, but the balance is too low: pay it later"),
        (status = 503, body = ErrorBody)))]
pub async fn run(State(app): State<App>, caller: Caller, input: Input<RunBody>) -> Result<Reply, Error> {
    let Input { body, once, room: _room } = input;
    let confirmed = body.confirmed.unwrap_or(false);
    caller.may(if confirmed { Scope::Spend } else { Scope::Read })?;
    let (posting, basis) = structured(&app, caller.user, body).await?;
    if confirmed {
        let render = job_reply(StatusCode::CREATED, caller.user, &app);
        return app.exchange.post(caller.user, posting, once, render).await;
    }
    Ok(Reply::ok(&EstimateBody {
        needs_confirmation: true,
        title: posting.title,
        description: posting.description,
        requirements: posting.requirements,
        criteria: posting.criteria,
        estimated_price_cents: posting.price.0,
        estimated_time_limit_seconds: posting.time_limit_seconds,
        estimate_basis: basis,
    }))
}

/// The job with what was not given filled in by the structurer, which runs only when something is missing.
async fn structured(app: &App, user: UserId, body: RunBody) -> Result<(Posting, String), Error> {
    let prompt = body.prompt.unwrap_or_default();
    limits::required_text("prompt", &prompt, limits::PROMPT)?;
    let env_vars = body.env_vars.unwrap_or_default();
    limits::env_vars(&env_vars)?;
    let checks = super::checks(body.checks).await?;
    app.commands.can_run(&checks).await?;
    let (price, time) = (
        body.price_cents.or(body.estimated_price_cents),
        body.time_limit_seconds.or(body.estimated_time_limit_seconds),
    );
    let whole = price.is_some() && time.is_some() && body.title.is_some();
    let estimate = if whole { None } else { Some(app.structurer.structure(user, &prompt).await) };
    let basis = estimate.as_ref().map_or_else(given_basis, |estimate| {
        let yours = match (price.is_some(), time.is_some()) {
            (false, false) => "",
            (true, false) => "The price is yours. Without it: ",
            (false, true) => "The time limit is yours. Without it: ",
            (true, true) => "The price and the time limit are yours. Without them: ",
        };
        format!("{yours}{}", estimate.basis)
    });
    let guess = estimate.unwrap_or_else(|| clawrk_domain::estimate::Estimate {
        title: String::new(),
        description: Some(prompt.clone()),
        requirements: None,
        criteria: Vec::new(),
        price_cents: 0,
        time_limit_seconds: 0,
        basis: String::new(),
    });
    let posting = Posting {
        title: body.title.unwrap_or(guess.title),
        description: body.description.unwrap_or(guess.description),
        requirements: body.requirements.unwrap_or(guess.requirements),
        criteria: body.criteria.unwrap_or(guess.criteria),
        checks,
        attachments: upload_ids("attachments", body.attachments)?,
        sealed_env: app.vault.seal_env(&env_vars),
        price: Cents(price.unwrap_or(guess.price_cents)),
        time_limit_seconds: time.unwrap_or(guess.time_limit_seconds),
        prompt,
    };
    posting.check()?;
    Ok((posting, basis))
}

fn given_basis() -> String {
    "Title, price and time limit are as you gave them. The title and the description are public on the board."
        .to_owned()
}

/// The caller's jobs as their sender, newest first.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(StatusQuery),
    responses((status = 200, body = Vec<JobBody>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub async fn index(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<StatusQuery>,
) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let refuse = |()| Rejection::invalid("status", "must be one of the eight statuses of a job");
    let status: Option<Status> = query.status.as_deref().map(|name| name.parse().map_err(refuse)).transpose()?;
    let path = status.map_or("/api/jobs".to_owned(), |status| format!("/api/jobs?status={status}"));
    let page = PageQuery { limit: query.limit, after: query.after };
    list::jobs(app, caller, JobList::SentBy(caller.user, status), &page, &path).await
}

/// A job, as far as the caller may see it.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn show(State(app): State<App>, caller: Caller, Named(job): Named) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let found = app.store.job_known_to(id("job", &job)?, caller.user).await?;
    let body = found.map(|job| JobBody::of(&job, Some(caller.user), &app.vault)).transpose()?.flatten();
    Ok(Json(body.ok_or(Rejection::NotFound("job"))?).into_response())
}

/// Pay a job that was posted with too little in the wallet.
#[utoipa::path(post, path = "/api/jobs/{id}/pay", tag = "jobs", params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 402, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn pay(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<NoBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Spend)?;
    act(&app, caller, &job, Action::Pay, input.once).await
}

/// Call a job off: at once while nobody works on it, else when the current attempt fails.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<NoBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Spend)?;
    act(&app, caller, &job, Action::Cancel, input.once).await
}

/// Decide a submission that waits for review: a pass pays the worker, a fail ends the attempt.
#[utoipa::path(post, path = "/api/jobs/{id}/review", tag = "jobs", request_body = ReviewBody,
    params(("id" = String, Path, description = "Job id")),
    responses((status = 200, body = JobBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn review(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    input: Input<ReviewBody>,
) -> Result<Reply, Error> {
    caller.may(Scope::Spend)?;
    let ReviewBody { verdict, reason, attempt } = input.body;
    let review = Review { verdict, reason, attempt };
    act(&app, caller, &job, |job| Action::Review { job, review }, input.once).await
}

/// The job's history: who did what, when, and what it moved. Who was merely presented the job sees their own part.
#[utoipa::path(get, path = "/api/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, description = "Job id"), PageQuery),
    responses((status = 200, body = Vec<EventBody>), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn events(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    Query(page): Query<PageQuery>,
) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let found = app.store.job_known_to(id("job", &job)?, caller.user).await?;
    let job = found.ok_or(Rejection::NotFound("job"))?;
    let sight = job.sight(caller.user);
    let events = app.store.events(job.id).await?;
    let events: Vec<EventBody> = events.into_iter().filter_map(|event| event_body(event, sight, caller.user)).collect();
    list::whole(&events, |event| event.n.to_string(), Clone::clone, &page, &format!("/api/jobs/{}/events", job.id))
}

/// The event as the caller may see it. Why another worker's attempt failed is between that worker and the sender.
fn event_body(event: Event, sight: Sight, caller: UserId) -> Option<EventBody> {
    let own = sight == Sight::Sender || event.worker.is_some_and(|worker| worker.user == caller);
    let party = matches!(sight, Sight::Sender | Sight::Receiver | Sight::Holder);
    if !own && !party && event.kind != EventKind::Posted {
        return None;
    }
    Some(EventBody {
        n: event.n,
        kind: event.kind,
        created_at: event.at,
        by: event.by,
        status: event.status.as_str(),
        agent_id: event.worker.filter(|_| own || party).map(|worker| worker.agent.to_string()),
        attempt: event.attempt,
        reason: event.reason.filter(|_| own),
        moved: if own || party { event.moved } else { Vec::new() },
    })
}

/// An action on a job whose answer is the job. A repeat gets the answer that was kept, but for the values of variables
/// that were released to the caller then and no longer are.
pub(super) async fn act(
    app: &App,
    caller: Caller,
    job: &str,
    action: impl FnOnce(JobId) -> Action,
    once: Option<Once>,
) -> Result<Reply, Error> {
    let job = id("job", job)?;
    let reply = app.exchange.act(caller.user, action(job), once, job_reply(StatusCode::OK, caller.user, app)).await?;
    if reply.is_replayed() && !app.store.job(job).await?.is_some_and(|job| job.releases_env_to(caller.user)) {
        return reply.without_values("env_vars").ok_or_else(Error::internal);
    }
    Ok(reply)
}

/// Renders a job for the one who asked.
pub(super) fn job_reply(status: StatusCode, user: UserId, app: &App) -> Render {
    // Rendered elsewhere too, for repeats, which get the very same bytes.
    let (vault, request_id) = (app.vault.clone(), request_id::current());
    Arc::new(move |answer| match answer {
        Answer::Job(job) => Reply::json(status, &body(job, user, &vault)),
        Answer::Short { job, required, available } => {
            let short = Rejection::BalanceTooLow { required: *required, available: *available };
            let body = ShortBody {
                error: format!("{short}. The job is kept: top up, then pay it"),
                code: short.code().0,
                request_id: request_id.clone(),
                id: job.id.to_string(),
                job: body(job, user, &vault),
                required_cents: required.0,
                available_cents: available.0,
            };
            Reply::json(StatusCode::PAYMENT_REQUIRED, &body)
        }
        _ => Reply::nothing(),
    })
}

/// The job for the one who asked; `null` when its secrets cannot be opened, which the log tells.
fn body(job: &Job, user: UserId, vault: &Vault) -> Option<JobBody> {
    JobBody::of(job, Some(user), vault).unwrap_or_else(|error| {
        tracing::error!(%error, job = %job.id, "a job's variables are lost");
        None
    })
}
