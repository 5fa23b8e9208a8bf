//! What clients and other nodes send, read by the very code that reads it for the routes, and forgotten.
//!
//! The server itself has no use for this. It is where a test or a fuzzer can hand in anything at all.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Uri};

use clawrk_domain::Timestamp;
use futures_util::FutureExt;

use crate::api::jobs::{NoBody, ReviewBody, RunBody, StatusQuery};
use crate::api::work::{ClaimBody, FailBody, PullBody, SubmitBody};
use crate::api::{agents, keys};
use crate::edge::{Ends, Head, Step};
use crate::input::{self, Once, PageQuery, Query, Take};
use crate::rates::{Counted, Rates};
use crate::{Error, json};

/// The strict pass over a body's JSON alone; an empty body is none.
pub fn strict_json(bytes: &[u8]) -> Result<(), Error> {
    json::check(bytes)
}

/// The one form of all JSON that says the same, of which fingerprints are made.
pub fn canonical_json(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    json::canonical(bytes)
}

/// The bytes as the body of every route that takes one.
pub fn bodies(bytes: &[u8]) -> [(&'static str, Result<(), Error>); 9] {
    fn read<T: Take>(bytes: &[u8]) -> Result<(), Error> {
        json::read::<T>(bytes).map(|_| ())
    }
    [
        ("POST /api/agents", read::<agents::CreateAgentBody>(bytes)),
        ("PATCH /api/agents/{id}", read::<agents::UpdateAgentBody>(bytes)),
        ("POST /api/keys", read::<keys::CreateKeyBody>(bytes)),
        ("POST /api/jobs/run", read::<RunBody>(bytes)),
        ("POST /api/jobs/pull", read::<PullBody>(bytes)),
        ("POST /api/jobs/{id}/claim", read::<ClaimBody>(bytes)),
        ("POST /api/jobs/{id}/submit", read::<SubmitBody>(bytes)),
        ("POST /api/jobs/{id}/fail", read::<FailBody>(bytes)),
        ("POST /api/jobs/{id}/review", read::<ReviewBody>(bytes)),
    ]
}

/// The bytes as the body of the routes that take none, such as `POST /api/jobs/{id}/pay`.
pub fn no_body(bytes: &[u8]) -> Result<(), Error> {
    json::read::<NoBody>(bytes).map(|_| ())
}

/// The idempotency key of a request with this header, and its fingerprint.
pub fn once(method: Method, uri: Uri, key: HeaderValue, body: &[u8]) -> Result<Option<Once>, Error> {
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    request.headers_mut().insert("idempotency-key", key);
    let (parts, ()): (Parts, ()) = request.into_parts();
    input::once(&parts, body)
}

/// The query of a list that comes in pages.
pub fn page(uri: &Uri) -> Result<PageQuery, Error> {
    Query::of(uri).map(|Query(page)| page)
}

/// The query of the list of one's jobs.
pub fn status_query(uri: &Uri) -> Result<(), Error> {
    Query::<StatusQuery>::of(uri).map(|_| ())
}

/// Whether an address is refused two minutes after this node heard these texts, a line each, from others on its database.
pub fn counts_lock_out(texts: &str, address: IpAddr, heard_at: Timestamp) -> bool {
    let rates = Rates::new(600, true);
    texts.lines().for_each(|text| rates.hear(text, heard_at));
    let later = heard_at.plus_seconds(120);
    let mut all = [Counted::Page, Counted::Stranger, Counted::WrongKey].into_iter();
    all.any(|what| !matches!(rates.address(what, address, later).now_or_never(), Some(Ok(_))))
}

/// A request's head, read as it comes from a connection.
#[derive(Debug, Default)]
pub struct HeadReader(Head);

/// How far a head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadRead {
    /// More has to come.
    Partial,
    /// It is refused.
    Refused,
    /// It is good.
    Whole {
        /// How long the head is.
        bytes: usize,
        /// How long the body is; none when it comes in chunks.
        body: Option<u64>,
    },
}

impl HeadReader {
    /// Reads on: the bytes are the head from its first one, with at least what there was the last time.
    pub fn read(&mut self, bytes: &[u8]) -> HeadRead {
        match self.0.read(bytes) {
            Step::Partial => HeadRead::Partial,
            Step::Refused(_) => HeadRead::Refused,
            Step::Whole(bytes, Ends::After(body)) => HeadRead::Whole { bytes, body: Some(body) },
            Step::Whole(bytes, Ends::WithLastChunk) => HeadRead::Whole { bytes, body: None },
        }
    }
}
