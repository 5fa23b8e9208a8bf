//! The board: what is open now, for everybody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawrk_domain::Job;
use clawrk_server::market::{Market, Sort, View};
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, User};

fn ids(board: &Value) -> Vec<String> {
    board.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// Where the next page is.
fn next(page: &Answer) -> Option<String> {
    let link = page.headers.get("link")?.to_str().unwrap();
    assert!(link.ends_with(">; rel=\"next\""), "{link}");
    Some(link[1..link.find('>').unwrap()].to_owned())
}

/// The whole board, so many jobs a page.
async fn walked(nobody: &User, limit: usize) -> Vec<String> {
    walked_from(nobody, format!("/api/board?limit={limit}")).await
}

/// All pages from one on.
async fn walked_from(nobody: &User, first: String) -> Vec<String> {
    let (mut jobs, mut path) = (Vec::new(), Some(first));
    while let Some(here) = path {
        let page = nobody.get(&here).await;
        path = next(&page);
        jobs.extend(ids(&page.expect(200)));
    }
    jobs
}

/// What the board finds, in its order.
async fn found(nobody: &User, query: &str) -> Vec<String> {
    ids(&nobody.get(&format!("/api/board?{query}")).await.expect(200))
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
        let newest = async || market.page(&View::default(), Sort::Newest, None, 9).await.spots.len();
        assert!(market.is_empty() && newest().await == 0);
        market.changed(std::slice::from_ref(&again));
        market.changed(std::slice::from_ref(&held));
        assert_eq!(newest().await, 1);
        // Whoever follows the board hears of what comes and what leaves, and never twice of the same.
        let told = market.news.count();
        market.changed(std::slice::from_ref(&again));
        market.changed(&[Arc::new(Job { version: again.version + 1, ..(*again).clone() })]);
        assert_eq!(market.news.count(), told);
    }
}

#[tokio::test]
async fn the_board_finds_the_jobs_that_have_all_the_words() {
    let app = TestApp::new().await;
    let (ada, nobody) = (app.user("ada", 100_000).await, app.anonymous());
    let mut jobs = Vec::new();
    for (title, description, requirements) in [
        ("Sort the numbers", "ascending, in C++", Some("algorithms")),
        ("Übersetzung ins Deutsche", "Translate this letter", Some("Немецкий язык")),
        ("Scrape a page", "数据 into a table, sorted", None),
    ] {
        let body = json!({"prompt": "secretword", "title": title, "description": description,
            "requirements": requirements, "criteria": [], "price_cents": 100, "confirmed": true});
        let job = ada.post("/api/jobs/run", body).await.expect(201);
        jobs.insert(0, job["id"].as_str().unwrap().to_owned());
        app.advance(1).await;
    }
    let [scrape, translate, sort] = jobs.as_slice() else { unreachable!() };
    for (q, expected) in [
        ("SORTING", vec![scrape, sort]),
        ("sorted number", vec![sort]),
        ("numbers%20%26%20algorithm", vec![sort]),
        ("c%2B%2B", vec![sort]),
        ("%C3%9CBERSETZUNG", vec![translate]),
        ("%D0%BD%D0%B5%D0%BC%D0%B5%D1%86%D0%BA%D0%B8%D0%B9+letters", vec![translate]),
        ("%E6%95%B0%E6%8D%AE", vec![scrape]),
        ("sort translate", vec![]),
        ("secretword", vec![]),
        ("nothinglikethis", vec![]),
        // What says nothing is asked for by nobody.
        ("sort the", vec![scrape, sort]),
        ("the", vec![scrape, translate, sort]),
        ("", vec![scrape, translate, sort]),
        ("%25", vec![]),
        (&*"z".repeat(65), vec![]),
    ] {
        let q = q.replace(' ', "+");
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(found(&nobody, &format!("q={q}")).await, expected, "{q}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_of_the_board_is_refused_with_a_reason() {
    let app = TestApp::new().await;
    let (ada, nobody) = (app.user("ada", 1_000).await, app.anonymous());
    ada.job("count", 1_00).await;
    let long = "a".repeat(201);
    for path in ["/api/board", "/api/board/stream"] {
        for (query, code, said) in [
            (format!("q={long}"), "invalid_field", "q must be at most 200 characters"),
            (format!("q={}", "a".repeat(10_000)), "invalid_field", "q must be at most 200 characters"),
            ("q=a%00b".to_owned(), "invalid_field", "q must not have a NUL character"),
            ("q=a&q=b".to_owned(), "malformed_request", "In the query, q is there twice"),
            ("min_price=-1".to_owned(), "invalid_field", "min_price must be 0 or more"),
            (
                "min_price=1.5".to_owned(),
                "malformed_request",
                "In the query, min_price must be a whole number, not a text",
            ),
            ("min_price=".to_owned(), "malformed_request", "In the query, min_price must be a whole number, not empty"),
        ] {
            let refused = nobody.get(&format!("{path}?{query}")).await.refused(400, code);
            assert_eq!(refused["error"], said, "{path}");
        }
    }
    for sort in ["", "relevance", "Newest", "newest,price", "price;DROP TABLE jobs"] {
        let encoded: String = sort.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let refused = nobody.get(&format!("/api/board?sort={encoded}")).await.refused(400, "invalid_field");
        assert_eq!(refused["error"], "sort must be newest, oldest or price");
    }
    for limit in ["0", "201", "-1"] {
        nobody.get(&format!("/api/board?limit={limit}")).await.refused(400, "invalid_field");
    }
    for q in [
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "%27;DROP%20TABLE%20jobs;--",
        "(a%2B)%2B$",
        ".*",
        "%ff%fe",
        "%",
        "%2",
        "%zz",
        "%0d%0aSet-Cookie:%20a=b",
        &"%E6%95%B0".repeat(200),
    ] {
        let answer = nobody.get(&format!("/api/board?limit=1&q={q}")).await;
        assert_eq!(answer.status, 200, "{q}");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn each_order_is_kept_over_pages_while_jobs_come_and_leave() {
    let app = TestApp::new().await;
    let (ada, bob, nobody) = (app.user("ada", 100_000).await, app.user("bob", 0).await, app.anonymous());
    let prices = [3_00, 1_00, 2_00, 3_00, 1_00, 2_00, 3_00, 1_00];
    let mut posted = Vec::new();
    for (n, price) in prices.into_iter().enumerate() {
        posted.push(ada.job(&format!("job {n}"), price).await);
        app.advance(1).await;
    }
    let of = |order: &[usize]| order.iter().map(|at| posted[*at].clone()).collect::<Vec<_>>();
    let orders: [(&str, &[usize]); 3] = [
        ("newest", &[7, 6, 5, 4, 3, 2, 1, 0]),
        ("oldest", &[0, 1, 2, 3, 4, 5, 6, 7]),
        ("price", &[6, 3, 0, 5, 2, 7, 4, 1]),
    ];
    for (sort, order) in orders {
        for limit in [1, 3, 8] {
            let all = walked_from(&nobody, format!("/api/board?sort={sort}&limit={limit}")).await;
            assert_eq!(all, of(order), "{sort} by {limit}");
        }
        let page = nobody.get(&format!("/api/board?sort={sort}&limit=3")).await;
        let rest = next(&page).unwrap();
        // The place that the cursor names goes, and so does one behind it; others come at either end.
        for at in [order[2], order[4]] {
            bob.act(&posted[at], "claim").await.expect(200);
            assert_eq!(walked_from(&nobody, rest.clone()).await.len(), if at == order[2] { 5 } else { 4 });
            bob.act(&posted[at], "reject").await.expect(200);
        }
        let cheap = ada.job("comes", 1_00).await;
        let all = walked_from(&nobody, rest).await;
        let old: Vec<_> = all.iter().filter(|job| **job != cheap).cloned().collect();
        assert_eq!(old, of(&order[3..]), "{sort}: none twice, and none left out");
        assert_eq!(all.contains(&cheap), sort != "newest", "{sort}");
        ada.act(&cheap, "cancel").await.expect(200);
    }
    let dear = walked_from(&nobody, "/api/board?min_price=200&sort=price&limit=2".to_owned()).await;
    assert_eq!(dear, of(&[6, 3, 0, 5, 2]));
    assert_eq!(found(&nobody, "min_price=201&q=job").await, of(&[6, 3, 0]));
    assert_eq!(found(&nobody, "min_price=9223372036854775807").await, of(&[]));
}

#[tokio::test]
async fn a_link_carries_the_filters_and_a_cursor_is_for_its_order() {
    let app = TestApp::new().await;
    let (ada, nobody) = (app.user("ada", 100_000).await, app.anonymous());
    for n in 0..4 {
        ada.job(if n == 1 { "other" } else { "c++ & <ü>" }, if n == 2 { 1_00 } else { 2_00 }).await;
        app.advance(1).await;
    }
    let page = nobody.get("/api/board?limit=1&q=c%2B%2B+%26+%3C%C3%BC%3E&min_price=200&sort=oldest&unknown=x").await;
    let link = next(&page).unwrap();
    let start = "/api/board?q=c%2B%2B+%26+%3C%C3%BC%3E&min_price=200&sort=oldest&limit=1&after=oldest.";
    assert!(link.starts_with(start), "{link}");
    let first = ids(&page.expect(200));
    let rest = walked_from(&nobody, link.clone()).await;
    assert_eq!((first.len(), rest.len()), (1, 1), "neither the other one nor the cheap one");

    let cursor = link.rsplit_once('=').unwrap().1;
    for (sort, named) in [("newest", "newest"), ("price", "price")] {
        let refused = nobody.get(&format!("/api/board?sort={sort}&after={cursor}")).await.refused(400, "invalid_field");
        assert_eq!(refused["error"], format!("after is a cursor of the order oldest, and the sort is {named}"));
    }
    nobody.get(&format!("/api/board?after={cursor}")).await.refused(400, "invalid_field");
    let place = cursor.strip_prefix("oldest.").unwrap();
    for wrong in [
        "x",
        "oldest",
        "oldest.",
        "oldest.1",
        "oldest.x.000000000000",
        "oldest.1.short",
        place,
        "oldest.1.000000000000%0d%0aSet-Cookie:%20a=b",
        "%27%20OR%201=1",
    ] {
        let refused = nobody.get(&format!("/api/board?sort=oldest&after={wrong}")).await.refused(400, "invalid_field");
        assert_eq!(refused["error"], "after must be a cursor from a Link header", "{wrong}");
    }
    for wrong in ["price.1", "price.-1.1.000000000000", "price.99999999999.1.000000000000"] {
        nobody.get(&format!("/api/board?sort=price&after={wrong}")).await.refused(400, "invalid_field");
    }
    assert_eq!(found(&nobody, "sort=oldest&after=oldest.-9223372036854775808.000000000000").await.len(), 4);
}

#[tokio::test]
async fn the_board_may_be_kept_for_a_second_and_asked_for_by_name() {
    let app = TestApp::new().await;
    let there = app.node().await;
    let (ada, nobody) = (app.user("ada", 100_000).await, app.anonymous());
    for n in 0..3 {
        ada.job(&format!("job {n}"), 1_00).await;
        app.advance(1).await;
    }
    let path = "/api/board?limit=2";
    let page = nobody.get(path).await;
    assert_eq!(page.headers["cache-control"], "public, max-age=1");
    assert_eq!(page.headers["content-type"], "application/json");
    let tag = page.headers["etag"].to_str().unwrap().to_owned();
    let asked =
        async |user: &User, path: &str, tags: &str| user.send("GET", path, None, &[("if-none-match", tags)]).await;
    for tags in [tag.as_str(), &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
        let same = asked(&nobody, path, tags).await;
        assert_eq!((same.status.as_u16(), same.bytes.len()), (304, 0), "{tags}");
        for header in ["etag", "cache-control", "link"] {
            assert_eq!(same.headers[header], page.headers[header]);
        }
        assert!(!same.headers.contains_key("content-type"));
    }
    for tags in ["\"x\"", "", "W/", tag.trim_matches('"')] {
        assert_eq!(asked(&nobody, path, tags).await.status, 200, "{tags}");
    }
    assert_eq!(asked(&nobody, "/api/board?limit=1", &tag).await.status, 200, "another page");
    let soon = Instant::now();
    while asked(&nobody.on(&there), path, &tag).await.status != 304 {
        assert!(soon.elapsed() < Duration::from_secs(1), "another node names it alike");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = asked(&nobody, "/api/board?limit=0", "*").await;
    assert_eq!(refused.headers["cache-control"], "no-store");
    refused.refused(400, "invalid_field");

    // The page is the same, but it is the last one now: that is not the same answer.
    let oldest = ids(&nobody.get("/api/board?sort=oldest&limit=1").await.expect(200));
    ada.act(&oldest[0], "cancel").await.expect(200);
    let last = asked(&nobody, path, &tag).await;
    assert_eq!(last.status, 200);
    assert!(next(&last).is_none() && last.bytes == page.bytes);
    ada.job("another", 1_00).await;
    assert_eq!(asked(&nobody, path, last.headers["etag"].to_str().unwrap()).await.status, 200);
}
