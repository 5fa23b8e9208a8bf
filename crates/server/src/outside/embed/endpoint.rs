//! A model behind an address that answers as OpenAI's `/v1/embeddings` does.
//!
//! What comes back is somebody else's text: it is read up to a limit and strictly, and never logged. A moment's trouble
//! (busy, broken, unreachable, too slow) is tried again a few times; what is left of it is for the caller to wait out.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};
use url::Url;

use super::Failure;

/// An answer is no larger than this: 64 texts of 4,096 numbers in some 30 characters each, and as much again.
const MOST_BYTES: usize = 16 << 20;

/// For how long an address is waited for, and how often it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one answer.
    pub answer: Duration,
    /// Before the second try; twice as long before each further one.
    pub pause: Duration,
    /// Before a try, at most, if the address says for how long to wait.
    pub longest_pause: Duration,
    /// How often the same is asked.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
            tries: 3,
        }
    }
}

#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    model: String,
    patience: Patience,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Embedded>,
}

#[derive(Deserialize)]
struct Embedded {
    index: usize,
    embedding: Vec<f32>,
}

/// A try that failed.
struct Failed {
    failure: Failure,
    /// Whether the same may go well in a moment, and in which.
    again: Option<Option<Duration>>,
}

impl Endpoint {
    pub(super) fn new(
        url: Url,
        model: String,
        api_key: Option<&str>,
        patience: Patience,
    ) -> Result<Self, reqwest::Error> {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(api_key) = api_key {
            let bearer = HeaderValue::try_from(format!("Bearer {api_key}"));
            let mut bearer = bearer.expect("a key of visible ASCII characters fits a header");
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let mut client = Client::builder()
            .user_agent(concat!("clawrk/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::none());
        if url.scheme() == "http" {
            // Certificates are not needed, and a machine may have none.
            client = client.tls_certs_only([]);
        }
        Ok(Self { client: client.build()?, url, model, patience })
    }

    pub(super) async fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Failure> {
        let mut pause = self.patience.pause;
        for _ in 1..self.patience.tries {
            match self.ask(texts).await {
                Ok(read) => return Ok(read),
                Err(Failed { failure, again: None }) => return Err(failure),
                Err(Failed { again: Some(asked_for), .. }) => {
                    sleep(asked_for.unwrap_or(pause).min(self.patience.longest_pause)).await;
                    pause *= 2;
                }
            }
        }
        self.ask(texts).await.map_err(|failed| failed.failure)
    }

    async fn ask(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Failed> {
        let asked = json!({"model": self.model, "input": texts, "encoding_format": "float"});
        let answer = async {
            let response = self.client.post(self.url.clone()).json(&asked).send().await.map_err(unreachable)?;
            if response.status() != StatusCode::OK {
                return Err(refusal(&response));
            }
            body(response).await
        };
        let bytes = timeout(self.patience.answer, answer).await;
        let bytes = bytes.unwrap_or_else(|_| Err(Failed::for_now("it did not answer in time", None)))?;
        understood(&bytes, texts.len()).map_err(|problem| Failed::for_good(Failure::Refused(problem)))
    }
}

impl Failed {
    fn for_now(problem: impl Into<String>, pause: Option<Duration>) -> Self {
        Self { failure: Failure::Unavailable(problem.into()), again: Some(pause) }
    }

    const fn for_good(failure: Failure) -> Self {
        Self { failure, again: None }
    }
}

// Neither the address, which may hold a password, nor what was answered is told.

fn unreachable(error: reqwest::Error) -> Failed {
    Failed::for_now(format!("it cannot be reached: {}", crate::error::causes(&error.without_url())), None)
}

fn refusal(response: &Response) -> Failed {
    let status = response.status();
    let problem = format!("it answered {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Failed::for_now(problem, seconds.map(Duration::from_secs))
        }
        status if status.is_server_error() => Failed::for_now(problem, None),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Failed::for_good(Failure::Refused(problem))
        }
        _ => Failed::for_good(Failure::Unavailable(problem)),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err(Failed::for_good(Failure::Refused("its answer is larger than 16 MiB".to_owned())));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The numbers of each text, in the order in which the texts were sent.
fn understood(bytes: &[u8], count: usize) -> Result<Vec<Vec<f32>>, String> {
    // What stands where the problem is may be anybody's text.
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|error| format!("its answer makes no sense ({:?})", error.classify()))?;
    let mut read = vec![None; count];
    for Embedded { index, embedding } in answer.data {
        let place =
            read.get_mut(index).ok_or_else(|| format!("its answer has a text {index}, of {count} that were sent"))?;
        if place.replace(embedding).is_some() {
            return Err(format!("its answer has the text {index} twice"));
        }
    }
    let read: Option<Vec<Vec<f32>>> = read.into_iter().collect();
    read.ok_or_else(|| format!("its answer lacks some of the {count} texts that were sent"))
}
