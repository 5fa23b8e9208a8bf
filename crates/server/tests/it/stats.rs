//! The market's figures: true within a moment, the same for everybody, and nobody's secrets.

use std::time::{Duration, Instant};

use clawrk_server::tasks::counting;
use serde_json::{Value, json};

use crate::support::{TestApp, User, keys_of};

async fn stats(app: &TestApp, query: &str) -> Value {
    app.count().await;
    app.anonymous().get(&format!("/api/board/stats{query}")).await.expect(200)
}

/// A job that the worker does in ten minutes and that passes.
async fn paid_out(app: &TestApp, sender: &User, worker: &User, cents: i64) {
    let job = sender.job("count", cents).await;
    app.advance(30).await;
    worker.act(&job, "claim").await.expect(200);
    worker.act(&job, "accept").await.expect(200);
    app.advance(599).await;
    worker.submit(&job, "42").await.expect(200);
    app.advance(60).await;
    sender.review(&job, "pass").await.expect(200);
}

#[tokio::test]
async fn an_exchange_in_which_nothing_happened_has_zeros_and_nulls() {
    let app = TestApp::new().await;
    let body = stats(&app, "?days=2").await;
    let day = |day: &str| json!({"day": day, "posted": 0, "accepted": 0, "verified": 0, "failed": 0, "cancelled": 0, "volume_cents": 0});
    let expected = json!({
        "jobs": {"pending_payment": 0, "queued": 0, "held": 0, "accepted": 0, "submitted": 0, "verified": 0,
                 "failed": 0, "cancelled": 0},
        "volume_cents": 0, "median_price_cents": null, "median_seconds_to_accept": null,
        "median_seconds_to_verify": null, "pass_rate": null, "agents_active": 0,
        "days": [day("2024-12-31"), day("2025-01-01")],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_happened_is_in_the_figures_of_its_day() {
    let app = TestApp::new().await;
    let (ada, bob, cy) = (app.user("ada", 10_000).await, app.user("bob", 0).await, app.user("cy", 0).await);
    paid_out(&app, &ada, &bob, 10_00).await;
    paid_out(&app, &ada, &bob, 10_00).await;
    paid_out(&app, &ada, &cy, 30_00).await;
    let failed = ada.job("count", 5_00).await;
    cy.work(&failed, "41").await.expect(200);
    ada.review(&failed, "fail").await.expect(200);
    app.advance(24 * 3600).await;
    let called_off = ada.job("count", 5_00).await;
    ada.act(&called_off, "cancel").await.expect(200);
    let body = stats(&app, "?days=3").await;
    assert_eq!(body["jobs"]["verified"], 3);
    assert_eq!((&body["jobs"]["queued"], &body["jobs"]["cancelled"]), (&json!(1), &json!(1)));
    assert_eq!((&body["volume_cents"], &body["agents_active"]), (&json!(50_00), &json!(2)));
    assert_eq!(body["pass_rate"], 0.75);
    for (what, exactly) in
        [("median_price_cents", 1000.0), ("median_seconds_to_accept", 30.0), ("median_seconds_to_verify", 60.0)]
    {
        let told = body[what].as_f64().unwrap();
        assert!((told - exactly).abs() <= exactly / 20.0, "{what} is {told}");
    }
    let days = body["days"].as_array().unwrap();
    let of = |at: usize| {
        ["day", "posted", "accepted", "verified", "failed", "cancelled", "volume_cents"]
            .map(|name| days[at][name].clone())
    };
    let day = |day: &str, counts: [i64; 6]| {
        let mut all = vec![json!(day)];
        all.extend(counts.map(Value::from));
        <[Value; 7]>::try_from(all).unwrap()
    };
    assert_eq!(of(0), day("2024-12-31", [0; 6]));
    assert_eq!(of(1), day("2025-01-01", [4, 4, 3, 0, 0, 50_00]));
    assert_eq!(of(2), day("2025-01-02", [1, 0, 0, 0, 1, 0]));
    assert_eq!(days.len(), 3);
    app.advance(30 * 24 * 3600).await;
    let later = stats(&app, "").await;
    assert_eq!(
        (&later["volume_cents"], &later["pass_rate"], &later["agents_active"]),
        (&json!(0), &json!(null), &json!(0))
    );
    assert_eq!(later["median_price_cents"], json!(null));
    assert_eq!((later["days"].as_array().unwrap().len(), &later["jobs"]["verified"]), (30, &json!(3)));
    assert_eq!(stats(&app, "?days=365").await["days"].as_array().unwrap().len(), 365);
}

#[tokio::test]
async fn work_on_ones_own_job_moves_nothing_but_the_jobs() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 50_000).await, app.user("bob", 0).await);
    paid_out(&app, &ada, &bob, 10_00).await;
    let before = stats(&app, "").await;
    let listed = app.anonymous().get("/api/agents/directory").await.expect(200);
    paid_out(&app, &ada, &ada, 40_000).await;
    let lost = ada.job("count", 5_00).await;
    for _ in 0..3 {
        ada.work(&lost, "41").await.expect(200);
        ada.review(&lost, "fail").await.expect(200);
    }
    let after = stats(&app, "").await;
    assert_eq!((&after["jobs"]["verified"], &after["jobs"]["failed"]), (&json!(2), &json!(1)));
    let (mut expected, mut found) = (before, after);
    for body in [&mut expected, &mut found] {
        body["jobs"] = json!(null);
        let today = body["days"].as_array_mut().unwrap().last_mut().unwrap();
        today["posted"] = json!(null);
    }
    assert_eq!(found, expected);
    assert_eq!(app.anonymous().get("/api/agents/directory").await.expect(200), listed);
}

#[tokio::test]
async fn what_passes_in_silence_is_volume_and_no_verdict() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let job = ada.job("count", 10_00).await;
    bob.work(&job, "42").await.expect(200);
    app.advance(72 * 3600).await;
    assert_eq!(ada.status(&job).await, "verified");
    let body = stats(&app, "").await;
    assert_eq!((&body["volume_cents"], &body["pass_rate"]), (&json!(10_00), &json!(null)));
    assert_eq!(body["median_seconds_to_verify"], json!(null));
}

#[tokio::test]
async fn every_node_has_the_same_figures_whoever_counts() {
    let app = TestApp::new().await;
    let there = app.node().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    paid_out(&app, &ada, &bob, 10_00).await;
    there.app.store.catch_up().await;
    for _ in 0..2 {
        there.count().await;
        app.count().await;
    }
    assert_eq!(stats(&there, "").await, stats(&app, "").await);
    assert_eq!(stats(&app, "").await["jobs"]["verified"], 1);
}

#[tokio::test]
async fn what_was_not_counted_before_a_start_is_counted_after_it() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    paid_out(&app, &ada, &bob, 10_00).await;
    let again = app.again().await;
    assert_eq!(stats(&again, "").await["jobs"]["verified"], 1);
}

#[tokio::test]
async fn anybody_may_keep_the_figures_for_a_second() {
    let app = TestApp::from_afar().await;
    for path in ["/api/board/stats", "/api/agents/directory"] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(answer.headers["cache-control"], "public, max-age=1", "{path}");
        assert!(answer.headers.contains_key("ratelimit-remaining"));
        let tag = answer.headers["etag"].to_str().unwrap().to_owned();
        answer.expect(200);
        let again = app.anonymous().send("GET", path, None, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0), "{path}");
        app.anonymous().send("HEAD", path, None, &[]).await.expect(200);
    }
    assert!(keys_of(&stats(&app, "").await).starts_with("agents_active days jobs median_price_cents"));
}

#[tokio::test]
async fn a_series_has_from_one_day_to_a_year() {
    let app = TestApp::new().await;
    for days in ["0", "366", "-1", "9223372036854775807"] {
        app.anonymous().get(&format!("/api/board/stats?days={days}")).await.refused(400, "invalid_field");
    }
    for days in ["", "x", "1.5", "1e3", "99999999999999999999", "%00", "1%20OR%201=1"] {
        app.anonymous().get(&format!("/api/board/stats?days={days}")).await.refused(400, "malformed_request");
    }
}

#[tokio::test]
async fn what_happens_shows_within_a_second() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 100_000).await;
    let (counted, nobody) = (app.app.clone(), app.anonymous());
    let looking = async move {
        for expected in 1..=3 {
            ada.job("count", 1_00).await;
            let posted = Instant::now();
            while nobody.get("/api/board/stats").await.expect(200)["jobs"]["queued"] != expected {
                assert!(posted.elapsed() < Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::select! {
        () = counting::run(counted) => panic!("it counts until it is stopped"),
        () = looking => {}
    }
}
