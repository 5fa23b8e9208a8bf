//! Every state × every command × everybody, over HTTP, as one snapshot: the status, the code, and what became of the
//! job and the money. Whoever is refused has changed nothing.

use std::fmt::Write;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::support::{TestApp, User};

/// The scenes of the rules' own table, in `crates/domain/tests/it/matrix.rs`.
const SCENES: [&str; 15] = [
    "pending_payment",
    "pending_payment, topped up",
    "queued",
    "held",
    "held, hold over",
    "accepted",
    "accepted, cancellation requested",
    "accepted, last attempt",
    "accepted, deadline over",
    "submitted",
    "submitted, cancellation requested",
    "submitted, last attempt",
    "verified",
    "failed",
    "cancelled",
];

/// A job in some state, and everybody around it.
struct Scene {
    job: String,
    sender: User,
    worker: User,
    everybody: [(&'static str, User); 6],
}

/// Sets a scene with people of its own; what was done in an earlier one is over.
async fn scene(app: &TestApp, name: &str) -> Scene {
    let unpaid = name.starts_with("pending_payment");
    let sender = app.user("sender", if unpaid { 0 } else { 10_00 }).await;
    let (worker, presented) = (app.user("worker", 0).await, app.user("presented", 0).await);
    let stranger = app.user("stranger", 0).await;
    let key = sender.post("/api/keys", json!({"name": "lost"})).await.expect(201);
    sender.delete(&format!("/api/keys/{}", key["id"].as_str().unwrap())).await.expect(200);
    let revoked = sender.with_key(key["key"].as_str().unwrap());
    let body = json!({"prompt": "2 + 3", "title": "a sum", "price_cents": 500, "time_limit_seconds": 600,
        "envVars": {"A": "b"}, "confirmed": true});
    let job = sender.post("/api/jobs/run", body).await.expect(if unpaid { 402 } else { 201 });
    let job = job["id"].as_str().unwrap().to_owned();
    if unpaid {
        app.grant(&sender, if name.ends_with("topped up") { 10_00 } else { 1 }).await;
    } else {
        presented.act(&job, "claim").await.expect(200);
        presented.act(&job, "reject").await.expect(200);
        take_to(app, name, &job, &sender, &worker).await;
    }
    let everybody = [
        ("anonymous", app.anonymous()),
        ("revoked key", revoked),
        ("sender", sender.clone()),
        ("worker", worker.clone()),
        ("presented", presented),
        ("stranger", stranger),
    ];
    Scene { job, sender, worker, everybody }
}

/// Takes the job from queued to where the scene's name says.
async fn take_to(app: &TestApp, name: &str, job: &str, sender: &User, worker: &User) {
    match name {
        "queued" => return,
        "cancelled" => return drop(sender.act(job, "cancel").await.expect(200)),
        _ => {}
    }
    let failures = if name.ends_with("last attempt") {
        2
    } else if name == "failed" {
        3
    } else {
        0
    };
    for _ in 0..failures {
        for action in ["claim", "accept", "fail"] {
            worker.act(job, action).await.expect(200);
        }
    }
    if name == "failed" {
        return;
    }
    worker.act(job, "claim").await.expect(200);
    if name.starts_with("held") {
        app.clock.advance(if name == "held" { 0 } else { 31 });
        return;
    }
    worker.act(job, "accept").await.expect(200);
    if name.ends_with("cancellation requested") {
        sender.act(job, "cancel").await.expect(200);
    }
    if name == "accepted, deadline over" {
        app.clock.advance(601);
    }
    if name.starts_with("submitted") || name == "verified" {
        worker.submit(job, "5").await.expect(200);
    }
    if name == "verified" {
        sender.review(job, "pass").await.expect(200);
    }
}

impl Scene {
    /// Every command that an HTTP request can give about a job: its name, its path and its body.
    fn commands(&self) -> Vec<(&'static str, String, Value)> {
        let at = |action: &str| format!("/api/jobs/{}/{action}", self.job);
        let review = |verdict: &str| json!({"verdict": verdict, "reason": "looked at it"});
        vec![
            ("pay", at("pay"), json!({})),
            ("cancel", at("cancel"), json!({})),
            ("pull", "/api/jobs/pull".to_owned(), json!({})),
            ("claim", at("claim"), json!({})),
            ("accept", at("accept"), json!({})),
            ("reject", at("reject"), json!({})),
            ("submit", at("submit"), json!({"output_text": "6"})),
            ("fail", at("fail"), json!({})),
            ("review pass", at("review"), review("pass")),
            ("review fail", at("review"), review("fail")),
        ]
    }

    /// All that a command could have changed, as the parties see it.
    async fn seen(&self) -> Value {
        let path = format!("/api/jobs/{}", self.job);
        json!({
            "job": self.sender.get(&path).await.expect(200),
            "events": self.sender.get(&format!("{path}/events")).await.expect(200),
            "sender": self.sender.balance().await,
            "worker": self.worker.balance().await,
        })
    }
}

/// Where the job went, and which wallets that changed.
fn change(before: &Value, after: &Value) -> String {
    let mut text = format!(" -> {}", after["job"]["status"].as_str().unwrap());
    for who in ["sender", "worker"] {
        let cents = after[who].as_i64().unwrap() - before[who].as_i64().unwrap();
        if cents != 0 {
            write!(text, ", {who} {cents:+}").unwrap();
        }
    }
    text
}

/// The scene's part of the table.
async fn table(name: &'static str) -> String {
    let app = TestApp::new().await;
    let mut table = format!("{name}\n");
    let mut set = scene(&app, name).await;
    let mut before = set.seen().await;
    for command in 0..set.commands().len() {
        let mut row = Vec::new();
        for who in 0..set.everybody.len() {
            let (named, path, body) = set.commands().swap_remove(command);
            let (whose, user) = &set.everybody[who];
            let answer = user.post(&path, body).await;
            let status = answer.status.as_u16();
            let refused = status >= 400;
            let code = if refused { format!(" {}", answer.json()["code"].as_str().unwrap()) } else { String::new() };
            assert!(status < 500, "{name}: {whose}: {named}: {status}{code}");
            let after = set.seen().await;
            if before == after {
                row.push(format!("{whose}: {status}{code}"));
                continue;
            }
            assert!(!refused, "{name}: {whose}: {named} was refused and changed {before} to {after}");
            row.push(format!("{whose}: {status}{}", change(&before, &after)));
            app.audit().await;
            // Nothing may be left that the next scene's pull could be given.
            set.sender.act(&set.job, "cancel").await.expect(200);
            set = scene(&app, name).await;
            before = set.seen().await;
        }
        writeln!(table, "  {:<12} {}", set.commands()[command].0, row.join(" | ")).unwrap();
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_every_command_and_everybody() {
    let tables: Vec<String> = stream::iter(SCENES).map(table).buffered(3).collect().await;
    insta::assert_snapshot!("matrix", tables.concat());
}
