//! The directory of agents: who can do what and how well, told so that nobody's friends or enemies say much, and without
//! anybody's secrets.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{TestApp, User};

/// The whole directory, so many agents a page.
async fn walked(app: &TestApp, query: &str) -> Vec<Value> {
    app.count().await;
    let (mut agents, mut next) = (Vec::new(), Some(format!("/api/agents/directory{query}")));
    while let Some(path) = next {
        let page = app.anonymous().get(&path).await;
        let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        agents.extend(page.expect(200).as_array().unwrap().clone());
    }
    agents
}

fn names(agents: &[Value]) -> Vec<&str> {
    agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect()
}

/// A new agent of the user; its id.
async fn agent(user: &User, name: &str, personality: Option<&str>) -> String {
    let body = json!({"name": name, "personality": personality});
    user.post("/api/agents", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// A job that the agent does in a hundred seconds, and what its sender says of it.
async fn judged(app: &TestApp, sender: &User, worker: &User, agent: &str, verdict: &str) {
    let job = sender.job("count", 1_00).await;
    worker.post(&format!("/api/jobs/{job}/claim"), json!({"agent_id": agent})).await.expect(200);
    worker.act(&job, "accept").await.expect(200);
    app.clock.advance(100);
    worker.submit(&job, "42").await.expect(200);
    sender.review(&job, verdict).await.expect(200);
}

async fn senders<const N: usize>(app: &TestApp) -> [User; N] {
    let mut senders = Vec::new();
    for n in 0..N {
        senders.push(app.user(&format!("sender {n}"), 10_000).await);
    }
    senders.try_into().unwrap_or_else(|_| unreachable!())
}

#[tokio::test]
async fn agents_with_a_personality_or_finished_work_are_listed() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    agent(&bob, "idle", None).await;
    agent(&bob, "blank", Some(" \n")).await;
    let quiet = agent(&bob, "quiet", None).await;
    let poet = bob
        .post("/api/agents", json!({"name": "poet", "personality": "rhymes", "avatar_url": "https://a.example/p.png"}));
    let poet = poet.await.expect(201);
    judged(&app, &ada, &bob, &quiet, "pass").await;
    let agents = walked(&app, "").await;
    let expected = json!([
        {"id": quiet, "name": "quiet", "avatar_url": null, "personality": null, "verified": 1, "failed": 0,
         "pass_rate": null, "median_seconds": null, "senders": 1},
        {"id": poet["id"], "name": "poet", "avatar_url": "https://a.example/p.png", "personality": "rhymes", "verified": 0,
         "failed": 0, "pass_rate": null, "median_seconds": null, "senders": 0},
    ]);
    assert_eq!(Value::Array(agents), expected);
}

#[tokio::test]
async fn one_sender_moves_an_agent_no_further_than_one_voice_whatever_they_do() {
    let app = TestApp::new().await;
    let others: [User; 4] = senders(&app).await;
    let bob = app.user("bob", 0).await;
    let (friend, enemy) = (app.user("friend", 10_000).await, app.user("enemy", 10_000).await);
    let mut agents = Vec::new();
    for name in ["alone", "befriended", "hated"] {
        let id = agent(&bob, name, None).await;
        for (at, other) in others.iter().enumerate() {
            judged(&app, other, &bob, &id, if at == 0 { "fail" } else { "pass" }).await;
        }
        agents.push(id);
    }
    for _ in 0..50 {
        judged(&app, &friend, &bob, &agents[1], "pass").await;
        judged(&app, &enemy, &bob, &agents[2], "fail").await;
    }
    let listed = walked(&app, "").await;
    assert_eq!(names(&listed), ["befriended", "alone", "hated"]);
    let of = |name: &str| listed.iter().find(|agent| agent["name"] == name).unwrap();
    assert_eq!((&of("alone")["pass_rate"], &of("alone")["senders"]), (&json!(0.75), &json!(4)));
    assert_eq!(
        (&of("befriended")["pass_rate"], &of("hated")["pass_rate"]),
        (&json!(0.8), &json!(0.6)),
        "one of five voices"
    );
    assert_eq!((&of("befriended")["verified"], &of("hated")["failed"]), (&json!(3 + 3), &json!(1 + 3)));
    let seconds = of("befriended")["median_seconds"].as_f64().unwrap();
    assert!((95.0..=105.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn ones_own_jobs_and_silence_are_no_reputation() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 10_000).await);
    let own = agent(&bob, "own", None).await;
    let silent = agent(&bob, "silent", None).await;
    for verdict in ["pass", "pass", "fail"] {
        judged(&app, &bob, &bob, &own, verdict).await;
    }
    let job = ada.job("count", 1_00).await;
    bob.post(&format!("/api/jobs/{job}/claim"), json!({"agent_id": silent})).await.expect(200);
    bob.act(&job, "accept").await.expect(200);
    bob.submit(&job, "42").await.expect(200);
    app.advance(72 * 3600).await;
    assert_eq!(ada.status(&job).await, "verified");
    let listed = walked(&app, "").await;
    assert_eq!(names(&listed), ["silent"]);
    assert_eq!((&listed[0]["verified"], &listed[0]["senders"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn pages_have_every_agent_once_in_one_order() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 10_000).await;
    let bob = app.user("bob", 0).await;
    let mut ids = Vec::new();
    for n in 0..9 {
        ids.push(agent(&bob, &format!("agent {n}"), Some("counts")).await);
        app.clock.advance(1);
    }
    for (at, verdict) in [(3, "fail"), (5, "pass"), (7, "pass"), (8, "pass")] {
        judged(&app, &ada, &bob, &ids[at], verdict).await;
    }
    bob.delete(&format!("/api/agents/{}", ids[7])).await.expect(200);
    let all = walked(&app, "").await;
    assert_eq!(names(&all), ["agent 5", "agent 8", "agent 3", "agent 0", "agent 1", "agent 2", "agent 4", "agent 6"]);
    for limit in 1..=9 {
        assert_eq!(walked(&app, &format!("?limit={limit}")).await, all, "{limit} a page");
    }
    bob.patch(&format!("/api/agents/{}", ids[5]), json!({"name": "renamed"})).await.expect(200);
    assert_eq!(names(&walked(&app, "").await)[0], "renamed");
}

#[tokio::test]
async fn words_are_found_in_names_and_personalities() {
    let app = TestApp::new().await;
    let bob = app.user("bob", 0).await;
    for (name, personality) in [
        ("Poet", "writes SONNETS & odes"),
        ("ÄRZTIN", "liest Straßenkarten"),
        ("переводчик", "Переводит С РУССКОГО"),
        ("%_\\", "likes 100% of a_b"),
    ] {
        agent(&bob, name, Some(personality)).await;
        app.clock.advance(1);
    }
    for (q, expected) in [
        ("poet", vec!["Poet"]),
        ("sonnets+POET", vec!["Poet"]),
        ("sonnets+karten", vec![]),
        ("%C3%A4rztin", vec!["ÄRZTIN"]),
        ("STRA%C3%9FE", vec!["ÄRZTIN"]),
        ("%D1%80%D1%83%D1%81%D1%81%D0%BA%D0%BE%D0%B3%D0%BE", vec!["переводчик"]),
        ("%25", vec!["%_\\"]),
        ("_", vec!["%_\\"]),
        ("%5C", vec!["%_\\"]),
        ("%26", vec!["Poet"]),
        ("+%09+", vec!["Poet", "ÄRZTIN", "переводчик", "%_\\"]),
        ("", vec!["Poet", "ÄRZTIN", "переводчик", "%_\\"]),
        ("likes+%22nothing", vec![]),
    ] {
        for limit in ["", "&limit=1", "&limit=200"] {
            assert_eq!(names(&walked(&app, &format!("?q={q}{limit}")).await), expected, "{q}{limit}");
        }
    }
}

#[tokio::test]
async fn a_search_looks_at_so_many_agents_and_goes_on_with_the_next_page() {
    let app = TestApp::new().await;
    for owner in 0..13 {
        let owner = app.user(&format!("owner {owner}"), 0).await;
        for n in 0..90 {
            agent(&owner, &format!("agent {n}"), Some("plain")).await;
        }
        app.clock.advance(1);
    }
    let last = app.user("last", 0).await;
    agent(&last, "needle", Some("rare")).await;
    let first = app.anonymous().get("/api/agents/directory?q=needle").await;
    assert!(first.headers.contains_key("link"), "there is more to be looked at");
    assert_eq!(first.expect(200), json!([]));
    assert_eq!(names(&walked(&app, "?q=needle").await), ["needle"]);
    assert_eq!(walked(&app, "?limit=200").await.len(), 13 * 90 + 1);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let app = TestApp::new().await;
    let nobody = app.anonymous();
    let id = "01941f29-7c00-7000-8000-000000000000";
    for after in ["x", "r1", "r.", "r1.x", &format!("x1.{id}"), &format!("r99999999999999999999.{id}"), "", "%00", id] {
        nobody.get(&format!("/api/agents/directory?after={after}")).await.refused(400, "invalid_field");
    }
    for odd in [
        format!("r-5.{id}"),
        format!("r{}.{id}", i64::MAX),
        format!("d{}.{id}", i64::MIN),
        format!("d{}.{id}", i64::MAX),
    ] {
        assert_eq!(nobody.get(&format!("/api/agents/directory?after={odd}")).await.expect(200), json!([]), "{odd}");
    }
    for limit in ["0", "201", "-1"] {
        nobody.get(&format!("/api/agents/directory?limit={limit}")).await.refused(400, "invalid_field");
    }
    nobody.get(&format!("/api/agents/directory?q={}", "x".repeat(201))).await.refused(400, "invalid_field");
    nobody.get(&format!("/api/agents/directory?q={}", "%C3%A4".repeat(200))).await.expect(200);
    nobody.get("/api/agents/directory?q=%00").await.refused(400, "invalid_field");
    for q in ["%FF%FE", "%F0%9F%A6%80", "%E2%80%AE", "a%0Ab", "%27%20OR%201=1--"] {
        nobody.get(&format!("/api/agents/directory?q={q}")).await.expect(200);
    }
}

/// Everything that somebody told the exchange and that is not for everybody.
const SECRETS: [&str; 12] = [
    "SECRETprompt",
    "SECRETtitle",
    "SECRETdescription",
    "SECRETneeds",
    "SECRETcriterion",
    "SECRETVAR",
    "SECRETvalue",
    "SECREToutput",
    "SECRETreason",
    "SECRETreview",
    "SECRETsender",
    "SECRETowner",
];

#[tokio::test]
async fn nothing_that_is_not_for_everybody_is_told() {
    let app = TestApp::new().await;
    let sender = app.user("SECRETsender", 10_000).await;
    let owner = app.user("SECRETowner", 0).await;
    let listed = agent(&owner, "open name", Some("open words")).await;
    let mut jobs = Vec::new();
    for ending in ["pass", "fail", "give up", "cancel", "wait"] {
        let body = json!({"prompt": "SECRETprompt", "title": "SECRETtitle", "description": "SECRETdescription",
            "requirements": "SECRETneeds", "criteria": ["SECRETcriterion"], "envVars": {"SECRETVAR": "SECRETvalue"},
            "price_cents": 2_34, "time_limit_seconds": 600, "confirmed": true});
        let job = sender.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned();
        jobs.push(job.clone());
        if ending == "cancel" {
            sender.act(&job, "cancel").await.expect(200);
            continue;
        }
        owner.post(&format!("/api/jobs/{job}/claim"), json!({"agent_id": listed})).await.expect(200);
        owner.act(&job, "accept").await.expect(200);
        if ending == "give up" {
            owner.post(&format!("/api/jobs/{job}/fail"), json!({"reason": "SECRETreason"})).await.expect(200);
            continue;
        }
        owner.submit(&job, "SECREToutput").await.expect(200);
        if ending != "wait" {
            let review = json!({"verdict": ending, "reason": "SECRETreview"});
            sender.post(&format!("/api/jobs/{job}/review"), review).await.expect(200);
        }
    }
    app.count().await;
    let mut hidden: BTreeSet<String> = SECRETS.map(str::to_owned).into();
    hidden.extend(jobs);
    hidden.extend([sender.id.clone(), owner.id.clone(), sender.key.clone(), owner.key.clone()]);
    let mut queries = vec!["/api/board/stats".to_owned(), "/api/board/stats?days=365".to_owned()];
    queries.push("/api/agents/directory?limit=200".to_owned());
    queries.push("/api/agents/directory?q=open".to_owned());
    queries.extend(hidden.iter().map(|secret| format!("/api/agents/directory?q={secret}")));
    for asking in [&app.anonymous(), &sender, &owner] {
        for query in &queries {
            let answer = asking.get(query).await;
            let seen = format!("{:?}{}", answer.headers, String::from_utf8_lossy(&answer.bytes));
            let told = hidden.iter().find(|secret| seen.contains(*secret) && !query.ends_with(*secret));
            assert_eq!(told, None, "{query}");
            let body = answer.expect(200);
            if query.contains("q=") {
                let found = usize::from(query.ends_with("q=open"));
                assert_eq!(body.as_array().unwrap().len(), found, "{query} finds nobody by what is hidden");
            }
        }
    }
    assert!(String::from_utf8_lossy(&app.kept().await).contains("SECRETsender"), "it is there to be hidden");
}
