//! Large bodies share a memory of bounded size: who finds no room waits a little, and is asked to come again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawrk_domain::UserId;
use clawrk_domain::estimate::Estimate;
use clawrk_server::edge::Limits;
use clawrk_server::outside::structurer::{Offline, Structurer};
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Semaphore};
use tokio::time::timeout;

use crate::support::{TestApp, unhurried};

const SHORT: Duration = Duration::from_millis(100);

/// A structurer that thinks until it may answer.
struct Slow {
    thinks: Arc<Barrier>,
    answers: Arc<Semaphore>,
}

#[async_trait::async_trait]
impl Structurer for Slow {
    async fn structure(&self, user: UserId, prompt: &str) -> Estimate {
        self.thinks.wait().await;
        self.answers.acquire().await.unwrap().forget();
        Offline.structure(user, prompt).await
    }
}

/// A body that is too large to need no room, and says the same as without `beside`.
fn large(mut body: Value) -> Value {
    body["beside"] = "x".repeat(20_000).into();
    body
}

#[tokio::test]
async fn a_large_body_has_its_room_until_it_is_answered_and_others_wait_or_come_again() {
    let (thinks, answers) = (Arc::new(Barrier::new(2)), Arc::new(Semaphore::new(0)));
    let slow = Slow { thinks: Arc::clone(&thinks), answers: Arc::clone(&answers) };
    let app = TestApp::structured_by(slow, Limits { large_bodies: 32 << 10, room: SHORT, ..unhurried() }).await;
    let ada = app.user("ada", 10_00).await;
    let thought_about = ada.post("/api/jobs/run", large(json!({"prompt": "x", "confirmed": true})));
    let others = async {
        thinks.wait().await;
        let began = Instant::now();
        let agent = large(json!({"name": "large"}));
        let refused = ada.post("/api/agents", agent.clone()).await;
        assert!(began.elapsed() >= SHORT, "it waited");
        assert_eq!(refused.headers["retry-after"], "2");
        refused.refused(503, "too_busy");
        ada.post("/api/agents", json!({"name": "small"})).await.expect(201);
        // This one is patient enough.
        let waits = ada.post("/api/agents", agent);
        let (agent, ()) = join(waits, async { answers.add_permits(1) }).await;
        agent.expect(201);
    };
    let (run, ()) = join(thought_about, others).await;
    run.expect(201);
    assert_eq!(ada.get("/api/agents").await.expect(200).as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_pull_that_waits_gives_its_room_to_others() {
    let app = TestApp::limited(Limits { large_bodies: 32 << 10, room: SHORT, ..unhurried() }).await;
    let ada = app.user("ada", 0).await;
    let waits = ada.post("/api/jobs/pull", large(json!({"wait_seconds": 30})));
    let others = async {
        // The pull waits by the second of them, if not by the first.
        for name in ["one", "two", "three"] {
            ada.post("/api/agents", large(json!({ "name": name }))).await.expect(201);
        }
    };
    tokio::select! {
        answer = waits => panic!("it did not wait: {answer:?}"),
        done = timeout(Duration::from_secs(20), others) => done.unwrap(),
    }
}
