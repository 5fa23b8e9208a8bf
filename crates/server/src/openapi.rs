//! The API's description, made from the routes: what the handlers say of themselves, and what holds for all of them.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::figures::PROBES;

/// How a caller stands with the tightest limit that the request counted for.
const STANDING: [(&str, &str); 3] = [
    ("RateLimit-Limit", "How many requests of the kind a minute may have"),
    ("RateLimit-Remaining", "How many are left of them"),
    ("RateLimit-Reset", "In how many seconds there are as many again"),
];

/// When to come back.
const RETRY_AFTER: (&str, &str) = ("Retry-After", "In how many seconds to try again");

/// Refusals that mean the same wherever they come from: a status, a name and a meaning; whether they say when to try
/// again.
const SHARED: [(&str, &str, &str, bool); 3] = [
    ("413", "BodyTooLarge", "The body is too large", false),
    ("429", "TooManyRequests", "Too many requests of a kind within a minute", true),
    ("503", "Unavailable", "The database is away or slow, or the exchange lacks what this needs", true),
];

/// Completes what the routes say: unique operation ids, the headers and refusals that many share, and that absent
/// values in answers are `null`.
pub(crate) fn description(routes: OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).expect("a description is JSON");
    for schema in document["components"]["schemas"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for property in
            schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            // "Null if absent" is said by the type.
            property.as_object_mut().into_iter().for_each(|property| drop(property.remove("default")));
        }
    }
    let optional_bodies = schemas_without_requirements(&document);
    let mut answers = Vec::new();
    let operations = document["paths"].as_object_mut().expect("a description has paths").iter_mut();
    for (path, methods) in operations {
        for (method, operation) in methods.as_object_mut().expect("a path has methods") {
            complete(path, method, operation, &optional_bodies);
            references(&operation["responses"], &mut answers);
        }
    }
    let components = document["components"].as_object_mut().expect("a description has components");
    components.insert("headers".to_owned(), STANDING.into_iter().chain([RETRY_AFTER]).map(header).collect());
    components.insert("responses".to_owned(), SHARED.into_iter().map(shared).collect());
    // What answers hold is always there, if only as null; and so it is in what they are made of.
    let schemas = &mut document["components"]["schemas"];
    let mut seen = 0;
    while let Some(name) = answers.get(seen).cloned() {
        seen += 1;
        if let Some(schema) = schemas.get_mut(&name) {
            references(schema, &mut answers);
            require_all(schema);
        }
    }
    document
}

fn complete(path: &str, method: &str, operation: &mut Value, optional_bodies: &[String]) {
    let tag = operation["tags"][0].as_str().unwrap_or_default();
    let name = operation["operationId"].as_str().unwrap_or_default();
    operation["operationId"] = format!("{tag}_{name}").into();
    let body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
    let body = body.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned());
    if let Some(body) = &body {
        operation["requestBody"]["required"] = (!optional_bodies.contains(body)).into();
    } else if operation["requestBody"]["content"]["multipart/form-data"].is_object() {
        operation["requestBody"]["required"] = true.into();
    } else {
        operation.as_object_mut().expect("an operation has fields").remove("requestBody");
    }
    let open = operation["security"].is_array();
    let once = method == "post" && !["/api/jobs/pull", "/api/verify", "/api/whoami"].contains(&path);
    if once {
        let header = json!({"name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The same key and body get the same answer for 24 h, and what is asked for happens once",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255}});
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(header),
            None => operation["parameters"] = json!([header]),
        }
    }
    let responses = operation["responses"].as_object_mut().expect("an operation has responses");
    if !open {
        refusal(responses, "403", "The key lacks the scope, or the role is another's");
    }
    if once {
        refusal(responses, "409", "It exists already, or the first request with this Idempotency-Key is in hand");
        refusal(responses, "422", "The Idempotency-Key came with another request before");
    }
    refusal(responses, "default", "Any other refusal, such as 400: something is wrong with the request");
    for (status, response) in responses.iter_mut() {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = meaning(status).into();
        }
    }
    limits(path, responses, once, once || body.is_some());
}

/// What holds for all routes: the headers that tell of limits, and the refusals that are described once.
fn limits(path: &str, responses: &mut Map<String, Value>, once: bool, takes_body: bool) {
    let is_probe = PROBES.contains(&path);
    let applies = |status| match status {
        "413" => takes_body,
        "429" => !is_probe,
        // It asks nobody.
        _ => path != "/healthz",
    };
    for (status, response) in responses.iter_mut().filter(|_| !is_probe) {
        response["headers"] = headers(once && status == "409");
    }
    for (status, name, ..) in SHARED.into_iter().filter(|(status, ..)| applies(status)) {
        responses.insert(status.to_owned(), json!({"$ref": format!("#/components/responses/{name}")}));
    }
}

/// One more refusal, where the route does not speak of it itself.
fn refusal(responses: &mut Map<String, Value>, status: &str, description: &str) {
    responses.entry(status).or_insert_with(|| json!({"description": description, "content": error_body()}));
}

/// The headers of an answer.
fn headers(says_when: bool) -> Value {
    let names = STANDING.into_iter().chain(says_when.then_some(RETRY_AFTER)).map(|(name, _)| name);
    names.map(|name| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))).collect()
}

/// A header that is a number.
fn header((name, description): (&str, &str)) -> (String, Value) {
    (name.to_owned(), json!({"description": description, "schema": {"type": "integer", "minimum": 0}}))
}

/// A refusal under its name.
fn shared((_, name, description, says_when): (&str, &str, &str, bool)) -> (String, Value) {
    (name.to_owned(), json!({"description": description, "headers": headers(says_when), "content": error_body()}))
}

fn error_body() -> Value {
    json!({"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}})
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "Done",
        "201" => "Made",
        "400" => "A field is missing or wrong, or the state forbids it",
        "401" => "No key, or none that counts",
        "402" => "The balance is too low",
        "403" => "Not yours to do",
        "404" => "There is no such thing, or it is not yours to know of",
        "409" => "It exists already",
        _ => "See the error's code",
    }
}

/// The names of the schemas that a value refers to, those at hand left out.
fn references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
            names.extend(name.filter(|name| !names.iter().any(|known| known == name)).map(str::to_owned));
            fields.values().for_each(|field| references(field, names));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

/// Every property of the schema, and of those that it is joined from, is required.
fn require_all(schema: &mut Value) {
    if let Some(properties) = schema["properties"].as_object() {
        schema["required"] = properties.keys().cloned().collect();
    }
    let parts = schema.get_mut("allOf").and_then(Value::as_array_mut);
    parts.into_iter().flatten().for_each(require_all);
}

fn schemas_without_requirements(document: &Value) -> Vec<String> {
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let optional = |schema: &Value| schema["required"].as_array().is_none_or(Vec::is_empty);
    schemas.filter(|(_, schema)| optional(schema)).map(|(name, _)| name.clone()).collect()
}
