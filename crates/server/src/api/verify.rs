//! Verification outside of any job: somebody holds a text against checks and criteria, by the same verifiers that decide
//! about jobs. Nothing is stored; whoever goes away ends it.
//!
//! | Asked for           | Answer                                                                                    |
//! |---------------------|-------------------------------------------------------------------------------------------|
//! | JSON                | the verdict, within the time that any request has                                         |
//! | `text/event-stream` | the log as it grows, as of a job: `status`, `log`, then `verdict` or `error`, then `end`      |

use std::collections::BTreeMap;
use std::pin::Pin;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use clawrk_domain::action::check_output;
use clawrk_domain::verification::Found;
use clawrk_domain::{Check, Rejection, Scope, Submission, UserId, Verdict, Verification, limits, upload};
use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use utoipa::ToSchema;

use super::ErrorBody;
use super::job_body::VerificationBody;
use super::logs::{LineBody, Nothing, event, event_stream};
use super::uploads::upload_ids;
use crate::auth::Caller;
use crate::edge::Place;
use crate::envelope::peer_of;
use crate::input::{Input, Take};
use crate::verify::{Log, Scrubber, Subject, Visit};
use crate::{App, Error};

/// What a user's judged verifications of a day are counted under.
const BUDGET: &str = "verification";
/// What is left of a request's time to say that there was too little of it.
const TO_SAY_SO: Duration = Duration::from_secs(2);
/// How often a stream is given what the log has new.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// The longest that a stream verifies.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What is verified, and against what.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct VerifyBody {
    /// What a judge holds it against, at most 50; 503 `llm_not_configured` without a model.
    criteria: Option<Vec<String>>,
    /// What a machine holds it against; at most 20.
    #[schema(value_type = Option<Vec<Object>>)]
    checks: Option<Vec<serde_json::Value>>,
    /// The text; at most 1 MiB.
    output_text: Option<String>,
    /// The files, as ids of your uploads; at most 10. Commands see them as the submission's and as the job's.
    attachments: Option<Vec<String>>,
    /// Environment variables, for commands that ask for them.
    #[serde(rename = "envVars")]
    env_vars: Option<BTreeMap<String, String>>,
}

impl Take for VerifyBody {
    const LIMIT_BYTES: usize = 4 << 20;
}

/// Verify a text or files against checks and criteria, outside of any job.
///
/// With `Accept: text/event-stream` the answer is the log as it grows: `status` and `log` are lines, `{"at", "text"}`;
/// `verdict` is what the JSON would be, `error` why there is none; `end` comes last.
#[utoipa::path(post, path = "/api/verify", tag = "verification", request_body = VerifyBody,
    responses((status = 200, body = VerificationBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn verify(
    State(app): State<App>,
    caller: Caller,
    request: Parts,
    input: Input<VerifyBody>,
) -> Result<Response, Error> {
    caller.may(Scope::Work)?;
    let wanted = Wanted::read(&app, caller.user, input.body).await?;
    if !wanted.criteria.is_empty() && app.judge.is_none() {
        return Err(Error::llm_not_configured());
    }
    app.commands.can_run(&wanted.checks).await?;
    // A body has had its room for as long as it took to read: a verification may take minutes.
    drop(input.room);
    let seat = app.verifiers.visitor(caller.user).ok_or_else(Error::too_many_verifications)?;
    let place = match accepts_events(&request.headers) {
        true => Some(app.streams.admit(peer_of(&request.extensions)).ok_or_else(Error::too_many_streams)?),
        false => None,
    };
    if let Some(place) = place {
        return Ok(followed(app, wanted, seat, place));
    }
    let log = wanted.log(&app);
    let within = app.limits.request.saturating_sub(TO_SAY_SO);
    let verified = timeout(within, wanted.verified(&app, &log)).await.map_err(|_| Error::verification_too_long())??;
    Ok(Json(VerificationBody::of(&verified)).into_response())
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream")))
}

/// What is to be verified, read and found to be within bounds.
struct Wanted {
    user: UserId,
    checks: Vec<Check>,
    criteria: Vec<String>,
    submission: Submission,
    variables: BTreeMap<String, String>,
}

impl Wanted {
    async fn read(app: &App, user: UserId, body: VerifyBody) -> Result<Self, Error> {
        let checks = super::checks(body.checks).await?;
        let criteria = body.criteria.unwrap_or_default();
        if checks.is_empty() && criteria.is_empty() {
            return Err(
                Rejection::invalid("criteria", "must be given, or checks: there is nothing to verify by").into()
            );
        }
        limits::criteria(&criteria)?;
        let variables = body.env_vars.unwrap_or_default();
        limits::env_vars(&variables)?;
        let files = upload_ids("attachments", body.attachments)?;
        check_output(body.output_text.as_deref(), !files.is_empty())?;
        upload::check_list("attachments", &files)?;
        let mut found = Vec::with_capacity(files.len());
        for file in &files {
            found.extend(app.store.upload_known_to(*file, user).await?);
        }
        let output_files = upload::named("attachments", &files, user, &found)?;
        let output_text = body.output_text.map(Into::into);
        let submission = Submission { output_text, output_files, submitted_at: app.store.clock().now() };
        Ok(Self { user, checks, criteria, submission, variables })
    }

    fn log(&self, app: &App) -> Log {
        Log::new(Scrubber::new(&self.variables), app.store.clock().clone())
    }

    /// The verdict: of the checks, and, where they are passed, of the criteria.
    async fn verified(&self, app: &App, log: &Log) -> Result<Verification, Error> {
        let Self { user, checks, criteria, submission, variables } = self;
        let subject = Subject {
            asked: None,
            checks,
            criteria,
            submission,
            attachments: &submission.output_files,
            variables,
            price_cents: 0,
        };
        let now = || app.store.clock().now();
        let mut passed = Vec::new();
        if !checks.is_empty() {
            let results = match subject.checked(app, log).await {
                Found::Checks(results) => results,
                other => return Err(Error::not_verified(other)),
            };
            let verification = Verification::of_checks(results, now());
            if verification.verdict == Verdict::Fail || criteria.is_empty() {
                return Ok(verification);
            }
            passed = verification.checks;
        }
        // What never comes to a judge takes nothing of the day's.
        if !app.store.spend(*user, BUDGET, app.limits.verifications_per_day).await? {
            return Err(Error::budget_spent(app.limits.verifications_per_day));
        }
        match subject.judged(app, log).await {
            Found::Criteria(results, verifier) => Ok(Verification::of_criteria(results, passed, verifier, now())),
            other => Err(Error::not_verified(other)),
        }
    }
}

/// The verification as a stream of what its log says.
fn followed(app: App, wanted: Wanted, seat: Visit, place: Place) -> Response {
    let log = wanted.log(&app);
    let (told, with) = (log.clone(), app.clone());
    let looking = Box::pin(async move {
        let verified = timeout(LONGEST, wanted.verified(&with, &told)).await;
        verified.unwrap_or_else(|_| Err(Error::verification_too_long()))
    });
    let mut tell = interval(TELL_EVERY);
    tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follow = Follow { app, looking: Some(looking), log, tell, _seat: seat, _place: place };
    event_stream(stream::unfold(follow, async |mut follow| {
        let text = follow.next().await?;
        Some((Ok(text), follow))
    }))
}

type Looking = Pin<Box<dyn Future<Output = Result<Verification, Error>> + Send>>;

/// A stream, as far as it has come.
struct Follow {
    app: App,
    /// None once it is over.
    looking: Option<Looking>,
    log: Log,
    tell: Interval,
    _seat: Visit,
    _place: Place,
}

impl Follow {
    /// What is sent next, when there is something; none after the end.
    async fn next(&mut self) -> Option<String> {
        let pulse = Instant::now() + self.app.limits.stream_pulse;
        loop {
            let looking = self.looking.as_mut()?;
            let verified = tokio::select! {
                verified = looking => Some(verified),
                _ = self.tell.tick() => None,
                () = sleep_until(pulse) => return Some(": nothing new\n\n".to_owned()),
                () = self.app.stopping.cancelled() => Some(Err(Error::stopping())),
            };
            let lines: String =
                self.log.take().iter().map(|line| event(line.kind.as_str(), None, &LineBody::from(line))).collect();
            let Some(verified) = verified else {
                if lines.is_empty() {
                    continue;
                }
                return Some(lines);
            };
            self.looking = None;
            let last = match verified {
                Ok(verified) => event("verdict", None, &VerificationBody::of(&verified)),
                Err(error) => event("error", None, &error.to_json()),
            };
            return Some(lines + &last + &event("end", None, &Nothing {}));
        }
    }
}
