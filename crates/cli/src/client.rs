//! HTTP to one exchange: addresses, keys, retries, and what the answers mean.
//!
//! A request that creates something or moves money goes out with an `Idempotency-Key` and is sent again
//! with the same one when no clear answer came, so it happens once. No other POST is repeated. Redirects
//! are not followed: the key goes to the server that was named, and nowhere else.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::environment;
use crate::failure::{Exit, Failure};
use crate::form::{Form, unreadable};
use crate::settings::{Settings, Source};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A server takes no longer over a file.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(90);
/// An answer is read up to this many bytes.
const BODY_LIMIT: usize = 64 << 20;
/// How often a request with an `Idempotency-Key` is sent again.
const RETRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest a server's wish to be left alone is heeded between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A stream says something at least every 15 seconds; one that is silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Refusals that a moment's wait does not change, whatever their status.
const LASTING: [&str; 4] = ["budget_spent", "llm_not_configured", "sandbox_unavailable", "stripe_not_configured"];
/// The largest page of a list.
pub(crate) const PAGE: usize = 200;

/// A connection to one exchange.
pub(crate) struct Client {
    http: reqwest::Client,
    settings: Settings,
}

/// A list's page, and where the next one begins.
pub(crate) struct Page {
    /// The answer.
    pub(crate) body: Value,
    /// The cursor of the next page, if there is one.
    pub(crate) next: Option<String>,
}

/// A stream that is being read.
pub(crate) struct Following<'c> {
    client: &'c Client,
    response: reqwest::Response,
}

impl Following<'_> {
    /// What comes next; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let chunk = timeout(SILENCE, self.response.chunk()).await.map_err(|_| self.client.late())?;
        Ok(chunk.map_err(|error| self.client.unreachable(&error))?.map(|bytes| bytes.to_vec()))
    }
}

struct Request<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<&'a Value>,
    /// Instead of a JSON body.
    form: Option<&'a Form>,
    /// The `Idempotency-Key`; only with one is the request ever repeated.
    once: Option<String>,
    timeout: Duration,
    needs_key: bool,
}

impl<'a> Request<'a> {
    const fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: &[], body: None, form: None, once: None, timeout: CALL_TIMEOUT, needs_key: true }
    }
}

impl Client {
    /// A client for the server in the settings; nothing is sent yet.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("clawrk/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if settings.server.scheme() == "http" {
            // Certificates are not needed, and a machine may have none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            Failure::failed("no_tls", format!("Secure connections cannot be set up: {}", cause(&error)))
                .hint("install your system's CA certificates (the package is usually named ca-certificates)")
        })?;
        Ok(Self { http, settings })
    }

    /// The server, the key and where they were found.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        Ok(self.send(Request::new(Method::GET, path)).await?.body)
    }

    /// Reads something that everybody may read.
    pub(crate) async fn get_public(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        Ok(self.public_page(path, query).await?.body)
    }

    /// Reads a page of a list that everybody may read.
    pub(crate) async fn public_page(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Page, Failure> {
        self.send(Request { query, needs_key: false, ..Request::new(Method::GET, path) }).await
    }

    /// Opens a stream that everybody may read, from behind an event on.
    pub(crate) async fn follow_public(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        last_id: Option<&str>,
    ) -> Result<Following<'_>, Failure> {
        let mut outgoing = self.http.get(address(&self.settings.server, path, query));
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            outgoing = outgoing.header("last-event-id", id);
        }
        self.opened(outgoing).await
    }

    /// Opens a stream, from behind an event on.
    pub(crate) async fn follow(&self, path: &[&str], last_id: Option<&str>) -> Result<Following<'_>, Failure> {
        self.must_have_key()?;
        self.follow_public(path, &[], last_id).await
    }

    /// Sends a POST whose answer is a stream.
    pub(crate) async fn post_and_follow(&self, path: &[&str], body: &Value) -> Result<Following<'_>, Failure> {
        self.must_have_key()?;
        self.opened(self.http.post(address(&self.settings.server, path, &[])).json(body)).await
    }

    fn must_have_key(&self) -> Result<(), Failure> {
        if self.settings.key.is_none() { Err(self.settings.not_signed_in()) } else { Ok(()) }
    }

    async fn opened(&self, outgoing: reqwest::RequestBuilder) -> Result<Following<'_>, Failure> {
        let (following, headers) = self.begun(outgoing.header(ACCEPT, "text/event-stream")).await?;
        if header(&headers, CONTENT_TYPE.as_str()).is_none_or(|kind| !kind.starts_with("text/event-stream")) {
            return Err(self.unexpected("it is not a stream of events"));
        }
        Ok(following)
    }

    /// Sends a request whose answer is read piece by piece.
    async fn begun(&self, outgoing: reqwest::RequestBuilder) -> Result<(Following<'_>, HeaderMap), Failure> {
        let outgoing = self.with_key(outgoing);
        let answer = timeout(CALL_TIMEOUT, outgoing.send()).await.map_err(|_| self.late())?;
        let response = answer.map_err(|error| self.unreachable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let bytes = timeout(CALL_TIMEOUT, self.read(response)).await.map_err(|_| self.late())??;
            return Err(self.refusal(status, &headers, &bytes));
        }
        Ok((Following { client: self, response }, headers))
    }

    /// Reads a page of at most `limit` entries (1 to 200).
    pub(crate) async fn page(
        &self,
        path: &[&str],
        filter: Option<(&str, &str)>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page, Failure> {
        let limit = limit.clamp(1, PAGE).to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(filter);
        query.extend(after.map(|cursor| ("after", cursor)));
        self.send(Request { query: &query, ..Request::new(Method::GET, path) }).await
    }

    /// Reads a list page by page, up to `limit` entries or to its end.
    pub(crate) async fn list(
        &self,
        path: &[&str],
        filter: Option<(&str, &str)>,
        limit: Option<usize>,
    ) -> Result<Vec<Value>, Failure> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let wanted = limit.map_or(PAGE, |limit| limit - all.len());
            let Page { body, next } = self.page(path, filter, wanted, after.as_deref()).await?;
            let Value::Array(mut items) = body else { return Err(self.unexpected("it is not a list")) };
            let stuck = items.is_empty() || next == after;
            all.append(&mut items);
            all.truncate(limit.unwrap_or(usize::MAX));
            if next.is_none() || stuck || limit == Some(all.len()) {
                return Ok(all);
            }
            after = next;
        }
    }

    /// Sends a POST that may as well happen twice; `patience` is how long the server was asked to wait.
    pub(crate) async fn post(&self, path: &[&str], body: &Value, patience: Duration) -> Result<Value, Failure> {
        let timeout = CALL_TIMEOUT.max(patience + Duration::from_secs(10));
        Ok(self.send(Request { body: Some(body), timeout, ..Request::new(Method::POST, path) }).await?.body)
    }

    /// Sends a POST that must happen once, however often it has to be sent.
    pub(crate) async fn post_once(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        let once = Some(environment::random_name());
        Ok(self.send(Request { body: Some(body), once, ..Request::new(Method::POST, path) }).await?.body)
    }

    /// Uploads a file; it comes in once, however often it has to be sent.
    pub(crate) async fn upload(&self, form: &Form) -> Result<Value, Failure> {
        let once = Some(environment::random_name());
        let request = Request::new(Method::POST, &["api", "uploads"]);
        Ok(self.send(Request { form: Some(form), once, timeout: UPLOAD_TIMEOUT, ..request }).await?.body)
    }

    /// Begins to read a file: what the server calls it, and its bytes.
    pub(crate) async fn download(&self, id: &str) -> Result<(String, Following<'_>), Failure> {
        self.must_have_key()?;
        let url = address(&self.settings.server, &["api", "uploads", id], &[]);
        let (following, headers) = self.begun(self.http.get(url)).await?;
        let said = header(&headers, "content-disposition").unwrap_or_default();
        let name = said.split_once("filename=\"").and_then(|(_, rest)| rest.split_once('"'));
        Ok((name.map_or_else(|| id.to_owned(), |(name, _)| name.to_owned()), following))
    }

    /// Changes something.
    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        Ok(self.send(Request { body: Some(body), ..Request::new(Method::PATCH, path) }).await?.body)
    }

    /// Deletes something.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        Ok(self.send(Request::new(Method::DELETE, path)).await?.body)
    }

    /// Sends a request, again when it may be.
    async fn send(&self, request: Request<'_>) -> Result<Page, Failure> {
        if request.needs_key {
            self.must_have_key()?;
        }
        let mut pause = FIRST_PAUSE;
        for _ in 0..RETRIES {
            match self.send_now(&request).await {
                Err(failure) if failure.transient && request.once.is_some() => {
                    let asked = failure.retry_after_seconds.map_or(pause, Duration::from_secs);
                    tokio::time::sleep(asked.clamp(pause, LONGEST_PAUSE)).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        self.send_now(&request).await
    }

    async fn send_now(&self, request: &Request<'_>) -> Result<Page, Failure> {
        let url = address(&self.settings.server, request.path, request.query);
        let outgoing = self.http.request(request.method.clone(), url).timeout(request.timeout);
        let mut outgoing = self.with_key(outgoing);
        if let Some(once) = &request.once {
            outgoing = outgoing.header("idempotency-key", once);
        }
        if let Some(body) = request.body {
            outgoing = outgoing.json(body);
        }
        if let Some(form) = request.form {
            let kind = HeaderValue::from_str(&form.content_type()).expect("a boundary is visible ASCII");
            outgoing = outgoing.header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, form.length());
            outgoing = outgoing.body(reqwest::Body::wrap_stream(form.pieces().await?));
        }
        let sent = outgoing.send().await;
        let mut response = sent.map_err(|error| unreadable(&error).unwrap_or_else(|| self.unreachable(&error)))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let bytes = self.read(response).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &headers, &bytes));
        }
        let next = headers.get(LINK).and_then(|link| self.next_cursor(link));
        if status == StatusCode::NO_CONTENT || bytes.is_empty() {
            return Ok(Page { body: Value::Null, next });
        }
        let body = serde_json::from_slice(&bytes).map_err(|_| self.unexpected("it is not JSON"))?;
        Ok(Page { body, next })
    }

    fn with_key(&self, outgoing: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let Some(key) = &self.settings.key else { return outgoing };
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.text)).expect("keys are visible ASCII");
        bearer.set_sensitive(true);
        outgoing.header(AUTHORIZATION, bearer)
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > BODY_LIMIT {
                return Err(self.unexpected("it is larger than 64 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The failure of an answer that nobody could have expected.
    pub(crate) fn unexpected(&self, problem: &str) -> Failure {
        let message = format!("The answer of {} makes no sense: {problem}", self.settings.server);
        Failure::failed("unexpected_answer", message)
            .hint("check that this is the address of a clawrk server: `clawrk doctor`")
    }

    fn late(&self) -> Failure {
        let message = format!("{} did not answer in time", self.settings.server);
        Failure { transient: true, ..Failure::failed("timed_out", message) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let server = &self.settings.server;
        let (code, message) = if error.is_timeout() && !error.is_connect() {
            ("timed_out", format!("{server} did not answer in time"))
        } else {
            ("unreachable", format!("Cannot reach {server}: {}", cause(error)))
        };
        let hint = match self.settings.server_source {
            Source::Default => "start a server with `clawrk serve`, or name one with --server or CLAWRK_API_URL",
            _ => "check the address and that the server runs; `clawrk serve` starts one on this machine",
        };
        Failure { transient: true, ..Failure::failed(code, message).hint(hint) }
    }

    /// What a status and a body that say no mean.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Failure {
        let mut body: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
        let mut text = |name: &str| match body.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let message = text("error").unwrap_or_else(|| format!("{} answered {status}", self.settings.server));
        let code = text("code").unwrap_or_else(|| format!("http_{}", status.as_u16()));
        let request_id = text("request_id").or_else(|| header(headers, "x-request-id").map(str::to_owned));
        let retry_after_seconds = header(headers, RETRY_AFTER.as_str()).and_then(|value| value.parse().ok());
        let exit = match status {
            StatusCode::UNAUTHORIZED => Exit::NotSignedIn,
            StatusCode::PAYMENT_REQUIRED => Exit::BalanceTooLow,
            _ => Exit::Failed,
        };
        let in_flight = code == "idempotency_in_progress";
        Failure {
            transient: !LASTING.contains(&code.as_str())
                && (status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || in_flight),
            hint: self.hint_for(status, &code, headers, retry_after_seconds),
            request_id,
            retry_after_seconds,
            more: (!body.is_empty()).then(|| Box::new(body)),
            ..Failure::new(exit, &code, message)
        }
    }

    fn hint_for(
        &self,
        status: StatusCode,
        code: &str,
        headers: &HeaderMap,
        retry_after_seconds: Option<u64>,
    ) -> Option<String> {
        if status == StatusCode::UNAUTHORIZED {
            let place = match self.settings.key.as_ref()?.source {
                Source::Credentials => "your credentials file",
                _ => "CLAWRK_API_KEY",
            };
            let why = "it was revoked, it expired, or it is another server's";
            return Some(format!("the key in {place} does not count here: {why}"));
        }
        if status == StatusCode::FORBIDDEN && code == "scope_missing" {
            return Some("`clawrk keys list` shows what your keys may do; this needs one that may do more".to_owned());
        }
        let of_payments = match code {
            "stripe_not_configured" => Some("the operator gives balance with `clawrk admin user grant`"),
            "not_connected" => Some("`clawrk wallet connect` sets up where you are paid out to"),
            "no_card" => Some("`clawrk wallet card` saves one"),
            "wallet_frozen" => Some("`clawrk wallet topup` pays what it owes"),
            _ => None,
        };
        if let Some(hint) = of_payments {
            return Some(hint.to_owned());
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Some(retry_after_seconds.map_or("try again later".into(), |left| format!("try again in {left} s")));
        }
        if status.is_redirection() {
            let target = header(headers, "location").unwrap_or("another address");
            return Some(format!("the server points to {target}; if you trust that, name it with --server"));
        }
        None
    }

    /// The cursor in a `Link: <…?after=cursor>; rel="next"`. Only the cursor is taken from it, never the address.
    fn next_cursor(&self, link: &HeaderValue) -> Option<String> {
        let link = link.to_str().ok()?;
        let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
        let target = next.split_once('<')?.1.split_once('>')?.0;
        let url = self.settings.server.join(target).ok()?;
        url.query_pairs().find(|(name, _)| name == "after").map(|(_, cursor)| cursor.into_owned())
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The address of a path below the server's own, every piece percent-encoded.
fn address(server: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = server.clone();
    url.path_segments_mut().expect("http addresses have paths").pop_if_empty().extend(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// What an HTTP failure is about: its innermost cause says the most.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

/// Reads an id from the command line: it names one thing below an address, so it can't be empty or a way up.
pub(crate) fn parse_id(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an id is not empty".to_owned()),
        "." | ".." => Err("that is not an id".to_owned()),
        id if id.len() > 200 => Err("no id is that long".to_owned()),
        id => Ok(id.to_owned()),
    }
}

/// `{}`: a body with nothing to say.
pub(crate) fn nothing() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn client(server: &str) -> Client {
        Client::new(Settings::discover(Some(server), &Environment::default()).unwrap()).unwrap()
    }

    #[test]
    fn ids_are_encoded_and_stay_below_the_server() {
        let server: Url = "https://host.example/exchange/".parse().unwrap();
        let url = address(&server, &["api", "jobs", "a/b?c#d%e f\u{e9}"], &[("status", "a&b")]);
        let wanted = "https://host.example/exchange/api/jobs/a%2Fb%3Fc%23d%25e%20f%C3%A9?status=a%26b";
        assert_eq!(url.as_str(), wanted);
        for id in ["", " ", ".", ".."] {
            assert!(parse_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn only_the_cursor_of_a_link_is_used() {
        let client = client("http://host.example");
        let next = |link: &'static str| client.next_cursor(&HeaderValue::from_static(link));
        assert_eq!(next("</api/jobs?limit=2&after=abc>; rel=\"next\"").as_deref(), Some("abc"));
        assert_eq!(next("<https://evil.example/x?after=a%20b>; rel=\"next\"").as_deref(), Some("a b"));
        assert_eq!(next("</api/jobs>; rel=\"prev\""), None);
        assert_eq!(next("nonsense"), None);
    }

    #[test]
    fn refusals_become_exit_codes_and_keep_what_the_server_said() {
        let client = client("http://host.example");
        let body = br#"{"error":"too low","code":"balance_too_low","request_id":"r1","id":"job1"}"#;
        let failure = client.refusal(StatusCode::PAYMENT_REQUIRED, &HeaderMap::new(), body);
        assert_eq!((failure.exit, &*failure.code), (Exit::BalanceTooLow, "balance_too_low"));
        assert_eq!(failure.document()["id"], "job1");
        assert_eq!(failure.document()["request_id"], "r1");
        let failure = client.refusal(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
        assert!(failure.transient && failure.message.contains("502") && &*failure.code == "http_502");
        let failure = client.refusal(StatusCode::UNAUTHORIZED, &HeaderMap::new(), b"");
        assert_eq!(failure.exit, Exit::NotSignedIn);
    }
}
