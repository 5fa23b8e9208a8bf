//! Who sees what of a job.

use serde_json::{Value, json};

use crate::support::{TestApp, User, keys_of};

const SECRET: &str = "canary-value-8c1f";

async fn posted(ada: &User) -> String {
    let body = json!({"prompt": "prompt-canary", "title": "open title", "description": "open words", "price_cents": 500,
        "time_limit_seconds": 600, "envVars": {"TOKEN": SECRET}, "criteria": ["criterion-canary"], "confirmed": true});
    ada.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn variables_go_to_the_sender_and_to_the_receiver_while_it_works() {
    let app = TestApp::new().await;
    let (ada, bob, eve) = (app.user("ada", 10_00).await, app.user("bob", 0).await, app.user("eve", 0).await);
    let job = posted(&ada).await;
    let path = format!("/api/jobs/{job}");
    let sees = async |user: &User| String::from_utf8(user.get(&path).await.bytes).unwrap().contains(SECRET);
    assert!(sees(&ada).await && !sees(&bob).await && !sees(&eve).await);
    let held = bob.act(&job, "claim").await.expect(200);
    assert_eq!((&held["env_vars"], &held["prompt"]), (&json!({"TOKEN": ""}), &json!("prompt-canary")));
    eve.get(&path).await.refused(404, "not_found");
    assert_eq!(bob.act(&job, "accept").await.expect(200)["env_vars"], json!({ "TOKEN": SECRET }));
    bob.submit(&job, "work").await.expect(200);
    assert!(sees(&bob).await, "until the attempt ends");
    let again = ada.review(&job, "fail").await.expect(200);
    assert_eq!((&again["receiver"], &again["output_text"]), (&json!(null), &json!(null)));
    assert!(!sees(&bob).await && sees(&ada).await);
    bob.work(&job, "better").await.expect(200);
    ada.review(&job, "pass").await.expect(200);
    let done = bob.get(&path).await.expect(200);
    assert_eq!((&done["env_vars"], &done["output_text"]), (&json!({"TOKEN": ""}), &json!("better")));
}

#[tokio::test]
async fn strangers_see_the_boards_fields_of_a_queued_job_and_nothing_of_any_other() {
    let app = TestApp::new().await;
    let (ada, bob, eve) = (app.user("ada", 10_00).await, app.user("bob", 0).await, app.user("eve", 0).await);
    let job = posted(&ada).await;
    let path = format!("/api/jobs/{job}");
    let (own, public) = (ada.get(&path).await.expect(200), eve.get(&path).await.expect(200));
    assert_eq!(keys_of(&own), keys_of(&public), "the same keys");
    let open =
        ["id", "status", "title", "description", "price_cents", "payout_cents", "time_limit_seconds", "created_at"];
    for (field, value) in public.as_object().unwrap() {
        let empty = [json!(null), json!([]), json!({}), json!(0), json!(false)].contains(value);
        assert_eq!(!empty, open.contains(&field.as_str()), "{field}: {value}");
    }
    let board = app.anonymous().get("/api/board").await;
    let text = String::from_utf8(board.bytes.clone()).unwrap();
    assert!(!text.contains("canary") && !text.contains(&ada.id), "{text}");
    assert_eq!(board.expect(200)[0]["payout_cents"], json!(350));
    bob.act(&job, "claim").await.expect(200);
    let (gone, none) = (
        eve.get(&path).await.refused(404, "not_found"),
        eve.get("/api/jobs/000000000000").await.refused(404, "not_found"),
    );
    assert_eq!(gone["error"], none["error"], "no telling them apart");
    for action in ["pay", "cancel", "claim", "accept", "reject", "fail"] {
        eve.act(&job, action).await.refused(404, "not_found");
    }
    eve.submit(&job, "x").await.refused(404, "not_found");
    eve.review(&job, "pass").await.refused(404, "not_found");
    eve.get(&format!("{path}/events")).await.refused(404, "not_found");
    assert_eq!(app.anonymous().get("/api/board").await.expect(200), json!([]));
}

#[tokio::test]
async fn who_was_presented_a_job_knows_of_it_but_not_what_others_did() {
    let app = TestApp::new().await;
    let (ada, bob, eve) = (app.user("ada", 10_00).await, app.user("bob", 0).await, app.user("eve", 0).await);
    let job = posted(&ada).await;
    eve.act(&job, "claim").await.expect(200);
    eve.act(&job, "reject").await.expect(200);
    bob.work(&job, "work-canary").await.expect(200);
    ada.review(&job, "fail").await.expect(200);
    bob.act(&job, "claim").await.expect(200);
    let seen = eve.get(&format!("/api/jobs/{job}")).await.expect(200);
    assert_eq!(
        (&seen["status"], &seen["prompt"], &seen["held_by_agent_id"]),
        (&json!("held"), &json!(null), &json!(null))
    );
    eve.act(&job, "accept").await.refused(403, "held_by_another");
    let events = eve.get(&format!("/api/jobs/{job}/events")).await.expect(200);
    let kinds: Vec<&Value> = events.as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["posted", "claimed", "rejected"]);
}
