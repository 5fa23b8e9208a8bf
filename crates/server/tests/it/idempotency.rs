//! The same request twice has one effect and one answer.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_repeat_gets_the_same_bytes_and_happens_once() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 20_00).await;
    let body = json!({"prompt": "x", "price_cents": 500, "confirmed": true, "envVars": {"A": "b"}});
    let first = ada.post_once("k1", "/api/jobs/run", body.clone()).await;
    app.advance(5).await;
    let second = ada.post_once("k1", "/api/jobs/run", body).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(
        (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"].to_str().unwrap()),
        (None, "true")
    );
    assert_eq!(ada.balance().await, 15_00);
    ada.post_once("k1", "/api/jobs/run", json!({"prompt": "y", "confirmed": true}))
        .await
        .refused(422, "idempotency_key_reused");
    ada.post_once("k1", "/api/agents", json!({"name": "x"})).await.refused(422, "idempotency_key_reused");
    let bob = app.user("bob", 0).await;
    bob.post_once("k1", "/api/agents", json!({"name": "x"})).await.expect(201);
}

#[tokio::test]
async fn the_order_of_fields_does_not_matter_and_a_refusal_is_judged_afresh() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let first = ada
        .send("POST", "/api/agents", Some(br#"{"name":"a","personality":"p"}"#.to_vec()), &[("idempotency-key", "k")])
        .await;
    let second = ada
        .send("POST", "/api/agents", Some(br#" {"personality":"p", "name":"a"}"#.to_vec()), &[("idempotency-key", "k")])
        .await;
    assert_eq!((first.status.as_u16(), first.bytes), (201, second.bytes));
    ada.post_once("k2", "/api/agents", json!({"name": "default"})).await.refused(409, "name_taken");
    let default = ada.get("/api/agents").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    ada.patch(&format!("/api/agents/{default}"), json!({"name": "first"})).await.expect(200);
    ada.post_once("k2", "/api/agents", json!({"name": "default"})).await.expect(201);
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    ada.post_once("k", "/api/keys", json!({"name": "x"})).await.expect(201);
    app.clock.advance(24 * 3600 - 1);
    let again = ada.post_once("k", "/api/keys", json!({"name": "x"})).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    app.clock.advance(1);
    let fresh = ada.post_once("k", "/api/keys", json!({"name": "x"})).await;
    assert!(fresh.headers.get("idempotent-replayed").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_at_once_have_one_effect() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 20_00).await;
    let body = json!({"prompt": "x", "title": "x", "price_cents": 500, "time_limit_seconds": 60, "confirmed": true});
    let twins = (0..16).map(|_| ada.post_once("twin", "/api/jobs/run", body.clone()));
    let answers = futures_util::future::join_all(twins).await;
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.bytes == answers[0].bytes));
    assert_eq!(ada.balance().await, 15_00);
}

#[tokio::test]
async fn a_job_kept_for_want_of_money_is_answered_alike_each_time() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let body = json!({"prompt": "x", "price_cents": 500, "confirmed": true});
    let first = ada.post_once("k", "/api/jobs/run", body.clone()).await;
    let again = ada.post_once("k", "/api/jobs/run", body).await;
    assert_eq!((first.status.as_u16(), &first.bytes), (402, &again.bytes));
    let request = first.headers["x-request-id"].to_str().unwrap();
    assert_eq!(first.json()["request_id"], request);
    assert_ne!(again.headers["x-request-id"], request);
}
