//! The description of the API.

use serde_json::Value;

use crate::support::TestApp;

#[test]
fn the_description_is_what_it_was() {
    insta::assert_json_snapshot!("openapi", clawrk_server::openapi());
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
