//! What holds for every route.

use clawrk_domain::estimate::Estimate;
use clawrk_domain::{Scopes, UserId};
use clawrk_server::outside::structurer::{Offline, Structurer};
use serde_json::{Value, json};

use crate::support::{TestApp, unhurried};

#[tokio::test]
async fn every_error_is_json_with_a_code_and_the_requests_id() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    for user in [&ada, &app.anonymous()] {
        user.get("/api/nonsense").await.refused(404, "unknown_route");
        let wrong = user.send("PUT", "/api/agents", None, &[]).await;
        assert!(wrong.headers.contains_key("allow"));
        wrong.refused(405, "wrong_method");
    }
    let answer = ada.get("/api/agents/nonsense").await;
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.refused(404, "not_found")["request_id"], json!(id));
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused_with_a_reason() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    for body in ["{", "[]", "\"x\"", "nonsense", "\u{0}"] {
        ada.send("POST", "/api/agents", Some(body.as_bytes().to_vec()), &[]).await.refused(400, "malformed_request");
    }
    ada.send("POST", "/api/agents", Some(vec![b'"', 0xff, b'"']), &[]).await.refused(400, "malformed_request");
    let wrong = ada.post("/api/agents", json!({"name": "a", "personality": 5})).await.refused(400, "malformed_request");
    assert!(wrong["error"].as_str().unwrap().contains("personality"), "{wrong}");
}

#[tokio::test]
async fn what_does_not_fit_is_said_in_our_words_wherever_it_is_sent() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let run = |field: &str, value: Value| ("/api/jobs/run", json!({"prompt": "x", field: value}));
    for ((path, body), said) in [
        (run("price_cents", json!("500")), "price_cents must be a whole number, not a text"),
        (run("confirmed", json!(1)), "confirmed must be true or false, not a number"),
        (run("envVars", json!({"A": 1})), "envVars.A must be a text, not a number"),
        (run("criteria", json!([null])), "criteria[0] must be a text, not null"),
        (run("attachments", json!({})), "attachments must be an array, not an object"),
        (("/api/agents", json!({"personality": "x"})), "name is missing"),
        (
            ("/api/keys", json!({"name": "x", "expires_at": "soon"})),
            "expires_at must be a time such as 2025-01-01T00:00:00.000Z",
        ),
        (
            ("/api/jobs/pull", json!({"wait_seconds": 1.5})),
            "wait_seconds must be a whole number, not a number with a fraction or an exponent",
        ),
        (
            ("/api/jobs/000000000000/review", json!({"verdict": "good"})),
            "verdict must be \"pass\" or \"fail\", not another text",
        ),
    ] {
        assert_eq!(ada.post(path, body).await.refused(400, "malformed_request")["error"], said);
    }
    for path in ["/api/agents", "/api/jobs", "/api/board", "/api/wallet/balance", "/api/keys"] {
        let refused = ada.get(&format!("{path}?limit=many")).await.refused(400, "malformed_request");
        assert_eq!(refused["error"], "In the query, limit must be a whole number, not a text", "{path}");
    }
}

#[tokio::test]
async fn no_text_may_have_a_nul_and_what_is_unknown_may_be_anything() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 10_00).await;
    let agent = ada.post("/api/agents", json!({"name": "a", "note\0": "b\0"})).await.expect(201);
    for field in ["name", "personality", "avatar_url"] {
        let mut body = json!({"name": "b"});
        body[field] = json!("http://x\0y");
        ada.post("/api/agents", body.clone()).await.refused(400, "invalid_field");
        ada.patch(&format!("/api/agents/{}", agent["id"].as_str().unwrap()), body).await.refused(400, "invalid_field");
    }
    for (field, value) in [
        ("prompt", json!("a\0b")),
        ("title", json!("a\0b")),
        ("description", json!("a\0b")),
        ("requirements", json!("a\0b")),
        ("criteria", json!(["a\0b"])),
        ("envVars", json!({"A": "a\0b"})),
        ("envVars", json!({"A\0": "ab"})),
    ] {
        let mut body = json!({"prompt": "x", "confirmed": true});
        body[field] = value;
        ada.post("/api/jobs/run", body).await.refused(400, "invalid_field");
    }
    let job = ada.job("x", 5_00).await;
    ada.work(&job, "x\0").await.refused(400, "invalid_field");
    ada.post(&format!("/api/jobs/{job}/fail"), json!({"reason": "a\0b"})).await.refused(400, "invalid_field");
    let review = json!({"verdict": "pass", "reason": "a\0b"});
    ada.post(&format!("/api/jobs/{job}/review"), review).await.refused(400, "invalid_field");
    ada.post("/api/keys", json!({"name": "a\0b"})).await.refused(400, "invalid_field");
    ada.get("/api/jobs?limit=1&after=%00").await.refused(400, "invalid_field");
    for path in ["/api/agents/%00", "/api/agents/%ff", "/api/jobs/%ff", "/api/jobs/a%00b/events"] {
        ada.get(path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let large = vec![b' '; (1 << 20) + 1];
    let nobody = app.anonymous();
    nobody.send("POST", "/api/agents", Some(large.clone()), &[]).await.refused(401, "unauthenticated");
    ada.send("POST", "/api/agents", Some(large.clone()), &[]).await.refused(413, "body_too_large");
    ada.send("POST", "/api/jobs/000000000000/submit", Some(large), &[]).await.refused(400, "invalid_field");
    ada.submit("000000000000", &"x".repeat(1 << 20)).await.refused(404, "not_found");
    let larger = vec![b' '; (4 << 20) + 1];
    ada.send("POST", "/api/jobs/000000000000/submit", Some(larger), &[]).await.refused(413, "body_too_large");
    ada.send("POST", "/api/jobs/000000000000/accept", Some(b"{".to_vec()), &[]).await.refused(400, "malformed_request");
    ada.send("POST", "/api/jobs/000000000000/accept", None, &[]).await.refused(404, "not_found");
    let unknown = "/api/agents/01941f29-7c00-7000-8000-000000000000";
    ada.patch(unknown, json!({"name": " "})).await.refused(400, "invalid_field");
    ada.patch(unknown, json!({"name": "a"})).await.refused(404, "not_found");
    ada.review("000000000000", "perhaps").await.refused(400, "malformed_request");
    ada.review("000000000000", "pass").await.refused(404, "not_found");
}

/// A structurer with a bug.
struct Broken;

#[async_trait::async_trait]
impl Structurer for Broken {
    async fn structure(&self, user: UserId, prompt: &str) -> Estimate {
        assert!(!prompt.contains("bug"), "no answer repeats this: {prompt}");
        Offline.structure(user, prompt).await
    }
}

#[tokio::test]
async fn a_panic_is_answered_without_detail_and_the_exchange_goes_on() {
    let app = TestApp::structured_by(Broken, unhurried()).await;
    let ada = app.user("ada", 10_00).await;
    let refused =
        ada.post("/api/jobs/run", json!({"prompt": "a bug", "confirmed": true})).await.refused(500, "internal");
    assert_eq!(refused["error"], "Something went wrong on our side");
    assert_eq!(ada.balance().await, 10_00);
    ada.post("/api/jobs/run", json!({"prompt": "all is well", "confirmed": true})).await.expect(201);
}

#[tokio::test]
async fn the_operators_pages_answer() {
    let app = TestApp::new().await;
    let admin = app.user_with("admin", 0, Scopes::ALL).await;
    let nobody = app.anonymous();
    assert_eq!(nobody.get("/healthz").await.expect(200)["status"], "ok");
    assert_eq!(nobody.get("/readyz").await.expect(200)["status"], "ok");
    admin.get("/api/agents").await.expect(200);
    let metrics = nobody.get("/metrics").await;
    let text = String::from_utf8(metrics.bytes).unwrap();
    assert!(text.contains("clawrk_http_requests_total"), "{text}");
    assert!(!text.contains("clawrk_0") && !text.contains(&admin.key[7..]), "no key in the metrics");
}

#[tokio::test]
async fn elsewhere_the_metrics_are_for_admin_keys() {
    let app = TestApp::from_afar().await;
    let (admin, ada) = (app.user_with("admin", 0, Scopes::ALL).await, app.user("ada", 0).await);
    assert_eq!(admin.get("/metrics").await.status, 200);
    ada.get("/metrics").await.refused(403, "forbidden");
    app.anonymous().get("/metrics").await.refused(401, "unauthenticated");
}
