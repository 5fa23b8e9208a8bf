//! Lists as they go out: a page with its `Link`, or the whole list as one JSON array, streamed in chunks.
//!
//! The whole list of jobs is read as ids in one short query and rows a few at a time, so a slow
//! reader holds neither memory nor a transaction.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use clawrk_domain::{JobId, Rejection};
use clawrk_store::{JobList, Place};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use crate::api::job_body::JobBody;
use crate::auth::Caller;
use crate::input::PageQuery;
use crate::{App, Error};

/// Jobs that are read from the store together.
const CHUNK: usize = 50;

/// A list of jobs as the caller may see them.
pub(crate) async fn jobs(
    app: App,
    caller: Caller,
    list: JobList,
    page: &PageQuery,
    path: &str,
) -> Result<Response, Error> {
    let (limit, after) = (page.limit()?, page.after::<Place>()?);
    let wanted = limit.map_or(i64::MAX, |limit| limit + 1);
    let mut places = app.store.job_places(list, after, wanted).await?;
    let next = cut(&mut places, limit).map(|place| place.to_string());
    let ids: Vec<JobId> = places.into_iter().map(|place| place.job).collect();
    let chunks: Vec<Vec<JobId>> = ids.chunks(CHUNK).map(<[JobId]>::to_vec).collect();
    let bodies = stream::iter(chunks)
        .then(move |chunk| {
            let app = app.clone();
            async move {
                let jobs = app.store.jobs(&chunk).await?;
                let bodies = jobs.iter().map(|job| JobBody::of(job, Some(caller.user), &app.vault));
                Ok::<_, Error>(bodies.collect::<Result<Vec<_>, _>>()?)
            }
        })
        .map_ok(|bodies| stream::iter(bodies.into_iter().flatten().map(Ok)))
        .try_flatten();
    match limit {
        None => Ok(array(bodies)),
        Some(limit) => Ok(page_of(&bodies.try_collect::<Vec<_>>().await?, next.map(|next| (path, limit, next)))),
    }
}

/// Cuts a list that was read one further than its page; the place to go on from, if there is more.
pub(crate) fn cut<T: Copy>(list: &mut Vec<T>, limit: Option<i64>) -> Option<T> {
    let limit = usize::try_from(limit?).ok()?;
    if list.len() <= limit {
        return None;
    }
    list.truncate(limit);
    list.last().copied()
}

/// A short list that is at hand whole: all of it, or the page that is asked for.
pub(crate) fn whole<T, B: Serialize>(
    mut items: &[T],
    cursor: impl Fn(&T) -> String,
    body: impl Fn(&T) -> B,
    page: &PageQuery,
    path: &str,
) -> Result<Response, Error> {
    let limit = page.limit()?;
    if let Some(after) = &page.after {
        let place = items.iter().position(|item| cursor(item) == *after);
        let place = place.ok_or_else(|| Rejection::invalid("after", "must be a cursor from a Link header"))?;
        items = &items[place + 1..];
    }
    let shown = limit.and_then(|limit| usize::try_from(limit).ok()).map_or(items.len(), |limit| limit.min(items.len()));
    let next = if shown < items.len() { items.get(shown.wrapping_sub(1)).map(cursor) } else { None };
    let bodies: Vec<B> = items.iter().take(shown).map(body).collect();
    Ok(page_of(&bodies, limit.zip(next).map(|(limit, next)| (path, limit, next))))
}

/// One page, and where the next one is: path, limit and cursor.
pub(crate) fn page_of(items: &[impl Serialize], next: Option<(&str, i64, String)>) -> Response {
    let mut response = crate::reply::Reply::ok(&items).into_response();
    if let Some((path, limit, cursor)) = next {
        link_next(&mut response, path, limit, &cursor);
    }
    response
}

/// Tells where the next page is.
pub(crate) fn link_next(response: &mut Response, path: &str, limit: i64, cursor: &str) {
    let separator = if path.contains('?') { '&' } else { '?' };
    let link = format!("<{path}{separator}limit={limit}&after={cursor}>; rel=\"next\"");
    // Paths, numbers and cursors are ASCII; anything else would only lose the link.
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(header::LINK, link);
    }
}

/// The items as one JSON array, sent as they come. A failure in the middle breaks the connection:
/// half a list must not look like a whole one.
pub(crate) fn array<T: Serialize + Send + 'static>(
    items: impl stream::Stream<Item = Result<T, Error>> + Send + 'static,
) -> Response {
    array_within(String::new(), items, "")
}

/// The same with JSON before and after the array, which is a field of it.
pub(crate) fn array_within<T: Serialize + Send + 'static>(
    before: String,
    items: impl stream::Stream<Item = Result<T, Error>> + Send + 'static,
    after: &'static str,
) -> Response {
    let element = |(at, item): (usize, Result<T, Error>)| {
        let mut bytes = if at == 0 { Vec::new() } else { vec![b','] };
        let item = item.map_err(|_| std::io::Error::other("the list broke off"))?;
        serde_json::to_writer(&mut bytes, &item).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(Bytes::from(bytes))
    };
    let text = |text: String| stream::once(async move { Ok(Bytes::from(text)) });
    let body = text(before + "[").chain(items.enumerate().map(element)).chain(text(format!("]{after}")));
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response()
}
