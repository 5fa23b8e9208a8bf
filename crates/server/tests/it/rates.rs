//! How many requests a minute: with one key, or from one address.

use clawrk_server::apikey::FreshKey;
use clawrk_server::edge::Limits;
use serde_json::json;

use crate::support::{Answer, TestApp};

async fn exchange(requests_per_minute: u32) -> TestApp {
    TestApp::limited(Limits { requests_per_minute, ..Limits::default() }).await
}

/// `RateLimit-Limit`, `-Remaining` and `-Reset`.
fn standing(answer: &Answer) -> [u32; 3] {
    ["limit", "remaining", "reset"]
        .map(|name| answer.headers[format!("ratelimit-{name}")].to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_key_has_so_many_requests_a_minute_and_is_told_how_many_are_left() {
    let app = exchange(600).await;
    let (ada, bob) = (app.user("ada", 0).await, app.user("bob", 0).await);
    let [_, _, rest] = standing(&ada.get("/api/agents").await);
    assert!((1..=60).contains(&rest), "{rest}");
    app.advance(rest.into()).await;
    for left in (0..600).rev() {
        let answer = ada.get("/api/agents").await;
        assert_eq!(standing(&answer), [600, left, 60]);
        answer.expect(200);
    }
    app.advance(17).await;
    let refused = ada.get("/api/agents").await;
    assert_eq!(standing(&refused), [600, 0, 43]);
    assert_eq!(refused.headers["retry-after"], "43");
    let said = refused.refused(429, "rate_limited")["error"].to_string();
    assert!(said.contains("600 requests a minute") && said.contains("43 seconds"), "{said}");
    bob.get("/api/agents").await.expect(200);
    app.advance(43).await;
    assert_eq!(standing(&ada.get("/api/agents").await), [600, 599, 60]);
}

#[tokio::test]
async fn a_request_too_many_is_refused_before_its_body_is_read() {
    let app = exchange(1).await;
    let ada = app.user("ada", 0).await;
    let large = vec![b' '; (1 << 20) + 1];
    ada.send("POST", "/api/agents", Some(large.clone()), &[]).await.refused(413, "body_too_large");
    ada.send("POST", "/api/agents", Some(large), &[]).await.refused(429, "rate_limited");
}

#[tokio::test]
async fn running_a_job_has_a_tighter_limit_of_its_own() {
    let app = exchange(600).await;
    let ada = app.user("ada", 0).await;
    for left in (0..30).rev() {
        let answer = ada.post("/api/jobs/run", json!({"prompt": "count to ten"})).await;
        assert_eq!(standing(&answer)[..2], [30, left]);
        answer.expect(200);
    }
    let refused = ada.post("/api/jobs/run", json!({"prompt": "count to ten"})).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.refused(429, "rate_limited");
    let other = ada.get("/api/jobs").await;
    assert_eq!(standing(&other)[..2], [600, 568], "the refused one was a request too");
    app.advance(60).await;
    ada.post("/api/jobs/run", json!({"prompt": "count to ten"})).await.expect(200);
}

#[tokio::test]
async fn wrong_keys_are_counted_by_address_and_lock_no_right_key_out() {
    let app = exchange(600).await;
    let ada = app.user("ada", 0).await;
    let last = if ada.key.ends_with('0') { '1' } else { '0' };
    let bent = format!("{}{last}", &ada.key[..ada.key.len() - 1]);
    let others = [FreshKey::new().text, bent, "nonsense".to_owned()];
    for left in (0..10).rev() {
        let answer = ada.with_key(&others[left as usize % 3]).get("/api/agents").await;
        assert_eq!(standing(&answer)[..2], [10, left]);
        answer.refused(401, "unauthenticated");
    }
    for other in &others {
        ada.with_key(other).get("/api/agents").await.refused(429, "rate_limited");
    }
    ada.get("/api/agents").await.expect(200);
    app.user("newcomer", 0).await.get("/api/agents").await.expect(200);
    let elsewhere = app.elsewhere(&ada, "198.51.100.1:1");
    elsewhere.get("/api/agents").await.expect(200);
    elsewhere.with_key(&others[0]).get("/api/agents").await.refused(401, "unauthenticated");
    app.advance(60).await;
    ada.with_key(&others[0]).get("/api/agents").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_thousand_guesses_are_all_refused_and_the_victim_goes_on() {
    let app = exchange(600).await;
    let ada = app.user("ada", 0).await;
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let mut guess = FreshKey::new().text;
        guess.replace_range(7..19, &ada.key[7..19]);
        let status = ada.with_key(&guess).get("/api/agents").await.status.as_u16();
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [(401, 10), (429, 990)]);
    ada.get("/api/agents").await.expect(200);
}

#[tokio::test]
async fn without_a_key_an_address_has_few_requests_and_more_for_public_pages() {
    let app = exchange(600).await;
    let nobody = app.anonymous();
    for left in (0..60).rev() {
        let (method, path, status) =
            [("GET", "/api/agents", 401), ("GET", "/api/nonsense", 404), ("PUT", "/api/agents", 405)]
                [left as usize % 3];
        let answer = nobody.send(method, path, None, &[]).await;
        assert_eq!(standing(&answer)[..2], [60, left]);
        answer.expect(status);
    }
    for (method, path) in [("GET", "/api/agents"), ("GET", "/api/nonsense"), ("PUT", "/api/agents")] {
        nobody.send(method, path, None, &[]).await.refused(429, "rate_limited");
    }
    let pages = ["/api/board", "/openapi.json"];
    for left in (0..600).rev() {
        let answer = nobody.get(pages[left as usize % pages.len()]).await;
        assert_eq!(standing(&answer)[..2], [600, left]);
        assert_eq!(answer.status, 200);
    }
    for page in pages {
        nobody.get(page).await.refused(429, "rate_limited");
    }
    app.elsewhere(&nobody, "198.51.100.1:1").get("/api/board").await.expect(200);
    // Whoever has a right key is counted by it, there too; a wrong one is as good as none.
    let ada = app.user("ada", 0).await;
    assert_eq!(standing(&ada.get("/api/agents").await)[..2], [600, 599]);
    assert_eq!(standing(&ada.get("/api/board").await)[..2], [600, 598]);
    ada.with_key("nonsense").get("/api/board").await.refused(429, "rate_limited");
    for probe in ["/healthz", "/readyz"] {
        let answer = nobody.get(probe).await;
        assert!(!answer.headers.contains_key("ratelimit-limit"));
        answer.expect(200);
    }
}

#[tokio::test]
async fn the_setting_scales_every_limit_and_none_means_none() {
    let app = exchange(1200).await;
    let ada = app.user("ada", 0).await;
    assert_eq!(standing(&ada.get("/api/agents").await)[0], 1200);
    assert_eq!(standing(&ada.post("/api/jobs/run", json!({"prompt": "x"})).await)[0], 60);
    assert_eq!(standing(&ada.with_key("x").get("/api/agents").await)[0], 20);
    assert_eq!(standing(&app.anonymous().get("/api/agents").await)[0], 120);
    let app = exchange(0).await;
    for _ in 0..100 {
        let answer = app.anonymous().get("/api/agents").await;
        assert!(!answer.headers.contains_key("ratelimit-limit"));
        answer.refused(401, "unauthenticated");
    }
}
