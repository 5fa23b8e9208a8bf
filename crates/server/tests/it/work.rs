//! Jobs from the agent's side.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::TestApp;

#[tokio::test]
async fn pull_gives_the_best_fit_and_the_same_again_while_it_is_held() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    assert_eq!(bob.post("/api/jobs/pull", json!({})).await.status, 204);
    ada.job("Bake a chocolate cake", 5_00).await;
    app.advance(1).await;
    let fits = ada.job("Translate a letter into French", 5_00).await;
    let agent = json!({"name": "lingua", "personality": "A translator of French letters and contracts"});
    let agent = bob.post("/api/agents", agent).await.expect(201)["id"].clone();
    let held = bob.post("/api/jobs/pull", json!({ "agent_id": agent })).await.expect(200);
    assert_eq!((&held["id"], &held["held_by_agent_id"]), (&json!(fits), &agent));
    assert_eq!(held["hold_expires_at"], "2025-01-01T12:00:31.000Z");
    assert_eq!(bob.post("/api/jobs/pull", json!({ "agent_id": agent })).await.expect(200)["id"], json!(fits));
    let oldest = bob.post("/api/jobs/pull", json!({})).await.expect(200);
    assert_eq!(oldest["title"], "Bake a chocolate cake", "no personality: the oldest");
    bob.post("/api/jobs/pull", json!({"wait_seconds": 31})).await.refused(400, "invalid_field");
    ada.post("/api/jobs/pull", json!({ "agent_id": agent })).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_hold_runs_out_and_comes_back_to_that_agent_after_a_minute() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    let job = ada.job("x", 5_00).await;
    bob.post("/api/jobs/pull", json!({})).await.expect(200);
    app.clock.advance(30);
    bob.act(&job, "accept").await.refused(400, "hold_expired");
    app.advance(0).await;
    assert_eq!(ada.status(&job).await, "queued");
    app.advance(59).await;
    assert_eq!(bob.post("/api/jobs/pull", json!({})).await.status, 204);
    app.advance(1).await;
    bob.post("/api/jobs/pull", json!({})).await.expect(200);
}

#[tokio::test]
async fn a_rejected_or_failed_job_is_never_pulled_again_but_may_be_claimed() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    let job = ada.job("x", 5_00).await;
    bob.post("/api/jobs/pull", json!({})).await.expect(200);
    bob.act(&job, "reject").await.expect(200);
    app.advance(3600).await;
    assert_eq!(bob.post("/api/jobs/pull", json!({})).await.status, 204);
    bob.act(&job, "claim").await.expect(200);
    let other = ada.job("y", 5_00).await;
    bob.act(&other, "claim").await.refused(400, "holds_another");
    bob.act(&job, "accept").await.expect(200);
    bob.act(&other, "claim").await.expect(200);
    let twice = bob.get(&format!("/api/jobs/{job}")).await.expect(200);
    assert_eq!((&twice["attempt_count"], &twice["deadline_at"]), (&json!(1), &json!("2025-01-01T13:10:00.000Z")));
}

#[tokio::test]
async fn work_is_handed_in_before_the_deadline_or_not_at_all() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    let job = ada.job("x", 5_00).await;
    bob.act(&job, "claim").await.expect(200);
    bob.submit(&job, "early").await.refused(400, "wrong_state");
    bob.act(&job, "accept").await.expect(200);
    bob.submit(&job, "  ").await.refused(400, "invalid_field");
    bob.act(&job, "submit").await.refused(400, "invalid_field");
    app.clock.advance(600);
    bob.submit(&job, "late").await.refused(400, "deadline_passed");
    app.advance(0).await;
    assert_eq!(ada.status(&job).await, "queued");
}

#[tokio::test]
async fn one_may_work_on_ones_own_job() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 5_00).await;
    let job = ada.job("x", 5_00).await;
    ada.work(&job, "y").await.expect(200);
    ada.review(&job, "pass").await.expect(200);
    assert_eq!(ada.balance().await, 3_50);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pull_wakes_when_a_job_arrives() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let started = Instant::now();
    let waiting = bob.post("/api/jobs/pull", json!({"wait_seconds": 20}));
    let posting = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ada.job("x", 5_00).await
    };
    let (held, job) = tokio::join!(waiting, posting);
    assert_eq!(held.expect(200)["id"], json!(job));
    assert!(started.elapsed() < Duration::from_secs(10), "it woke, and did not wait to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_pulls_share_out_the_jobs() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 50_00).await;
    for n in 0..5 {
        ada.job(&format!("job {n}"), 1_00).await;
    }
    let mut workers = Vec::new();
    for n in 0..16 {
        workers.push(app.user(&format!("worker {n}"), 0).await);
    }
    let pulls = workers.iter().map(|worker| worker.post("/api/jobs/pull", json!({})));
    let answers = futures_util::future::join_all(pulls).await;
    let mut held: Vec<Value> =
        answers.into_iter().filter(|a| a.status == 200).map(|a| a.json()["id"].clone()).collect();
    held.sort_by_key(ToString::to_string);
    held.dedup();
    assert_eq!(held.len(), 5, "each job once, and every job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pull_ends_with_its_key() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let made = bob.post("/api/keys", json!({"name": "brief"})).await.expect(201);
    let brief = bob.with_key(made["key"].as_str().unwrap());
    let waiting = brief.post("/api/jobs/pull", json!({"wait_seconds": 20}));
    let revoking = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        bob.delete(&format!("/api/keys/{}", made["id"].as_str().unwrap())).await.expect(200);
        ada.job("private", 5_00).await
    };
    let (answer, job) = tokio::join!(waiting, revoking);
    answer.refused(401, "unauthenticated");
    assert_eq!(ada.status(&job).await, "queued");
}

#[tokio::test]
async fn a_review_comes_within_its_window_or_not_at_all() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let job = ada.job("x", 5_00).await;
    bob.work(&job, "done").await.expect(200);
    // The clock moves and no task has run yet.
    app.clock.advance(72 * 3600);
    ada.review(&job, "fail").await.refused(400, "review_over");
    app.advance(0).await;
    assert_eq!((ada.status(&job).await.as_str(), bob.balance().await), ("verified", 3_50));
}
