//! The JSON API: each file parses, names a use case, and renders. Nothing is decided here.

pub mod agents;
pub mod board;
pub mod directory;
pub mod health;
pub mod job_body;
pub mod jobs;
pub mod keys;
pub mod live;
pub mod logs;
pub mod matches;
pub mod payments;
pub mod stats;
pub mod uploads;
pub mod users;
pub mod verify;
pub mod wallet;
pub mod work;

use std::str::FromStr;

use clawrk_domain::verification::read_checks;
use clawrk_domain::{Check, Rejection};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::Error;

/// Reads an id from a path; text that is no id names nothing.
fn id<T: FromStr>(what: &'static str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Rejection::NotFound(what).into())
}

/// Reads checks, on a thread that may be kept: patterns and schemas are compiled.
async fn checks(values: Option<Vec<Value>>) -> Result<Vec<Check>, Error> {
    let values = values.unwrap_or_default();
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let read = tokio::task::spawn_blocking(move || read_checks(&values)).await;
    Ok(read.map_err(|_| Error::internal())??)
}

/// How many entries a public list has when nobody says.
const PUBLIC_LIMIT: i64 = 50;
/// The most characters of what is searched for.
const LONGEST_SEARCH: usize = 200;

/// `{"ok": true}`: done, and no more to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always true.
    ok: bool,
}

/// What every refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What was wrong, for people.
    error: String,
    /// What was wrong, for programs; stable.
    code: String,
    /// The request's id, as in the `X-Request-Id` header.
    request_id: Option<String>,
}
