//! A language model behind an address, asked for answers that follow a JSON schema.
//!
//! Three ways of speaking are known, see `wire.rs`. What comes back is somebody else's text: it is read up to a limit,
//! no redirect is followed, and every question has an end. Nothing that a provider writes reaches an error or a log but
//! a status and a short code; neither does a question. Nothing is asked twice here: how long to wait, and whether to
//! ask again, is for whoever asks.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use crate::config::{LlmSetting, Provider};
use crate::telemetry;

/// An answer is no larger than this, in bytes.
pub const MOST_BYTES: usize = 256 << 10;
/// So many questions are under way at once; the others wait, within their time.
const MOST_AT_ONCE: usize = 48;
/// A provider is reached within this, or away.
const CONNECT: Duration = Duration::from_secs(5);
/// Nobody waits longer than this because a provider says so, in seconds.
const LONGEST_PAUSE: i64 = 3600;

/// A language model; cheap to clone.
#[derive(Clone)]
pub struct Llm {
    line: Arc<Line>,
    model: Arc<str>,
    manners: Arc<Manners>,
}

/// The way to a provider.
struct Line {
    client: Client,
    provider: Provider,
    url: Url,
    api_key: Option<String>,
    places: Semaphore,
}

/// What a model was found not to take; each model has its own.
#[derive(Debug, Default)]
struct Manners {
    no_temperature: AtomicBool,
    completion_tokens: AtomicBool,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What the model is to do.
    pub system: &'a str,
    /// What it is to do it with.
    pub user: &'a str,
    /// The schema's name: letters, digits and `_`. The metrics count questions by it.
    pub schema_name: &'a str,
    /// What the answer must look like: a JSON schema of an object, every property required and no others.
    pub schema: &'a Value,
    /// How long the answer may be, in the model's tokens.
    pub max_output_tokens: u32,
    /// When an answer is of no use any more.
    pub within: Duration,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// A JSON object; whether it follows the schema is for the caller to see.
    pub text: String,
    /// What the question cost, in the model's tokens, if the provider says so.
    pub input_tokens: Option<u64>,
    /// What the answer cost, in the model's tokens, if the provider says so.
    pub output_tokens: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// It cannot be reached, is broken or too slow: it may answer later.
    #[error("the LLM is away: {0}")]
    Away(String),
    /// It is asked too much: it may answer later.
    #[error("the LLM is busy: {problem}")]
    Busy {
        /// What it answered.
        problem: String,
        /// How long it wants to be left alone, in seconds, if it says so.
        retry_after: Option<i64>,
    },
    /// It does not answer us: the operator has to see to it.
    #[error("the LLM refuses: {0}")]
    Refused(String),
    /// The question, or the answer to it, is too long.
    #[error("too long for the LLM: {0}")]
    TooLong(String),
    /// It answered nothing that can be used.
    #[error("the LLM's answer makes no sense: {0}")]
    Nonsense(String),
}

impl LlmError {
    /// How long the provider wants to be left alone, in seconds, if it says so.
    pub const fn pause_seconds(&self) -> Option<i64> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The metrics' word for it.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Busy { .. } => "busy",
            Self::Refused(_) => "refused",
            Self::TooLong(_) => "too_long",
            Self::Nonsense(_) => "nonsense",
        }
    }
}

/// Secure connections cannot be set up; told at the start.
#[derive(Debug, thiserror::Error)]
#[error("the LLM cannot be used: secure connections cannot be set up")]
pub struct LlmOpenError(#[from] reqwest::Error);

impl std::fmt::Debug for Llm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Llm").field("provider", &self.line.provider).field("model", &self.model).finish_non_exhaustive()
    }
}

impl Llm {
    /// The model that the settings name; it is not asked yet.
    pub fn open(setting: &LlmSetting) -> Result<Self, LlmOpenError> {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("clawrk/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(setting))
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(MOST_AT_ONCE);
        if setting.url.scheme() == "http" {
            // Certificates are not needed, and a machine may have none.
            client = client.tls_certs_only([]);
        }
        let line = Line {
            client: client.build()?,
            provider: setting.provider,
            url: setting.url.clone(),
            api_key: setting.api_key.clone(),
            places: Semaphore::new(MOST_AT_ONCE),
        };
        Ok(Self { line: Arc::new(line), model: setting.model.as_str().into(), manners: Arc::default() })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Another model of the same provider; the two share their connections.
    pub fn with_model(&self, model: &str) -> Self {
        Self { line: Arc::clone(&self.line), model: model.into(), manners: Arc::default() }
    }

    /// Asks once, and counts what came of it.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Answer, LlmError> {
        let answer = timeout(question.within, self.answer(question)).await;
        let answer = answer.unwrap_or_else(|_| Err(LlmError::Away("it did not answer in time".to_owned())));
        let outcome = answer.as_ref().map_or_else(LlmError::outcome, |_| "answered");
        telemetry::llm_asked(question.schema_name, outcome);
        answer
    }

    async fn answer(&self, question: &Question<'_>) -> Result<Answer, LlmError> {
        let line = &*self.line;
        let _place = line.places.acquire().await.expect("the places are never closed");
        loop {
            let asked = wire::request(line.provider, &self.model, question, self.manners.seen());
            let response = line.client.post(line.url.clone()).json(&asked).send().await.map_err(unreachable)?;
            let (status, pause) = (response.status(), pause(&response));
            if status.is_redirection() {
                return Err(LlmError::Refused(format!("it answered {status}, and redirects are not followed")));
            }
            let body = body(response).await;
            if status == StatusCode::OK {
                return wire::understood(line.provider, question.schema_name, &body?);
            }
            // What it says of it is a help, and not needed.
            let body = body.unwrap_or_default();
            if status == StatusCode::BAD_REQUEST && self.manners.learn(&body) {
                continue;
            }
            return Err(line.refusal(status, pause, &body));
        }
    }
}

impl Line {
    /// What a status other than 200 means. Of the body nothing is told but a code.
    fn refusal(&self, status: StatusCode, pause: Option<i64>, body: &[u8]) -> LlmError {
        let code = wire::code(body).filter(|code| self.api_key.as_ref().is_none_or(|key| !code.contains(key.as_str())));
        let told = code.as_ref().map_or_else(String::new, |code| format!(" ({code})"));
        let problem = format!("it answered {status}{told}");
        let of_code = |codes: &[&str]| code.as_ref().is_some_and(|code| codes.contains(&code.as_str()));
        match status.as_u16() {
            _ if of_code(&["context_length_exceeded", "request_too_large"]) => LlmError::TooLong(problem),
            413 => LlmError::TooLong(problem),
            429 if of_code(&["insufficient_quota"]) => {
                LlmError::Refused(format!("{problem}: what was paid for is used up"))
            }
            // 529 is Anthropic's.
            429 | 529 => LlmError::Busy { problem, retry_after: pause },
            503 if pause.is_some() => LlmError::Busy { problem, retry_after: pause },
            408 | 500.. => LlmError::Away(problem),
            401 | 403 => LlmError::Refused(format!("{problem}: look at llm_api_key")),
            404 => LlmError::Refused(format!("{problem}: look at llm_url and the model's name")),
            _ => LlmError::Refused(problem),
        }
    }
}

impl Manners {
    fn seen(&self) -> wire::Manners {
        wire::Manners {
            no_temperature: self.no_temperature.load(Ordering::Relaxed),
            completion_tokens: self.completion_tokens.load(Ordering::Relaxed),
        }
    }

    /// Whether the refusal of a question names something that was in it and can be left out, or said in another way:
    /// newer models take no temperature, and have another word for the longest answer. Each is learnt once, so that
    /// this ends.
    fn learn(&self, body: &[u8]) -> bool {
        let names = |word: &str| memchr::memmem::find(body, word.as_bytes()).is_some();
        (names("max_completion_tokens") && !self.completion_tokens.swap(true, Ordering::Relaxed))
            || (names("temperature") && !self.no_temperature.swap(true, Ordering::Relaxed))
    }
}

fn headers(setting: &LlmSetting) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let secret = |text: String| {
        let mut value = HeaderValue::try_from(text).expect("a key of visible ASCII characters fits a header");
        value.set_sensitive(true);
        value
    };
    if setting.provider == Provider::Anthropic {
        headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
    }
    match (&setting.api_key, setting.provider) {
        (None, _) => {}
        (Some(key), Provider::Anthropic) => {
            headers.insert(HeaderName::from_static("x-api-key"), secret(key.clone()));
        }
        (Some(key), Provider::OpenAi | Provider::Ollama) => {
            headers.insert(AUTHORIZATION, secret(format!("Bearer {key}")));
        }
    }
    headers
}

// The address, which may hold a password, is not told.
fn unreachable(error: reqwest::Error) -> LlmError {
    LlmError::Away(format!("it cannot be reached: {}", crate::error::causes(&error.without_url())))
}

fn pause(response: &Response) -> Option<i64> {
    let seconds: i64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.clamp(1, LONGEST_PAUSE))
}

async fn body(mut response: Response) -> Result<Vec<u8>, LlmError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err(LlmError::TooLong("its answer is larger than 256 KiB".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
