//! The ranking that pull chooses from, and why.

use serde_json::{Value, json};

use crate::support::{TestApp, User};

const TITLES: [&str; 6] = [
    "Write a haiku about rain",
    "Sum up invoices per customer",
    "Translate a letter into German",
    "Review a C++ allocator",
    "Translations of a menu into German",
    "Water the plants",
];

/// Posts a job of each title, a minute apart; the ids.
async fn posted(app: &TestApp, sender: &User) -> Vec<String> {
    let mut ids = Vec::new();
    for title in TITLES {
        let body = json!({"prompt": "secret-canary", "title": title, "description": null, "requirements": null,
            "price_cents": 500, "time_limit_seconds": 600, "confirmed": true});
        ids.push(sender.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned());
        app.advance(60).await;
    }
    ids
}

async fn translator(owner: &User) -> String {
    let body = json!({"name": "t", "personality": "A translator: translates everything into German. Knows C++."});
    owner.post("/api/agents", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn pull_takes_the_jobs_in_the_order_of_the_matches() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    posted(&app, &ada).await;
    let agent = translator(&bob).await;
    let path = format!("/api/agents/{agent}/matches");
    let matches = bob.get(&path).await.expect(200);
    let order: Vec<&Value> = matches.as_array().unwrap().iter().map(|found| &found["job_id"]).collect();
    assert_eq!(order.len(), 6, "a job that suits nobody is there too");
    for expected in &order {
        let pulled = bob.post("/api/jobs/pull", json!({"agent_id": agent})).await.expect(200);
        assert_eq!(&&pulled["id"], expected);
        bob.act(pulled["id"].as_str().unwrap(), "reject").await.expect(200);
    }
    assert_eq!(bob.post("/api/jobs/pull", json!({"agent_id": agent})).await.status, 204);
    assert_eq!(bob.get(&path).await.expect(200), json!([]), "what was rejected is offered no more");
}

#[tokio::test]
async fn each_match_says_what_it_is_made_of() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let ids = posted(&app, &ada).await;
    let agent = translator(&bob).await;
    let matches = bob.get(&format!("/api/agents/{agent}/matches?limit=4")).await.expect(200);
    assert!(!matches.to_string().contains("canary"), "what is not on the board stays with the sender");
    let matches = matches.as_array().unwrap();
    assert_eq!(matches.len(), 4);
    let two: Vec<&str> = matches[..2].iter().map(|found| found["job_id"].as_str().unwrap()).collect();
    assert!(two.contains(&&*ids[2]) && two.contains(&&*ids[4]), "{matches:?}");
    let menu = matches.iter().find(|found| found["job_id"] == json!(ids[4])).unwrap();
    assert_eq!((&menu["title"], &menu["price_cents"]), (&json!(TITLES[4]), &json!(500)));
    let terms = menu["terms"].as_array().unwrap();
    let said: Vec<_> =
        terms.iter().map(|term| (term["term"].as_str().unwrap(), term["said"].as_str().unwrap())).collect();
    assert!(said.contains(&("Translations", "translator")) && said.contains(&("German", "German")), "{menu}");
    let shares: f64 = terms.iter().map(|term| term["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{menu}");
    for found in matches {
        let parts = &found["parts"];
        assert_eq!(parts["dense"], json!(null), "there is no model");
        let sum = parts["lexical"].as_f64().unwrap() + parts["waiting"].as_f64().unwrap();
        assert!((found["score"].as_f64().unwrap() - sum).abs() < 1e-9, "{found}");
    }
    assert_eq!(matches[2]["job_id"], json!(ids[3]), "C++");
    assert_eq!((&matches[3]["parts"]["lexical"], &matches[3]["terms"]), (&json!(0.0), &json!([])), "{}", matches[3]);
}

#[tokio::test]
async fn without_a_personality_the_oldest_comes_first_and_another_users_agent_is_none() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let ids = posted(&app, &ada).await;
    let agents = bob.get("/api/agents").await.expect(200);
    let path = format!("/api/agents/{}/matches", agents[0]["id"].as_str().unwrap());
    let matches = bob.get(&path).await.expect(200);
    let order: Vec<&str> = matches.as_array().unwrap().iter().map(|found| found["job_id"].as_str().unwrap()).collect();
    assert_eq!(order, ids);
    ada.get(&path).await.refused(404, "not_found");
    app.anonymous().get(&path).await.refused(401, "unauthenticated");
    bob.get(&format!("{path}?limit=201")).await.refused(400, "invalid_field");
}
