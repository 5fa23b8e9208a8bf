//! Submissions are looked at: by checks, at once, with a log; and the same outside of any job.

use clawrk_domain::verification::Looks;
use clawrk_domain::{Action, Actor, Command, Rejection};
use clawrk_server::app::Outside;
use clawrk_store::{Due, Outcome, Request};
use serde_json::{Value, json};

use crate::support::{TestApp, User, unhurried};
use crate::uploads::uploaded;
use crate::visits::sandbox;

/// A stream as text, to its end.
pub async fn whole(user: &User, method: &str, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> String {
    let body = body.map(|body| body.to_string().into_bytes());
    let response = user.begin(method, path, body, headers).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The events of a stream: name, id, data.
pub fn events(stream: &str) -> Vec<(String, Option<String>, Value)> {
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    let blocks = stream.split("\n\n").filter(|block| block.contains("data: "));
    let event = |block: &str| {
        let data = serde_json::from_str(&field(block, "data").unwrap()).unwrap();
        (field(block, "event").unwrap(), field(block, "id"), data)
    };
    blocks.map(event).collect()
}

pub fn names(stream: &str) -> Vec<String> {
    events(stream).into_iter().map(|(name, ..)| name).collect()
}

/// A job with a check, handed in by somebody; its id.
async fn handed_in(sender: &User, worker: &User, text: &str) -> String {
    let body = json!({"prompt": "Say hello", "title": "Say hello", "price_cents": 500, "time_limit_seconds": 600,
        "criteria": [], "checks": [{"type": "contains", "text": "hello"}], "confirmed": true});
    let job = sender.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    again(worker, &job, text).await;
    job
}

async fn again(worker: &User, job: &str, text: &str) {
    worker.act(job, "claim").await.expect(200);
    worker.act(job, "accept").await.expect(200);
    let job = worker.post(&format!("/api/jobs/{job}/submit"), json!({"output_text": text})).await.expect(200);
    assert_eq!((&job["status"], &job["verification"]["verdict"]), (&json!("submitted"), &json!("pending")));
}

#[tokio::test]
async fn checks_decide_at_once_and_a_pass_pays() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let job = handed_in(&ada, &bob, "good morning").await;
    ada.post(&format!("/api/jobs/{job}/review"), json!({"verdict": "pass"})).await.refused(400, "being_verified");
    assert_eq!(app.verify().await, 1);
    let failed = ada.get(&format!("/api/jobs/{job}")).await.expect(200);
    assert_eq!(
        (&failed["status"], &failed["attempt_count"], &failed["output_text"]),
        (&json!("queued"), &json!(1), &Value::Null)
    );
    again(&bob, &job, "hello there").await;
    assert_eq!(app.verify().await, 1);
    for user in [&ada, &bob] {
        let job = user.get(&format!("/api/jobs/{job}")).await.expect(200);
        assert_eq!(job["status"], "verified");
        let verification = &job["verification"];
        assert_eq!((&verification["verdict"], &verification["verifier"]), (&json!("pass"), &json!("checks")));
        assert_eq!(verification["checks"][0]["type"], "contains");
        assert_eq!(verification["checks"][0]["pass"], true);
    }
    assert_eq!(bob.get("/api/wallet/balance").await.expect(200)["balance_cents"], 350);
    let kinds = ada.get(&format!("/api/jobs/{job}/events")).await.expect(200);
    let kinds: Vec<&str> = kinds.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "verification_failed").count(), 1);
    assert_eq!(kinds.last(), Some(&"verified"));
    assert_eq!(app.verify().await, 0, "nothing is verified twice");
    app.audit().await;
}

#[tokio::test]
async fn three_failures_give_the_money_back() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 5_00).await, app.user("bob", 0).await);
    let job = handed_in(&ada, &bob, "no").await;
    app.verify().await;
    for _ in 0..2 {
        again(&bob, &job, "no").await;
        app.verify().await;
    }
    assert_eq!(ada.get(&format!("/api/jobs/{job}")).await.expect(200)["status"], "failed");
    assert_eq!(ada.get("/api/wallet/balance").await.expect(200)["balance_cents"], 500);
    app.audit().await;
}

#[tokio::test]
async fn the_log_is_told_from_its_start_and_goes_on_from_where_one_was() {
    let app = TestApp::new().await;
    let (ada, bob, eve) = (app.user("ada", 10_00).await, app.user("bob", 0).await, app.user("eve", 0).await);
    let job = handed_in(&ada, &bob, "good morning").await;
    app.verify().await;
    let path = format!("/api/jobs/{job}/logs");
    let first = whole(&ada, "GET", &path, None, &[]).await;
    assert_eq!(names(&first), ["status", "log", "verdict", "end"]);
    let told = events(&first);
    assert_eq!(
        told.iter().map(|(_, id, _)| id.clone().unwrap()).collect::<Vec<_>>(),
        ["1-1", "1-2", "1-verdict", "1-end"]
    );
    assert_eq!(told[2].2["verdict"], "fail");
    for (id, rest) in [("1-1", 3), ("1-2", 2), ("1-verdict", 1), ("1-end", 0), ("nonsense", 4), ("2-1", 4)] {
        let rest_of = whole(&bob, "GET", &path, None, &[("last-event-id", id)]).await;
        assert_eq!(names(&rest_of), names(&first)[4 - rest..], "{id}");
    }
    assert_eq!(names(&whole(&eve, "GET", &path, None, &[]).await), ["end"], "it is on the board, and no more is hers");
    // The last submission is what is told of; a worker is told of their own last one.
    again(&eve, &job, "hello").await;
    app.verify().await;
    let verdict = |stream: String| events(&stream)[2].2["verdict"].clone();
    assert_eq!(verdict(whole(&ada, "GET", &path, None, &[]).await), "pass");
    assert_eq!(verdict(whole(&eve, "GET", &path, None, &[]).await), "pass");
    assert_eq!(verdict(whole(&bob, "GET", &path, None, &[]).await), "fail");
    app.user("fay", 0).await.get(&path).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_a_dead_node_had_in_hand_is_another_ones_once_its_lease_is_over() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let job = handed_in(&ada, &bob, "hello").await;
    let due = Due::Looks { at: Looks::Checks, overdue_seconds: 0, but_of: [None; 2] };
    let lease = app.app.store.take_due_tasks(due, 1, 10).await.unwrap()[0];
    let node = app.node().await;
    assert_eq!(node.verify().await, 0);
    app.clock.advance(9);
    assert_eq!(node.verify().await, 0);
    app.clock.advance(2);
    assert_eq!(node.verify().await, 1);
    assert_eq!(ada.get(&format!("/api/jobs/{job}")).await.expect(200)["status"], "verified");
    // And should the dead one rise, it is too late.
    assert!(!app.app.store.renew(lease, 10).await.unwrap());
    let found = clawrk_domain::verification::Found::Checks(Vec::new());
    let action = Action::Report { lease, found, log: Vec::new() };
    let command = Command { seed: 7, actor: Actor::Exchange, action };
    let outcome = app.app.store.submit(Request { command, receipt: None }).await.unwrap();
    assert!(matches!(outcome, Outcome::Rejected(Rejection::LeaseLost)), "{outcome:?}");
    assert_eq!(bob.get("/api/wallet/balance").await.expect(200)["balance_cents"], 350);
    app.audit().await;
}

#[tokio::test]
async fn something_is_verified_outside_of_any_job() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let body = |text: &str| json!({"output_text": text, "checks": [{"type": "contains", "text": "hello"}]});
    let passed = ada.post("/api/verify", body("hello")).await.expect(200);
    assert_eq!((&passed["verdict"], &passed["checks"][0]["pass"]), (&json!("pass"), &json!(true)));
    assert_eq!(ada.post("/api/verify", body("good morning")).await.expect(200)["verdict"], "fail");
    let stream = whole(&ada, "POST", "/api/verify", Some(body("hello")), &[("accept", "text/event-stream")]).await;
    assert_eq!(names(&stream), ["status", "log", "verdict", "end"]);
    assert_eq!(events(&stream)[2].2["verdict"], "pass");
}

#[tokio::test]
async fn what_cannot_be_verified_is_refused_with_what_to_do() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let check = json!([{"type": "contains", "text": "x"}]);
    for (body, field) in [
        (json!({"output_text": "x"}), "criteria"),
        (json!({"output_text": "x", "criteria": [], "checks": []}), "criteria"),
        (json!({"output_text": "x", "criteria": [""]}), "criteria"),
        (json!({"checks": check}), "output_text"),
        (json!({"checks": check, "output_text": "  "}), "output_text"),
        (json!({"checks": check, "output_text": "x".repeat((1 << 20) + 1)}), "output_text"),
        (json!({"checks": check, "output_text": "x", "envVars": {"1": "x"}}), "envVars"),
    ] {
        let refusal = ada.post("/api/verify", body).await.refused(400, "invalid_field");
        assert_eq!(refusal["field"], field, "{refusal}");
    }
    let judged = json!({"output_text": "x", "criteria": ["is good"]});
    ada.post("/api/verify", judged.clone()).await.refused(503, "llm_not_configured");
    // Also where a stream is asked for: nothing has begun.
    let body = Some(judged.to_string().into_bytes());
    ada.send("POST", "/api/verify", body, &[("accept", "text/event-stream")]).await.refused(503, "llm_not_configured");
    app.anonymous().post("/api/verify", judged).await.refused(401, "unauthenticated");
}

/// A job with these checks, for which a file of that name was handed in; its id.
async fn with_a_file(ada: &User, bob: &User, checks: Value, name: &str) -> String {
    let given = uploaded(ada, "given.txt").await;
    let body = json!({"prompt": "Write a report", "title": "Write a report", "price_cents": 500, "criteria": [],
        "time_limit_seconds": 600, "attachments": [given], "checks": checks, "confirmed": true});
    let job = ada.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let file = uploaded(bob, name).await;
    bob.act(&job, "claim").await.expect(200);
    bob.act(&job, "accept").await.expect(200);
    bob.post(&format!("/api/jobs/{job}/submit"), json!({"output_attachments": [file]})).await.expect(200);
    job
}

#[tokio::test]
async fn files_are_held_against_checks_and_a_text_that_is_not_there_passes_none() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 50_00).await, app.user("bob", 0).await);
    for (checks, name, status) in [
        (json!([{"type": "file", "name": "report.txt"}]), "report.txt", "verified"),
        (json!([{"type": "file", "name": "report.txt"}]), "other.txt", "queued"),
        (json!([{"type": "file", "name": "report.txt", "max_bytes": 3}]), "report.txt", "queued"),
        (json!([{"type": "file", "name": "report.txt", "sha256": "00".repeat(32)}]), "report.txt", "queued"),
        (json!([{"type": "contains", "text": "report"}]), "report.txt", "queued"),
        (json!([{"type": "min_words", "count": 1}]), "report.txt", "queued"),
    ] {
        let job = with_a_file(&ada, &bob, checks.clone(), name).await;
        assert_eq!(app.verify().await, 1);
        assert_eq!(ada.get(&format!("/api/jobs/{job}")).await.expect(200)["status"], status, "{checks} {name}");
    }
    app.audit().await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_changed_is_trouble_and_no_verdict() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 50_00).await, app.user("bob", 0).await);
    let files = |name: &str| {
        let all = std::fs::read_dir(app.upload_folder()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| std::fs::read(path).is_ok_and(|bytes| bytes == name.as_bytes())).collect::<Vec<_>>()
    };
    let check = json!([{"type": "file", "name": "report.txt"}]);
    for change in ["gone", "REPORT.TXT"] {
        let job = with_a_file(&ada, &bob, check.clone(), "report.txt").await;
        let file = files("report.txt").pop().unwrap();
        if change == "gone" { std::fs::remove_file(&file) } else { std::fs::write(&file, change) }.unwrap();
        app.verify().await;
        let shown = ada.get(&format!("/api/jobs/{job}")).await.expect(200);
        assert_eq!(
            (&shown["status"], &shown["verification"]["verdict"]),
            (&json!("submitted"), &json!("pending")),
            "{shown}"
        );
        std::fs::write(&file, "report.txt").unwrap();
        app.clock.advance(1);
        app.verify().await;
        assert_eq!(ada.get(&format!("/api/jobs/{job}")).await.expect(200)["status"], "verified");
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_command_sees_the_files_and_cannot_change_them() {
    let Some(commands) = sandbox().await else { return };
    let app = TestApp::using(Outside { commands, ..Outside::default() }, unhurried()).await;
    let (ada, bob) = (app.user("ada", 50_00).await, app.user("bob", 0).await);
    let run = "grep -qx report.txt /submission/files/report.txt && grep -qx given.txt /attachments/given.txt \
               && ! echo x 2>/dev/null >/submission/files/report.txt && ! rm /attachments/given.txt 2>/dev/null";
    let job = with_a_file(&ada, &bob, json!([{"type": "command", "run": run}]), "report.txt").await;
    app.verify().await;
    let shown = ada.get(&format!("/api/jobs/{job}")).await.expect(200);
    assert_eq!(shown["status"], "verified", "{}", shown["verification"]);
    let file = uploaded(&ada, "given.txt").await;
    let checks = json!([{"type": "command", "run": "cmp /submission/files/given.txt /attachments/given.txt"}]);
    let verified = ada.post("/api/verify", json!({"attachments": [file], "checks": checks})).await.expect(200);
    assert_eq!(verified["verdict"], "pass", "{verified}");
    let foreign = json!({"attachments": [file], "checks": checks});
    bob.post("/api/verify", foreign).await.refused(400, "invalid_field");
}
