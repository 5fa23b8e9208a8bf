//! What wraps every answer: the request's id, its time limit, a panic's end, the log's line, the metrics' figures,
//! the headers that all have, and how the caller stands with the limits.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::MockConnectInfo;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{Extensions, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tower::layer::layer_fn;
use tower::{Layer, Service, service_fn};

use crate::figures::{self, Routes, known};
use crate::rates::Counted;
use crate::request_id::{self, Id};
use crate::{App, Error, auth, telemetry};

/// Where files come in, which may take longer than other requests.
const UPLOADS: &str = "/api/uploads";

/// Wraps a route.
pub(crate) fn envelope(
    app: App,
    routes: Routes,
) -> impl Layer<
    Route,
    Service: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    let shared = Arc::new((app, routes));
    layer_fn(move |mut route: Route| {
        let shared = Arc::clone(&shared);
        service_fn(move |request: Request| {
            let (app, routes) = &*shared;
            let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
            let about = routes.get(path);
            let (app, method) = (app.clone(), request.method().clone());
            let peer = peer_of(request.extensions());
            let key = if about.counts_visits() { auth::bearer(request.headers()).map(str::to_owned) } else { None };
            let answer = route.call(request);
            async move {
                let limit = if about.name == UPLOADS { app.limits.upload } else { app.limits.request };
                let begun = Instant::now();
                let (id, handled) = request_id::with(async {
                    if about.counts_visits()
                        && let Err(error) = auth::count_visit(&app, key, peer).await
                    {
                        return error.into_response();
                    }
                    caught(limit, answer).await
                })
                .await;
                let (mut response, standing) = handled;
                sealed(&mut response, &id);
                if let Some(standing) = standing {
                    app.rates.tell(standing, response.headers_mut());
                }
                noted(&about, &method, &response, &id, begun);
                Ok::<_, Infallible>(response)
            }
        })
    })
}

/// The answer to a request that was refused for its head: nothing of it is known but where it came from.
pub(crate) async fn of_refusal(app: &App, peer: IpAddr, error: Error) -> Response {
    let begun = Instant::now();
    let refused = async { auth::refuse(app, Counted::Stranger, peer, error).await.into_response() };
    let (id, (mut response, standing)) = request_id::with(refused).await;
    sealed(&mut response, &id);
    if let Some(standing) = standing {
        app.rates.tell(standing, response.headers_mut());
    }
    noted(figures::refused(), &Method::GET, &response, &id, begun);
    response
}

/// The answer, or what stands for one that takes too long or ends in a panic.
async fn caught(limit: Duration, answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(timeout(limit, answer)).catch_unwind().await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_)) => Error::timed_out().into_response(),
        Err(_) => Error::internal().into_response(),
    }
}

/// Gives the answer the headers that all have.
fn sealed(response: &mut Response, id: &Id) {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::from_str(id.as_str()).expect("hexadecimal is ASCII"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Gives the log its line and the metrics their figures.
fn noted(about: &figures::Route, method: &Method, response: &Response, id: &Id, begun: Instant) {
    let (status, took) = (response.status(), begun.elapsed());
    about.count(method, status, took);
    // The route and never the path: a path may hold anything.
    let (request_id, route, ms) = (id.as_str(), about.name.as_str(), took.as_millis() as u64);
    let (method, status) = (known(method), status.as_u16());
    let is_too_many = status == StatusCode::TOO_MANY_REQUESTS;
    if is_too_many {
        telemetry::one_too_many();
    }
    // Reads that went well are many, change nothing, and are in the metrics; and nobody can fill the log with requests
    // that are too many.
    if is_too_many || (method == "GET" && status < 400) {
        tracing::debug!(request_id, method, route, status, ms, "request");
    } else {
        tracing::info!(request_id, method, route, status, ms, "request");
    }
}

/// Which address a request comes from: what its connection says.
pub(crate) fn peer_of(extensions: &Extensions) -> IpAddr {
    let real = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer);
    let mocked = || extensions.get::<MockConnectInfo<SocketAddr>>().map(|MockConnectInfo(peer)| peer);
    // Requests that come through no connection are all of one address.
    real.or_else(mocked).map_or(Ipv4Addr::UNSPECIFIED.into(), SocketAddr::ip)
}
