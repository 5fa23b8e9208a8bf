//! The description of the API.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::TestApp;

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
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
        }
    }
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
    assert_eq!(routes, 30);
}
