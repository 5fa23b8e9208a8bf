//! Every error as a status, a stable code and words for people: the one table.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use clawrk_domain::Rejection;
use clawrk_domain::rejection::Sort;
use clawrk_domain::verification::Found;
use clawrk_store::StoreError;
use serde_json::{Map, Value};

use crate::edge::{FIELDS, HEAD_BYTES, Refusal, URI_BYTES};
use crate::outside::files::FilesError;
use crate::rates::Standing;
use crate::request_id;

/// An answer that is no: `{"error", "code", "request_id"}` and a status.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    more: Map<String, Value>,
    retry_after_seconds: Option<u64>,
    close: bool,
    standing: Option<Standing>,
}

impl Error {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            more: Map::new(),
            retry_after_seconds: None,
            close: false,
            standing: None,
        }
    }

    /// 401: no key, or none that counts.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication required")
    }

    /// 403: another user's page, existing or not.
    pub fn not_yours() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "You may only see your own user")
    }

    /// 403: the endpoint is for the operator.
    pub fn operators_only() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Only the operator may see this: use a key with the scope \"admin\"",
        )
    }

    /// 404: no such route.
    pub fn unknown_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_route", "There is nothing at this address: see /openapi.json")
    }

    /// 405: the route is there, the method is not.
    pub fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "This address does not take this method")
    }

    /// 413: the body is larger than the route takes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("The request body may have at most {limit} bytes");
        Self { close: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message) }
    }

    /// 413: the file is larger than one may be.
    pub(crate) fn file_too_large(limit: u64) -> Self {
        let message = format!("A file may have at most {limit} bytes");
        Self { close: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message) }
    }

    /// 503: nobody said where files are kept.
    pub(crate) fn no_uploads() -> Self {
        let message = "This exchange takes no files: its operator has to set upload_url";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "uploads_not_set_up", message).retry_after(3600)
    }

    /// 503: the place where files are kept failed; the log knows more.
    pub(crate) fn of_files(error: &FilesError) -> Self {
        tracing::error!(cause = causes(error), request_id = request_id::current(), "files failed");
        let message = "The exchange cannot reach its files: try again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(2)
    }

    /// Whether it says no, rather than that something broke.
    pub(crate) fn is_refusal(&self) -> bool {
        self.status.is_client_error()
    }

    /// 429: too many requests of a kind within a minute.
    pub(crate) fn rate_limited(message: String, seconds: u32, standing: Standing) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { standing: Some(standing), ..error.retry_after(seconds.into()) }
    }

    /// 408: the client sent nothing more of its body, or took too long over the whole.
    pub fn slow_body() -> Self {
        let message = "The request body came too slowly: send it again";
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "body_timed_out", message) }
    }

    /// 400: the body or a parameter can't be read.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", message)
    }

    /// 422: an idempotency key came with another request before.
    pub fn key_reused() -> Self {
        let message = "This Idempotency-Key was used with another request: use a fresh one";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message)
    }

    /// 409: an idempotency key's first request is still in hand.
    pub fn key_in_progress() -> Self {
        let message = "The first request with this Idempotency-Key is still being worked on: try again soon";
        Self::new(StatusCode::CONFLICT, "idempotency_in_progress", message).retry_after(1)
    }

    /// 503: something that we need is away.
    pub fn unavailable() -> Self {
        let message = "The exchange cannot reach its database: try again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(2)
    }

    /// 503: other large bodies have all the memory that there is for them.
    pub fn too_busy() -> Self {
        let message = "The exchange has as many large requests in hand as it can: try again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_busy", message).retry_after(2)
    }

    /// 503: as much is being verified outside of jobs as may be, for one user or in all.
    pub(crate) fn too_many_verifications() -> Self {
        let message =
            "As much is being verified outside of jobs as may be (4 at once a user, 16 in all): try again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_busy", message).retry_after(5)
    }

    /// 503: there are as many streams as may be.
    pub fn too_many_streams() -> Self {
        let message = "There are too many streams, in all or from your address: close some, or try again in 5 seconds";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message).retry_after(5)
    }

    /// 503: the request took longer than any may.
    pub fn timed_out() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", "The request took too long: try again").retry_after(1)
    }

    /// 500: a bug or a broken database; the log knows more.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side")
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// 503: a verification outside of any job took longer than it may.
    pub(crate) fn verification_too_long() -> Self {
        let message = "The verification took too long: ask for a stream (Accept: text/event-stream), or check less";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "verification_timed_out", message).retry_after(5)
    }

    /// 503: there is no verdict.
    pub(crate) fn not_verified(found: Found) -> Self {
        match found {
            Found::NoJudge => Self::llm_not_configured(),
            Found::Trouble { problem, pause_seconds } => {
                let message = format!("There is no verdict: {problem}");
                let pause = pause_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(5);
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_verdict", message).retry_after(pause.max(1))
            }
            Found::Checks(_) | Found::Criteria(..) => Self::internal(),
        }
    }

    /// 503: no command check can be run here.
    pub(crate) fn sandbox_unavailable(why: &str) -> Self {
        let message = format!("Command checks cannot be run on this exchange, so none is taken: {why}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "sandbox_unavailable", message).retry_after(60)
    }

    /// 429: a user has had as much of the model as they may have on a day.
    pub(crate) fn budget_spent(limit: u32) -> Self {
        let message = format!("You have had the {limit} judged verifications of this day: checks need no model");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "budget_spent", message).retry_after(3_600)
    }

    /// 503: criteria need a model.
    pub(crate) fn llm_not_configured() -> Self {
        let message = "Criteria are judged by a model, and this exchange has none: use checks, or ask its operator \
                       to set llm_model";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "llm_not_configured", message).retry_after(86_400)
    }

    /// 503: nobody said who the exchange is at Stripe.
    pub(crate) fn stripe_not_configured() -> Self {
        let message = "This exchange takes no payments: its operator grants balance, or has to set stripe_secret_key";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stripe_not_configured", message).retry_after(86_400)
    }

    /// 503: Stripe cannot be reached.
    pub(crate) fn stripe_unavailable() -> Self {
        let message = "Stripe cannot be reached, or does not answer as it should: try again soon, and with another \
                       Idempotency-Key if the same one does not help";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stripe_unavailable", message).retry_after(5)
    }

    /// 400: Stripe refuses what was asked for.
    pub(crate) fn stripe_refuses(problem: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "stripe_refused", format!("Stripe refuses: {problem}"))
    }

    /// 400: a notice that is not Stripe's.
    pub(crate) fn forged(why: &crate::outside::stripe::signature::Forged) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_signature", format!("This is not taken for Stripe's: {why}"))
    }

    /// 503: the server is about to end.
    pub(crate) fn stopping() -> Self {
        let message = "The exchange is being restarted: try again soon";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(2)
    }

    /// The body, which names the request.
    fn body(self) -> Vec<u8> {
        serde_json::to_vec(&self.to_json()).expect("strings and numbers are JSON")
    }

    /// The body as JSON.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("error".to_owned(), self.message.clone().into());
        body.insert("code".to_owned(), self.code.into());
        body.insert("request_id".to_owned(), request_id::current().into());
        body.extend(self.more.clone());
        body
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let error = match refusal {
            Refusal::HeadTooLarge => Self::new(
                too_large,
                "header_too_large",
                format!("The request's header may have at most {HEAD_BYTES} bytes"),
            ),
            Refusal::TooManyFields => Self::new(
                too_large,
                "header_too_large",
                format!("The request's header may have at most {FIELDS} fields"),
            ),
            Refusal::UriTooLong => Self::new(
                StatusCode::URI_TOO_LONG,
                "uri_too_long",
                format!("The URI may have at most {URI_BYTES} bytes"),
            ),
            Refusal::Expectation => Self::new(
                StatusCode::EXPECTATION_FAILED,
                "expectation_failed",
                "The only expectation that can be met is 100-continue",
            ),
            Refusal::Malformed(message) => Self::malformed(message),
        };
        Self { close: true, ..error }
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        let (code, sort) = rejection.code();
        let status = match sort {
            Sort::Bad => StatusCode::BAD_REQUEST,
            Sort::Short => StatusCode::PAYMENT_REQUIRED,
            Sort::Forbidden => StatusCode::FORBIDDEN,
            Sort::Absent => StatusCode::NOT_FOUND,
            Sort::Conflict => StatusCode::CONFLICT,
        };
        let error = Self::new(status, code, rejection.to_string());
        match rejection {
            Rejection::BalanceTooLow { required, available } => {
                error.with("required_cents", required.0).with("available_cents", available.0)
            }
            Rejection::Invalid { field, .. } => error.with("field", field),
            _ => error,
        }
    }
}

/// An error and what caused it, for the log. The first line of each: what PostgreSQL says below it may be the values
/// of a row.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    let first_lines: Vec<String> = chain.map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();
    first_lines.join(": ")
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        // The one place where it is handled: the whole chain goes to the log, none of it to the caller.
        tracing::error!(cause = causes(&error), request_id = request_id::current(), "the store failed");
        if error.is_unavailable() { Self::unavailable() } else { Self::internal() }
    }
}

impl From<crate::vault::Unsealable> for Error {
    fn from(error: crate::vault::Unsealable) -> Self {
        tracing::error!(%error, request_id = request_id::current(), "a secret is lost");
        Self::internal()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, retry_after, close) = (self.status, self.retry_after_seconds, self.close);
        request_id::stand(self.standing);
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], self.body()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
