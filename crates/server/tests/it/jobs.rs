//! Jobs from the sender's side.

use serde_json::{Value, json};

use crate::support::TestApp;

#[tokio::test]
async fn fields_sent_back_from_an_estimate_are_used_as_they_are() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 50_00).await;
    let prompt = "Sum the numbers 1, 2 and 3. The answer must be one number.";
    let mut body = ada.post("/api/jobs/run", json!({ "prompt": prompt })).await.expect(200);
    assert!(body["estimate_basis"].as_str().unwrap().contains("public"), "{body}");
    assert_eq!(ada.get("/api/jobs").await.expect(200), json!([]), "nothing is stored");
    body["prompt"] = json!(prompt);
    body["confirmed"] = json!(true);
    body["criteria"] = json!([]);
    body["requirements"] = json!(null);
    let job = ada.post("/api/jobs/run", body.clone()).await.expect(201);
    assert_eq!((&job["criteria"], &job["requirements"]), (&json!([]), &json!(null)));
    assert_eq!(job["price_cents"], body["estimated_price_cents"]);
    assert_eq!(job["time_limit_seconds"], body["estimated_time_limit_seconds"]);
    assert_eq!(job["title"], body["title"]);
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_and_nothing_is_stored() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 50_00).await;
    for body in [
        json!({}),
        json!({"prompt": "  "}),
        json!({"prompt": "x", "price_cents": 99}),
        json!({"prompt": "x", "price_cents": 100_001}),
        json!({"prompt": "x", "price_cents": 1.5}),
        json!({"prompt": "x", "price_cents": "500"}),
        json!({"prompt": "x", "time_limit_seconds": 59}),
        json!({"prompt": "x", "time_limit_seconds": 86_401}),
        json!({"prompt": "x".repeat(32_001)}),
        json!({"prompt": "x", "envVars": {"1A": "x"}}),
    ] {
        for confirmed in [false, true] {
            let mut body = body.clone();
            body["confirmed"] = json!(confirmed);
            assert_eq!(ada.post("/api/jobs/run", body.clone()).await.status, 400, "{body}");
        }
    }
    ada.post("/api/jobs/run", json!({"prompt": "x", "attachments": ["a"]})).await.refused(400, "invalid_field");
    for (check, said) in [
        (json!({}), "checks[1].type is missing"),
        (json!({"type": "regex", "pattern": "("}), "checks[1].pattern is no regular expression: unclosed group"),
    ] {
        let body = json!({"prompt": "x", "checks": [{"type": "contains", "text": "a"}, check]});
        let answer = ada.post("/api/jobs/run", body).await.expect(400);
        assert_eq!((answer["error"].as_str(), answer["code"].as_str()), (Some(said), Some("invalid_field")));
    }
    assert_eq!(ada.get("/api/jobs").await.expect(200), json!([]));
    assert_eq!(ada.balance().await, 50_00);
}

#[tokio::test]
async fn a_short_wallet_keeps_the_job_until_it_is_paid() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 6_00).await;
    ada.job("first", 5_00).await;
    let run = json!({"prompt": "second", "price_cents": 500, "confirmed": true});
    let body = ada.post("/api/jobs/run", run).await.refused(402, "balance_too_low");
    assert_eq!((&body["required_cents"], &body["available_cents"]), (&json!(500), &json!(100)));
    assert_eq!((&body["job"]["status"], &body["job"]["id"]), (&json!("pending_payment"), &body["id"]));
    let id = body["id"].as_str().unwrap();
    ada.act(id, "pay").await.refused(402, "balance_too_low");
    app.grant(&ada, 10_00).await;
    assert_eq!(ada.act(id, "pay").await.expect(200)["status"], "queued");
    ada.act(id, "pay").await.refused(400, "wrong_state");
    assert_eq!(ada.balance().await, 6_00);
    app.audit().await;
}

#[tokio::test]
async fn cancelling_refunds_at_once_or_when_the_attempt_fails() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    let queued = ada.job("queued", 5_00).await;
    assert_eq!(ada.act(&queued, "cancel").await.expect(200)["status"], "cancelled");
    assert_eq!(ada.act(&queued, "cancel").await.expect(200)["status"], "cancelled", "again is no harm");
    let accepted = ada.job("accepted", 5_00).await;
    bob.act(&accepted, "claim").await.expect(200);
    bob.act(&accepted, "accept").await.expect(200);
    let job = ada.act(&accepted, "cancel").await.expect(200);
    assert_eq!((&job["status"], &job["cancellation_requested"]), (&json!("accepted"), &json!(true)));
    bob.act(&accepted, "cancel").await.refused(403, "not_the_sender");
    assert_eq!(ada.balance().await, 15_00);
    bob.act(&accepted, "fail").await.expect(200);
    assert_eq!(ada.status(&accepted).await, "cancelled");
    assert_eq!(ada.balance().await, 20_00);
    app.audit().await;
}

#[tokio::test]
async fn three_failures_of_any_kind_give_the_money_back() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let job = ada.job("hard", 5_00).await;
    bob.work(&job, "wrong").await.expect(200);
    ada.review(&job, "fail").await.expect(200);
    for action in ["claim", "accept", "fail"] {
        bob.act(&job, action).await.expect(200);
    }
    for action in ["claim", "accept"] {
        bob.act(&job, action).await.expect(200);
    }
    app.advance(601).await;
    let shown = ada.get(&format!("/api/jobs/{job}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["attempt_count"]), (&json!("failed"), &json!(3)));
    assert_eq!((ada.balance().await, bob.balance().await), (5_00, 0));
    let events = ada.get(&format!("/api/jobs/{job}/events")).await.expect(200);
    let kinds: Vec<&str> = events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "posted",
        "claimed",
        "accepted",
        "submitted",
        "verification_failed",
        "claimed",
        "accepted",
        "gave_up",
        "claimed",
        "accepted",
        "deadline_passed",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events[10]["moved"], json!([{"from": "escrow", "to": "wallet", "cents": 500}]));
    app.audit().await;
}

#[tokio::test]
async fn a_review_needs_a_submission_a_reason_and_the_right_attempt() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let job = ada.job("x", 5_00).await;
    ada.review(&job, "pass").await.refused(400, "wrong_state");
    bob.work(&job, "y").await.expect(200);
    let path = format!("/api/jobs/{job}/review");
    ada.post(&path, json!({"verdict": "fail"})).await.refused(400, "invalid_field");
    ada.post(&path, json!({"verdict": "maybe"})).await.refused(400, "malformed_request");
    ada.post(&path, json!({"verdict": "pass", "attempt": 2})).await.refused(400, "attempt_over");
    bob.review(&job, "pass").await.refused(403, "not_the_sender");
    let verified = ada.post(&path, json!({"verdict": "pass", "attempt": 1})).await.expect(200);
    assert_eq!(verified["verification"]["verifier"], "sender");
}

#[tokio::test]
async fn silence_pays_the_worker() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let job = ada.job("x", 5_00).await;
    bob.work(&job, "y").await.expect(200);
    app.advance(72 * 3600 - 1).await;
    assert_eq!(ada.status(&job).await, "submitted");
    app.advance(1).await;
    assert_eq!(ada.status(&job).await, "verified");
    assert_eq!(bob.balance().await, 3_50);
}

#[tokio::test]
async fn lists_are_whole_or_walked_page_by_page() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 10_000).await;
    let mut posted = Vec::new();
    for n in 0..25 {
        posted.insert(0, ada.job(&format!("job {n}"), 1_00).await);
        app.advance(n % 2).await;
    }
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let whole = ids(&ada.get("/api/jobs").await.expect(200));
    assert_eq!(whole.len(), 25);
    let (mut walked, mut next) = (Vec::new(), Some("/api/jobs?limit=7".to_owned()));
    while let Some(path) = next {
        let answer = ada.get(&path).await;
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        walked.extend(ids(&answer.expect(200)));
    }
    assert_eq!(walked, whole, "no gaps, no repeats");
    posted.sort();
    walked.sort();
    assert_eq!(walked, posted);
    assert_eq!(ada.get("/api/jobs?status=held").await.expect(200), json!([]));
    ada.get("/api/jobs?status=nonsense").await.refused(400, "invalid_field");
    ada.get("/api/jobs?limit=0").await.refused(400, "invalid_field");
    ada.get("/api/jobs?limit=x").await.refused(400, "malformed_request");
    ada.get("/api/jobs?limit=5&after=x").await.refused(400, "invalid_field");
}

#[tokio::test]
async fn the_ledger_tells_every_movement_newest_first() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let (kept, cancelled) = (ada.job("x", 5_00).await, ada.job("y", 2_00).await);
    ada.act(&cancelled, "cancel").await.expect(200);
    bob.work(&kept, "z").await.expect(200);
    ada.review(&kept, "pass").await.expect(200);
    let wallet = ada.get("/api/wallet/balance").await.expect(200);
    let lines: Vec<(i64, String)> = wallet["ledger"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["delta"].as_i64().unwrap(), line["reason"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(
        lines[..3],
        [(200, format!("refund:{cancelled}")), (-200, format!("job:{cancelled}")), (-500, format!("job:{kept}"))]
    );
    assert!(lines[3].0 == 1000 && lines[3].1.starts_with("grant:"));
    let earned = bob.get("/api/wallet/balance").await.expect(200);
    assert_eq!(
        (&earned["ledger"][0]["delta"], &earned["ledger"][0]["reason"]),
        (&json!(350), &json!(format!("earning:{kept}")))
    );
    assert_eq!(ada.get("/api/wallet/balance?limit=2").await.expect(200)["ledger"].as_array().unwrap().len(), 2);
}

/// A rejection or a hold that runs out comes before each attempt, and counts for nothing.
#[tokio::test]
async fn any_three_failures_end_the_job_and_nothing_else_counts_as_one() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_000).await, app.user("bob", 0).await);
    let ways = ["verdict", "fail", "deadline"];
    for mix in 0..27 {
        let job = ada.job("hard", 5_00).await;
        for (attempt, way) in [ways[mix % 3], ways[mix / 3 % 3], ways[mix / 9]].into_iter().enumerate() {
            bob.act(&job, "claim").await.expect(200);
            if (mix + attempt) % 2 == 0 {
                bob.act(&job, "reject").await.expect(200);
            } else {
                app.advance(30).await;
            }
            let shown = ada.get(&format!("/api/jobs/{job}")).await.expect(200);
            assert_eq!((&shown["status"], &shown["attempt_count"]), (&json!("queued"), &json!(attempt)));
            match way {
                "verdict" => {
                    bob.work(&job, "wrong").await.expect(200);
                    ada.review(&job, "fail").await.expect(200);
                }
                way => {
                    bob.act(&job, "claim").await.expect(200);
                    bob.act(&job, "accept").await.expect(200);
                    match way {
                        "fail" => drop(bob.act(&job, "fail").await.expect(200)),
                        _ => app.advance(600).await,
                    }
                }
            }
            let expected = if attempt == 2 { "failed" } else { "queued" };
            assert_eq!(ada.status(&job).await, expected, "mix {mix}, attempt {attempt}");
            assert_eq!(ada.balance().await, if attempt == 2 { 20_000 } else { 19_500 });
        }
        bob.act(&job, "claim").await.refused(400, "wrong_state");
    }
    assert_eq!(bob.balance().await, 0);
    app.audit().await;
}
