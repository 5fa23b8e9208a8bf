//! A provider of language models for tests: a real HTTP server that speaks one of the three wires, and takes nothing
//! that the real one would not.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri, header};
use clawrk_server::config::{LlmSetting, Provider};
use clawrk_server::outside::llm::Llm;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The key that the fake knows its asker by.
pub const KEY: &str = "llm_key_canary";
/// The model that [`FakeLlm::llm`] asks.
pub const MODEL: &str = "fake-1";

/// The server; cheap to clone.
#[derive(Clone)]
pub struct FakeLlm {
    pub provider: Provider,
    port: u16,
    script: Arc<Mutex<Script>>,
}

/// Answers a question that no script foresaw.
type Mind = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

#[derive(Default)]
struct Script {
    next: VecDeque<Reply>,
    mind: Option<Mind>,
    asked: Vec<Asked>,
    wrong: Vec<String>,
    /// Questions that are being answered, and the most that ever were.
    at_once: usize,
    most_at_once: usize,
}

/// A question, the same for every wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub model: String,
    pub system: String,
    pub user: String,
    /// None for Ollama, which takes no name.
    pub schema_name: Option<String>,
    pub schema: Value,
    pub max_output_tokens: u64,
    pub temperature: Option<f64>,
}

/// What a question is answered with.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This, in the provider's envelope.
    Json(Value),
    /// The same, after a while.
    Slowly(Duration, Value),
    /// The same, once nobody holds it back any more: when the semaphore is closed.
    Held(Arc<Semaphore>, Value),
    /// This text where the answer's JSON should stand.
    Text(String),
    /// An answer that was cut at the most tokens.
    Cut,
    /// The model declines, in whatever way the provider has for it.
    Declines,
    /// 200 and this for a whole body.
    Body(String),
    /// A status and a body.
    Status(u16, String),
    /// A status and a `Retry-After`.
    Later(u16, &'static str),
    /// Nothing, for ever.
    Silence,
    /// A body that never ends, a few bytes at a time.
    Endless,
    /// A body of so many bytes.
    Huge(usize),
    /// To another place.
    Elsewhere,
}

impl FakeLlm {
    pub async fn start(provider: Provider) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self { provider, port: listener.local_addr().unwrap().port(), script: Arc::default() };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        start(listener, router);
        fake
    }

    /// The settings of a server that asks it.
    pub fn setting(&self) -> LlmSetting {
        let path = path_of(self.provider);
        let url = format!("http://127.0.0.1:{}{path}", self.port).parse().unwrap();
        let (model, api_key) = (MODEL.to_owned(), Some(KEY.to_owned()));
        LlmSetting { provider: self.provider, url, model, api_key, second: None }
    }

    pub fn llm(&self) -> Llm {
        Llm::open(&self.setting()).unwrap()
    }

    /// What the next questions are answered with, in their order.
    pub fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().next.extend(replies);
    }

    /// What questions are answered with that no script foresaw.
    pub fn thinks(&self, mind: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        self.script.lock().unwrap().mind = Some(Arc::new(mind));
    }

    /// The most questions that there ever were at once.
    pub fn most_at_once(&self) -> usize {
        self.script.lock().unwrap().most_at_once
    }

    /// The connections that are open.
    pub fn connections(&self) -> usize {
        let local = format!(":{:04X} ", self.port);
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let is_open = |line: &&str| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|address| format!("{address} ").ends_with(&local)) && fields.nth(1) == Some("01")
        };
        sockets.lines().filter(is_open).count()
    }

    /// The questions since the last time, all of which were as they must be.
    pub fn asked(&self) -> Vec<Asked> {
        let mut script = self.script.lock().unwrap();
        assert_eq!(script.wrong, Vec::<String>::new(), "what the provider would not take");
        std::mem::take(&mut script.asked)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the fake is started")]
fn start(listener: TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await });
}

const fn path_of(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "/v1/chat/completions",
        Provider::Anthropic => "/v1/messages",
        Provider::Ollama => "/api/chat",
    }
}

async fn answer(
    State(fake): State<FakeLlm>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let read = manners(fake.provider, &method, &uri, &headers).and_then(|()| read(fake.provider, &body));
    let asked = match read {
        Ok(asked) => asked,
        Err(problem) => {
            fake.script.lock().unwrap().wrong.push(problem);
            return plain(400, json!({"error": {"type": "invalid_request_error"}}).to_string());
        }
    };
    let reply = {
        let mut script = fake.script.lock().unwrap();
        script.asked.push(asked.clone());
        script.at_once += 1;
        script.most_at_once = script.most_at_once.max(script.at_once);
        let reply = script.next.pop_front();
        reply.or_else(|| script.mind.as_ref().map(|mind| mind(&asked))).unwrap_or_else(|| Reply::Json(json!({})))
    };
    let _answering = Answering(fake.clone());
    respond(fake.provider, &asked, reply).await
}

/// A question that is being answered, until this is dropped.
struct Answering(FakeLlm);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.script.lock().unwrap().at_once -= 1;
    }
}

async fn respond(provider: Provider, asked: &Asked, reply: Reply) -> Response<Body> {
    let response = Response::builder();
    match reply {
        Reply::Json(value) => plain(200, envelope(provider, asked, &value.to_string(), false)),
        Reply::Slowly(wait, value) => {
            tokio::time::sleep(wait).await;
            plain(200, envelope(provider, asked, &value.to_string(), false))
        }
        Reply::Held(until, value) => {
            assert!(until.acquire().await.is_err(), "it has no places, and is only ever closed");
            plain(200, envelope(provider, asked, &value.to_string(), false))
        }
        Reply::Text(text) => plain(200, envelope(provider, asked, &text, false)),
        Reply::Cut => plain(200, envelope(provider, asked, "{}", true)),
        Reply::Declines => plain(200, declined(provider)),
        Reply::Body(body) => plain(200, body),
        Reply::Status(status, body) => plain(status, body),
        Reply::Later(status, after) => {
            response.status(status).header(header::RETRY_AFTER, after).body(Body::empty()).unwrap()
        }
        Reply::Silence => std::future::pending().await,
        Reply::Endless => {
            let drops = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b"  ")), ()))
            });
            response.body(Body::from_stream(drops)).unwrap()
        }
        Reply::Huge(bytes) => {
            const PIECE: &[u8] = &[b' '; 65_536];
            let pieces = (0..bytes.div_ceil(PIECE.len())).map(|_| Ok::<_, std::convert::Infallible>(PIECE));
            response.body(Body::from_stream(futures_util::stream::iter(pieces))).unwrap()
        }
        Reply::Elsewhere => {
            response.status(307).header(header::LOCATION, path_of(provider)).body(Body::empty()).unwrap()
        }
    }
}

fn plain(status: u16, body: String) -> Response<Body> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body)).unwrap()
}

fn envelope(provider: Provider, asked: &Asked, text: &str, is_cut: bool) -> String {
    match provider {
        Provider::OpenAi => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null, "finish_reason": if is_cut { "length" } else { "stop" }}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        })
        .to_string(),
        // The input is no text there: what is no JSON makes the whole body none.
        Provider::Anthropic => format!(
            "{{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{},\
             {{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":{},\"input\":{text}}}],\"stop_reason\":\"{}\",\
             \"usage\":{{\"input_tokens\":11,\"output_tokens\":7}}}}",
            json!({"type": "text", "text": "Well."}),
            json!(asked.schema_name),
            if is_cut { "max_tokens" } else { "tool_use" },
        ),
        Provider::Ollama => json!({
            "model": asked.model, "created_at": "2026-01-01T00:00:00Z",
            "message": {"role": "assistant", "content": text},
            "done": true, "done_reason": if is_cut { "length" } else { "stop" },
            "prompt_eval_count": 11, "eval_count": 7,
        })
        .to_string(),
    }
}

fn declined(provider: Provider) -> String {
    match provider {
        Provider::OpenAi => json!({"choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": null, "refusal": "I cannot help with canary."}}]}),
        Provider::Anthropic => {
            json!({"content": [{"type": "text", "text": "I cannot help with canary."}], "stop_reason": "refusal"})
        }
        Provider::Ollama => {
            json!({"message": {"role": "assistant", "content": "I cannot help with canary."}, "done": true})
        }
    }
    .to_string()
}

/// Whether path, method and headers are the provider's.
fn manners(provider: Provider, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    let key = match provider {
        Provider::OpenAi | Provider::Ollama => is("authorization", &format!("Bearer {KEY}")),
        Provider::Anthropic => {
            is("x-api-key", KEY) && is("anthropic-version", "2023-06-01") && !headers.contains_key("authorization")
        }
    };
    let problem = match () {
        () if method != Method::POST || *uri != *path_of(provider) => format!("{method} {uri}"),
        () if !key => "not the key".to_owned(),
        () if !is("content-type", "application/json") => "not JSON".to_owned(),
        () => return Ok(()),
    };
    Err(problem)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenAi {
    model: String,
    messages: [Message; 2],
    response_format: Format,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    r#type: String,
    json_schema: Named,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    strict: bool,
    schema: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Anthropic {
    model: String,
    system: String,
    messages: [Message; 1],
    tools: [Tool; 1],
    tool_choice: Choice,
    max_tokens: u64,
    temperature: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    name: String,
    #[expect(dead_code, reason = "it may say what it likes, but must be there")]
    description: String,
    input_schema: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    r#type: String,
    name: String,
    disable_parallel_tool_use: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ollama {
    model: String,
    messages: [Message; 2],
    stream: bool,
    format: Value,
    options: Options,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    num_predict: u64,
    num_ctx: u64,
    temperature: Option<f64>,
}

fn read(provider: Provider, body: &[u8]) -> Result<Asked, String> {
    let asked = match provider {
        Provider::OpenAi => openai(serde_json::from_slice(body).map_err(|error| error.to_string())?),
        Provider::Anthropic => anthropic(serde_json::from_slice(body).map_err(|error| error.to_string())?),
        Provider::Ollama => ollama(serde_json::from_slice(body).map_err(|error| error.to_string())?),
    }?;
    is_strict(&asked.schema).then_some(asked).ok_or_else(|| "a schema that strict mode refuses".to_owned())
}

/// What strict mode asks of a schema: every object requires all it knows, and takes nothing else.
fn is_strict(schema: &Value) -> bool {
    let object = schema.get("properties").is_none_or(|properties| {
        let mut names: Vec<&str> = properties.as_object().unwrap().keys().map(String::as_str).collect();
        let mut required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.sort_unstable();
        required.sort_unstable();
        names == required && schema["additionalProperties"] == json!(false)
    });
    object
        && match schema {
            Value::Object(fields) => fields.values().all(is_strict),
            Value::Array(items) => items.iter().all(is_strict),
            _ => true,
        }
}

fn ensure(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.to_owned()) }
}

fn openai(asked: OpenAi) -> Result<Asked, String> {
    let [system, user] = asked.messages;
    ensure(system.role == "system" && user.role == "user", "not a system's and a user's message")?;
    ensure(asked.response_format.r#type == "json_schema" && asked.response_format.json_schema.strict, "not strict")?;
    let ((Some(max_output_tokens), None) | (None, Some(max_output_tokens))) =
        (asked.max_tokens, asked.max_completion_tokens)
    else {
        return Err("not one bound of tokens".to_owned());
    };
    let Named { name, schema, .. } = asked.response_format.json_schema;
    Ok(Asked {
        model: asked.model,
        system: system.content,
        user: user.content,
        schema_name: Some(name),
        schema,
        max_output_tokens,
        temperature: asked.temperature,
    })
}

fn anthropic(asked: Anthropic) -> Result<Asked, String> {
    let ([user], [tool]) = (asked.messages, asked.tools);
    ensure(user.role == "user", "not a user's message")?;
    let Choice { r#type: kind, name, disable_parallel_tool_use } = asked.tool_choice;
    ensure(kind == "tool" && name == tool.name && disable_parallel_tool_use, "not made to call the one tool")?;
    Ok(Asked {
        model: asked.model,
        system: asked.system,
        user: user.content,
        schema_name: Some(name),
        schema: tool.input_schema,
        max_output_tokens: asked.max_tokens,
        temperature: asked.temperature,
    })
}

fn ollama(asked: Ollama) -> Result<Asked, String> {
    let [system, user] = asked.messages;
    ensure(system.role == "system" && user.role == "user", "not a system's and a user's message")?;
    ensure(!asked.stream, "a stream")?;
    let Options { num_predict, num_ctx, temperature } = asked.options;
    let least = (system.content.len() + user.content.len()) as u64 / 4 + num_predict;
    ensure(num_ctx >= least, "less room than the question needs")?;
    Ok(Asked {
        model: asked.model,
        system: system.content,
        user: user.content,
        schema_name: None,
        schema: asked.format,
        max_output_tokens: num_predict,
        temperature,
    })
}
