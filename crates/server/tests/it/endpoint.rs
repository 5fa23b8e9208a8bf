//! A model behind an address: what is asked of it, and what is made of every kind of answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::post;
use clawrk_server::outside::embed::{Embedder, Failure, Patience, Turn};
use clawrk_server::telemetry::LogFormat;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use crate::log::captured;
use crate::support::background;
use crate::tiny;

const KEY: &str = "key-canary";

/// A server that speaks as OpenAI's does, with the tiny model's fields as its numbers.
#[derive(Clone)]
pub struct Fake {
    pub url: Url,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Answer>,
    /// The texts of each request.
    asked: Vec<Vec<String>>,
}

/// What the next request is answered with.
#[derive(Clone)]
pub enum Answer {
    Status(u16),
    /// A status, and how many seconds to wait.
    Later(u16, &'static str),
    /// 200 and this text.
    Text(String),
    /// What is right.
    Sense,
    /// Nothing, for long.
    Silence,
    /// To another place.
    Elsewhere,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    model: String,
    input: Vec<String>,
    encoding_format: String,
}

impl Fake {
    pub async fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The same, at a place that nobody listened at until now.
    pub fn listen(listener: TcpListener) -> Self {
        let url = format!("http://127.0.0.1:{}/v1/embeddings", listener.local_addr().unwrap().port());
        let fake = Self { url: url.parse().unwrap(), script: Arc::default() };
        let router = Router::new().route("/v1/embeddings", post(answer)).with_state(fake.clone());
        background(async move { axum::serve(listener, router).await });
        fake
    }

    pub fn will(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().next.extend(answers);
    }

    /// The texts of each request since the last time.
    pub fn asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }

    pub fn asked_count(&self) -> usize {
        self.script.lock().unwrap().asked.len()
    }

    pub fn embedder(&self) -> Embedder {
        Embedder::at(self.url.clone(), "tiny".to_owned(), Some(KEY), impatient()).unwrap()
    }
}

pub const fn impatient() -> Patience {
    Patience {
        answer: Duration::from_millis(200),
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(50),
        tries: 3,
    }
}

async fn answer(State(fake): State<Fake>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {KEY}"));
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let asked: Asked = serde_json::from_slice(&body).unwrap();
    assert_eq!((asked.model.as_str(), asked.encoding_format.as_str()), ("tiny", "float"));
    let next = {
        let mut script = fake.script.lock().unwrap();
        script.asked.push(asked.input.clone());
        script.next.pop_front()
    };
    let response = Response::builder();
    let (status, text) = match next {
        // A text that it does not take.
        None if asked.input.iter().any(|text| text.contains("unreadable")) => (400, String::new()),
        None | Some(Answer::Sense) => (200, good(&asked.input)),
        Some(Answer::Text(text)) => (200, text),
        Some(Answer::Status(status)) => (status, "whatever: canary".to_owned()),
        Some(Answer::Later(status, seconds)) => {
            return response.status(status).header(header::RETRY_AFTER, seconds).body(Body::empty()).unwrap();
        }
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Elsewhere) => {
            return response.status(302).header(header::LOCATION, "/v1/embeddings").body(Body::empty()).unwrap();
        }
    };
    response.status(StatusCode::from_u16(status).unwrap()).body(Body::from(text)).unwrap()
}

fn good(texts: &[String]) -> String {
    let data = texts.iter().enumerate().rev().map(|(index, text)| {
        let words: Vec<String> = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect();
        let of = |field: &[&str; 5]| words.iter().filter(|word| field.contains(&word.as_str())).count();
        json!({"object": "embedding", "index": index, "embedding": tiny::FIELDS.each_ref().map(of)})
    });
    json!({"object": "list", "model": "tiny", "data": data.collect::<Vec<_>>(), "usage": {}}).to_string()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn texts_come_back_in_their_order_and_what_means_nothing_means_nothing() {
    let fake = Fake::start().await;
    let read = fake.embedder().embed(&texts(&["A poem", "water", "what", "Verses"]), Turn::Later).await.unwrap();
    let near = |one: usize, other: usize| read[one].as_ref()?.nearness(read[other].as_ref()?);
    assert_eq!((near(0, 1), near(0, 2)), (Some(0.0), None));
    assert!(near(0, 3).is_some_and(|near| near > 0.999));
    let long = "water ".repeat(10_000);
    fake.embedder().embed(&[long], Turn::Next).await.unwrap();
    assert_eq!(fake.asked()[1][0].len(), 4_000, "a beginning is enough");
}

#[tokio::test]
async fn a_moments_trouble_is_tried_again_and_no_more_than_that() {
    use Answer::{Elsewhere, Later, Silence, Status};
    let fake = Fake::start().await;
    let (refused, away) = (|failure: &Failure| matches!(failure, Failure::Refused(_)), Failure::Unavailable);
    for (answers, requests, expected) in [
        (vec![], 1, None),
        (vec![Status(429)], 2, None),
        (vec![Later(429, "3600"), Later(503, "nonsense")], 3, None),
        (vec![Status(500), Status(502)], 3, None),
        (vec![Silence], 2, None),
        (vec![Status(500); 3], 3, Some("500")),
        (vec![Silence; 3], 3, Some("in time")),
        (vec![Status(401)], 1, Some("401")),
        (vec![Status(404)], 1, Some("404")),
        (vec![Elsewhere], 1, Some("302")),
    ] {
        fake.will(answers);
        let begun = Instant::now();
        let read = fake.embedder().embed(&texts(&["a poem"]), Turn::Next).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "it waits no hour because it is told to");
        assert_eq!(fake.asked().len(), requests, "{expected:?}");
        match (read, expected) {
            (Ok(_), None) => {}
            (Err(failure), Some(reason)) => {
                assert!(!refused(&failure) && failure.to_string().contains(reason), "{failure:?}");
            }
            (read, expected) => panic!("{read:?} instead of {expected:?}"),
        }
    }
    fake.will([Answer::Status(400)]);
    assert!(fake.embedder().embed(&texts(&["a poem"]), Turn::Next).await.is_err_and(|failure| refused(&failure)));
    assert_eq!(fake.asked().len(), 1, "the same text is not taken another time either");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://user:password-canary@{nobody}/v1/embeddings").parse().unwrap();
    let nobody = Embedder::at(url, "tiny".to_owned(), Some(KEY), impatient()).unwrap();
    let failure = nobody.embed(&texts(&["a poem"]), Turn::Next).await.unwrap_err();
    assert!(failure != away(String::new()) && !failure.to_string().contains("canary"), "{failure}");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_none() {
    let fake = Fake::start().await;
    let embedder = fake.embedder();
    let two = texts(&["a poem", "water"]);
    embedder.embed(&two, Turn::Next).await.unwrap();
    let one = |index: usize, embedding: &str| format!("{{\"index\":{index},\"embedding\":{embedding}}}");
    let data = |all: &[String]| format!("{{\"data\":[{}]}}", all.join(","));
    let good = one(0, "[1,0,0]");
    for (text, reason) in [
        (data(&[good.clone(), one(1, "[1,0]")]), "2 numbers of a text, and made 3 before"),
        (data(&[good.clone(), one(1, "[]")]), "0 numbers"),
        (data(std::slice::from_ref(&good)), "lacks some"),
        (data(&[]), "lacks some"),
        (data(&[good.clone(), good.clone()]), "the text 0 twice"),
        (data(&[good.clone(), one(1, "[1,0,0]"), one(2, "[1,0,0]")]), "a text 2, of 2"),
        (data(&[good.clone(), one(1, "[1,0,NaN]")]), "no sense"),
        (data(&[good.clone(), one(1, "[1,0,null]")]), "no sense"),
        (data(&[good.clone(), one(1, "[1,0,\"canary\"]")]), "no sense"),
        (data(&[good.clone(), one(1, "[1,0,1e39]")]), "no sense"),
        (data(&[good.clone(), one(1, "\"AACAPwAAAAA=\"")]), "no sense"),
        (String::new(), "no sense"),
        ("<html>canary".to_owned(), "no sense"),
        (data(&[one(0, &format!("[{}1]", "1,".repeat(9 << 20)))]), "larger than"),
    ] {
        fake.will([Answer::Text(text)]);
        let patient = Patience { answer: Duration::from_secs(10), ..impatient() };
        let large = Embedder::at(fake.url.clone(), "tiny".to_owned(), Some(KEY), patient).unwrap();
        let asked = if reason == "larger than" { &large } else { &embedder };
        let failure = asked.embed(&two, Turn::Next).await.unwrap_err();
        let Failure::Refused(problem) = &failure else { panic!("{failure:?}") };
        assert!(problem.contains(reason) && !problem.contains("canary"), "{problem} should say {reason}");
    }
}

#[tokio::test]
async fn the_key_is_not_told_to_the_log() {
    let log = captured();
    let fake = Fake::start().await;
    let embedder = fake.embedder();
    embedder.embed(&texts(&["a text-canary poem"]), Turn::Next).await.unwrap();
    fake.will([Answer::Status(401)]);
    let failure = embedder.embed(&texts(&["a poem"]), Turn::Next).await.unwrap_err();
    assert!(!format!("{embedder:?} {failure:?}").contains("canary"), "{embedder:?}");
    for format in [LogFormat::Text, LogFormat::Json] {
        let told = log.text(format);
        for canary in [KEY, "text-canary"] {
            assert!(!told.contains(canary), "{:?}", told.lines().find(|line| line.contains(canary)));
        }
    }
}
