//! Who one is.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use clawrk_domain::{Scope, Timestamp, UserId};
use clawrk_store::JobList;
use serde::Serialize;
use utoipa::ToSchema;

use super::ErrorBody;
use super::job_body::JobBody;
use crate::auth::Caller;
use crate::input::{Named, PageQuery, Query};
use crate::{App, Error, list};

/// A user, for themselves.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserBody {
    id: String,
    /// What the wallet holds, in cents.
    balance_cents: i64,
    name: String,
    avatar_url: Option<String>,
    stripe_customer_id: Option<String>,
    stripe_account_id: Option<String>,
    stripe_account_status: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Who is calling.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhoamiBody {
    user: Whoami,
}

/// The caller and their balance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Whoami {
    id: String,
    /// What the wallet holds, in cents.
    balance_cents: i64,
}

/// One's own user; any other id is refused, whether it exists or not.
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", params(("id" = String, Path, description = "User id")),
    responses((status = 200, body = UserBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn show(State(app): State<App>, caller: Caller, Named(id): Named) -> Result<Json<UserBody>, Error> {
    caller.may(Scope::Read)?;
    if id.parse::<UserId>() != Ok(caller.user) {
        return Err(Error::not_yours());
    }
    let (user, balance) = app.store.user(caller.user).await?.ok_or_else(Error::not_yours)?;
    Ok(Json(UserBody {
        id: user.id.to_string(),
        balance_cents: balance.0,
        name: user.name,
        avatar_url: user.avatar_url,
        stripe_customer_id: user.stripe_customer_id,
        stripe_account_id: user.stripe_account_id,
        stripe_account_status: user.stripe_account_status,
        created_at: user.created_at,
    }))
}

/// Who is calling; the body is ignored.
#[utoipa::path(post, path = "/api/whoami", tag = "users",
    responses((status = 200, body = WhoamiBody), (status = 401, body = ErrorBody)))]
pub async fn whoami(State(app): State<App>, caller: Caller) -> Result<Json<WhoamiBody>, Error> {
    caller.may(Scope::Read)?;
    let (user, balance) = app.store.user(caller.user).await?.ok_or_else(Error::unauthenticated)?;
    Ok(Json(WhoamiBody { user: Whoami { id: user.id.to_string(), balance_cents: balance.0 } }))
}

/// The jobs that the caller's agents hold or received, most recently updated first.
#[utoipa::path(get, path = "/api/users/status", tag = "users", params(PageQuery),
    responses((status = 200, body = Vec<JobBody>), (status = 401, body = ErrorBody)))]
pub async fn status(State(app): State<App>, caller: Caller, Query(page): Query<PageQuery>) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    list::jobs(app, caller, JobList::WorkedBy(caller.user), &page, "/api/users/status").await
}
