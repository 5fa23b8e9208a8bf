//! What is verified outside of any job, beside others: how much of it at once, and what remains of whoever goes away.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use clawrk_server::app::Outside;
use clawrk_server::config::Provider;
use clawrk_server::edge::Limits;
use clawrk_server::outside::sandbox::SandboxSetting;
use clawrk_server::serve;
use clawrk_server::verify::{Commands, Judge};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::fake_llm::{FakeLlm, Reply};
use crate::judge::verdict;
use crate::support::{TestApp, User, background, unhurried};

/// Nothing here may take this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox; none where the tests may do without.
pub async fn sandbox() -> Option<Commands> {
    let commands = Commands::new(SandboxSetting::Auto);
    if let Err(why) = commands.sandbox().await {
        #[expect(clippy::disallowed_methods, reason = "a switch of this test")]
        let must = std::env::var_os("REQUIRE_SANDBOX").is_some();
        assert!(!must, "{why}");
        return None;
    }
    Some(commands)
}

/// The processes of this machine whose program or argument is this.
pub fn with_argument(argument: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |id: &u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    ids.filter(has).collect()
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it never came to this: {what}"));
}

fn with_checks(checks: &Value) -> Value {
    json!({"output_text": "hello", "checks": checks})
}

fn quick() -> Value {
    with_checks(&json!([{"type": "contains", "text": "hello"}]))
}

/// What takes longer than the test does.
fn slow(seconds: &str) -> Value {
    let run = format!("setsid sleep {seconds} & sleep {seconds}");
    with_checks(&json!([{"type": "command", "run": run, "timeout_seconds": 300}]))
}

/// Asks over a connection of its own, which is all that there is of this client.
async fn asked(address: SocketAddr, user: &User, accept: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let head = format!(
        "POST /api/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Accept: {accept}\r\nContent-Length: {}\r\n\r\n",
        user.key,
        body.len()
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all((head + &body).as_bytes()).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_away_ends_their_command_and_gives_seat_and_turn_back() {
    let Some(commands) = sandbox().await else { return };
    let app = TestApp::using(Outside { commands, ..Outside::default() }, unhurried()).await;
    let ada = app.user("ada", 0).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve::serve(app.app.clone(), listener, std::future::pending());
    let test = async {
        for (accept, [first, second]) in
            [("application/json", ["86401.25", "86402.25"]), ("text/event-stream", ["86403.25", "86404.25"])]
        {
            let client = asked(address, &ada, accept, &slow(first)).await;
            until("the first command runs", async || with_argument(first).len() >= 2).await;
            let mut seats = join_all((0..3).map(|_| seated(&ada, slow(second)))).await;
            is_refused(&ada, &quick()).await;
            // Another has a seat, and waits for the one turn that there is.
            let next = background(seats.pop().unwrap().into_body().collect());
            sleep(Duration::from_millis(300)).await;
            assert_eq!(with_argument(second).len(), 0);
            drop(client);
            until("the command is killed with all that it started", async || with_argument(first).is_empty()).await;
            until("its turn is another's", async || with_argument(second).len() >= 2).await;
            until("its seat is free", async || ada.post("/api/verify", quick()).await.status == 200).await;
            next.abort();
            assert!(next.await.unwrap_err().is_cancelled());
            until("that one is killed, too", async || with_argument(second).is_empty()).await;
            // Each seat came back once.
            seats.extend(join_all((0..2).map(|_| seated(&ada, quick()))).await);
            is_refused(&ada, &quick()).await;
        }
    };
    tokio::select! {
        ended = serving => panic!("the server ended: {ended:?}"),
        () = test => {}
    }
}

/// Takes a seat: it is had until this is dropped, since nobody reads the answer.
async fn seated(user: &User, body: Value) -> Response<Body> {
    let body = Some(body.to_string().into_bytes());
    let answer = user.begin("POST", "/api/verify", body, &[("accept", "text/event-stream")]).await;
    assert_eq!(answer.status(), 200);
    answer
}

/// Whether there is no seat, however it is asked for.
async fn is_refused(user: &User, body: &Value) {
    for accept in ["application/json", "text/event-stream"] {
        let bytes = Some(body.to_string().into_bytes());
        let refused = user.send("POST", "/api/verify", bytes, &[("accept", accept)]).await;
        assert_eq!(refused.headers["retry-after"], "5");
        refused.refused(503, "too_busy");
    }
}

#[tokio::test]
async fn nobody_has_more_than_four_seats_and_there_are_sixteen() {
    let app = TestApp::new().await;
    let users = join_all(["ada", "bob", "cyd", "dan", "eve"].map(|name| app.user(name, 0))).await;
    let [ada, bob, .., eve] = &users[..] else { unreachable!() };
    let mut seats = join_all((0..4).map(|_| seated(ada, quick()))).await;
    is_refused(ada, &quick()).await;
    assert_eq!(bob.post("/api/verify", quick()).await.expect(200)["verdict"], "pass", "it is not bob's who has them");
    for user in &users[1..4] {
        seats.extend(join_all((0..4).map(|_| seated(user, quick()))).await);
        is_refused(user, &quick()).await;
    }
    is_refused(eve, &quick()).await;
    // One of ada's is given back: it is anybody's.
    seats.remove(0);
    seats.push(seated(eve, quick()).await);
    is_refused(ada, &quick()).await;
    is_refused(eve, &quick()).await;
    drop(seats);
    for user in &users {
        user.post("/api/verify", quick()).await.expect(200);
    }
}

#[tokio::test]
async fn whoever_finds_no_seat_pays_nothing_of_the_days_budget_for_it() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| Some("hello"))));
    let outside = Outside { judge: Some(Judge::new(fake.llm(), None)), ..Outside::default() };
    let app = TestApp::using(outside, Limits { verifications_per_day: 5, ..unhurried() }).await;
    let ada = app.user("ada", 0).await;
    let judged = json!({"output_text": "hello", "criteria": ["it greets"]});
    let seats = join_all((0..4).map(|_| seated(&ada, judged.clone()))).await;
    is_refused(&ada, &judged).await;
    drop(seats);
    for _ in 0..5 {
        assert_eq!(ada.post("/api/verify", judged.clone()).await.expect(200)["verdict"], "pass");
    }
    ada.post("/api/verify", judged).await.refused(429, "budget_spent");
}
