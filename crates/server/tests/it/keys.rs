//! API keys.

use clawrk_domain::{Scope, Scopes};
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_key_is_shown_once_works_at_once_and_is_refused_once_revoked() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    app.clock.advance(1);
    let made = ada.post("/api/keys", json!({"name": "laptop"})).await.expect(201);
    let second = ada.with_key(made["key"].as_str().unwrap());
    second.get("/api/agents").await.expect(200);
    let list = ada.get("/api/keys").await.expect(200);
    assert_eq!((list.as_array().unwrap().len(), &list[1]["key"], &list[1]["id"]), (2, &json!(null), &made["id"]));
    assert_eq!(list[1]["scopes"], json!(["read", "work", "spend"]));
    assert_eq!(
        ada.delete(&format!("/api/keys/{}", made["id"].as_str().unwrap())).await.expect(200),
        json!({"ok": true})
    );
    second.get("/api/agents").await.refused(401, "unauthenticated");
    ada.delete("/api/keys/000000000000").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_key_expires_by_the_clock() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    ada.post("/api/keys", json!({"name": "x", "expires_at": "2025-01-01T12:00:00Z"}))
        .await
        .refused(400, "invalid_field");
    let made = ada.post("/api/keys", json!({"name": "x", "expires_at": "2025-01-01T12:00:10Z"})).await.expect(201);
    let brief = ada.with_key(made["key"].as_str().unwrap());
    app.clock.advance(9);
    brief.get("/api/agents").await.expect(200);
    app.clock.advance(1);
    brief.get("/api/agents").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn scopes_are_enforced_and_never_grow() {
    let app = TestApp::new().await;
    let reader = app.user_with("reader", 10_00, Scopes::from_iter([Scope::Read])).await;
    reader.get("/api/agents").await.expect(200);
    reader.post("/api/agents", json!({"name": "x"})).await.refused(403, "scope_missing");
    reader.post("/api/jobs/pull", json!({})).await.refused(403, "scope_missing");
    reader.post("/api/jobs/run", json!({"prompt": "x"})).await.expect(200);
    reader.post("/api/jobs/run", json!({"prompt": "x", "confirmed": true})).await.refused(403, "scope_missing");
    reader.post("/api/keys", json!({"name": "x"})).await.refused(403, "scope_missing");
    let ada = app.user("ada", 0).await;
    ada.post("/api/keys", json!({"name": "x", "scopes": ["admin"]})).await.refused(403, "scope_missing");
    ada.post("/api/keys", json!({"name": "x", "scopes": ["all"]})).await.refused(400, "invalid_field");
    ada.post("/api/keys", json!({"name": "x", "scopes": []})).await.refused(400, "invalid_field");
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let mut bent = ada.key.clone();
    bent.replace_range(30..31, if &bent[30..31] == "a" { "b" } else { "a" });
    for key in ["nonsense", &bent, &ada.key[1..], "clawrk_"] {
        ada.with_key(key).get("/api/agents").await.refused(401, "unauthenticated");
    }
}
