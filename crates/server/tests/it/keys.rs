//! API keys.

use std::fmt::Write;

use clawrk_domain::{Scope, Scopes};
use serde_json::json;

use crate::support::{TestApp, User};

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

#[tokio::test]
async fn every_route_asks_for_its_scope() {
    let app = TestApp::new().await;
    let names = ["read", "work", "spend", "admin"];
    let mut users = Vec::new();
    for name in names {
        users.push(app.user_with(name, 0, Scopes::from_iter([name.parse::<Scope>().unwrap()])).await);
    }
    let document = app.anonymous().get("/openapi.json").await.expect(200);
    // Fields that a route does not know are ignored: one body is right for all of them.
    let body = json!({"prompt": "x", "confirmed": true, "name": "x", "verdict": "pass", "output_text": "x",
        "amount_cents": 500, "enabled": false});
    let body = Some(body.to_string().into_bytes());
    let mut table = String::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let at = path.replace("{id}", "01941f29-7c00-7000-8000-000000000000");
            let ask = async |user: &User| user.send(&method.to_uppercase(), &at, body.clone(), &[]).await;
            let mut passing = Vec::new();
            for (user, name) in users.iter().zip(names) {
                let answer = ask(user).await;
                let refused = answer.status == 403 && answer.json()["code"] == "scope_missing";
                passing.extend((!refused).then_some(name));
            }
            let open = if ask(&app.anonymous()).await.status == 401 { "" } else { " (no key)" };
            writeln!(table, "{:<6} {path}: {}{open}", method.to_uppercase(), passing.join(" ")).unwrap();
        }
    }
    insta::assert_snapshot!("scopes", table);
}
