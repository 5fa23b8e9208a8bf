//! What comes in with a request: bodies, idempotency keys, pages.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use clawrk_domain::{Rejection, limits};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{App, Error};

/// After a body that is too large, this much more is read before the refusal, so that most clients see it.
const DRAIN_BYTES: usize = 4 << 20;

/// For how long a client may send nothing of a body that it promised.
const SILENCE: Duration = Duration::from_secs(30);

/// A JSON body that a route takes.
pub trait Take: DeserializeOwned {
    /// The largest body, in bytes.
    const LIMIT_BYTES: usize = 1 << 20;
}

/// A request's JSON body, and its idempotency key.
pub struct Input<T> {
    /// The body; an empty one counts as `{}`.
    pub body: T,
    /// The idempotency key, if one was sent.
    pub once: Option<Once>,
}

/// An `Idempotency-Key` and what it stands for.
#[derive(Clone)]
pub struct Once {
    /// The key.
    pub key: String,
    /// SHA-256 of method, path and body, the body's JSON brought into one form.
    pub fingerprint: [u8; 32],
}

impl<T: Take> FromRequest<App> for Input<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let bytes = read(body, T::LIMIT_BYTES).await?;
        let value = parse(&bytes)?;
        let once = once(&parts, &value)?;
        let body = serde_path_to_error::deserialize(&value).map_err(|error| {
            let path = error.path().to_string();
            let problem = without_value(&error.into_inner().to_string());
            Error::malformed(if path == "." { problem } else { format!("{path}: {problem}") })
        })?;
        Ok(Self { body, once })
    }
}

/// Reads a body up to its limit.
async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut drained = 0;
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| Error::silent_client())? {
        let frame = frame.map_err(|_| Error::malformed("The request body ended early"))?;
        let Some(data) = frame.data_ref() else { continue };
        if drained > 0 || bytes.len() + data.len() > limit {
            drained += data.len();
            if drained > DRAIN_BYTES {
                break;
            }
        } else {
            bytes.extend_from_slice(data);
        }
    }
    if drained > 0 { Err(Error::too_large(limit)) } else { Ok(bytes) }
}

fn parse(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::malformed(format!("The request body is not JSON: {error}")))?;
    if !value.is_object() {
        return Err(Error::malformed("The request body must be a JSON object"));
    }
    Ok(value)
}

/// What is wrong with a value, without the value: it may be a variable that was sent in the wrong place.
fn without_value(problem: &str) -> String {
    let names_it = ["invalid type", "invalid value", "invalid length", "unknown variant"];
    match problem.rsplit_once(", expected ") {
        Some((start, expected)) if names_it.iter().any(|name| start.starts_with(name)) => {
            format!("expected {expected}")
        }
        _ => problem.to_owned(),
    }
}

fn once(parts: &Parts, body: &Value) -> Result<Option<Once>, Error> {
    let Some(key) = idempotency_key(&parts.headers)? else { return Ok(None) };
    let path = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.path(), |uri| uri.path());
    let mut hasher = Sha256::new();
    hasher.update(format!("{} {path}\n", parts.method));
    hasher.update(serde_json::to_vec(body).expect("a JSON value is JSON"));
    Ok(Some(Once { key, fingerprint: hasher.finalize().into() }))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.trim().is_empty() || key.len() > 255 {
        return Err(Error::malformed("The Idempotency-Key must be 1 to 255 visible ASCII characters"));
    }
    Ok(Some(key.to_owned()))
}

/// Query parameters, read as JSON bodies are: unknown ones are ignored, wrong ones are 400.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| Error::malformed(format!("The query is wrong: {error}")))
    }
}

/// What the path names, which may be anything in percent signs: what is no text names nothing.
pub struct Named(pub String);

impl FromRequestParts<App> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let read = axum::extract::Path::<String>::from_request_parts(parts, app).await;
        read.map(|axum::extract::Path(text)| Self(text)).map_err(|_| Rejection::NotFound("page").into())
    }
}

/// The part of a list that is asked for.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most, 1 to 200; without it the whole list.
    pub limit: Option<i64>,
    /// Where to go on: the cursor from the `Link` header of the page before.
    pub after: Option<String>,
}

impl PageQuery {
    /// The limit, if there is one; 400 when it is out of bounds.
    pub fn limit(&self) -> Result<Option<i64>, Error> {
        let Some(limit) = self.limit else { return Ok(None) };
        limits::within("limit", limit, &(1..=200)).map_err(Error::from)?;
        Ok(Some(limit))
    }

    /// The cursor, if there is one; 400 when it is none of ours.
    pub fn after<P: std::str::FromStr>(&self) -> Result<Option<P>, Error> {
        let Some(after) = &self.after else { return Ok(None) };
        let refuse = |_| Rejection::invalid("after", "must be a cursor from a Link header").into();
        after.parse().map(Some).map_err(refuse)
    }
}

/// Tells a field that is missing from one that is `null`: for PATCH and for fields sent back from an estimate.
pub fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
