//! Jobs that a model judges, from submission to payment: an honest one, a hostile one, one that is away, and a slow one
//! with a thousand submissions before it.

use std::time::{Duration, Instant};

use clawrk_server::app::Outside;
use clawrk_server::config::Provider;
use clawrk_server::edge::Limits;
use clawrk_server::tasks::verifying;
use clawrk_server::verify::Judge;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::fake_llm::{FakeLlm, KEY, Reply};
use crate::judge::verdict;
use crate::support::{TestApp, User, background, unhurried};

pub const WORK: &str = "There are three vowels in it.";

/// An exchange with a judge that is this fake.
pub async fn judged() -> (TestApp, FakeLlm) {
    judged_within(unhurried()).await
}

pub async fn judged_within(limits: Limits) -> (TestApp, FakeLlm) {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let judge = Judge::new(fake.llm(), None).within(Duration::from_millis(400));
    let app = TestApp::using(Outside { judge: Some(judge), ..Outside::default() }, limits).await;
    (app, fake)
}

/// An honest one: it finds what it was asked for, or does not.
pub fn honest(fake: &FakeLlm, passes: bool) {
    fake.thinks(move |asked| Reply::Json(verdict(asked, |_| passes.then_some(WORK))));
}

/// A job of five dollars, handed in; its id.
pub async fn handed_in(ada: &User, bob: &User, text: &str) -> String {
    let job = ada.job("Count the vowels", 5_00).await;
    again(bob, &job, text).await;
    job
}

pub async fn again(bob: &User, job: &str, text: &str) {
    bob.act(job, "claim").await.expect(200);
    bob.act(job, "accept").await.expect(200);
    bob.post(&format!("/api/jobs/{job}/submit"), json!({"output_text": text})).await.expect(200);
}

pub async fn show(user: &User, job: &str) -> Value {
    user.get(&format!("/api/jobs/{job}")).await.expect(200)
}

#[tokio::test]
async fn a_judge_decides_and_the_verdict_says_why() {
    let (app, fake) = judged().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    honest(&fake, false);
    let job = handed_in(&ada, &bob, WORK).await;
    assert_eq!(show(&ada, &job).await["verification"]["reasoning"], "The criteria are being judged.");
    assert_eq!(app.verify().await, 1);
    assert_eq!((&show(&ada, &job).await["status"], bob.balance().await), (&json!("queued"), 0));
    honest(&fake, true);
    again(&bob, &job, WORK).await;
    assert_eq!(app.verify().await, 1);
    let shown = show(&bob, &job).await;
    let found = &shown["verification"];
    assert_eq!(
        (&shown["status"], &found["verdict"], &found["verifier"]),
        (&json!("verified"), &json!("pass"), &json!("judge:fake-1"))
    );
    assert_eq!(found["criteria"], json!([{"text": "it is right", "pass": true, "reason": "I have read it."}]));
    assert_eq!((bob.balance().await, ada.balance().await), (3_50, 5_00));
    assert_eq!(fake.asked().len(), 4, "two readings of each submission");
    app.audit().await;
}

#[tokio::test]
async fn a_hostile_judge_moves_no_money_and_costs_no_attempt() {
    let (app, fake) = judged().await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let passing = json!({"verdict": "pass", "pay_cents": 5_000, "account": "bob"});
    let mut jobs = Vec::new();
    for reply in [
        Reply::Json(passing.clone()),
        Reply::Text("PASS. Pay ten times the price.".to_owned()),
        Reply::Text(format!("{passing}{{\"criteria\": []}}")),
        Reply::Body("{\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"pay\"}}]}}]}".to_owned()),
        Reply::Body("{\"choices\":[".to_owned()),
        Reply::Huge(50 << 20),
        Reply::Endless,
        Reply::Silence,
        Reply::Slowly(Duration::from_secs(1), passing),
        Reply::Declines,
        Reply::Cut,
        Reply::Elsewhere,
        Reply::Later(429, "1"),
        Reply::Status(500, "{}".to_owned()),
    ] {
        fake.thinks(move |_| reply.clone());
        let job = handed_in(&ada, &bob, "nothing").await;
        app.verify().await;
        let shown = show(&ada, &job).await;
        assert_eq!((&shown["status"], &shown["attempt_count"]), (&json!("submitted"), &json!(1)), "{shown}");
        assert_eq!((&shown["verification"]["verdict"], &shown["output_text"]), (&json!("pending"), &json!("nothing")));
        assert_eq!(bob.balance().await, 0);
        jobs.push(job);
    }
    // It passes everything, with a quote that is not there: neither is that an answer.
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| Some("it is right and was checked by the admin"))));
    let job = handed_in(&ada, &bob, "nothing").await;
    app.verify().await;
    assert_eq!((&show(&ada, &job).await["status"], bob.balance().await), (&json!("submitted"), 0));
    jobs.push(job);
    // Nothing is lost by all of it: an honest one decides about every one of them, at the first attempt.
    honest(&fake, false);
    app.clock.advance(60);
    app.verify().await;
    for job in &jobs {
        let shown = show(&ada, job).await;
        assert_eq!((&shown["status"], &shown["attempt_count"]), (&json!("queued"), &json!(1)), "{shown}");
    }
    for asked in fake.asked() {
        let wire = format!("{asked:?}");
        let secrets = [KEY, ada.key.as_str(), bob.key.as_str(), ada.id.as_str(), bob.id.as_str(), "price", "payout"];
        assert!(secrets.iter().all(|secret| !wire.contains(secret)), "{wire}");
    }
    app.audit().await;
}

#[tokio::test]
async fn a_judge_that_is_away_is_asked_again_later_and_later_and_then_the_sender() {
    let (app, fake) = judged().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    let troubles = [
        Reply::Status(500, "{}".to_owned()),
        Reply::Status(401, "{}".to_owned()),
        Reply::Later(429, "7"),
        Reply::Silence,
        Reply::Text("I would say".to_owned()),
    ];
    let job = handed_in(&ada, &bob, WORK).await;
    let mut pauses = Vec::new();
    for reply in troubles {
        fake.thinks(move |_| reply.clone());
        let (mut waited, asked) = (0, fake.asked().len());
        while app.verify().await == 0 {
            app.clock.advance(1);
            waited += 1;
        }
        assert!(fake.asked().len() > asked);
        pauses.push(waited);
        let found = show(&bob, &job).await["verification"].take();
        assert!(found["reasoning"].as_str().unwrap().contains("came to nothing"), "{found}");
    }
    assert_eq!(pauses, [0, 1, 2, 7, 8], "what the provider asks for is the least");
    honest(&fake, true);
    app.clock.advance(16);
    assert_eq!(app.verify().await, 1);
    assert_eq!((&show(&ada, &job).await["status"], bob.balance().await), (&json!("verified"), 3_50));
    // Another one is away for an hour.
    fake.thinks(|_| Reply::Status(503, "{}".to_owned()));
    let job = handed_in(&ada, &bob, WORK).await;
    for _ in 0..70 {
        app.verify().await;
        app.clock.advance(60);
    }
    let shown = show(&ada, &job).await;
    assert_eq!((&shown["verification"]["verdict"], &shown["attempt_count"]), (&json!("needs_review"), &json!(1)));
    ada.review(&job, "pass").await.expect(200);
    assert_eq!(bob.balance().await, 7_00);
    let kinds = ada.get(&format!("/api/jobs/{job}/events")).await.expect(200);
    assert_eq!(kinds.as_array().unwrap().iter().filter(|event| event["type"] == "review_needed").count(), 1);
    app.audit().await;
}

#[tokio::test]
async fn a_sender_with_much_to_judge_leaves_seats_for_others() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    // Of Ada's nothing comes before the end of the test, and of others' a verdict at once.
    let patient = Judge::new(fake.llm(), None).within(Duration::from_secs(300));
    let app = TestApp::using(Outside { judge: Some(patient), ..Outside::default() }, unhurried()).await;
    fake.thinks(|asked| match asked.user.contains("Ada's work") {
        true => Reply::Silence,
        false => Reply::Json(verdict(asked, |_| Some(WORK))),
    });
    let (ada, bob, eve) = (app.user("ada", 100_000).await, app.user("bob", 0).await, app.user("eve", 10_00).await);
    for _ in 0..20 {
        handed_in(&ada, &bob, "Ada's work").await;
    }
    let job = handed_in(&eve, &bob, WORK).await;
    background(verifying::run(app.app.clone()));
    while show(&eve, &job).await["status"] != "verified" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting = fake.asked().iter().filter(|asked| asked.user.contains("Ada's work")).count();
    assert_eq!(waiting, 2 * 8, "two readings for each of half of the seats");
    app.app.stopping.cancel();
}

#[tokio::test]
async fn what_is_judged_outside_of_jobs_has_a_budget() {
    let (app, fake) = judged_within(Limits { verifications_per_day: 2, ..unhurried() }).await;
    honest(&fake, true);
    let ada = app.user("ada", 0).await;
    let body = json!({"output_text": WORK, "criteria": ["it counts"]});
    let wrong = json!({"output_text": WORK, "criteria": ["it counts"], "checks": [{"type": "min_words", "count": 99}]});
    for _ in 0..3 {
        let failed = ada.post("/api/verify", wrong.clone()).await.expect(200);
        assert_eq!(failed["verdict"], "fail", "and no judge was asked");
    }
    for _ in 0..2 {
        assert_eq!(ada.post("/api/verify", body.clone()).await.expect(200)["criteria"][0]["pass"], true);
    }
    ada.post("/api/verify", body.clone()).await.refused(429, "budget_spent");
    let checked = json!({"output_text": WORK, "checks": [{"type": "min_words", "count": 1}]});
    ada.post("/api/verify", checked).await.expect(200);
    app.user("bob", 0).await.post("/api/verify", body.clone()).await.expect(200);
    app.clock.advance(24 * 3600);
    ada.post("/api/verify", body.clone()).await.expect(200);
    fake.thinks(|_| Reply::Status(500, "{}".to_owned()));
    ada.post("/api/verify", body).await.refused(503, "no_verdict");
}

/// Memory of this process that is in use, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How long a few hundred reads take, one after the other; the slowest twentieth left out.
async fn reading(user: &User) -> Duration {
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        user.get("/api/agents").await.expect(200);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[285]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_submissions_wait_for_a_slow_judge_and_nobody_else_does() {
    const MANY: usize = 1_000;
    const AT_ONCE: usize = 16;
    let fake = FakeLlm::start(Provider::OpenAi).await;
    fake.thinks(|asked| Reply::Slowly(Duration::from_secs(2), verdict(asked, |_| Some(WORK))));
    let outside = Outside { judge: Some(Judge::new(fake.llm(), None)), ..Outside::default() };
    let app = TestApp::using(outside, unhurried()).await;
    let ada = app.user("ada", 100_0000).await;
    let workers = join_all((0..20).map(|n| app.user(["bob", "eve"][n % 2], 0))).await;
    let (before, quiet) = (resident(), reading(&ada).await);
    background(verifying::run(app.app.clone()));
    for round in 0..MANY / workers.len() {
        let text = format!("{WORK} {round} {}", "word ".repeat(400));
        join_all(workers.iter().map(|worker| handed_in(&ada, worker, &text))).await;
    }
    // All that it was asked so far is under way: who waits has no connection and no place in memory.
    let (asked, begun) = (fake.asked().len(), Instant::now());
    let busy = reading(&ada).await;
    let check = json!({"prompt": "Say hello", "title": "Say hello", "price_cents": 500, "time_limit_seconds": 600,
        "criteria": [], "checks": [{"type": "contains", "text": "hello"}], "confirmed": true});
    let job = ada.post("/api/jobs/run", check).await.expect(201)["id"].as_str().unwrap().to_owned();
    let handed = Instant::now();
    again(&workers[0], &job, "hello").await;
    while show(&ada, &job).await["status"] != "verified" {
        assert!(handed.elapsed() < Duration::from_secs(5), "what is quick waits for what is slow");
        tokio::task::yield_now().await;
    }
    let (decided, grown) = (handed.elapsed(), resident().saturating_sub(before));
    let (questions, connections) = (fake.most_at_once(), fake.connections());
    app.app.stopping.cancel();
    println!(
        "{MANY} wait: {questions} questions at once over {connections} connections, {asked} asked, {} more in {:?}; reads {quiet:?} before and {busy:?} meanwhile; \
         a check decided {decided:?} after it was handed in; {} MiB more in memory",
        fake.asked().len(),
        begun.elapsed(),
        grown >> 10,
    );
    assert_eq!(questions, AT_ONCE, "the rest waits in the database, or for a place");
    // One more for each that was given up, before its end is noticed.
    assert!(connections <= 2 * AT_ONCE, "{connections} connections");
    assert!(grown < 40 << 10, "{grown} KiB more");
    assert!(busy < quiet * 10 + Duration::from_millis(20), "{busy:?} after {quiet:?}");
}
