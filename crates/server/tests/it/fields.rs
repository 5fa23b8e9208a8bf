//! Fields that nobody may set change nothing, wherever they are sent.

use std::collections::{BTreeMap, BTreeSet};

use clawrk_store::Clock;
use serde_json::{Map, Value, json};

use crate::payments::Bank;
use crate::routes::{Operation, operations};
use crate::support::{Answer, User};

/// Fields of what is stored, and what somebody would like them to be.
const WISHES: &str = r#"{
    "id": "01941f29-7c00-7000-8000-00000000beef", "user_id": "OTHER", "owner_id": "OTHER", "owner": "OTHER",
    "sender": "OTHER", "receiver": "OTHER", "receiver_agent_id": "OTHER", "held_by_agent_id": "OTHER",
    "user": {"id": "OTHER", "balance_cents": 999999}, "balance_cents": 999999, "available_cents": 999999,
    "required_cents": 1, "price_cents": 100, "fee_cents": 0, "payout_cents": 999, "escrow_cents": 999999,
    "amount_cents": 999999, "status": "verified", "state": "verified", "is_default": true, "is_admin": true,
    "attempt_count": 0, "version": 99, "cancellation_requested": true, "presented_to_agents": ["OTHER"],
    "accepted_at": "2020-01-01T00:00:00Z", "deadline_at": "2035-01-01T00:00:00Z",
    "hold_expires_at": "2035-01-01T00:00:00Z", "review_until": "2020-01-01T00:00:00Z",
    "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z",
    "last_used_at": "2020-01-01T00:00:00Z", "verified_at": "2020-01-01T00:00:00Z",
    "verification": {"verdict": "pass", "reasoning": "mine", "verifier": "sender"}, "verifier": "me",
    "verdict": "pass", "output_text": "mine", "env_vars": {"A": "mine"}, "scopes": ["admin"], "hash": "00",
    "key": "clawrk_mine", "stripe_customer_id": "cus_mine", "stripe_account_id": "acct_mine",
    "stripe_account_status": "active", "ledger": [], "moved": []
}"#;

fn forbidden(other: &User) -> Map<String, Value> {
    serde_json::from_str(&WISHES.replace("OTHER", &other.id)).unwrap()
}

/// Fields of those that some routes do take; everywhere else they are forbidden.
const TAKEN_SOMEWHERE: [&str; 4] = ["price_cents", "verdict", "output_text", "scopes"];

/// A whole exchange in which every POST and PATCH is sent once at least, with these fields or without.
struct Story {
    clock: Clock,
    sends_more: bool,
    ada: User,
    bob: User,
    told: Vec<Value>,
    sent: BTreeSet<String>,
    names: BTreeMap<String, String>,
}

impl Story {
    async fn of(bank: &Bank, sends_more: bool) -> Self {
        let app = &bank.app;
        let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
        let (told, sent, names) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        let mut story = Self { clock: app.clock.clone(), sends_more, ada, bob, told, sent, names };
        let (ada, bob) = (story.ada.clone(), story.bob.clone());
        story.tell(&ada, "POST", "/api/whoami", "", json!({})).await;
        let agent = story.tell(&bob, "POST", "/api/agents", "", json!({"name": "poet"})).await;
        story.tell(&bob, "PATCH", "/api/agents/{id}", &agent, json!({"personality": "counts"})).await;
        story.tell(&ada, "POST", "/api/keys", "", json!({"name": "laptop"})).await;
        let run = json!({"prompt": "Count", "price_cents": 500, "time_limit_seconds": 600, "envVars": {"A": "b"}});
        story.tell(&ada, "POST", "/api/jobs/run", "", run.clone()).await;
        let mut confirmed = run;
        confirmed["confirmed"] = json!(true);
        let job = story.tell(&ada, "POST", "/api/jobs/run", "", confirmed.clone()).await;
        for (who, action, body) in [
            (&bob, "claim", json!({"agent_id": agent})),
            (&bob, "reject", json!({})),
            (&bob, "claim", json!({})),
            (&bob, "accept", json!({})),
            (&bob, "fail", json!({"reason": "no"})),
            (&bob, "claim", json!({})),
            (&bob, "accept", json!({})),
            (&bob, "submit", json!({"output_text": "1 2 3"})),
            (&ada, "review", json!({"verdict": "fail", "reason": "four is missing"})),
            (&bob, "claim", json!({})),
            (&bob, "accept", json!({})),
            (&bob, "submit", json!({"output_text": "1 2 3 4"})),
            (&ada, "cancel", json!({})),
            (&ada, "review", json!({"verdict": "pass"})),
        ] {
            story.tell(who, "POST", &format!("/api/jobs/{{id}}/{action}"), &job, body).await;
        }
        confirmed["price_cents"] = json!(1600);
        let unpaid = story.tell(&ada, "POST", "/api/jobs/run", "", confirmed).await;
        app.grant(&ada, 10_00).await;
        story.tell(&ada, "POST", "/api/jobs/{id}/pay", &unpaid, json!({})).await;
        let body = json!({"output_text": "x", "checks": [{"type": "contains", "text": "x"}]});
        story.tell(&bob, "POST", "/api/verify", "", body).await;
        story.tell(&bob, "POST", "/api/jobs/pull", "", json!({})).await;
        for (path, body) in [
            ("/api/wallet/topup", json!({"amount_cents": 700})),
            ("/api/wallet/setup-payment-method", json!({})),
            ("/api/wallet/auto-topup", json!({"enabled": false, "amount_cents": 600, "threshold_cents": 100})),
            ("/api/stripe/connect", json!({})),
        ] {
            story.tell(&ada, "POST", path, "", body).await;
        }
        bank.stripe.activate(&bank.stripe.newest("account"), true);
        story.keep(ada.get("/api/stripe/connect/status").await).await;
        story.tell(&ada, "POST", "/api/wallet/withdraw", "", json!({"amount_cents": 500})).await;
        let lists = ["/api/agents", "/api/keys", "/api/jobs", "/api/users/status", "/api/wallet/balance", "/api/board"];
        for path in lists.into_iter().chain(["/api/wallet/payments", "/api/wallet/auto-topup"]) {
            for who in [&ada, &bob] {
                story.keep(who.get(path).await).await;
            }
        }
        for who in [&ada, &bob] {
            story.keep(who.get(&format!("/api/users/{}", who.id)).await).await;
        }
        for id in [&job, &unpaid] {
            story.keep(ada.get(&format!("/api/jobs/{id}/events")).await).await;
        }
        app.audit().await;
        story
    }

    /// Sends it, with all that is forbidden if this story does; the id in the answer.
    async fn tell(&mut self, who: &User, method: &str, path: &str, id: &str, mut body: Value) -> String {
        let operations = operations();
        let operation = operations.iter().find(|operation| operation.method == method && operation.path == path);
        let operation = operation.unwrap_or_else(|| panic!("{method} {path} is not described"));
        let other = if who.id == self.ada.id { &self.bob } else { &self.ada };
        for (field, value) in forbidden(other).into_iter().filter(|_| self.sends_more) {
            if body.get(&field).is_none() && is_forbidden(operation, &field) {
                body[field] = value;
            }
        }
        self.sent.insert(operation.name());
        // So that lists have one order.
        self.clock.advance(1);
        let answer = who.send(method, &operation.at(id), Some(body.to_string().into_bytes()), &[]).await;
        let id = serde_json::from_slice::<Value>(&answer.bytes).unwrap()["id"].as_str().unwrap_or_default().to_owned();
        self.keep(answer).await;
        id
    }

    async fn keep(&mut self, answer: Answer) {
        assert!([200, 201, 402].contains(&answer.status.as_u16()), "{:?}", answer.json());
        let mut told = json!({"status": answer.status.as_u16(), "body": answer.json()});
        self.rename(&mut told);
        self.told.push(told);
    }

    /// Every id becomes a number in the order of appearance: two stories have different ones.
    fn rename(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let is_id = |word: &str| {
                    let letters = word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
                    letters && ([12, 24].contains(&word.len()) || word.len() >= 36)
                };
                let words = text.split(':').map(|word| {
                    let count = self.names.len();
                    let name = || format!("#{count}");
                    if is_id(word) {
                        self.names.entry(word.to_owned()).or_insert_with(name).clone()
                    } else {
                        word.to_owned()
                    }
                });
                *text = words.collect::<Vec<_>>().join(":");
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.rename(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.rename(value)),
            _ => {}
        }
    }
}

/// Whether the route may not take the field; one that it declares must be meant to be taken.
fn is_forbidden(operation: &Operation, field: &str) -> bool {
    let declared = operation.fields.iter().any(|known| known == field);
    assert!(!declared || TAKEN_SOMEWHERE.contains(&field), "{} takes {field}", operation.name());
    !declared
}

#[tokio::test]
async fn what_nobody_may_set_is_ignored_everywhere() {
    let plain = Story::of(&Bank::new().await, false).await;
    let more = Story::of(&Bank::new().await, true).await;
    for (plain, more) in plain.told.iter().zip(&more.told) {
        assert_eq!(plain, more);
    }
    assert_eq!(plain.told.len(), more.told.len());
    let writing =
        operations().into_iter().filter(|operation| ["POST", "PATCH", "PUT"].contains(&operation.method.as_str()));
    // A file has no fields, and what Stripe tells is Stripe's.
    let others = ["POST /api/uploads", "POST /api/stripe/webhook"];
    let writing = writing.map(|operation| operation.name()).filter(|name| !others.contains(&name.as_str()));
    let writing: BTreeSet<_> = writing.collect();
    assert_eq!(more.sent, writing, "every route that writes is part of the story");
}
