//! Three ways of asking for JSON by a schema, and of reading what comes back.
//!
//! | Provider  | Asked with                                | The answer stands in                         |
//! |-----------|-------------------------------------------|----------------------------------------------|
//! | OpenAI    | `response_format` of type `json_schema`   | `choices[0].message.content`                 |
//! | Anthropic | the one tool, which it is made to call    | `input` of the one block of type `tool_use`  |
//! | Ollama    | `format`, the schema itself               | `message.content`                            |

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, LlmError, Question};
use crate::config::Provider;

/// What a model does not take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    pub(super) no_temperature: bool,
    pub(super) completion_tokens: bool,
}

/// The body of a question.
pub(super) fn request(provider: Provider, model: &str, question: &Question<'_>, manners: Manners) -> Value {
    let Question { system, user, schema_name: name, schema, max_output_tokens: most, .. } = question;
    let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": user}]);
    let mut asked = match provider {
        Provider::OpenAi => json!({
            "model": model,
            "messages": messages,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "strict": true, "schema": schema},
            },
        }),
        Provider::Anthropic => json!({
            "model": model,
            "system": system,
            "messages": [{"role": "user", "content": user}],
            "tools": [{"name": name, "description": "Takes your answer.", "input_schema": schema}],
            "tool_choice": {"type": "tool", "name": name, "disable_parallel_tool_use": true},
        }),
        Provider::Ollama => json!({
            "model": model,
            "messages": messages,
            "stream": false,
            "format": schema,
            "options": {"num_predict": most, "num_ctx": context(question)},
        }),
    };
    match provider {
        Provider::OpenAi if manners.completion_tokens => asked["max_completion_tokens"] = json!(most),
        Provider::OpenAi | Provider::Anthropic => asked["max_tokens"] = json!(most),
        Provider::Ollama => {}
    }
    if !manners.no_temperature {
        let place = if provider == Provider::Ollama { &mut asked["options"] } else { &mut asked };
        place["temperature"] = json!(0);
    }
    asked
}

/// How many tokens Ollama is to have room for. It drops the beginning of what does not fit without a word, and has room
/// for few if nobody says. A token has two bytes at least in nearly every text; steps of two keep a model loaded.
fn context(question: &Question<'_>) -> usize {
    let bytes = question.system.len() + question.user.len() + question.schema.to_string().len();
    (bytes / 2 + question.max_output_tokens as usize + 256).next_power_of_two().clamp(4096, 131_072)
}

#[derive(Deserialize)]
struct OpenAi {
    choices: Vec<Choice>,
    usage: Option<OpenAiUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: OpenAiMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct OpenAiMessage {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Anthropic {
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<AnthropicUsage>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    input: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct AnthropicUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Ollama {
    message: OllamaMessage,
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct OllamaMessage {
    content: String,
}

/// The answer in a body.
pub(super) fn understood(provider: Provider, name: &str, body: &[u8]) -> Result<Answer, LlmError> {
    let answer = match provider {
        Provider::OpenAi => openai(parsed(body)?),
        Provider::Anthropic => anthropic(parsed(body)?, name),
        Provider::Ollama => ollama(parsed(body)?),
    }?;
    let is_object =
        answer.text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(&answer.text).is_ok();
    if is_object { Ok(answer) } else { Err(nonsense("it is no JSON object")) }
}

fn openai(answer: OpenAi) -> Result<Answer, LlmError> {
    let choice = only(answer.choices).ok_or_else(|| nonsense("it has not one choice"))?;
    whole(choice.finish_reason.as_deref() != Some("length"))?;
    if choice.message.refusal.is_some() || choice.finish_reason.as_deref() == Some("content_filter") {
        return Err(nonsense("the model declines"));
    }
    let text = choice.message.content.ok_or_else(|| nonsense("it has no content"))?;
    let (input_tokens, output_tokens) =
        answer.usage.map_or((None, None), |usage| (usage.prompt_tokens, usage.completion_tokens));
    Ok(Answer { text, input_tokens, output_tokens })
}

fn anthropic(answer: Anthropic, name: &str) -> Result<Answer, LlmError> {
    whole(answer.stop_reason.as_deref() != Some("max_tokens"))?;
    let calls = answer.content.into_iter().filter(|block| block.kind == "tool_use").collect();
    let call = only(calls).filter(|call| call.name.as_deref() == Some(name));
    let input = call.and_then(|call| call.input).ok_or_else(|| nonsense("it does not call the one tool once"))?;
    let (input_tokens, output_tokens) =
        answer.usage.map_or((None, None), |usage| (usage.input_tokens, usage.output_tokens));
    Ok(Answer { text: input.get().to_owned(), input_tokens, output_tokens })
}

fn ollama(answer: Ollama) -> Result<Answer, LlmError> {
    whole(answer.done_reason.as_deref() != Some("length"))?;
    if !answer.done {
        return Err(nonsense("it is not done"));
    }
    let (input_tokens, output_tokens) = (answer.prompt_eval_count, answer.eval_count);
    Ok(Answer { text: answer.message.content, input_tokens, output_tokens })
}

fn only<T>(list: Vec<T>) -> Option<T> {
    <[T; 1]>::try_from(list).ok().map(|[one]| one)
}

fn whole(is_whole: bool) -> Result<(), LlmError> {
    if is_whole { Ok(()) } else { Err(LlmError::TooLong("the answer has more tokens than it may".to_owned())) }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, LlmError> {
    // What stands where the problem is may be anybody's text.
    serde_json::from_slice(body)
        .map_err(|error| LlmError::Nonsense(format!("{:?} error in its JSON", error.classify())))
}

fn nonsense(problem: &str) -> LlmError {
    LlmError::Nonsense(problem.to_owned())
}

/// The provider's short word for a refusal, such as `invalid_api_key`; never a sentence, which may repeat what was sent.
pub(super) fn code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let word = |name: &str| {
        let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
        let text = body["error"][name].as_str()?;
        (!text.is_empty() && text.len() <= 40 && text.chars().all(is_part)).then(|| text.to_owned())
    };
    word("code").or_else(|| word("type"))
}
