//! The board as it changes: what followers are told, how they go on, and what nobody is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use clawrk_domain::action::NewUser;
use clawrk_domain::{Cents, Job};
use clawrk_server::edge::Limits;
use clawrk_server::market::{Market, News};
use clawrk_server::serve;
use futures_util::future::join;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{TestApp, User, unhurried};

/// Nothing here may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Streams say soon that they have nothing to say.
fn pulsing() -> Limits {
    Limits { stream_pulse: Duration::from_millis(150), ..unhurried() }
}

/// An event as it was sent.
#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Event {
    /// What it is and of which job.
    fn brief(&self) -> (String, String) {
        (self.name.clone(), self.data["id"].as_str().unwrap_or_default().to_owned())
    }
}

/// A stream that is being read.
struct Stream {
    body: Body,
    unread: String,
    /// All that was read.
    told: String,
    last_id: String,
}

impl Stream {
    async fn open(user: &User, query: &str) -> Self {
        Self::from(user, query, &[]).await
    }

    /// Goes on from an id.
    async fn after(user: &User, query: &str, id: &str) -> Self {
        Self::from(user, query, &[("last-event-id", id)]).await
    }

    async fn from(user: &User, query: &str, headers: &[(&str, &str)]) -> Self {
        let response = user.begin("GET", &format!("/api/board/stream{query}"), None, headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: response.into_body(), unread: String::new(), told: String::new(), last_id: String::new() }
    }

    /// The next event or remark; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                let id = block.lines().find_map(|line| line.strip_prefix("id: "));
                id.into_iter().for_each(|id| self.last_id = id.to_owned());
                return Some(block);
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("a stream says something");
            let bytes = frame?.unwrap().into_data().unwrap();
            self.unread.push_str(std::str::from_utf8(&bytes).unwrap());
            self.told.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next event.
    async fn event(&mut self) -> Event {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if let Some(event) = event(&block) {
                return event;
            }
        }
    }

    /// Events until the stream has nothing to say.
    async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let block = self.block().await.expect("the stream goes on");
            match event(&block) {
                Some(event) => events.push(event),
                None => return events,
            }
        }
    }
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let (name, id) = (field("event: ")?, field("id: ").expect("every event has an id"));
    Some(Event { name, id, data: serde_json::from_str(&field("data: ").unwrap()).unwrap() })
}

fn briefs(events: &[Event]) -> Vec<(String, String)> {
    events.iter().map(Event::brief).collect()
}

fn came(job: &str) -> (String, String) {
    ("job".to_owned(), job.to_owned())
}

fn gone(job: &str) -> (String, String) {
    ("gone".to_owned(), job.to_owned())
}

#[tokio::test]
async fn a_stream_begins_with_the_board_and_tells_what_comes_and_leaves() {
    let app = TestApp::limited(pulsing()).await;
    let (ada, bob, nobody) = (app.user("ada", 10_000).await, app.user("bob", 0).await, app.anonymous());
    let first = ada.job("count", 1_00).await;
    let mut stream = Stream::open(&nobody, "").await;
    let reset = stream.event().await;
    assert_eq!(reset.name, "reset");
    assert!(stream.told.starts_with("retry: 2000\n"), "{}", stream.told);
    let board = nobody.get("/api/board").await.expect(200);
    assert_eq!(reset.data, json!({"jobs": board, "more": false}));

    app.advance(1).await;
    let second = ada.job("sort", 2_00).await;
    let came_in = stream.event().await;
    assert_eq!(came_in.name, "job");
    assert_eq!(came_in.data, nobody.get("/api/board").await.expect(200)[0], "as the board shows it");
    bob.act(&first, "claim").await.expect(200);
    let left = stream.event().await;
    assert_eq!((left.name.as_str(), &left.data), ("gone", &json!({"id": first})), "and nothing more");
    bob.act(&first, "reject").await.expect(200);
    assert_eq!(stream.event().await.brief(), came(&first));
    // What happens to a job that is not on the board is nobody's business.
    bob.work(&first, "12").await.expect(200);
    ada.review(&first, "pass").await.expect(200);
    ada.act(&second, "cancel").await.expect(200);
    assert_eq!(briefs(&stream.rest().await), [gone(&first), gone(&second)]);
    let (short, poor) = (app.user("short", 0).await, json!({"prompt": "x", "price_cents": 500, "confirmed": true}));
    short.post("/api/jobs/run", poor).await.expect(402);
    assert_eq!(stream.rest().await, []);
}

#[tokio::test]
async fn a_reset_shows_the_newest_and_says_that_there_are_more() {
    let app = TestApp::new().await;
    let (ada, nobody) = (app.user("ada", 100_000).await, app.anonymous());
    let long = json!({"prompt": "x", "title": "long", "description": "x".repeat(32_000), "price_cents": 100,
        "confirmed": true});
    for _ in 0..9 {
        ada.post("/api/jobs/run", long.clone()).await.expect(201);
    }
    let reset = Stream::open(&nobody, "").await.event().await;
    assert_eq!(reset.data["more"], true, "nine times 32,000 characters are too many for one event");
    let jobs = reset.data["jobs"].as_array().unwrap().clone();
    assert_eq!(jobs.as_slice(), &nobody.get("/api/board").await.expect(200).as_array().unwrap()[..8]);
    for _ in 0..51 {
        ada.job("short", 1_00).await;
    }
    let reset = Stream::open(&nobody, "?q=short").await.event().await;
    assert_eq!((reset.data["jobs"].as_array().unwrap().len(), &reset.data["more"]), (50, &json!(true)));
}

#[tokio::test]
async fn a_stream_goes_on_from_any_event_without_a_loss_or_a_double() {
    let app = TestApp::limited(pulsing()).await;
    let (ada, bob, nobody) = (app.user("ada", 10_000).await, app.user("bob", 0).await, app.anonymous());
    let mut stream = Stream::open(&nobody, "").await;
    let mut events = vec![stream.event().await];
    for n in 0..4 {
        let job = ada.job(&format!("job {n}"), 1_00).await;
        bob.act(&job, "claim").await.expect(200);
        if n % 2 == 0 {
            bob.act(&job, "reject").await.expect(200);
        } else {
            bob.act(&job, "accept").await.expect(200);
        }
    }
    events.extend(stream.rest().await);
    assert_eq!(events.len(), 1 + 4 * 2 + 2);
    drop(stream);
    for (at, event) in events.iter().enumerate() {
        let mut again = Stream::after(&nobody, "", &event.id).await;
        assert_eq!(again.rest().await, events[at + 1..], "after {at}");
        // And what happens then comes, too.
        assert_eq!(again.last_id, events.last().unwrap().id);
    }
    let mut again = Stream::after(&nobody, "", &events[3].id).await;
    let job = ada.job("one more", 1_00).await;
    let mut told = Vec::new();
    while told.last() != Some(&came(&job)) {
        told.push(again.event().await.brief());
    }
    assert_eq!(told[..told.len() - 1], briefs(&events[4..]));
}

#[tokio::test]
async fn a_filter_holds_for_what_comes_and_for_what_leaves() {
    let app = TestApp::limited(pulsing()).await;
    let (ada, bob, nobody) = (app.user("ada", 10_000).await, app.user("bob", 0).await, app.anonymous());
    let query = "?q=sorting&min_price=200";
    let mut stream = Stream::open(&nobody, query).await;
    assert_eq!(stream.event().await.data, json!({"jobs": [], "more": false}));
    let mut jobs = Vec::new();
    for (title, price) in [("Sorted numbers", 2_00), ("sort it cheaply", 1_99), ("Translate", 5_00)] {
        jobs.push(ada.job(title, price).await);
    }
    for job in &jobs {
        bob.act(job, "claim").await.expect(200);
        bob.act(job, "reject").await.expect(200);
        ada.act(job, "cancel").await.expect(200);
    }
    let mine = &jobs[0];
    assert_eq!(briefs(&stream.rest().await), [came(mine), gone(mine), came(mine), gone(mine)]);
    jobs[1..].iter().for_each(|job| assert!(!stream.told.contains(job.as_str()), "{}", stream.told));
    // Others' news moved its place, so that it is not left behind by them.
    let mut again = Stream::after(&nobody, "", &stream.last_id).await;
    assert_eq!(again.rest().await, []);
}

#[tokio::test]
async fn who_comes_with_an_id_that_is_none_of_ours_begins_anew() {
    let app = TestApp::limited(pulsing()).await;
    let (ada, nobody) = (app.user("ada", 10_000).await, app.anonymous());
    let job = ada.job("count", 1_00).await;
    let id = Stream::open(&nobody, "").await.event().await.id;
    let (epoch, number) = id.split_once('-').unwrap();
    let later = Market::default().news.id(0);
    let far = "9".repeat(30);
    for foreign in [
        later.as_str(),
        "",
        "-",
        "0",
        "1",
        epoch,
        &format!("{epoch}-"),
        &format!("{epoch}-{far}"),
        &format!("{epoch}-{}", number.parse::<u64>().unwrap() + 1),
        &format!("{epoch}--1"),
        &format!(" {id} x"),
        "' OR 1=1 --",
        "<script>alert(1)</script>",
        "%0d%0aSet-Cookie: a=b",
        &"x".repeat(5000),
    ] {
        let mut stream = Stream::after(&nobody, "", foreign).await;
        let reset = stream.event().await;
        assert_eq!((reset.name.as_str(), reset.data["jobs"][0]["id"].as_str()), ("reset", Some(&*job)), "{foreign}");
        assert_eq!(reset.id, id);
        assert!(foreign.len() < 15 || id.contains(foreign) || !stream.told.contains(foreign), "{}", stream.told);
    }
}

#[tokio::test]
async fn who_reads_too_slowly_begins_anew_and_costs_no_memory() {
    let app = TestApp::new().await;
    let (ada, nobody) = (app.user("ada", 10_000).await, app.anonymous());
    let mut slow = Stream::open(&nobody, "").await;
    let begun = slow.event().await.id;
    let job = ada.job("count", 1_00).await;
    ada.job("sort", 1_00).await;
    let as_it_is = app.app.store.job(job.parse().unwrap()).await.unwrap().unwrap();
    let cancelled = clawrk_domain::State::Cancelled(None);
    for version in 0..News::MOST as u32 {
        let state = if version % 2 == 0 { cancelled.clone() } else { as_it_is.state.clone() };
        let changed = Job { version: as_it_is.version + 1 + version, state, ..as_it_is.clone() };
        app.app.market.changed(&[Arc::new(changed)]);
    }
    let reset = slow.event().await;
    assert_eq!(reset.name, "reset");
    assert_eq!(reset.data["jobs"], nobody.get("/api/board").await.expect(200), "and knows all that it needs");
    assert_eq!(Stream::after(&nobody, "", &begun).await.event().await.name, "reset");
}

#[tokio::test]
async fn a_stream_hears_within_a_second_of_what_another_node_does() {
    // No pulse helps: it comes after 15 seconds.
    let app = TestApp::new().await;
    let there = app.node().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let nobody = app.anonymous();
    let mut streams = [Stream::open(&nobody, "").await, Stream::open(&nobody.on(&there), "").await];
    let mut ids = Vec::new();
    for stream in &mut streams {
        ids.push(stream.event().await.id);
    }
    let begun = Instant::now();
    // They wait when it comes.
    let [here, elsewhere] = &mut streams;
    let ((one, other), job) = join(join(here.event(), elsewhere.event()), ada.job("count", 1_00)).await;
    assert_eq!([one.brief(), other.brief()], [came(&job), came(&job)]);
    bob.on(&there).act(&job, "claim").await.expect(200);
    for stream in &mut streams {
        assert_eq!(stream.event().await.brief(), gone(&job));
    }
    bob.act(&job, "reject").await.expect(200);
    for stream in &mut streams {
        assert_eq!(stream.event().await.brief(), came(&job));
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "three changes: {:?}", begun.elapsed());
    // On SQLite there is but one node.
    let expected = if ids[0] == ids[1] { "job" } else { "reset" };
    let mut moved = Stream::after(&nobody.on(&there), "", &ids[0]).await;
    assert_eq!(moved.event().await.name, expected);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let app = TestApp::new().await;
    let mut stream = Stream::open(&app.anonymous(), "").await;
    stream.event().await;
    app.app.stopping.cancel();
    assert_eq!(stream.block().await, None);

    let app = TestApp::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = serve::serve(app.app.clone(), listener, async { stopped.await.unwrap() });
    let reading = async {
        client.write_all(b"GET /api/board/stream HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        while !text.contains("event: reset") {
            let mut bytes = [0; 4096];
            let read = client.read(&mut bytes).await.unwrap();
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        stop.send(()).unwrap();
        let begun = Instant::now();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("\r\n0\r\n\r\n"), "its end is an end, and no breaking off: {text:?}");
        begun.elapsed()
    };
    let (ended, took) = join(serving, timeout(PATIENCE, reading)).await;
    ended.unwrap();
    assert!(took.unwrap() < Duration::from_secs(2));
}

#[tokio::test]
async fn there_are_so_many_streams_from_an_address_and_in_all() {
    let limits = Limits { streams: 3, streams_of_an_address: 2, connections: Some(100), ..unhurried() };
    let app = TestApp::limited(limits).await;
    let (here, there) = (app.anonymous(), app.elsewhere(&app.anonymous(), "192.0.2.8:1"));
    let mut streams = vec![Stream::open(&here, "").await, Stream::open(&here, "").await];
    let refused = here.get("/api/board/stream").await;
    assert_eq!(refused.headers["retry-after"], "5");
    refused.refused(503, "too_many_streams");
    here.get("/api/board").await.expect(200);
    streams.push(Stream::open(&there, "").await);
    there.get("/api/board/stream").await.refused(503, "too_many_streams");
    streams.remove(0);
    Stream::open(&here, "").await.event().await;
    let few = TestApp::limited(Limits { connections: Some(2), ..limits }).await;
    let _one = Stream::open(&few.anonymous(), "").await;
    few.anonymous().get("/api/board/stream").await.refused(503, "too_many_streams");
}

#[tokio::test]
async fn opening_a_stream_is_counted_as_any_public_page() {
    let app = TestApp::limited(Limits { requests_per_minute: 2, ..Limits::default() }).await;
    let nobody = app.anonymous();
    assert_eq!(nobody.get("/api/board/stream").await.headers["ratelimit-remaining"], "1");
    nobody.get("/api/board").await.expect(200);
    nobody.get("/api/board/stream").await.refused(429, "rate_limited");
}

/// What nobody may read on the board, in no form of it.
const SECRETS: [&str; 9] = [
    "canary-prompt",
    "canary-value",
    "CANARY_NAME",
    "canary-criterion",
    "canary-sender",
    "canary-mail",
    "canary-output",
    "canary-reason",
    "canary-worker",
];

const FIELDS: [&str; 8] =
    ["created_at", "description", "id", "payout_cents", "price_cents", "requirements", "time_limit_seconds", "title"];

#[tokio::test]
async fn neither_the_board_nor_its_stream_tells_what_is_not_the_boards() {
    let app = TestApp::limited(pulsing()).await;
    let new = NewUser {
        name: "canary-sender".to_owned(),
        email: Some("canary-mail@example.com".to_owned()),
        is_admin: false,
        grant: Some(Cents(100_000)),
        key: None,
    };
    let sender = app.user_as(new).await;
    let worker = app.user("canary-worker", 0).await;
    let nobody = app.anonymous();
    let body = json!({"prompt": "canary-prompt", "title": "open", "description": "for all", "requirements": "eyes",
        "price_cents": 500, "time_limit_seconds": 600, "criteria": ["canary-criterion"],
        "envVars": {"CANARY_NAME": "canary-value"}, "confirmed": true});
    let poor = app.user("canary-sender two", 0).await;
    let unpaid = poor.post("/api/jobs/run", body.clone()).await.expect(402)["id"].as_str().unwrap().to_owned();

    let filters = ["", "?q=open", "?q=canary", "?min_price=100", "?q=canary-prompt&min_price=1", "?q=canary-criterion"];
    let mut streams = Vec::new();
    for filter in filters {
        streams.push(Stream::open(&nobody, filter).await);
    }
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(sender.post("/api/jobs/run", body.clone()).await.expect(201)["id"].as_str().unwrap().to_owned());
    }
    let [_open, held, accepted, submitted, verified, cancelled, failed, again] = jobs.as_slice() else {
        unreachable!()
    };
    // One agent each, since an agent holds one job at a time.
    worker.work(verified, "canary-output").await.expect(200);
    sender.review(verified, "pass").await.expect(200);
    worker.work(submitted, "canary-output").await.expect(200);
    sender.act(cancelled, "cancel").await.expect(200);
    for (job, times) in [(failed, 3), (again, 1)] {
        for _ in 0..times {
            worker.act(job, "claim").await.expect(200);
            worker.act(job, "accept").await.expect(200);
            worker.post(&format!("/api/jobs/{job}/fail"), json!({"reason": "canary-reason"})).await.expect(200);
        }
    }
    worker.act(accepted, "claim").await.expect(200);
    worker.act(accepted, "accept").await.expect(200);
    worker.act(held, "claim").await.expect(200);

    let mut told = String::new();
    for (filter, stream) in filters.iter().zip(&mut streams) {
        let found = stream.rest().await;
        assert_eq!(found.len() > 1, !filter.contains("canary"), "{filter}: what is secret finds nothing");
        for event in &found {
            match event.name.as_str() {
                "job" => fields(&event.data, &FIELDS),
                "gone" => fields(&event.data, &["id"]),
                _ => {
                    fields(&event.data, &["jobs", "more"]);
                    event.data["jobs"].as_array().unwrap().iter().for_each(|job| fields(job, &FIELDS));
                }
            }
        }
        told.push_str(&stream.told);
        told.push_str(&Stream::open(&nobody, filter).await.event().await.data.to_string());
    }
    for filter in filters {
        for sort in ["newest", "oldest", "price"] {
            let filter = if filter.is_empty() { "?" } else { filter };
            let answer = nobody.get(&format!("/api/board{filter}&sort={sort}")).await;
            told.push_str(&format!("{:?}", answer.headers));
            let board = answer.expect(200);
            board.as_array().unwrap().iter().for_each(|job| fields(job, &FIELDS));
            // Two are open: one that nobody has touched, and one that was given back.
            assert_eq!(board.as_array().unwrap().len(), if filter.contains("canary") { 0 } else { 2 }, "{filter}");
            told.push_str(&board.to_string());
        }
    }
    assert!(told.contains(held), "it was open, and left");
    let ids = [unpaid.as_str(), &sender.id, &worker.id, &poor.id];
    for secret in SECRETS.iter().chain(&ids) {
        assert!(!told.contains(secret), "{secret} is in {told}");
    }
    for word in ["held", "claimed", "accepted", "cancelled", "verified", "failed", "status"] {
        assert!(!told.contains(word), "nobody is told why a job left: {word}");
    }
}

#[track_caller]
fn fields(value: &Value, names: &[&str]) {
    let mut found: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, names);
}
