//! The board: what is open now, for everybody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawrk_server::market::Market;
use serde_json::Value;

use crate::support::{TestApp, User};

fn ids(board: &Value) -> Vec<String> {
    board.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// The whole board, so many jobs a page.
async fn walked(nobody: &User, limit: usize) -> Vec<String> {
    let (mut jobs, mut next) = (Vec::new(), Some(format!("/api/board?limit={limit}")));
    while let Some(path) = next {
        let page = nobody.get(&path).await;
        let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        jobs.extend(ids(&page.expect(200)));
    }
    jobs
}

#[tokio::test]
async fn the_board_shows_what_is_open_now_newest_first() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let mut posted = Vec::new();
    for n in 0..7 {
        posted.insert(0, ada.job(&format!("job {n}"), 1_00).await);
        app.advance(1).await;
    }
    let nobody = app.anonymous();
    assert_eq!(walked(&nobody, 3).await, posted);
    bob.act(&posted[2], "claim").await.expect(200);
    ada.act(&posted[4], "cancel").await.expect(200);
    let open: Vec<String> = [0, 1, 3, 5, 6].map(|at: usize| posted[at].clone()).into();
    assert_eq!(walked(&nobody, 2).await, open, "what has left is gone, also between two pages that were shown before");
    bob.act(&posted[2], "reject").await.expect(200);
    assert_eq!(
        walked(&nobody, 2).await,
        [0, 1, 2, 3, 5, 6].map(|at: usize| posted[at].clone()),
        "and back in its place"
    );
}

#[tokio::test]
async fn a_board_agrees_with_another_nodes_within_a_second() {
    let app = TestApp::new().await;
    let there = app.node().await;
    let ada = app.user("ada", 10_000).await;
    let mut posted = Vec::new();
    for n in 0..3 {
        posted.insert(0, ada.job(&format!("job {n}"), 1_00).await);
        app.advance(1).await;
    }
    let soon = async |expected: &[String]| {
        let changed = Instant::now();
        while ids(&there.anonymous().get("/api/board").await.expect(200)) != expected {
            assert!(changed.elapsed() < Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(&posted).await;
    ada.act(&posted[1], "cancel").await.expect(200);
    soon(&[posted[0].clone(), posted[2].clone()]).await;
}

#[tokio::test]
async fn old_news_brings_no_job_back() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let job = ada.job("count", 1_00).await;
    let as_it_is = async || Arc::new(app.app.store.job(job.parse().unwrap()).await.unwrap().unwrap());
    let open = as_it_is().await;
    bob.act(&job, "claim").await.expect(200);
    let held = as_it_is().await;
    bob.act(&job, "reject").await.expect(200);
    let again = as_it_is().await;
    for order in [vec![&open, &held, &open], vec![&held, &open]] {
        let market = Market::default();
        order.into_iter().for_each(|news| market.changed(std::slice::from_ref(news)));
        assert!(market.is_empty() && market.newest(None, 9).is_empty());
        market.changed(std::slice::from_ref(&again));
        market.changed(std::slice::from_ref(&held));
        assert_eq!(market.newest(None, 9).len(), 1);
    }
}
