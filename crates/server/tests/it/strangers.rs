//! What is another's looks like what does not exist: the same status, headers and body, on every route that takes an
//! id. Made from the description of the API, so that a new route is covered by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::routes::{Kind, Operation, operations};
use crate::support::{Answer, TestApp, User};
use crate::uploads::uploaded;

/// All that tells one answer from another, but for what each has of its own.
fn shape(answer: Answer) -> (u16, BTreeMap<String, String>, Value) {
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    // Each answer has its own id, and how many requests are left.
    let headers = headers.filter(|(name, _)| name != "x-request-id" && name != "ratelimit-remaining").collect();
    let mut body: Value = if answer.bytes.is_empty() { Value::Null } else { answer.json() };
    assert!(answer.bytes.is_empty() || body["request_id"].take().is_string());
    (answer.status.as_u16(), headers, body)
}

/// Somebody with something of every kind that others may not know of.
struct Owner {
    user: User,
    worker: User,
    agent: String,
    things: Vec<(Kind, String)>,
    queued: String,
}

async fn owner(app: &TestApp) -> Owner {
    let (user, worker) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let agent = user.get("/api/agents").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    let keys = user.get("/api/keys").await.expect(200);
    let mut things = vec![
        (Kind::User, user.id.clone()),
        (Kind::Agent, agent.clone()),
        (Kind::Key, keys[0]["id"].as_str().unwrap().to_owned()),
        (Kind::Upload, uploaded(&user, "list.txt").await),
        (Kind::Payment, app.payment(&user, 5_00).await),
    ];
    for status in ["held", "accepted", "submitted", "verified", "failed", "cancelled"] {
        let job = user.job(status, 1_00).await;
        let steps: &[&str] = match status {
            "held" => &[],
            "accepted" => &["claim", "accept"],
            "failed" => &["claim", "accept", "fail", "claim", "accept", "fail", "claim", "accept", "fail"],
            "cancelled" => &["cancel"],
            _ => &["claim", "accept", "submit"],
        };
        for step in steps {
            let who = if *step == "cancel" { &user } else { &worker };
            who.post(&format!("/api/jobs/{job}/{step}"), json!({"output_text": "done"})).await.expect(200);
        }
        if status == "verified" {
            user.review(&job, "pass").await.expect(200);
        }
        things.push((Kind::Job, job));
    }
    // An agent holds one job at a time, so this one comes last.
    let held = things.iter().find(|(kind, _)| *kind == Kind::Job).unwrap().1.clone();
    worker.act(&held, "claim").await.expect(200);
    let queued = user.job("queued", 1_00).await;
    let unpaid = json!({"prompt": "unpaid", "price_cents": 100_000, "confirmed": true});
    let unpaid = user.post("/api/jobs/run", unpaid).await.expect(402)["id"].as_str().unwrap().to_owned();
    things.push((Kind::Job, unpaid));
    Owner { user, worker, agent, things, queued }
}

impl Owner {
    /// All that is theirs, as they see it.
    async fn sees(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        for path in ["/api/agents", "/api/keys", "/api/jobs", "/api/wallet/balance", "/api/wallet/payments"] {
            seen.push(self.user.get(path).await.expect(200));
        }
        seen.push(self.worker.get("/api/users/status").await.expect(200));
        seen
    }
}

async fn ask(
    user: &User,
    operation: &Operation,
    id: &str,
    body: &Value,
    once: bool,
) -> (u16, BTreeMap<String, String>, Value) {
    let body = (operation.method != "GET").then(|| body.to_string().into_bytes());
    let headers: &[(&str, &str)] = if once { &[("idempotency-key", "the same for all")] } else { &[] };
    shape(user.send(&operation.method, &operation.at(id), body, headers).await)
}

/// Somebody else, somebody whose key was revoked, and nobody.
async fn others(app: &TestApp) -> [(&'static str, User); 3] {
    let eve = app.user("eve", 10_00).await;
    let made = eve.post("/api/keys", json!({"name": "lost"})).await.expect(201);
    eve.delete(&format!("/api/keys/{}", made["id"].as_str().unwrap())).await.expect(200);
    let revoked = eve.with_key(made["key"].as_str().unwrap());
    [("eve", eve), ("revoked", revoked), ("anonymous", app.anonymous())]
}

#[tokio::test]
async fn what_is_anothers_looks_like_what_does_not_exist() {
    let app = TestApp::new().await;
    let (owner, others) = (owner(&app).await, others(&app).await);
    let before = owner.sees().await;
    let mut probed = BTreeSet::new();
    for operation in operations() {
        let Some(kind) = operation.kind() else { continue };
        let body = operation.body();
        for (who, user) in &others {
            let expected = match (*who, kind) {
                ("eve", Kind::User) => (403, "forbidden"),
                ("eve", _) => (404, "not_found"),
                _ => (401, "unauthenticated"),
            };
            for once in [false, true] {
                let nothing = ask(user, &operation, kind.nobodys(), &body, once).await;
                let found = (nothing.0, nothing.2["code"].as_str().unwrap());
                assert_eq!(found, expected, "{} by {who}", operation.name());
                let of_kind = owner.things.iter().filter(|(other, _)| *other == kind).map(|(_, id)| id.as_str());
                for id in of_kind.chain(["nonsense"]) {
                    let theirs = ask(user, &operation, id, &body, once).await;
                    assert_eq!(theirs, nothing, "{} by {who}: {id}", operation.name());
                }
            }
        }
        probed.insert(kind);
    }
    assert_eq!(probed, BTreeSet::from([Kind::Agent, Kind::Job, Kind::Key, Kind::Payment, Kind::Upload, Kind::User]));
    assert_eq!(owner.sees().await, before, "and nothing has changed");
}

#[tokio::test]
async fn another_users_agent_can_be_lent_to_nothing() {
    let app = TestApp::new().await;
    let (owner, [(_, eve), ..]) = (owner(&app).await, others(&app).await);
    let before = owner.sees().await;
    let mut probed = 0;
    for operation in
        operations().into_iter().filter(|operation| operation.fields.iter().any(|field| field == "agent_id"))
    {
        let hidden = owner.things.iter().filter(|(kind, _)| *kind == Kind::Job).map(|(_, id)| id.as_str());
        for id in hidden.chain([owner.queued.as_str(), Kind::Job.nobodys()]) {
            let as_agent = async |agent: &str| {
                let mut body = operation.body();
                body["agent_id"] = json!(agent);
                ask(&eve, &operation, id, &body, false).await
            };
            let nothing = as_agent(Kind::Agent.nobodys()).await;
            assert_eq!((nothing.0, &nothing.2["code"]), (404, &json!("not_found")), "{}", operation.name());
            assert_eq!(as_agent(&owner.agent).await, nothing, "{}: {id}", operation.name());
            assert_eq!(as_agent("nonsense").await, nothing, "{}: {id}", operation.name());
            probed += 1;
        }
    }
    assert!(probed >= 2, "pull and claim take an agent");
    assert_eq!(owner.sees().await, before);
}

#[tokio::test]
async fn no_list_names_what_is_anothers() {
    let app = TestApp::new().await;
    let (owner, others) = (owner(&app).await, others(&app).await);
    let hidden: Vec<_> = owner.things.iter().map(|(_, id)| id.as_str()).chain([owner.worker.id.as_str()]).collect();
    let mut read = 0;
    for operation in
        operations().into_iter().filter(|operation| operation.method == "GET" && operation.kind().is_none())
    {
        for (who, user) in &others {
            let answer = user.get(&operation.path).await;
            let text = String::from_utf8(answer.bytes).unwrap();
            for id in &hidden {
                assert!(!text.contains(id), "{} shows {id} to {who}", operation.name());
            }
            read += usize::from(answer.status == 200);
        }
    }
    assert!(read >= 10, "{read} lists were read");
}
