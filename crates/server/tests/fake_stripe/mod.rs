//! Stripe for tests: a real HTTP server that takes nothing that the real one would not, keeps books of its own, and fails
//! as it is told.
//!
//! | Where       | What                                                                     |
//! |-------------|--------------------------------------------------------------------------|
//! | here        | requests, keys, faults: the same key is answered the same for a day       |
//! | `routes.rs` | what each route takes and does                                           |
//! | `people.rs` | what happens on its pages, at banks and in its dashboard, and its notices |
//!
//! Objects are shaped after Stripe's published samples where those are at hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

mod people;
mod routes;

/// What requests must bring.
pub(crate) const SECRET_KEY: &str = "sk_test_canary";
/// What notices are signed with.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_canary";
/// Keys are forgotten after this, in seconds.
const KEY_SECONDS: i64 = 24 * 3600;
/// The variable that names the file of Stripe's published sample objects (`fixtures3.json` of stripe/openapi).
const SAMPLES: &str = "CLAWRK_TEST_STRIPE_SAMPLES";

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 500, and nothing is done; kept under the key.
    Fails,
    /// Done, and then 500; kept under the key.
    ActsAndFails,
    /// Done, and the connection ends without an answer.
    ActsAndHangsUp,
    /// Done, and no answer ever comes.
    ActsAndHangs,
    /// The connection ends, and nothing is done.
    HangsUp,
    /// No answer ever comes, and nothing is done.
    Hangs,
    /// It is under way until `release`, whether or not whoever asked is still there; then it is done. A question is
    /// answered then, by how things stood when it came.
    IsSlow,
    /// 429, and nothing is done.
    TooMany,
    /// Not Stripe answers but something before it, with this status.
    IsElsewhere(u16),
}

/// The server; cheap to clone.
#[derive(Clone)]
pub(crate) struct FakeStripe {
    pub(crate) url: String,
    books: Arc<Mutex<Books>>,
    slow: Arc<Notify>,
}

/// A refusal: the status, and what is under `error`.
type Refusal = (u16, Value);

/// What was answered under a key.
struct Kept {
    asked: String,
    at: i64,
    /// None while it is under way.
    answer: Option<(u16, Value)>,
}

/// All that it knows.
#[derive(Default)]
pub(crate) struct Books {
    /// Seconds since 1970.
    pub(crate) now: i64,
    /// Objects by what they are, the oldest first.
    pub(crate) objects: BTreeMap<&'static str, Vec<Value>>,
    /// What it can pay out.
    pub(crate) available: i64,
    /// Cards that are declined, and why.
    pub(crate) declined: BTreeMap<String, &'static str>,
    /// Charges are `processing` at first.
    pub(crate) charges_take_time: bool,
    /// Each request: method, path and key.
    pub(crate) calls: Vec<String>,
    /// Notices that nobody has taken yet.
    pub(crate) notices: Vec<Value>,
    /// What the real one would not have taken.
    pub(crate) wrong: Vec<String>,
    faults: VecDeque<(&'static str, Fault)>,
    keys: BTreeMap<String, Kept>,
    made: usize,
}

impl FakeStripe {
    /// Starts it, on a thread of its own: whoever asks may wait for it without a runtime.
    pub(crate) fn start(now: i64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let books = Books { now, available: 100_000_000, ..Books::default() };
        let fake = Self { url, books: Arc::new(Mutex::new(books)), slow: Arc::default() };
        let router = Router::new().fallback(serve).with_state(fake.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        fake
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// The next call such as `POST /v1/transfers` goes wrong like this.
    pub(crate) fn fault(&self, call: &'static str, fault: Fault) {
        self.books().faults.push_back((call, fault));
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn clear_faults(&self) {
        self.books().faults.clear();
    }

    /// What is slow is done.
    pub(crate) fn release(&self) {
        self.slow.notify_waiters();
    }

    /// How often this was asked for.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.books().calls.iter().filter(|made| made.starts_with(call)).count()
    }
}

/// A request as it came.
struct Request {
    method: Method,
    path: String,
    fields: Vec<(String, String)>,
    key: Option<String>,
}

async fn serve(
    State(fake): State<FakeStripe>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = uri.path().to_owned();
    let is_post = method == Method::POST;
    let text = if is_post { body.to_vec() } else { uri.query().unwrap_or_default().as_bytes().to_vec() };
    let fields = url_fields(&text);
    let request = Request { method, path, fields, key: header("idempotency-key") };
    let call = format!("{} {}", request.method, request.path);
    let fault = {
        let mut books = fake.books();
        books.calls.push(format!("{call} {}", request.key.as_deref().unwrap_or_default()));
        let allowed = is_allowed(&request, &header);
        if let Err((status, error)) = allowed {
            books.wrong.push(format!("{call}: {error}"));
            return answer(status, &json!({ "error": error }), &[]);
        }
        let place = books.faults.iter().position(|(of, _)| call.starts_with(of));
        place.and_then(|place| books.faults.remove(place)).map(|(_, fault)| fault)
    };
    match fault {
        Some(Fault::HangsUp) => hang_up(),
        Some(Fault::Hangs) => std::future::pending().await,
        Some(Fault::TooMany) => {
            let error = json!({"type": "invalid_request_error", "code": "rate_limit",
                "message": "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."});
            answer(429, &json!({ "error": error }), &[("retry-after", "7".to_owned())])
        }
        Some(Fault::IsElsewhere(status)) => {
            Response::builder().status(status).body(Body::from("<h1>A proxy</h1>")).unwrap()
        }
        _ if is_post => post(fake, request, fault).await,
        Some(Fault::Fails | Fault::ActsAndFails) => answer(500, &broken(), &[]),
        Some(Fault::ActsAndHangs) => std::future::pending().await,
        Some(Fault::ActsAndHangsUp) => hang_up(),
        fault => {
            let (status, body) = fake.books().carried_out(&request);
            if fault == Some(Fault::IsSlow) {
                fake.slow.notified().await;
            }
            answer(status, &body, &[])
        }
    }
}

/// A call that does something: under its key, once.
async fn post(fake: FakeStripe, request: Request, fault: Option<Fault>) -> Response<Body> {
    let key = request.key.clone().expect("it was looked at before");
    let mut fields = request.fields.clone();
    fields.sort();
    let asked = format!("{} {fields:?}", request.path);
    {
        let mut books = fake.books();
        let now = books.now;
        books.keys.retain(|_, kept| now < kept.at + KEY_SECONDS);
        if let Some(kept) = books.keys.get(&key) {
            let refused = |status, kind: &str, code: Option<&str>, message: String| {
                answer(status, &json!({"error": {"type": kind, "code": code, "message": message}}), &[])
            };
            if kept.asked != asked {
                let message = format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{key}' if you meant to execute a different request."
                );
                return refused(400, "idempotency_error", None, message);
            }
            let Some((status, body)) = &kept.answer else {
                let message = format!(
                    "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): {key}. Please try again later."
                );
                return refused(409, "idempotency_error", Some("idempotency_key_in_use"), message);
            };
            return answer(*status, body, &[("idempotent-replayed", "true".to_owned()), ("idempotency-key", key)]);
        }
        // What does not pass for a request is not kept.
        if let Err((status, error)) = routes::checked(&request) {
            books.wrong.push(format!("{} {}: {error}", request.method, request.path));
            return answer(status, &json!({ "error": error }), &[]);
        }
        books.keys.insert(key.clone(), Kept { asked, at: now, answer: None });
    }
    if fault == Some(Fault::IsSlow) {
        let (slow, released) = (fake.clone(), Arc::clone(&fake.slow));
        let (of, key) = (request, key);
        // It goes on without whoever asked.
        #[expect(clippy::disallowed_methods, reason = "it outlives the connection, and ends with the thread")]
        let doing = tokio::spawn(async move {
            released.notified().await;
            slow.books().done_under(&key, &of, None)
        });
        let (status, body) = doing.await.unwrap();
        return answer(status, &body, &[]);
    }
    let (status, body) = fake.books().done_under(&key, &request, fault);
    match fault {
        Some(Fault::ActsAndHangs) => std::future::pending().await,
        Some(Fault::ActsAndHangsUp) => hang_up(),
        _ => answer(status, &body, &[("idempotency-key", key)]),
    }
}

impl Books {
    /// Does it, and keeps the answer under the key.
    fn done_under(&mut self, key: &str, request: &Request, fault: Option<Fault>) -> (u16, Value) {
        let done = if fault == Some(Fault::Fails) { (500, broken()) } else { self.carried_out(request) };
        let done = if fault == Some(Fault::ActsAndFails) { (500, broken()) } else { done };
        if let Some(kept) = self.keys.get_mut(key) {
            kept.answer = Some(done.clone());
        }
        done
    }

    fn carried_out(&mut self, request: &Request) -> (u16, Value) {
        match self.route(request) {
            Ok(body) => (200, body),
            Err((status, error)) => {
                if error["type"] != "card_error" && status != 404 && error["code"] != "balance_insufficient" {
                    self.wrong.push(format!("{} {}: {error}", request.method, request.path));
                }
                (status, json!({ "error": error }))
            }
        }
    }
}

/// Whether Stripe would look at it at all.
fn is_allowed(request: &Request, header: &impl Fn(&str) -> Option<String>) -> Result<(), Refusal> {
    if header("authorization").as_deref() != Some(&format!("Bearer {SECRET_KEY}")) {
        return Err(invalid(401, None, "Invalid API Key provided: sk_test_******ry"));
    }
    if header("stripe-version").is_none() {
        return Err(invalid(400, None, "Stripe-Version is missing"));
    }
    let is_form = header("content-type").as_deref() == Some("application/x-www-form-urlencoded");
    if request.method == Method::POST && !(is_form && request.key.as_ref().is_some_and(|key| key.len() <= 255)) {
        return Err(invalid(400, None, "A POST needs a form and an Idempotency-Key of at most 255 characters"));
    }
    Ok(())
}

/// The fields of a form or a query, decoded.
fn url_fields(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

/// An `invalid_request_error`.
fn invalid(status: u16, code: Option<&str>, message: &str) -> Refusal {
    (status, json!({"type": "invalid_request_error", "code": code, "message": message}))
}

fn broken() -> Value {
    json!({"error": {"type": "api_error", "message": "Something went wrong on Stripe's end."}})
}

fn answer(status: u16, body: &Value, headers: &[(&str, String)]) -> Response<Body> {
    let mut head = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        head = head.header(*name, value);
    }
    head.body(Body::from(body.to_string())).unwrap()
}

/// The connection ends: no answer, not even a broken one. No hook is told of this panic.
fn hang_up() -> Response<Body> {
    std::panic::resume_unwind(Box::new("the connection ends"))
}

/// A sample of such an object.
fn sample(of: &str) -> Map<String, Value> {
    static ALL: OnceLock<Option<Value>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "a switch of these tests")]
        let file = std::env::var_os(SAMPLES);
        let found = file.and_then(|file| serde_json::from_slice(&std::fs::read(file).ok()?).ok());
        if found.is_none() {
            println!("skipped: {SAMPLES} names no file of Stripe's sample objects; plain ones are used");
        }
        found
    });
    let found = all.as_ref().and_then(|all| all["resources"][of].as_object()).cloned();
    found.unwrap_or_else(|| Map::from_iter([("object".to_owned(), of.into())]))
}

/// The names in this that are not in that.
fn beyond<'a>(names: impl Iterator<Item = &'a str>, known: &BTreeSet<&str>) -> Option<&'a str> {
    names.filter(|name| !known.contains(name)).min()
}
