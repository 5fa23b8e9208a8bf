//! Verification by real servers: one that dies or stops with a submission in hand is followed by another.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exchange::{Exchange, Server, User};

/// For how long a test's command is under way, in seconds: by which its process is known, too.
type Seconds = &'static str;

/// A server whose sandbox has been tried: until then it leaves commands to others.
fn ready(server: &Server, exchange: &Exchange, user: &User) {
    let checked = server.json(exchange, user, &["verify", "-t", "x", "--check", "command:true"]);
    assert_eq!(checked["verdict"], "pass", "{checked}");
}

/// A job whose check is under way on the server; its id.
fn under_way(server: &Server, exchange: &Exchange, [ada, bob]: [&User; 2], seconds: Seconds) -> String {
    let slow = format!("command:echo begun; sleep {seconds}; echo ended");
    let run = ["run", "Say hello", "--price", "500", "--no-criteria", "--check", &slow, "-y"];
    let job = server.json(exchange, ada, &run)["id"].as_str().unwrap().to_owned();
    for command in [["claim", &job].as_slice(), &["accept"], &["submit", "-t", "hello"]] {
        let done = server.command(exchange, bob, command).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    until("the command is under way", Duration::from_secs(20), || !processes(seconds).is_empty());
    job
}

/// The processes that such a command has started.
fn processes(seconds: Seconds) -> Vec<String> {
    let command = format!("sleep\0{seconds}\0");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let is_ours = |id: &String| {
        std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.starts_with(command.as_bytes()))
    };
    all.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_ours).collect()
}

#[expect(clippy::disallowed_methods, reason = "other processes are waited for")]
fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

fn verdict(server: &Server, exchange: &Exchange, user: &User, job: &str, within: Duration) -> (Value, Duration) {
    let mut shown = Value::Null;
    let took = until("there is a verdict", within, || {
        shown = server.json(exchange, user, &["show", job]);
        shown["status"] != "submitted"
    });
    (shown, took)
}

/// One verdict, one payment, and the log of both who looked.
fn assert_decided_once(server: &Server, exchange: &Exchange, [ada, bob]: [&User; 2], job: &Value) {
    assert_eq!((&job["status"], &job["attempt_count"]), (&"verified".into(), &1.into()), "{job}");
    assert_eq!(job["verification"]["checks"][0]["pass"], true, "{job}");
    let balance = server.json(exchange, bob, &["balance"]);
    assert_eq!(balance["balance_cents"], 350);
    let log = server.command(exchange, ada, &["logs", job["id"].as_str().unwrap()]).output().unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    assert_eq!((log.matches("  ended").count(), log.matches("pass: The check passed.").count()), (1, 1), "{log}");
    assert!(log.matches("  begun").count() >= 1, "{log}");
    exchange.audit();
}

/// Commands cannot be run everywhere; where the tests must be whole, they must.
fn without_sandbox(exchange: &Exchange) -> bool {
    let tried = exchange.command(["doctor", "--sandbox"]).output().unwrap();
    let must = crate::exchange::variable("REQUIRE_SANDBOX").is_some();
    assert!(tried.status.success() || !must, "{}", String::from_utf8_lossy(&tried.stdout));
    !tried.status.success()
}

#[tokio::test]
async fn a_node_killed_in_the_middle_of_a_verification_is_followed_by_another() {
    let Some(exchange) = Exchange::postgres().await else { return };
    let exchange = exchange.with("CLAWRK_SANDBOX", "auto");
    if without_sandbox(&exchange) {
        return;
    }
    let (ada, bob) = (exchange.user("ada", 10_00), exchange.user("bob", 0));
    let first = exchange.serve();
    ready(&first, &exchange, &ada);
    // The other one comes when the first one has it in hand.
    let job = under_way(&first, &exchange, [&ada, &bob], "4.0625");
    let second = exchange.serve();
    ready(&second, &exchange, &ada);
    assert!(!processes("4.0625").is_empty(), "it is still under way");
    first.kill();
    until("nothing of the dead node's command is left", Duration::from_secs(2), || processes("4.0625").is_empty());
    let (shown, took) = verdict(&second, &exchange, &ada, &job, Duration::from_secs(30));
    println!("decided {took:?} after the death of the node that had it in hand");
    assert_decided_once(&second, &exchange, [&ada, &bob], &shown);
}

#[tokio::test]
async fn a_node_that_stops_gives_its_verifications_away_at_once() {
    let Some(exchange) = Exchange::postgres().await else { return };
    let exchange = exchange.with("CLAWRK_SANDBOX", "auto");
    if without_sandbox(&exchange) {
        return;
    }
    let (ada, bob) = (exchange.user("ada", 10_00), exchange.user("bob", 0));
    let first = exchange.serve();
    ready(&first, &exchange, &ada);
    let job = under_way(&first, &exchange, [&ada, &bob], "4.0626");
    let second = exchange.serve();
    ready(&second, &exchange, &ada);
    let (code, log) = first.stop();
    assert_eq!(code, Some(0), "{log}");
    // Its own time, and no lease that has to run out.
    let (shown, took) = verdict(&second, &exchange, &ada, &job, Duration::from_secs(9));
    println!("decided {took:?} after the stop of the node that had it in hand");
    assert_decided_once(&second, &exchange, [&ada, &bob], &shown);
}

#[test]
fn a_server_killed_in_the_middle_of_a_verification_finishes_it_when_it_is_back() {
    let exchange = Exchange::sqlite().with("CLAWRK_SANDBOX", "auto");
    if without_sandbox(&exchange) {
        return;
    }
    let (ada, bob) = (exchange.user("ada", 10_00), exchange.user("bob", 0));
    let first = exchange.serve();
    ready(&first, &exchange, &ada);
    let job = under_way(&first, &exchange, [&ada, &bob], "4.0627");
    first.kill();
    until("nothing of the dead server's command is left", Duration::from_secs(2), || processes("4.0627").is_empty());
    let again = exchange.serve();
    let (shown, took) = verdict(&again, &exchange, &ada, &job, Duration::from_secs(30));
    println!("decided {took:?} after the start");
    assert_decided_once(&again, &exchange, [&ada, &bob], &shown);
}
