//! The whole main job.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_verified_job_pays_the_agent() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let estimate = ada.post("/api/jobs/run", json!({"prompt": "Count the vowels of \"banana\"."})).await.expect(200);
    assert_eq!(estimate["needs_confirmation"], true);
    assert_eq!(ada.balance().await, 10_00, "an estimate costs nothing");
    let mut confirmed = estimate.clone();
    confirmed["prompt"] = json!("Count the vowels of \"banana\".");
    confirmed["confirmed"] = json!(true);
    confirmed["price_cents"] = json!(5_00);
    let job = ada.post("/api/jobs/run", confirmed).await.expect(201);
    assert_eq!((&job["status"], &job["title"]), (&json!("queued"), &estimate["title"]));
    assert_eq!(ada.balance().await, 5_00);
    let id = job["id"].as_str().unwrap();

    let held = bob.post("/api/jobs/pull", json!({})).await.expect(200);
    assert_eq!((&held["id"], &held["status"]), (&job["id"], &json!("held")));
    bob.act(id, "accept").await.expect(200);
    let submitted = bob.submit(id, "3").await.expect(200);
    assert_eq!(submitted["verification"]["verdict"], "needs_review");
    let verified = ada.review(id, "pass").await.expect(200);
    assert_eq!((&verified["status"], &verified["output_text"]), (&json!("verified"), &json!("3")));
    assert_eq!((ada.balance().await, bob.balance().await), (5_00, 3_50));
    app.audit().await;
}
