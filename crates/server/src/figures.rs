//! What is counted of requests, by route: made once for each route, so that a request only adds.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};
use utoipa::openapi::OpenApi;

/// Methods that have figures of their own; the last stands for all that nobody has heard of, since what is named in
/// the metrics is kept for ever.
const METHODS: [&str; 8] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "other"];

/// Statuses that are counted without a search.
const STATUSES: [u16; 20] =
    [200, 201, 204, 304, 400, 401, 402, 403, 404, 405, 408, 409, 413, 414, 417, 422, 429, 431, 500, 503];

/// What asks whether the server is well.
pub(crate) const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// A route and its figures.
#[derive(Debug)]
pub(crate) struct Route {
    /// As in the API's description; `unknown` for what is no route.
    pub(crate) name: String,
    /// Open to everybody, for all methods it has.
    is_public: bool,
    methods: [Figures; METHODS.len()],
}

#[derive(Debug, Default)]
struct Figures {
    seconds: OnceLock<Histogram>,
    answers: [OnceLock<Counter>; STATUSES.len()],
}

impl Route {
    fn new(name: &str, is_public: bool) -> Self {
        Self { name: name.to_owned(), is_public, methods: Default::default() }
    }

    /// Whether requests for it count as visits. Probes never do: whoever watches a server behind a proxy shares the
    /// address of all its visitors.
    pub(crate) fn counts_visits(&self) -> bool {
        self.is_public && !PROBES.contains(&self.name.as_str())
    }

    /// Counts a request.
    pub(crate) fn count(&self, method: &Method, status: StatusCode, took: Duration) {
        let place = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let (name, figures) = (METHODS[place], &self.methods[place]);
        let seconds = || histogram!("clawrk_http_request_seconds", "method" => name, "route" => self.name.clone());
        figures.seconds.get_or_init(seconds).record(took.as_secs_f64());
        let counter = || {
            let status = status.as_u16().to_string();
            counter!("clawrk_http_requests_total", "method" => name, "route" => self.name.clone(), "status" => status)
        };
        match STATUSES.iter().position(|known| *known == status.as_u16()) {
            Some(place) => figures.answers[place].get_or_init(counter).increment(1),
            None => counter().increment(1),
        }
    }
}

/// The method's name; one for all that nobody has heard of.
pub(crate) fn known(method: &Method) -> &'static str {
    METHODS.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// Every route by its path.
#[derive(Debug)]
pub(crate) struct Routes {
    routes: HashMap<String, Arc<Route>>,
    unknown: Arc<Route>,
}

impl Routes {
    /// The routes of the API's description, and one that it does not describe: itself.
    pub(crate) fn new(document: &OpenApi, undescribed: &str) -> Self {
        let described = document.paths.paths.iter().map(|(path, item)| {
            let operations = [&item.get, &item.post, &item.patch, &item.delete, &item.put].into_iter().flatten();
            // Who says that an operation needs nothing says so with one empty requirement.
            let open = |security: &Vec<_>| security.iter().all(|one| *one == Default::default());
            let is_public = operations.clone().all(|operation| operation.security.as_ref().is_some_and(open));
            (path.clone(), Arc::new(Route::new(path, is_public)))
        });
        let mut routes: HashMap<_, _> = described.collect();
        routes.insert(undescribed.to_owned(), Arc::new(Route::new(undescribed, true)));
        Self { routes, unknown: Arc::new(Route::new("unknown", false)) }
    }

    /// The route of this path; the unknown one for none.
    pub(crate) fn get(&self, path: Option<&str>) -> Arc<Route> {
        let found = path.and_then(|path| self.routes.get(path));
        Arc::clone(found.unwrap_or(&self.unknown))
    }
}

/// The figures of requests that never got as far as the routes.
pub(crate) fn refused() -> &'static Route {
    static REFUSED: OnceLock<Route> = OnceLock::new();
    REFUSED.get_or_init(|| Route::new("unknown", false))
}
