//! Every route of the product on one screen, and what wraps them all.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    agents, board, directory, health, jobs, keys, live, logs, matches, payments, stats, uploads, users, verify, wallet,
    work,
};
use crate::envelope::{envelope, peer_of};
use crate::figures::Routes;
use crate::openapi::description;
use crate::rates::Counted;
use crate::{App, Error, auth, telemetry};

/// Where the API is described.
const DESCRIPTION: &str = "/openapi.json";

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
        .routes(routes!(matches::matches))
        .routes(routes!(jobs::index))
        .routes(routes!(jobs::run))
        .routes(routes!(work::pull))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::events))
        .routes(routes!(logs::logs))
        .routes(routes!(jobs::pay))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::review))
        .routes(routes!(work::claim))
        .routes(routes!(work::accept))
        .routes(routes!(work::reject))
        .routes(routes!(work::submit))
        .routes(routes!(work::fail))
        .routes(routes!(verify::verify))
        .routes(routes!(uploads::create))
        .routes(routes!(uploads::show, uploads::delete))
        .routes(routes!(wallet::balance))
        .routes(routes!(payments::topup))
        .routes(routes!(payments::setup_payment_method))
        .routes(routes!(payments::show_auto_topup, payments::auto_topup))
        .routes(routes!(payments::withdraw))
        .routes(routes!(payments::index))
        .routes(routes!(payments::show))
        .routes(routes!(payments::connect))
        .routes(routes!(payments::connect_status))
        .routes(routes!(payments::webhook))
        .routes(routes!(keys::index, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(board::index))
        .routes(routes!(stats::stats))
        .routes(routes!(directory::directory))
        .routes(routes!(live::stream))
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
    let around = envelope(app.clone(), Routes::new(&document, DESCRIPTION));
    let document: Bytes = description(document).to_string().into();
    let described = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    routes
        .route(DESCRIPTION, get(described))
        .route("/stripe/done", get(payments::done))
        // Nothing is there, or not for this method: what strangers may ask for so many times a minute.
        .fallback(async |State(app): State<App>, request: Request| {
            let peer = peer_of(request.extensions());
            auth::refuse(&app, Counted::Stranger, peer, Error::unknown_route()).await
        })
        .method_not_allowed_fallback(async |State(app): State<App>, request: Request| {
            let peer = peer_of(request.extensions());
            auth::refuse(&app, Counted::Stranger, peer, Error::wrong_method()).await
        })
        .with_state(app)
        .layer(around)
}
