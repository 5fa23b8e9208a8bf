//! Many at once over HTTP, on two nodes where there can be two: whoever wins, exactly one does, whoever was told that
//! it is done keeps it, and the money moves once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clawrk_server::tasks::runner;
use clawrk_store::Clock;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, User, at_once};

/// What a request in a race is called, and its answer.
type Told = (&'static str, usize, Answer);

/// A request to be sent when all of them are: about the job of this number.
fn request(user: User, what: &'static str, number: usize, path: String, body: Value) -> BoxFuture<'static, Told> {
    async move { (what, number, user.post(&path, body).await) }.boxed()
}

/// The hand of the tests' clock, to be moved by less than seconds.
fn hand(app: &TestApp) -> Arc<AtomicI64> {
    let Clock::Manual(micros) = &app.clock else { panic!("the tests' clock is moved by hand") };
    Arc::clone(micros)
}

/// Moves the clock by one microsecond, and runs what is due then.
fn tick(app: &TestApp) -> BoxFuture<'static, Told> {
    let (app, hand) = (app.app.clone(), hand(app));
    async move {
        hand.fetch_add(1, Ordering::SeqCst);
        runner::settle(&app).await.unwrap();
        ("tick", usize::MAX, Answer { status: 200.try_into().unwrap(), headers: Default::default(), bytes: Vec::new() })
    }
    .boxed()
}

/// Agents of one user.
async fn agents(owner: &User, count: usize) -> Vec<String> {
    let made = (0..count).map(|n| owner.post("/api/agents", json!({ "name": format!("agent {n}") })));
    let made = join_all(made).await.into_iter().map(|answer| answer.expect(201));
    made.map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

/// Jobs of $5.00 each.
async fn jobs(sender: &User, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("job {n}")).collect();
    join_all(names.iter().map(|name| sender.job(name, 5_00))).await
}

/// Jobs, each held by an agent of the worker.
async fn held(sender: &User, worker: &User, count: usize) -> Vec<String> {
    let (jobs, agents) = (jobs(sender, count).await, agents(worker, count).await);
    for (job, agent) in jobs.iter().zip(agents) {
        worker.post(&format!("/api/jobs/{job}/claim"), json!({ "agent_id": agent })).await.expect(200);
    }
    jobs
}

/// Does this to each job, and expects it done.
async fn each(user: &User, jobs: &[String], action: &str, body: Value) {
    let paths: Vec<_> = jobs.iter().map(|job| format!("/api/jobs/{job}/{action}")).collect();
    for answer in join_all(paths.iter().map(|path| user.post(path, body.clone()))).await {
        answer.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_agents_hold_a_hundred_jobs_once_each() {
    let app = TestApp::new().await;
    let nodes = [&app, &app.node().await];
    let ada = app.user("ada", 50_000).await;
    let mut pulling = Vec::new();
    for n in 0..10 {
        let user = app.user(&format!("user {n}"), 0).await;
        for (n, agent) in agents(&user, 99).await.into_iter().enumerate() {
            pulling.push((user.on(nodes[n % 2]), json!({ "agent_id": agent })));
        }
        pulling.push((user, json!({})));
    }
    assert_eq!(pulling.len(), 1000);
    let jobs: BTreeSet<String> = jobs(&ada, 100).await.into_iter().collect();
    let requests = pulling.iter().cloned().enumerate();
    let requests = requests.map(|(n, (user, body))| request(user, "pull", n, "/api/jobs/pull".to_owned(), body));
    let told = at_once(requests.collect()).await;
    let mut given = Vec::new();
    let mut idle = Vec::new();
    for (_, n, answer) in told {
        match answer.status.as_u16() {
            200 => given.push(answer.json()["id"].as_str().unwrap().to_owned()),
            204 => idle.push(n),
            _ => panic!("{answer:?}"),
        }
    }
    // A pull passes over a job that another one has in hand: should that one have left it, it is still to be had.
    for n in idle.into_iter().take(100) {
        let (user, body) = &pulling[n];
        let answer = user.post("/api/jobs/pull", body.clone()).await;
        if answer.status == 200 {
            given.push(answer.json()["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!((given.len(), &given.into_iter().collect()), (100, &jobs), "each job to one agent");
    let shown = ada.get("/api/jobs").await.expect(200);
    let holders: BTreeSet<_> =
        shown.as_array().unwrap().iter().map(|job| job["held_by_agent_id"].as_str().unwrap()).collect();
    assert_eq!(holders.len(), 100, "and one job to each agent");
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_holds_end_either_the_agent_has_the_job_or_the_queue() {
    for microseconds in [-1, 0, 1] {
        let app = TestApp::new().await;
        let nodes = [&app, &app.node().await];
        let (ada, bob) = (app.user("ada", 20_000).await, app.user("bob", 0).await);
        let jobs = held(&ada, &bob, 40).await;
        let end = hand(&app).load(Ordering::SeqCst) + 30_000_000;
        hand(&app).store(end - 1 + microseconds, Ordering::SeqCst);
        // Each moves the clock on and runs what is due, so that the time of the first passes while the rest is sent.
        let mut race: Vec<_> = jobs
            .iter()
            .enumerate()
            .map(|(n, job)| request(bob.on(nodes[n % 2]), "accept", n, format!("/api/jobs/{job}/accept"), json!({})))
            .collect();
        race.insert(15, tick(nodes[0]));
        race.insert(20, tick(nodes[1]));
        let mut accepted = 0;
        let told = at_once(race).await;
        app.advance(0).await;
        for (what, n, answer) in told {
            if what == "tick" {
                continue;
            }
            let told = answer.status == 200;
            if !told {
                let code = answer.json()["code"].clone();
                assert!([json!("hold_expired"), json!("wrong_state")].contains(&code), "{code}");
            }
            let job = ada.get(&format!("/api/jobs/{}", jobs[n])).await.expect(200);
            let events = ada.get(&format!("/api/jobs/{}/events", jobs[n])).await.expect(200);
            let kinds: Vec<_> =
                events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
            let (status, end) = if told { ("accepted", "accepted") } else { ("queued", "hold_expired") };
            assert_eq!(
                (job["status"].as_str().unwrap(), kinds),
                (status, vec!["posted", "claimed", end]),
                "{microseconds}"
            );
            assert_eq!(told, job["receiver"] == json!(bob.id));
            accepted += usize::from(told);
        }
        if microseconds == 1 {
            assert_eq!(accepted, 0, "after the end nobody has it");
        }
        app.audit().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_submissions_at_once_the_acknowledged_one_is_kept() {
    let app = TestApp::new().await;
    let nodes = [&app, &app.node().await];
    let ada = app.user("ada", 100_000).await;
    let mut jobs = Vec::new();
    for name in ["bob", "cyd", "dan", "eve"] {
        let worker = app.user(name, 0).await;
        let held = held(&ada, &worker, 50).await;
        each(&worker, &held, "accept", json!({})).await;
        jobs.extend(held.into_iter().map(|job| (worker.clone(), job)));
    }
    let mut race = Vec::new();
    for (n, (worker, job)) in jobs.iter().enumerate() {
        for (node, output) in [(n % 2, "first"), ((n + 1) % 2, "second")] {
            let path = format!("/api/jobs/{job}/submit");
            race.push(request(worker.on(nodes[node]), output, n, path, json!({ "output_text": output })));
        }
    }
    let mut kept: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (output, n, answer) in at_once(race).await {
        if answer.status == 200 {
            assert_eq!(answer.json()["output_text"], output);
            kept.entry(n).or_default().push(output);
        } else {
            answer.refused(400, "wrong_state");
        }
    }
    for (n, (_, job)) in jobs.iter().enumerate() {
        let shown = ada.get(&format!("/api/jobs/{job}")).await.expect(200);
        assert_eq!(kept[&n], [shown["output_text"].as_str().unwrap()], "one was told so, and that one is kept");
    }
    app.audit().await;
}

/// Whether this is a way that a job may go: from a status, by something that happened, to a status.
fn may_go(from: &str, by: &str, to: &str, wish: bool) -> bool {
    // A failed attempt ends the job only when its sender wanted that; the third one does, and there is none here.
    let failed = if wish { "cancelled" } else { "queued" };
    match by {
        "posted" => (from, to) == ("", "queued"),
        "claimed" => (from, to) == ("queued", "held"),
        "rejected" | "hold_expired" => (from, to) == ("held", "queued"),
        "accepted" => (from, to) == ("held", "accepted"),
        "submitted" => (from, to) == ("accepted", "submitted"),
        "gave_up" | "deadline_passed" => (from, to) == ("accepted", failed),
        "verification_failed" => (from, to) == ("submitted", failed),
        "verified" => (from, to) == ("submitted", "verified"),
        "cancellation_requested" => from == to && ["accepted", "submitted"].contains(&from) && !wish,
        "cancelled" => ["queued", "held"].contains(&from) && to == "cancelled",
        _ => false,
    }
}

/// What a job's history must be like; what it moved in all: payouts, refunds.
fn check_history(events: &Value) -> (usize, usize) {
    let (mut before, mut wish, mut funded, mut payouts, mut refunds, mut fees) = ("", false, 0, 0, 0, 0);
    for (event, n) in events.as_array().unwrap().iter().zip(1..) {
        assert_eq!(event["n"], n, "no change without its event: {events}");
        let (kind, status) = (event["type"].as_str().unwrap(), event["status"].as_str().unwrap());
        assert!(may_go(before, kind, status, wish), "{before} by {kind} to {status}: {events}");
        wish |= kind == "cancellation_requested";
        before = status;
        for moved in event["moved"].as_array().unwrap() {
            let (from, to) = (moved["from"].as_str().unwrap(), moved["to"].as_str().unwrap());
            match (from, to, moved["cents"].as_i64().unwrap()) {
                ("wallet", "escrow", 500) => funded += 1,
                ("escrow", "wallet", 350) => payouts += 1,
                ("escrow", "wallet", 500) => refunds += 1,
                ("escrow", "platform", 150) => fees += 1,
                _ => panic!("{events}"),
            }
        }
    }
    let expected = match before {
        "verified" => (1, 0),
        "cancelled" | "failed" => (0, 1),
        _ => (0, 0),
    };
    assert_eq!((funded, payouts, refunds, fees), (1, expected.0, expected.1, expected.0), "{events}");
    expected
}

/// Every move that anybody can make of a job, all at once, at the moment when its time runs out.
async fn all_moves_at_once(start: &'static str, seconds: i64) -> BTreeSet<String> {
    let app = TestApp::new().await;
    let nodes = [&app, &app.node().await];
    let (ada, bob) = (app.user("ada", 50_000).await, app.user("bob", 0).await);
    let jobs = held(&ada, &bob, 70).await;
    if start != "held" {
        each(&bob, &jobs, "accept", json!({})).await;
    }
    if start == "submitted" {
        each(&bob, &jobs, "submit", json!({"output_text": "early"})).await;
    }
    hand(&app).fetch_add(seconds * 1_000_000 - 1, Ordering::SeqCst);
    let mut race = Vec::new();
    for (n, job) in jobs.iter().enumerate() {
        let mut moves = [
            (&ada, "cancel", json!({})),
            (&bob, "accept", json!({})),
            (&bob, "reject", json!({})),
            (&bob, "submit", json!({"output_text": "done"})),
            (&bob, "fail", json!({})),
            (&ada, "review", json!({"verdict": "pass"})),
            (&ada, "review", json!({"verdict": "fail", "reason": "no"})),
        ];
        // Each job has another move first.
        moves.rotate_left(n % 7);
        for (at, (user, action, body)) in moves.into_iter().enumerate() {
            race.push(request(user.on(nodes[at % 2]), action, n, format!("/api/jobs/{job}/{action}"), body));
        }
    }
    race.insert(race.len() / 2, tick(nodes[0]));
    race.insert(race.len() / 3, tick(nodes[1]));
    let mut done: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for (what, n, answer) in at_once(race).await {
        if answer.status == 200 {
            *done.entry((n, what)).or_default() += 1;
        } else {
            assert!([400, 403].contains(&answer.status.as_u16()), "{what}: {answer:?}");
        }
    }
    let (mut paid, mut refunded, mut ends) = (0, 0, BTreeSet::new());
    for (n, job) in jobs.iter().enumerate() {
        let events = ada.get(&format!("/api/jobs/{job}/events")).await.expect(200);
        let (payouts, refunds) = check_history(&events);
        let raced: Vec<_> = events.as_array().unwrap().iter().collect();
        let happened = |kinds: &[&str], by: &str| {
            raced.iter().filter(|event| kinds.contains(&event["type"].as_str().unwrap()) && event["by"] == by).count()
        };
        let before = |kind: &str| {
            usize::from(start != "held" && kind == "accepted" || start == "submitted" && kind == "submitted")
        };
        let told = |what: &str| done.get(&(n, what)).copied().unwrap_or_default();
        for (what, kind) in
            [("accept", "accepted"), ("reject", "rejected"), ("submit", "submitted"), ("fail", "gave_up")]
        {
            assert_eq!(told(what) + before(kind), happened(&[kind], "agent"), "{what}: {events}");
        }
        assert_eq!(told("review"), happened(&["verified", "verification_failed"], "sender"), "{events}");
        // Calling off what is over is done already.
        let (called_off, told) = (happened(&["cancelled", "cancellation_requested"], "sender"), told("cancel"));
        assert!(told == 1 && called_off <= 1, "{events}");
        let status = ada.status(job).await;
        assert_eq!(raced.last().unwrap()["status"], status.as_str());
        assert!(called_off == 1 || ["verified", "failed", "cancelled"].contains(&status.as_str()), "{events}");
        ends.insert(status);
        (paid, refunded) = (paid + payouts, refunded + refunds);
    }
    let (left, earned) = (50_000 - 5_00 * jobs.len() as i64 + 5_00 * refunded as i64, 3_50 * paid as i64);
    assert_eq!((ada.balance().await, bob.balance().await), (left, earned));
    app.audit().await;
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_moves_one_way_when_all_pull_at_it() {
    let mut ends = BTreeSet::new();
    for (start, seconds) in [("held", 30), ("accepted", 600), ("submitted", 72 * 3600)] {
        ends.extend(all_moves_at_once(start, seconds).await);
    }
    assert!(ends.contains("cancelled") && ends.contains("verified"), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_one_effect_and_one_answer_and_another_body_gets_none() {
    let app = TestApp::new().await;
    let nodes = [&app, &app.node().await];
    // Forty keys at a time: whoever waits for a connection to PostgreSQL for long is turned away.
    let rounds = if app.app.store.is_shared() { 10 } else { 25 };
    let (ada, bob) = (app.user("ada", rounds * 40_00).await, app.user("bob", rounds * 40_00).await);
    for round in 0..rounds as usize {
        each_key_of_forty(nodes, [&ada, &bob], round * 40).await;
    }
    for user in [&ada, &bob] {
        let jobs = user.get("/api/jobs").await.expect(200).as_array().unwrap().len();
        assert_eq!((jobs as i64, user.balance().await), (rounds * 40, 0));
    }
    app.audit().await;
}

/// Sends each of forty keys many times at once, from two users.
async fn each_key_of_forty(nodes: [&TestApp; 2], [ada, bob]: [&User; 2], first: usize) {
    const OF_BOB: usize = 10_000;
    let body = |prompt: &str| json!({"prompt": prompt, "title": prompt, "price_cents": 100, "time_limit_seconds": 60, "confirmed": true});
    let mut race: Vec<BoxFuture<'static, Told>> = Vec::new();
    for n in first..first + 40 {
        for (at, what) in ["same", "same", "same", "other", "same", "same"].into_iter().enumerate() {
            for (user, count) in [(ada, n), (bob, OF_BOB + n)] {
                if count >= OF_BOB && what == "other" {
                    continue;
                }
                let (user, body) = (user.on(nodes[at % 2]), body(what));
                race.push(
                    async move { (what, count, user.post_once(&format!("key {n}"), "/api/jobs/run", body).await) }
                        .boxed(),
                );
            }
        }
    }
    let mut answers: BTreeMap<usize, Vec<(&str, Answer)>> = BTreeMap::new();
    for (what, n, answer) in at_once(race).await {
        answers.entry(n).or_default().push((what, answer));
    }
    for (n, answers) in answers {
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.status == 201);
        let winner = done[0].0;
        assert!(done.iter().all(|(what, answer)| *what == winner && answer.bytes == done[0].1.bytes), "key {n}");
        assert_eq!(done.len(), if winner == "same" { 5 } else { 1 }, "key {n}");
        let fresh = done.iter().filter(|(_, answer)| !answer.headers.contains_key("idempotent-replayed"));
        assert_eq!(fresh.count(), 1, "key {n} had one effect");
        for (what, answer) in refused {
            assert_ne!(what, winner);
            answer.refused(422, "idempotency_key_reused");
        }
    }
}
