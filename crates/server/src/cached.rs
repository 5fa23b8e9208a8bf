//! Answers that are the same for everybody, which whoever is on the way may keep for a moment and ask for again by name.
//!
//! The name is made of the answer itself, so it is the same on every node.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::list;

/// For how long it may be kept: no longer than nodes may differ.
const FRESH: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// An answer, and the next page as [`list::page_of`] has it; 304 when the client has the same already.
pub(crate) fn answer(
    asked: &HeaderMap,
    body: &(impl Serialize + ?Sized),
    next: Option<(&str, i64, String)>,
) -> Response {
    let body = serde_json::to_vec(body).expect("our own bodies are JSON");
    let mut response = Response::new(Body::empty());
    if let Some((path, limit, cursor)) = next {
        list::link_next(&mut response, path, limit, &cursor);
    }
    let headers = response.headers_mut();
    let tag = tag(&body, headers.get(header::LINK));
    let is_known = knows(asked, &tag);
    headers.insert(header::CACHE_CONTROL, FRESH);
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("hexadecimal in quotes is ASCII"));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = body.into();
    }
    response
}

/// The name of an answer: what it says, and what it says of the next page.
fn tag(body: &[u8], link: Option<&HeaderValue>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(link.map(HeaderValue::as_bytes).unwrap_or_default());
    hasher.update([0]);
    hasher.update(body);
    format!("\"{}\"", hex::encode(&hasher.finalize()[..16]))
}

/// Whether the client has the answer of this name.
fn knows(asked: &HeaderMap, tag: &str) -> bool {
    let names = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut names = names.flat_map(|value| value.split(',')).map(str::trim);
    names.any(|name| name == "*" || name.strip_prefix("W/").unwrap_or(name) == tag)
}
