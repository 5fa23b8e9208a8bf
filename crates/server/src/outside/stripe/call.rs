//! One call, and what came of it.

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::{Line, StripeError};
use crate::error::causes;

/// An answer is no larger than this, in bytes: a hundred events of the largest kind.
const MOST_BYTES: usize = 16 << 20;
/// Nobody waits longer than this because Stripe says so, in seconds.
const LONGEST_PAUSE: i64 = 3600;
/// Characters of a sentence of Stripe's.
const SENTENCE: usize = 200;

/// The fields of a form.
pub(super) type Form = Vec<(String, String)>;

pub(super) fn form<const N: usize>(fields: [(&str, &str); N]) -> Form {
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What Stripe answers when it does not do something.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    error: Problem,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

impl Line {
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, form: &Form, key: &str) -> Result<T, StripeError> {
        let request = self
            .client
            .post(self.at(path))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("idempotency-key", key)
            .body(form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
        self.call(request).await
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, StripeError> {
        let mut url = self.at(path);
        url.query_pairs_mut().extend_pairs(query);
        self.call(self.client.get(url)).await
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, StripeError> {
        let answered = timeout(self.within, answered(request)).await;
        let (status, pause, body) =
            answered.unwrap_or_else(|_| Err(StripeError::Unknown("it did not answer in time".to_owned())))?;
        if status == StatusCode::OK {
            // It was done: that we cannot read what it says of it changes nothing about that.
            return serde_json::from_slice(&body)
                .map_err(|_| StripeError::Unknown("its answer is not what it should be".to_owned()));
        }
        Err(refusal(status, pause, &body))
    }
}

async fn answered(request: RequestBuilder) -> Result<(StatusCode, Option<i64>, Vec<u8>), StripeError> {
    let response = request.send().await.map_err(|error| {
        // Nothing was sent by whoever was not connected.
        let is_unsent = error.is_connect() || error.is_builder();
        let problem = format!("no answer came: {}", causes(&error.without_url()));
        if is_unsent { StripeError::Away { problem, pause_seconds: None } } else { StripeError::Unknown(problem) }
    })?;
    let (status, pause) = (response.status(), pause(&response));
    Ok((status, pause, body(response).await?))
}

fn pause(response: &Response) -> Option<i64> {
    let seconds: i64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.clamp(1, LONGEST_PAUSE))
}

async fn body(mut response: Response) -> Result<Vec<u8>, StripeError> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(bytes),
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MOST_BYTES => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(StripeError::Unknown("its answer is too large".to_owned())),
            Err(error) => {
                let problem = format!("its answer broke off: {}", causes(&error.without_url()));
                return Err(StripeError::Unknown(problem));
            }
        }
    }
}

/// What a status other than 200 means.
fn refusal(status: StatusCode, pause_seconds: Option<i64>, body: &[u8]) -> StripeError {
    let said = serde_json::from_slice::<Refusal>(body).unwrap_or_default().error;
    let word = |code: &Option<String>| {
        code.clone().filter(|code| {
            code.len() <= 64
                && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
    };
    let codes = [word(&said.code), word(&said.decline_code)];
    let told: String = codes.iter().flatten().map(|code| format!(" ({code})")).collect();
    let problem = format!("it answered {}{told}", status.as_u16());
    match status.as_u16() {
        401 | 403 => StripeError::Away { problem: format!("{problem}: look at stripe_secret_key"), pause_seconds },
        429 => StripeError::Away { problem, pause_seconds },
        // Only Stripe's own word says that it was not done. A proxy's page says nothing of what is behind it, and a key
        // that is under way or was used for something else says that the one before may have been done.
        400 | 402 | 404 | 422 if matches!(said.kind.as_str(), "card_error" | "invalid_request_error") => {
            let sentence = said.message.map(|text| shown(&text));
            StripeError::Refused { problem: sentence.unwrap_or(problem), codes }
        }
        // A redirect, or something that is not Stripe: nothing of ours was done there.
        300..400 => StripeError::Away { problem: format!("{problem}: look at stripe_api_url"), pause_seconds },
        _ => StripeError::Unknown(problem),
    }
}

/// Stripe's sentence, short and on one line.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(SENTENCE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(status: u16, body: &str) -> &'static str {
        match refusal(StatusCode::from_u16(status).unwrap(), None, body.as_bytes()) {
            StripeError::Refused { .. } => "refused",
            StripeError::Away { .. } => "away",
            StripeError::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn only_what_stripe_itself_refuses_was_not_done_and_will_not_be() {
        let of = |kind: &str| format!("{{\"error\":{{\"type\":\"{kind}\",\"message\":\"No.\"}}}}");
        for (status, kind, meaning) in [
            (400, "invalid_request_error", "refused"),
            (402, "card_error", "refused"),
            (404, "invalid_request_error", "refused"),
            (400, "idempotency_error", "unknown"),
            (409, "idempotency_error", "unknown"),
            (409, "invalid_request_error", "unknown"),
            (424, "invalid_request_error", "unknown"),
            (500, "api_error", "unknown"),
            (503, "invalid_request_error", "unknown"),
            (401, "invalid_request_error", "away"),
            (403, "invalid_request_error", "away"),
            (429, "invalid_request_error", "away"),
        ] {
            assert_eq!(means(status, &of(kind)), meaning, "{status} {kind}");
        }
        for (status, meaning) in [(400, "unknown"), (402, "unknown"), (404, "unknown"), (502, "unknown"), (302, "away")]
        {
            for body in ["", "<h1>A proxy</h1>", "{}", "{\"error\":\"card_error\"}", "[1]"] {
                assert_eq!(means(status, body), meaning, "{status} {body}");
            }
        }
    }
}
