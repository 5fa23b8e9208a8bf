//! Whether the server is well, for those who run it.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use clawrk_domain::Scope;
use serde::Serialize;
use utoipa::ToSchema;

use super::ErrorBody;
use crate::auth::Caller;
use crate::{App, Error, telemetry};

/// All is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

const WELL: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()), responses((status = 200, body = Health)))]
pub async fn alive() -> Json<Health> {
    Json(WELL)
}

/// The database can be reached and its schema is up to date (it was brought up to date before the server began to listen).
#[utoipa::path(get, path = "/readyz", tag = "operation", security(()),
    responses((status = 200, body = Health), (status = 503, body = ErrorBody)))]
pub async fn ready(State(app): State<App>) -> Result<Json<Health>, Error> {
    app.store.ping().await.map_err(|error| {
        tracing::warn!(%error, "not ready");
        Error::unavailable()
    })?;
    Ok(Json(WELL))
}

/// Prometheus metrics: for this machine, and for keys with the scope `admin`.
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, content_type = "text/plain", body = String), (status = 403, body = ErrorBody)))]
pub async fn metrics(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    caller: Result<Caller, Error>,
) -> Result<Response, Error> {
    if !peer.ip().to_canonical().is_loopback() && caller?.may(Scope::Admin).is_err() {
        return Err(Error::operators_only());
    }
    telemetry::gauge_open_jobs(app.market.len());
    if app.meanings.has_model() {
        telemetry::gauge_jobs_without_meaning(app.market.count_without_meaning());
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry::rendered()).into_response())
}
