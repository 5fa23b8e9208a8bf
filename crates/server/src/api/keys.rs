//! The caller's API keys. To make or revoke one takes a key with the scopes `read`, `work` and `spend`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use clawrk_domain::key::NewKey;
use clawrk_domain::{Action, Answer, ApiKey, Rejection, Scope, Scopes, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Done, ErrorBody, id};
use crate::apikey::FreshKey;
use crate::auth::Caller;
use crate::input::{Input, Named, PageQuery, Query, Take};
use crate::reply::Reply;
use crate::{App, Error, list};

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyBody {
    /// The key's public part.
    id: String,
    name: String,
    /// Of `read`, `work`, `spend`, `admin`.
    scopes: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// To about a minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

/// A new API key, shown this once.
#[derive(Serialize, ToSchema)]
pub struct NewKeyBody {
    /// The key itself; keep it, it is not shown again.
    key: String,
    #[serde(flatten)]
    kept: KeyBody,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateKeyBody {
    /// 1 to 64 characters.
    name: String,
    /// Of `read`, `work`, `spend`, `admin`; `read`, `work` and `spend` if absent. None that one's own key lacks.
    scopes: Option<Vec<String>>,
    /// From when on it is refused; never if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl Take for CreateKeyBody {}

impl From<&ApiKey> for KeyBody {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// The caller's keys that were not revoked, oldest first.
#[utoipa::path(get, path = "/api/keys", tag = "keys", params(PageQuery),
    responses((status = 200, body = Vec<KeyBody>), (status = 401, body = ErrorBody)))]
pub async fn index(State(app): State<App>, caller: Caller, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let mut keys = app.store.keys(caller.user).await?;
    for key in &mut keys {
        key.last_used_at = key.last_used_at.max(app.used_keys.of(key.id));
    }
    list::whole(&keys, |key| key.id.to_string(), |key| KeyBody::from(key), &page, "/api/keys")
}

/// Make a key; the answer is the only one that shows it.
#[utoipa::path(post, path = "/api/keys", tag = "keys", request_body = CreateKeyBody,
    responses((status = 201, body = NewKeyBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody, description = "One's own key lacks a scope")))]
pub async fn create(State(app): State<App>, caller: Caller, input: Input<CreateKeyBody>) -> Result<Reply, Error> {
    manages_keys(caller)?;
    let CreateKeyBody { name, scopes, expires_at } = input.body;
    let scopes = match scopes {
        None => Scopes::USER,
        Some(names) => names.iter().map(|name| scope(name)).collect::<Result<_, _>>()?,
    };
    if let Some(missing) = scopes.iter().find(|scope| !caller.scopes.has(*scope)) {
        return Err(Rejection::ScopeMissing(missing).into());
    }
    let fresh = FreshKey::new();
    let action = Action::CreateKey(NewKey { id: fresh.id, hash: fresh.hash, name, scopes, expires_at });
    let text = fresh.text;
    let render = Arc::new(move |answer: &Answer| match answer {
        Answer::Key(key) => {
            Reply::json(StatusCode::CREATED, &NewKeyBody { key: text.clone(), kept: KeyBody::from(key) })
        }
        _ => Reply::ok(&Done { ok: true }),
    });
    app.exchange.act(caller.user, action, input.once, render).await
}

/// Revoke a key; it is refused from now on.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "keys", params(("id" = String, Path, description = "Key id")),
    responses((status = 200, body = Done), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn revoke(State(app): State<App>, caller: Caller, Named(key): Named) -> Result<Reply, Error> {
    manages_keys(caller)?;
    let action = Action::RevokeKey(id("API key", &key)?);
    app.exchange.act(caller.user, action, None, Arc::new(|_| Reply::ok(&Done { ok: true }))).await
}

fn manages_keys(caller: Caller) -> Result<(), Error> {
    Scopes::USER.iter().try_for_each(|scope| caller.may(scope))
}

fn scope(name: &str) -> Result<Scope, Error> {
    name.parse().map_err(|()| Rejection::invalid("scopes", "must be of read, work, spend and admin").into())
}
