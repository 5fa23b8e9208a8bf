//! The description of the API.

use std::collections::BTreeSet;

use clawrk_server::edge::Limits;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp};
use crate::uploads::{FORM, form};

#[test]
fn the_description_is_what_it_was() {
    insta::assert_json_snapshot!("openapi", clawrk_server::openapi());
}

#[test]
fn operations_have_names_of_their_own_and_answers_say_what_they_mean() {
    let document = clawrk_server::openapi();
    let operations = || document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    let names: BTreeSet<_> = operations().map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations().count());
    for (_, operation) in operations() {
        for response in operation["responses"].as_object().unwrap().values() {
            let response = followed(&document, response);
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
        }
    }
}

/// What is described, also where only its name stands.
fn followed<'a>(document: &'a Value, described: &'a Value) -> &'a Value {
    let name = described["$ref"].as_str();
    name.map_or(described, |name| document.pointer(name.strip_prefix('#').unwrap()).expect("it is described"))
}

/// Asserts that the answer is one of those that the operation is said to give, headers that speak of limits included.
#[track_caller]
fn assert_described(document: &Value, operation: &Value, answer: &Answer, what: &str) {
    let responses = &operation["responses"];
    let (status, described) = (answer.status.as_str(), &responses[answer.status.as_str()]);
    let described = followed(document, if described.is_null() { &responses["default"] } else { described });
    let said = described["headers"].as_object().into_iter().flat_map(|headers| headers.keys());
    let said: BTreeSet<String> = said.map(|name| name.to_lowercase()).collect();
    let limits = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
    let sent = limits.into_iter().filter(|name| answer.headers.contains_key(*name)).map(str::to_owned);
    let sent: BTreeSet<String> = sent.collect();
    // Only some conflicts pass by themselves.
    let may_lack = if status == "409" { Some("retry-after") } else { None };
    assert!(sent.is_subset(&said), "{what}: {status}: sent {sent:?}, described {said:?}");
    assert!(
        said.iter().all(|name| sent.contains(name) || Some(name.as_str()) == may_lack),
        "{what}: {status}: {said:?}"
    );
}

#[tokio::test]
async fn limits_of_requests_and_bodies_are_described_where_they_are_held() {
    let document = clawrk_server::openapi();
    let one_a_minute = Limits { requests_per_minute: 1, ..Limits::default() };
    let too_large = vec![b' '; 9 << 20];
    let mut refused = [0, 0];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let app = TestApp::limited(one_a_minute).await;
            let ada = app.user("ada", 0).await;
            let (what, path) = (format!("{method} {path}"), path.replace("{id}", "000000000000"));
            let method = method.to_uppercase();
            let is_form = method == "POST" && path == "/api/uploads";
            let kind = if is_form { FORM } else { "application/json" };
            let too_large = if is_form { form("large", &too_large) } else { too_large.clone() };
            let headers = [("content-type", kind)];
            let send = |body| ada.send(&method, &path, body, &headers);
            let answers = [send(Some(too_large)).await, send(None).await];
            for (answer, limit) in answers.iter().zip(["413", "429"]) {
                assert_described(&document, operation, answer, &what);
                let is_described = !operation["responses"][limit].is_null();
                assert_eq!(answer.status.as_str() == limit, is_described, "{what}: {} for {limit}", answer.status);
            }
            for (count, limit) in refused.iter_mut().zip(["413", "429"]) {
                *count += usize::from(!operation["responses"][limit].is_null());
            }
        }
    }
    assert_eq!(refused, [21, 47]);
}

#[test]
fn whoever_should_come_back_is_told_when() {
    let document = clawrk_server::openapi();
    let (mut away, mut in_hand) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let says_when = |status: &str| {
                !followed(&document, &operation["responses"][status])["headers"]["Retry-After"].is_null()
            };
            assert_eq!(says_when("503"), path != "/healthz", "{method} {path}");
            away += usize::from(says_when("503"));
            let parameters = operation["parameters"].as_array();
            let once = parameters.is_some_and(|all| all.iter().any(|one| one["name"] == "Idempotency-Key"));
            assert_eq!(says_when("409"), once, "{method} {path}");
            in_hand += usize::from(once);
        }
    }
    assert_eq!((away, in_hand), (48, 18));
}

#[tokio::test]
async fn answers_have_the_fields_that_are_described() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 5_00).await;
    let job = ada.job("x", 5_00).await;
    let document = clawrk_server::openapi();
    let fields = |name: &str| {
        let required = document["components"]["schemas"][name]["required"].as_array().unwrap();
        required.iter().map(|field| field.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let found = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(found(&ada.get(&format!("/api/jobs/{job}")).await.expect(200)), fields("JobBody"));
    assert_eq!(found(&ada.get("/api/agents").await.expect(200)[0]), fields("AgentBody"));
    assert_eq!(found(&ada.get("/api/keys").await.expect(200)[0]), fields("KeyBody"));
    assert_eq!(found(&ada.get(&format!("/api/users/{}", ada.id)).await.expect(200)), fields("UserBody"));
    assert_eq!(found(&ada.get(&format!("/api/jobs/{job}/events")).await.expect(200)[0]), fields("EventBody"));
    let stats = ada.get("/api/board/stats").await.expect(200);
    assert_eq!(found(&stats), fields("StatsBody"));
    assert_eq!((found(&stats["jobs"]), found(&stats["days"][0])), (fields("JobCounts"), fields("DayBody")));
    ada.post("/api/agents", json!({"name": "poet", "personality": "rhymes"})).await.expect(201);
    assert_eq!(found(&ada.get("/api/agents/directory").await.expect(200)[0]), fields("DirectoryAgent"));
    assert_eq!(found(&ada.get("/nonsense").await.expect(404)), fields("ErrorBody"));
}

#[tokio::test]
async fn every_described_route_is_there() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let document: Value = app.anonymous().get("/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{id}", "000000000000");
            let answer = ada.send(&method.to_uppercase(), &path, None, &[]).await;
            let body = String::from_utf8_lossy(&answer.bytes).into_owned();
            assert!(!body.contains("unknown_route") && !body.contains("wrong_method"), "{method} {path}: {body}");
            routes += 1;
        }
    }
    assert_eq!(routes, 49);
}
