//! The log of a job's verification, as server-sent events: from its start, as it grows, and again when it is over.
//!
//! | Event     | Data                                   | When                                                       |
//! |-----------|----------------------------------------|------------------------------------------------------------|
//! | `status`  | `{"at": ..., "text": ...}`             | the verification came a step further                        |
//! | `log`     | `{"at": ..., "text": ...}`             | something was done or said                                  |
//! | `verdict` | the job's `verification`               | it is over                                                  |
//! | `end`     | `{}`                                   | nothing more comes: there is a verdict, or the sender decides |
//!
//! An event's id names the attempt and the line, so a stream goes on from there (`Last-Event-ID`) on any node: all of it
//! is read from the store, and whoever follows is told when there is something new. The sender sees the last submission's
//! log, a worker that of their own last one.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use clawrk_domain::verification::{LogLine, Stage};
use clawrk_domain::{JobId, Rejection, Scope, Timestamp};
use clawrk_store::HandedIn;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

use super::job_body::VerificationBody;
use super::{ErrorBody, id};
use crate::auth::Caller;
use crate::edge::Place;
use crate::envelope::peer_of;
use crate::input::Named;
use crate::{App, Error};

/// Lines that are read at once.
const CHUNK: u32 = 200;
/// How often a log is read again that another node may write.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The log of a job's verification as it goes on, or of the last one, as server-sent events.
///
/// `status` and `log` are lines, `{"at", "text"}`; `verdict` is the verification as in the job; `end` comes last. With the
/// id of the last event in `Last-Event-ID` it goes on from there. For the sender, and for the worker whose submission it is.
#[utoipa::path(get, path = "/api/jobs/{id}/logs", tag = "jobs",
    params(("id" = String, Path, description = "Job id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event one has")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn logs(
    State(app): State<App>,
    caller: Caller,
    Named(job): Named,
    request: Request,
) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let found = app.store.job_known_to(id("job", &job)?, caller.user).await?;
    let job = found.ok_or(Rejection::NotFound("job"))?;
    let is_sender = job.sender == caller.user;
    let handed_in = app.store.handed_in(job.id).await?;
    let last = handed_in.into_iter().find(|handed_in| is_sender || handed_in.user == caller.user);
    let place = app.streams.admit(peer_of(request.extensions())).ok_or_else(Error::too_many_streams)?;
    let Some(last) = last else {
        return Ok(event_stream(stream::iter([Ok(event("end", None, &Nothing {}))])));
    };
    let told = request.headers().get("last-event-id").and_then(|id| Told::read(id.to_str().ok()?, last.attempt));
    let follow = Follow {
        news: app.verifiers.followers.follow(job.id),
        job: job.id,
        attempt: last.attempt,
        told: told.unwrap_or(Told::Lines(0)),
        app,
        _place: place,
    };
    let events = stream::unfold(follow, async |mut follow| {
        let text = follow.next().await.transpose()?;
        Some((text.map_err(|_| std::io::Error::other("the stream broke off")), follow))
    });
    Ok(event_stream(events))
}

/// A stream of events as an answer.
pub(super) fn event_stream(events: impl Stream<Item = std::io::Result<String>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that gather answers would hold it back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events.map(|text| text.map(Bytes::from)))).into_response()
}

/// An event as it is sent: JSON has no line breaks.
pub(super) fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("our own bodies are JSON");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

/// A line as it is sent.
#[derive(Serialize)]
pub(super) struct LineBody<'a> {
    at: Timestamp,
    text: &'a str,
}

impl<'a> From<&'a LogLine> for LineBody<'a> {
    fn from(line: &'a LogLine) -> Self {
        Self { at: line.at, text: &line.text }
    }
}

/// The data of an `end`.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Up to a line, from 1.
    Lines(u32),
    Verdict,
    End,
}

impl Told {
    /// Reads an event's id; none if it is of another attempt, or none of ours.
    fn read(id: &str, attempt: u32) -> Option<Self> {
        let (of, place) = id.split_once('-')?;
        if of.parse() != Ok(attempt) {
            return None;
        }
        match place {
            "verdict" => Some(Self::Verdict),
            "end" => Some(Self::End),
            line => line.parse().ok().map(Self::Lines),
        }
    }
}

/// A stream, as far as it has come.
struct Follow {
    app: App,
    job: JobId,
    attempt: u32,
    told: Told,
    news: Arc<Notify>,
    _place: Place,
}

impl Follow {
    /// What is sent next, when there is something; none after the end.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        let pulse = Instant::now() + self.app.limits.stream_pulse;
        let news = Arc::clone(&self.news);
        loop {
            if self.app.stopping.is_cancelled() {
                return Ok(None);
            }
            let told = news.notified();
            let after = match self.told {
                Told::Lines(after) => after,
                Told::Verdict => return Ok(Some(self.end())),
                Told::End => return Ok(None),
            };
            // First whether it is over: lines that come after this are read the next time.
            let handed_in = self.app.store.handed_in(self.job).await?;
            let lines = self.app.store.log_lines(self.job, self.attempt, after, CHUNK).await?;
            if let Some((last, _)) = lines.last() {
                self.told = Told::Lines(*last);
                return Ok(Some(lines.iter().map(|(n, line)| self.line(*n, line)).collect()));
            }
            match handed_in.into_iter().find(|handed_in| handed_in.attempt == self.attempt) {
                Some(HandedIn { stage: Some(Stage::Looking(_)), .. }) => {}
                Some(HandedIn { verification: Some(found), .. }) => {
                    self.told = Told::Verdict;
                    return Ok(Some(event("verdict", Some(&self.id("verdict")), &VerificationBody::of(&found))));
                }
                _ => return Ok(Some(self.end())),
            }
            // Where this is the only node, it is told of everything.
            let again = if self.app.store.is_shared() { Instant::now() + LOOK_AGAIN } else { pulse };
            tokio::select! {
                () = told => {}
                () = sleep_until(again.min(pulse)) => if Instant::now() >= pulse {
                    return Ok(Some(": nothing new\n\n".to_owned()));
                },
                () = self.app.stopping.cancelled() => return Ok(None),
            }
        }
    }

    fn line(&self, n: u32, line: &LogLine) -> String {
        event(line.kind.as_str(), Some(&self.id(&n.to_string())), &LineBody::from(line))
    }

    fn end(&mut self) -> String {
        self.told = Told::End;
        event("end", Some(&self.id("end")), &Nothing {})
    }

    fn id(&self, place: &str) -> String {
        format!("{}-{place}", self.attempt)
    }
}
