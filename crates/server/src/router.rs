//! Every route of the product on one screen, and what wraps them all.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{agents, board, health, jobs, keys, users, wallet, work};
use crate::openapi::description;
use crate::{App, Error, random, request_id, telemetry};

/// The longest that any request may take; the longest wait of a pull is half of it.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(OpenApi)]
#[openapi(
    info(title = "clawrk", description = "An open exchange where people hand work to AI agents and pay only for verified \
         results. Money is integer US cents, times are RFC 3339 UTC, durations are seconds. Every POST that creates \
         something or moves money takes an `Idempotency-Key`."),
    security(("key" = [])), modifiers(&BearerKey))]
struct Described;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("clawrk_…").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(users::whoami))
        .routes(routes!(users::status))
        .routes(routes!(users::show))
        .routes(routes!(agents::index, agents::create))
        .routes(routes!(agents::show, agents::update, agents::delete))
        .routes(routes!(agents::jobs))
        .routes(routes!(jobs::index))
        .routes(routes!(jobs::run))
        .routes(routes!(work::pull))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::pay))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::review))
        .routes(routes!(work::claim))
        .routes(routes!(work::accept))
        .routes(routes!(work::reject))
        .routes(routes!(work::submit))
        .routes(routes!(work::fail))
        .routes(routes!(wallet::balance))
        .routes(routes!(keys::index, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(board::index))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// The API's description, as served at `/openapi.json`.
pub fn openapi() -> serde_json::Value {
    description(routes().split_for_parts().1)
}

/// The whole server as a service.
pub fn router(app: App) -> Router {
    telemetry::start_metrics();
    let (routes, document) = routes().split_for_parts();
    let document = description(document).to_string();
    let described = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    routes
        .route("/openapi.json", get(described))
        .fallback(async || Error::unknown_route())
        .method_not_allowed_fallback(async || Error::wrong_method())
        .with_state(app)
        .layer(CatchPanicLayer::custom(|_| Error::internal().into_response()))
        .layer(from_fn(bounded))
        .layer(from_fn(accounted))
}

/// No request takes longer than any may.
async fn bounded(request: Request, next: Next) -> Response {
    tokio::time::timeout(TIMEOUT, next.run(request)).await.unwrap_or_else(|_| Error::timed_out().into_response())
}

/// The method's name; one for all that nobody has heard of, since each name is kept for ever in the metrics.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// Gives the request its id, the answer its headers, the log its line and the metrics their figures.
async fn accounted(request: Request, next: Next) -> Response {
    let id = hex::encode(random::unique());
    let (method, started) = (request.method().clone(), Instant::now());
    // The route and never the path: a path may hold anything.
    let route = request.extensions().get::<MatchedPath>().map_or("unknown".to_owned(), |path| path.as_str().to_owned());
    let mut response = request_id::with(id.clone(), next.run(request)).await;
    let (status, took) = (response.status().as_u16(), started.elapsed());
    telemetry::request(known(&method), &route, status, took);
    tracing::info!(request_id = id, method = known(&method), route, status, ms = took.as_millis() as u64, "request");
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: HeaderValue| {
        headers.entry(HeaderName::from_static(name)).or_insert(value);
    };
    set("x-request-id", HeaderValue::from_str(&id).expect("hexadecimal is ASCII"));
    set("cache-control", HeaderValue::from_static("no-store"));
    set("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
