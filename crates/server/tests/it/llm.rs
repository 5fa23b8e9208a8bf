//! A language model behind an address: what each of the three wires carries, and what is made of every kind of answer.

use std::time::{Duration, Instant};

use clawrk_server::config::{LlmSetting, Provider};
use clawrk_server::outside::llm::{Llm, LlmError, Question};
use clawrk_server::telemetry::LogFormat;
use serde_json::{Value, json};

use crate::fake_llm::{FakeLlm, KEY, MODEL, Reply};
use crate::log::captured;

const ALL: [Provider; 3] = [Provider::OpenAi, Provider::Anthropic, Provider::Ollama];

fn schema() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false})
}

async fn ask(llm: &Llm, within: Duration) -> Result<String, LlmError> {
    let (schema, user) = (schema(), "a prompt-canary");
    let (system, schema_name) = ("Count.", "count");
    let asked = Question { system, user, schema_name, schema: &schema, max_output_tokens: 99, within };
    let answer = llm.ask(&asked).await?;
    assert_eq!((answer.input_tokens, answer.output_tokens), (Some(11), Some(7)));
    Ok(answer.text)
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn every_wire_carries_the_question_and_brings_the_answer() {
    for provider in ALL {
        let fake = FakeLlm::start(provider).await;
        let llm = fake.llm();
        fake.will([Reply::Json(json!({"n": 3})), Reply::Json(json!({"n": 4}))]);
        assert_eq!(ask(&llm, SOON).await.unwrap(), "{\"n\":3}");
        let other = llm.with_model("fake-2");
        assert_eq!(ask(&other, SOON).await.unwrap(), "{\"n\":4}");
        let asked = fake.asked();
        assert_eq!((asked[0].model.as_str(), asked[1].model.as_str()), (MODEL, "fake-2"));
        assert_eq!((llm.model(), other.model()), (MODEL, "fake-2"));
        for asked in asked {
            assert_eq!((asked.system.as_str(), asked.user.as_str()), ("Count.", "a prompt-canary"));
            assert_eq!((asked.schema, asked.max_output_tokens), (schema(), 99));
            assert_eq!(asked.temperature, Some(0.0));
            assert!(asked.schema_name.is_none_or(|name| name == "count"));
        }
    }
}

#[tokio::test]
async fn what_a_model_does_not_take_is_left_out_from_then_on() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let llm = fake.llm();
    let refuses = |what: &str| {
        Reply::Status(400, json!({"error": {"message": what, "code": "unsupported_parameter"}}).to_string())
    };
    let one = || Reply::Json(json!({"n": 1}));
    fake.will([refuses("Use 'max_completion_tokens' instead."), refuses("'temperature' has one value"), one(), one()]);
    ask(&llm, SOON).await.unwrap();
    ask(&llm, SOON).await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked.iter().map(|asked| asked.temperature).collect::<Vec<_>>(), [Some(0.0), Some(0.0), None, None]);
    fake.will(vec![refuses("temperature and max_completion_tokens"); 5]);
    assert!(matches!(ask(&llm, SOON).await, Err(LlmError::Refused(_))), "what was left out cannot be left out again");
    assert_eq!(fake.asked().len(), 1);
}

/// What an error is, and what it says.
type Expected = (fn(&LlmError) -> bool, &'static str);

const AWAY: fn(&LlmError) -> bool = |error| matches!(error, LlmError::Away(_));
const BUSY: fn(&LlmError) -> bool = |error| matches!(error, LlmError::Busy { .. });
const REFUSED: fn(&LlmError) -> bool = |error| matches!(error, LlmError::Refused(_));
const TOO_LONG: fn(&LlmError) -> bool = |error| matches!(error, LlmError::TooLong(_));
const NONSENSE: fn(&LlmError) -> bool = |error| matches!(error, LlmError::Nonsense(_));

fn troubles() -> Vec<(Reply, Expected)> {
    let error = |code: &str| json!({"error": {"message": format!("canary {KEY}"), "code": code}}).to_string();
    vec![
        (Reply::Status(401, error("invalid_api_key")), (REFUSED, "(invalid_api_key): look at llm_api_key")),
        (Reply::Status(403, error(KEY)), (REFUSED, "403 Forbidden: look at llm_api_key")),
        (Reply::Status(404, error("model_not_found")), (REFUSED, "(model_not_found): look at llm_url")),
        (Reply::Status(400, error("a canary in a sentence")), (REFUSED, "400 Bad Request")),
        (Reply::Status(400, error("context_length_exceeded")), (TOO_LONG, "context_length_exceeded")),
        (Reply::Status(413, String::new()), (TOO_LONG, "413")),
        (Reply::Status(429, error("rate_limit_exceeded")), (BUSY, "429")),
        (Reply::Status(429, error("insufficient_quota")), (REFUSED, "used up")),
        (Reply::Status(529, "canary".to_owned()), (BUSY, "529")),
        (Reply::Status(500, "<html>canary".to_owned()), (AWAY, "500")),
        (Reply::Status(503, "canary".to_owned()), (AWAY, "503")),
        (Reply::Status(204, String::new()), (REFUSED, "204")),
        (Reply::Elsewhere, (REFUSED, "307 Temporary Redirect, and redirects are not followed")),
        (Reply::Huge(50 << 20), (TOO_LONG, "larger than 256 KiB")),
        (Reply::Cut, (TOO_LONG, "more tokens")),
        (Reply::Body("{\"canary".to_owned()), (NONSENSE, "JSON")),
        (Reply::Body("{\"canary\": 1}".to_owned()), (NONSENSE, "JSON")),
        (Reply::Body("[".repeat(100_000)), (NONSENSE, "JSON")),
        (Reply::Body(String::new()), (NONSENSE, "JSON")),
        (Reply::Text("canary".to_owned()), (NONSENSE, "JSON")),
        (Reply::Text("[{\"n\": 1}]".to_owned()), (NONSENSE, "no JSON object")),
        (Reply::Text("{\"n\": 1} and canary".to_owned()), (NONSENSE, "JSON")),
        (Reply::Declines, (NONSENSE, "")),
    ]
}

#[tokio::test]
async fn every_trouble_has_its_name_on_every_wire_and_nothing_of_it_is_repeated() {
    let log = captured();
    let mut wrong = Vec::new();
    for provider in ALL {
        let fake = FakeLlm::start(provider).await;
        let llm = fake.llm();
        for (reply, (is, says)) in troubles() {
            fake.will([reply.clone()]);
            let answer = ask(&llm, SOON).await;
            let told = format!("{answer:?} {llm:?}");
            let is_so = answer.is_err_and(|error| is(&error) && error.to_string().contains(says));
            // All are looked at: each has a guard of its own.
            if !is_so || told.contains("canary") || fake.asked().len() != 1 {
                wrong.push(format!("{reply:?} is {told}, not: {says}"));
            }
            fake.asked();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for format in [LogFormat::Text, LogFormat::Json] {
        let told = log.text(format);
        assert!(![KEY, "prompt-canary"].iter().any(|canary| told.contains(canary)), "{told}");
    }
}

#[tokio::test]
async fn how_long_to_leave_it_alone_is_passed_on_within_bounds() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    for (status, after, pause) in [
        (429, "7", Some(7)),
        (503, "7", Some(7)),
        (529, "0", Some(1)),
        (429, "-5", Some(1)),
        (429, "99999999999", Some(3600)),
        (429, "Fri, 31 Dec 1999 23:59:59 GMT", None),
        (429, "99999999999999999999", None),
    ] {
        fake.will([Reply::Later(status, after)]);
        let error = ask(&fake.llm(), SOON).await.unwrap_err();
        assert!(BUSY(&error), "{error:?}");
        assert_eq!(error.pause_seconds(), pause, "{after}");
    }
}

#[tokio::test]
async fn a_question_has_an_end_whatever_the_provider_does() {
    for provider in ALL {
        let fake = FakeLlm::start(provider).await;
        let llm = fake.llm();
        for reply in [Reply::Silence, Reply::Endless, Reply::Slowly(SOON, json!({"n": 1}))] {
            fake.will([reply]);
            let begun = Instant::now();
            let error = ask(&llm, Duration::from_millis(200)).await.unwrap_err();
            assert!(AWAY(&error) && error.to_string().contains("in time"), "{error:?}");
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let setting = LlmSetting {
        provider: Provider::OpenAi,
        url: format!("http://user:password-canary@{nobody}/v1/chat/completions").parse().unwrap(),
        model: MODEL.to_owned(),
        api_key: Some(KEY.to_owned()),
        second: None,
    };
    let error = ask(&Llm::open(&setting).unwrap(), SOON).await.unwrap_err();
    assert!(AWAY(&error) && !format!("{error:?} {setting:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn no_more_than_48_questions_are_under_way_at_once() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    fake.thinks(|_| Reply::Silence);
    let llm = fake.llm();
    // Those that wait give up before a place is free.
    let patience = |n| Duration::from_millis(if n < 48 { 2_000 } else { 300 });
    let asked = futures_util::future::join_all((0..72).map(|n| ask(&llm, patience(n)))).await;
    assert!(asked.iter().all(|answer| answer.as_ref().is_err_and(AWAY)));
    assert_eq!(fake.asked().len(), 48, "those that wait have no connection");
    fake.thinks(|_| Reply::Json(json!({"n": 1})));
    assert!(ask(&llm, SOON).await.is_ok(), "who gave up holds no place");
}
