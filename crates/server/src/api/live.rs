//! The board as it changes, for everybody: a stream of server-sent events.
//!
//! | Event   | Data                                     | When                                                          |
//! |---------|------------------------------------------|---------------------------------------------------------------|
//! | `reset` | `{"jobs": [...], "more": false}`         | first, and whenever the stream cannot go on from where the client is: what was known is void, these are the newest |
//! | `job`   | the job as on the board                  | it came, or came back                                         |
//! | `gone`  | `{"id": ...}`                            | it left; nobody is told why                                   |
//!
//! Every event has an id, with which a stream goes on (`Last-Event-ID`): a number and whose number it is, so that
//! another node's, or one from before a restart, is known for what it is and answered with a `reset`. What comes after
//! an id may have been known before: a `job` is there then, and a `gone` is not, whatever was. Nothing is kept for a
//! stream but its filter and its number: whoever reads slowly is reset once the news it has not read are gone.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use clawrk_domain::JobId;
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use utoipa::IntoParams;

use super::{ErrorBody, board};
use crate::edge::Place;
use crate::envelope::peer_of;
use crate::input::Query;
use crate::market::{Event, Sort, View};
use crate::{App, Error};

/// What comes within this time goes out together.
const GATHER: Duration = Duration::from_millis(50);

/// Bytes of jobs in a `reset`, at most, unless one alone has more.
const RESET_BYTES: usize = 256 << 10;

/// After how many milliseconds a client comes back that was cut off.
const RETRY: &str = "retry: 2000\n";

/// Which jobs are followed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LiveQuery {
    /// Only jobs that have all of these words, as on the board.
    q: Option<String>,
    /// Only jobs that pay at least so many cents, before the fee.
    min_price: Option<i64>,
}

/// The board as it changes, as server-sent events. Free of auth.
///
/// `reset` comes first: `{"jobs": [...], "more": false}`, the newest 50 or fewer, and whether there are others. Then
/// `job`, the job as on the board, when one comes or comes back, and `gone`, `{"id": "..."}`, when one leaves. With the
/// id of the last event in `Last-Event-ID` it goes on from there; where that cannot be, there is a `reset` again.
#[utoipa::path(get, path = "/api/board/stream", tag = "market",
    params(LiveQuery, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event one has")),
    security(()), responses((status = 200, body = String, content_type = "text/event-stream"),
        (status = 400, body = ErrorBody)))]
pub async fn stream(
    State(app): State<App>,
    Query(query): Query<LiveQuery>,
    request: Request,
) -> Result<Response, Error> {
    const ID: HeaderName = HeaderName::from_static("last-event-id");
    let view = board::view(query.q.as_deref(), query.min_price)?;
    let place = app.streams.admit(peer_of(request.extensions())).ok_or_else(Error::too_many_streams)?;
    let id = request.headers().get(ID).and_then(|id| id.to_str().ok());
    let at = id.and_then(|id| app.market.news.number(id));
    let mut live = Live { view, at: at.unwrap_or_default(), follow: app.market.news.watch(), app, _place: place };
    let mut first = RETRY.to_owned();
    if at.is_none() {
        first.push_str(&live.begin().await?);
    }
    let rest = stream::unfold(live, async |mut live| {
        let text = live.next().await.transpose()?;
        Some((text.map(Bytes::from).map_err(|_| std::io::Error::other("the stream broke off")), live))
    });
    let body = Body::from_stream(stream::iter([Ok(Bytes::from(first))]).chain(rest));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // Proxies that gather answers would hold it back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// A stream, as far as it has come.
struct Live {
    app: App,
    view: View,
    /// The number of the last of the news that were told, or passed over.
    at: u64,
    follow: watch::Receiver<u64>,
    _place: Place,
}

/// The data of a `reset`.
#[derive(Serialize)]
struct Reset<'a> {
    jobs: &'a [&'a RawValue],
    more: bool,
}

/// The data of a `gone`.
#[derive(Serialize)]
struct Gone {
    id: JobId,
}

impl Live {
    /// What is sent next, when there is something; none at the end.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        let pulse = Instant::now() + self.app.limits.stream_pulse;
        loop {
            if self.app.stopping.is_cancelled() {
                return Ok(None);
            }
            self.follow.borrow_and_update();
            let Some((events, at)) = self.app.market.news.after(self.at, &self.view) else {
                return self.begin().await.map(Some);
            };
            let has_moved = at > self.at;
            self.at = at;
            if !events.is_empty() {
                return Ok(Some(events.iter().map(|event| self.event(event)).collect()));
            }
            if has_moved {
                continue;
            }
            tokio::select! {
                _ = self.follow.changed() => sleep(GATHER).await,
                // Also tells how far it has come, so that a client that heard nothing for long can go on from here.
                () = sleep_until(pulse) => return Ok(Some(format!(": nothing new\nid: {}\n\n", self.id(self.at)))),
                () = self.app.stopping.cancelled() => return Ok(None),
            }
        }
    }

    /// The state to go on from.
    async fn begin(&mut self) -> Result<String, Error> {
        let limit = super::PUBLIC_LIMIT.unsigned_abs() as usize;
        let page = self.app.market.page(&self.view, Sort::Newest, None, limit).await;
        let bodies = self.app.shown.of(&page.spots, &self.app.store).await?;
        let mut bytes = 0;
        let fitting = bodies.iter().take_while(|body: &&Arc<RawValue>| {
            let is_first = bytes == 0;
            bytes += body.get().len();
            is_first || bytes <= RESET_BYTES
        });
        let jobs: Vec<&RawValue> = fitting.map(|body| &**body).collect();
        let more = page.next.is_some() || jobs.len() < bodies.len();
        self.at = page.news;
        Ok(written("reset", &self.id(self.at), &Reset { jobs: &jobs, more }))
    }

    fn event(&self, event: &Event) -> String {
        let id = self.id(event.number);
        match &event.body {
            Some(job) => written("job", &id, &**job),
            None => written("gone", &id, &Gone { id: event.job }),
        }
    }

    fn id(&self, number: u64) -> String {
        self.app.market.news.id(number)
    }
}

/// An event as it is sent: JSON has no line breaks.
fn written(name: &str, id: &str, data: &(impl Serialize + ?Sized)) -> String {
    let data = serde_json::to_string(data).expect("our own bodies are JSON");
    format!("event: {name}\nid: {id}\ndata: {data}\n\n")
}
