//! The ranking that pull chooses from, and why.

use std::time::{Duration, Instant};

use futures_util::future::FutureExt;
use serde_json::{Value, json};

use crate::support::{TestApp, User, at_once};

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

/// A job that is well described, for whoever it suits.
async fn titled(sender: &User, title: &str) -> String {
    let body = json!({"prompt": title, "title": title, "description": null, "requirements": null, "criteria": [],
        "price_cents": 500, "time_limit_seconds": 600, "confirmed": true});
    sender.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn agent(owner: &User, name: &str, personality: &str) -> String {
    let body = json!({"name": name, "personality": personality});
    owner.post("/api/agents", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn pulled(owner: &User, agent: &str) -> String {
    let job = owner.post("/api/jobs/pull", json!({"agent_id": agent})).await.expect(200);
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_job_that_suits_nobody_is_pulled_within_a_day_however_well_others_suit() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 100_000).await, app.user("bob", 0).await);
    let translator = agent(&bob, "t", "Translates everything into German").await;
    let odd = titled(&ada, "Water the plants").await;
    let mut hours = 0;
    loop {
        let perfect = titled(&ada, "Translate everything into German").await;
        let job = pulled(&bob, &translator).await;
        if job == odd {
            break;
        }
        assert_eq!(job, perfect, "until then what suits comes first");
        bob.act(&job, "accept").await.expect(200);
        bob.submit(&job, "fertig").await.expect(200);
        app.advance(3_600).await;
        hours += 1;
    }
    assert!((6..=24).contains(&hours), "after {hours} hours");
}

#[tokio::test]
async fn a_dear_job_comes_no_sooner_than_a_cheap_one_that_suits_as_well() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 1_000_000).await, app.user("bob", 0).await);
    let translator = agent(&bob, "t", "Translates everything into German").await;
    let mut jobs = Vec::new();
    for cents in [100, 100_000, 1_000] {
        let body = json!({"prompt": "p", "title": "Translate a letter into German", "description": null,
            "requirements": null, "criteria": [], "price_cents": cents, "confirmed": true});
        jobs.push(ada.post("/api/jobs/run", body).await.expect(201)["id"].clone());
        app.advance(1).await;
    }
    let matches = bob.get(&format!("/api/agents/{translator}/matches")).await.expect(200);
    let order: Vec<&Value> = matches.as_array().unwrap().iter().map(|found| &found["job_id"]).collect();
    assert_eq!(order, jobs.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_stuffed_with_everybodys_words_is_nobodys_best() {
    // Twenty trades of five words each: a title, and who is good at it.
    let trades: Vec<(String, String)> = (0..20)
        .map(|n| {
            let word = |w: usize| format!("trade{n}word{w}");
            let title = format!("{} a {} into {}", word(0), word(1), word(2));
            (title, format!("A {} {} of {}, {} and {}", word(2), word(0), word(1), word(3), word(4)))
        })
        .collect();
    let app = TestApp::new().await;
    let (ada, eve, bob) = (app.user("ada", 100_000).await, app.user("eve", 100_000).await, app.user("bob", 0).await);
    let everything = trades.iter().map(|(_, personality)| &**personality).collect::<Vec<_>>().join(" ");
    let body = json!({"prompt": "p", "title": everything.chars().take(120).collect::<String>(),
        "description": everything.repeat(5), "requirements": everything.repeat(5), "criteria": [],
        "price_cents": 100_000, "confirmed": true});
    eve.post("/api/jobs/run", body).await.expect(201);
    app.advance(60).await;
    let mut honest = Vec::new();
    for (title, _) in &trades {
        honest.push(titled(&ada, title).await);
    }
    for ((_, personality), job) in trades.iter().zip(&honest) {
        let one = agent(&bob, &personality[..20], personality).await;
        assert_eq!(&pulled(&bob, &one).await, job, "{personality}");
        bob.act(job, "reject").await.expect(200);
    }
    // Nor does whoever claims to know everything get more than one job at a time, or keep it from others.
    let boaster = agent(&eve, "boaster", &everything.repeat(5)).await;
    let first = pulled(&eve, &boaster).await;
    assert_eq!(pulled(&eve, &boaster).await, first);
    app.advance(31).await;
    let modest = agent(&bob, "modest", &trades[3].1).await;
    assert_eq!(pulled(&bob, &modest).await, honest[3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_on_two_nodes_pull_every_job_once_and_each_its_best() {
    const TRADES: [&str; 4] = ["welding", "brewing", "knitting", "carpentry"];
    let app = TestApp::new().await;
    let there = app.node().await;
    let (ada, bob) = (app.user("ada", 100_000).await, app.user("bob", 0).await);
    let elsewhere = bob.on(&there);
    let mut jobs = Vec::new();
    for n in 0..24 {
        jobs.push(titled(&ada, &format!("Some {} for a customer", TRADES[n % 4])).await);
    }
    // Six agents of each trade, every other one at the other node, pull at the same moment.
    let mut work = Vec::new();
    for n in 0..24 {
        let agent = agent(&bob, &format!("agent {n}"), &format!("I am good at {}", TRADES[n % 4])).await;
        let (node, trade) = (if n / 4 % 2 == 0 { bob.clone() } else { elsewhere.clone() }, n % 4);
        let pull = async move { (trade, pulled(&node, &agent).await) };
        work.push(pull.boxed());
    }
    let mut found = at_once(work).await;
    for (trade, job) in &found {
        let at = jobs.iter().position(|known| known == job).unwrap();
        assert_eq!(at % 4, *trade, "there were enough of each trade: {job}");
    }
    found.sort();
    found.dedup_by(|one, other| one.1 == other.1);
    assert_eq!(found.len(), 24, "none was handed out twice");
    for node in [&bob, &elsewhere] {
        let begun = Instant::now();
        while node.get("/api/board").await.expect(200) != json!([]) {
            assert!(begun.elapsed() < Duration::from_secs(1), "none is left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    app.audit().await;
}
