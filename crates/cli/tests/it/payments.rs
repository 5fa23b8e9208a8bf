//! `kill -9` at every step of a payout, and on the acknowledgement of notices: whoever comes after pays and credits once.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::exchange::{Exchange, Server, User};
use crate::fake_stripe::Fault::{ActsAndHangs, Hangs, HangsUp, IsSlow};
use crate::fake_stripe::{FakeStripe, SECRET_KEY, WEBHOOK_SECRET};

const TRANSFERS: &str = "POST /v1/transfers";
/// So many payouts are under way at once on a node: whatever comes then waits, and is not marked as sent.
const SEATS: usize = 8;
/// A busy machine, leases that run out, and the pauses between tries.
const PATIENCE: Duration = Duration::from_secs(120);

/// An exchange that pays by the fake.
pub(crate) fn paying(exchange: Exchange) -> (Exchange, FakeStripe) {
    // The time, as the folder's own file system has it.
    let made = std::fs::metadata(exchange.folder()).unwrap().modified().unwrap();
    let now = made.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let stripe = FakeStripe::start(i64::try_from(now).unwrap());
    let exchange = exchange
        .with("CLAWRK_STRIPE_SECRET_KEY", SECRET_KEY)
        .with("CLAWRK_STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .with("CLAWRK_STRIPE_API_URL", stripe.url.clone());
    (exchange, stripe)
}

fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap()
}

async fn asked(server: &Server, user: &User, path: &str, body: Option<&Value>) -> Value {
    let (client, url) = (client(), format!("{}{path}", server.url));
    let request = match body {
        Some(body) => client.post(url).header("content-type", "application/json").body(body.to_string()),
        None => client.get(url),
    };
    let answer = request.header("authorization", format!("Bearer {}", user.key)).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn connect(server: &Server, user: &User, stripe: &FakeStripe) {
    asked(server, user, "/api/stripe/connect", Some(&json!({}))).await;
    stripe.activate(&stripe.newest("account"), true);
    let status = asked(server, user, "/api/stripe/connect/status", None).await;
    assert_eq!(status["status"], "active");
}

async fn withdraw(server: &Server, user: &User, cents: i64) {
    asked(server, user, "/api/wallet/withdraw", Some(&json!({"amount_cents": cents}))).await;
}

/// How many of the user's payments are like this.
async fn many(server: &Server, user: &User, status: &str) -> usize {
    let payments = asked(server, user, "/api/wallet/payments?limit=200", None).await;
    payments.as_array().unwrap().iter().filter(|payment| payment["status"] == status).count()
}

/// Waits until something holds.
macro_rules! until {
    ($what:literal, $holds:expr) => {
        let begun = Instant::now();
        while !$holds {
            assert!(begun.elapsed() < PATIENCE, "{}: not within {PATIENCE:?}", $what);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
}

/// Everybody was paid once, and the books are the same.
async fn assert_paid_once(exchange: &Exchange, server: &Server, user: &User, stripe: &FakeStripe, cents: &[i64]) {
    let balance = asked(server, user, "/api/wallet/balance", None).await;
    assert_eq!(balance["balance_cents"], 100_000 - cents.iter().sum::<i64>());
    exchange.audit();
    let books = stripe.books();
    let transfers = books.objects.get("transfer").into_iter().flatten();
    let mut paid: Vec<i64> = transfers.clone().map(|transfer| transfer["amount"].as_i64().unwrap()).collect();
    let mut groups: Vec<&str> = transfers.map(|transfer| transfer["transfer_group"].as_str().unwrap()).collect();
    paid.sort_unstable();
    groups.sort_unstable();
    groups.dedup();
    assert_eq!((paid.as_slice(), groups.len()), (cents, cents.len()));
    assert_eq!(books.wrong, Vec::<String>::new());
}

/// Payouts at each step when their node is killed: not marked as sent; marked and not at Stripe; under way there, and
/// done after the node's death; done, and not reported. Another node, or the next start, goes on.
async fn survives(exchange: Exchange, has_second_node: bool) {
    let (exchange, stripe) = paying(exchange);
    let ada = exchange.user("ada", 100_000);
    let first = exchange.serve();
    connect(&first, &ada, &stripe).await;
    let steps = [Hangs, Hangs, Hangs, ActsAndHangs, ActsAndHangs, ActsAndHangs, IsSlow, IsSlow];
    assert_eq!(steps.len(), SEATS);
    let mut cents = Vec::new();
    for (at, fault) in steps.into_iter().enumerate() {
        stripe.fault(TRANSFERS, fault);
        cents.push(500 + at as i64);
        withdraw(&first, &ada, cents[at]).await;
        until!("the call is under way", stripe.count(TRANSFERS) == at + 1);
    }
    // Nobody is free to mark these.
    for _ in 0..3 {
        cents.push(500 + cents.len() as i64);
        withdraw(&first, &ada, *cents.last().unwrap()).await;
    }
    until!("what Stripe does before it answers is done", stripe.books().paid_out() == 503 + 504 + 505);
    assert_eq!((stripe.count(TRANSFERS), many(&first, &ada, "pending").await), (SEATS, 11));
    let second = has_second_node.then(|| exchange.serve());
    if let Some(second) = &second {
        // The second node takes what nobody has marked, and leaves what is leased.
        until!("what waited is paid", many(second, &ada, "paid").await == 3);
    }
    first.kill();
    let next = second.unwrap_or_else(|| exchange.serve());
    until!("all are paid but those under way", many(&next, &ada, "paid").await == 9);
    assert_eq!(many(&next, &ada, "pending").await, 2);
    stripe.release();
    until!("all are paid", many(&next, &ada, "paid").await == 11);
    assert_paid_once(&exchange, &next, &ada, &stripe, &cents).await;
}

#[tokio::test]
async fn a_payout_whose_server_is_killed_at_any_step_is_paid_once_on_sqlite() {
    survives(Exchange::sqlite(), false).await;
}

#[tokio::test]
async fn a_payout_whose_node_is_killed_at_any_step_is_paid_once_on_postgresql() {
    let Some(exchange) = Exchange::postgres().await else { return };
    survives(exchange, true).await;
}

#[tokio::test]
async fn payouts_of_a_server_that_is_killed_at_random_moments_are_paid_once() {
    let (exchange, stripe) = paying(Exchange::sqlite());
    let ada = exchange.user("ada", 100_000);
    let mut server = exchange.serve();
    connect(&server, &ada, &stripe).await;
    let mut cents = Vec::new();
    for round in 0..8 {
        for fault in [HangsUp, ActsAndHangs].into_iter().take(round % 3) {
            stripe.fault(TRANSFERS, fault);
        }
        for _ in 0..4 {
            cents.push(500 + cents.len() as i64);
            withdraw(&server, &ada, *cents.last().unwrap()).await;
        }
        // From at once to when the first are paid.
        let moment = clawrk_server::random::seed() % 40;
        tokio::time::sleep(Duration::from_millis(u64::try_from(moment).unwrap())).await;
        server.kill();
        server = exchange.serve();
    }
    until!("all are paid", many(&server, &ada, "paid").await == cents.len());
    assert_paid_once(&exchange, &server, &ada, &stripe, &cents).await;
}

#[tokio::test]
async fn a_notice_that_was_acknowledged_is_worked_off_after_a_kill() {
    let (exchange, stripe) = paying(Exchange::sqlite());
    let ada = exchange.user("ada", 0);
    let mut server = exchange.serve();
    for round in 1..=5 {
        let page = asked(&server, &ada, "/api/wallet/topup", Some(&json!({"amount_cents": 1000}))).await;
        stripe.pay(&stripe.session_at(page["url"].as_str().unwrap()));
        for notice in stripe.notices() {
            let (body, signature) = stripe.signed(&notice);
            let url = format!("{}/api/stripe/webhook", server.url);
            let told = client().post(url).header("stripe-signature", signature).body(body).send().await.unwrap();
            assert_eq!(told.status(), 200);
        }
        // At once: 200 was sent after it was kept.
        server.kill();
        server = exchange.serve();
        let balance = async || asked(&server, &ada, "/api/wallet/balance", None).await["balance_cents"].clone();
        until!("it is credited", balance().await == 1000 * round);
    }
    exchange.audit();
    assert_eq!(stripe.books().paid_in(), 5000);
}

/// Notices of top-ups and refunds, each told three times, in any order, at any node. Once in a while a node is killed on
/// an acknowledgement; whatever was not acknowledged is told again, as Stripe does.
async fn notices_count_once(exchange: Exchange, nodes: usize, pages: usize) {
    let (exchange, stripe) = paying(exchange);
    let users: Vec<User> = (0..10).map(|n| exchange.user(&format!("user {n}"), 0)).collect();
    let mut servers: Vec<Option<Server>> = (0..nodes).map(|_| Some(exchange.serve())).collect();
    let pays_in = async |(whose, user): (usize, &User)| {
        let mut expected = 0;
        for page in (whose..pages).step_by(users.len()) {
            let (amount, server) = (500 + page as i64, servers[page % nodes].as_ref().unwrap());
            let made = asked(server, user, "/api/wallet/topup", Some(&json!({"amount_cents": amount}))).await;
            let intent = stripe.pay(&stripe.session_at(made["url"].as_str().unwrap()));
            expected += amount;
            if page % 9 == 0 {
                stripe.refund(&intent, amount / 2);
                expected -= amount / 2;
            }
        }
        expected
    };
    let expected = join_all(users.iter().enumerate().map(pays_in)).await;
    let seed = clawrk_server::random::seed() as u64;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let notices = stripe.notices();
    let mut left: Vec<&Value> = notices.iter().chain(&notices).chain(&notices).collect();
    for at in (1..left.len()).rev() {
        left.swap(at, dice.roll(at as u64 + 1) as usize);
    }
    let told = left.len();
    let (mut took, mut kills) = (Vec::new(), 0);
    while !left.is_empty() {
        // A part of them, until whose somewhere a node dies.
        let some: Vec<(&Value, usize)> =
            left.drain(..left.len().min(told / 8)).map(|notice| (notice, dice.roll(nodes as u64) as usize)).collect();
        let (victim, moment) = (dice.roll(nodes as u64) as usize, some.len() / 2);
        let urls: Vec<String> = servers.iter().map(|server| server.as_ref().unwrap().url.clone()).collect();
        let (queue, client) = (Mutex::new(VecDeque::from(some)), client());
        let (acknowledged, again) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let dying = Mutex::new(servers[victim].take());
        let tell = async || {
            while let Some((notice, node)) = { queue.lock().unwrap().pop_front() } {
                let (body, signature) = stripe.signed(notice);
                let begun = Instant::now();
                let url = format!("{}/api/stripe/webhook", urls[node]);
                let told = client.post(url).header("stripe-signature", signature).body(body).send().await;
                if !told.is_ok_and(|answer| answer.status() == 200) {
                    again.lock().unwrap().push(notice);
                    continue;
                }
                let mut acknowledged = acknowledged.lock().unwrap();
                acknowledged.push(begun.elapsed());
                if acknowledged.len() >= moment
                    && let Some(server) = dying.lock().unwrap().take()
                {
                    server.kill();
                }
            }
        };
        join_all((0..16).map(|_| tell())).await;
        took.extend(acknowledged.into_inner().unwrap());
        left.extend(again.into_inner().unwrap());
        servers[victim] = Some(dying.into_inner().unwrap().unwrap_or_else(|| {
            kills += 1;
            exchange.serve()
        }));
    }
    let first = servers[0].as_ref().unwrap();
    for (user, expected) in users.iter().zip(&expected) {
        until!(
            "what was told is in the wallet",
            asked(first, user, "/api/wallet/balance", None).await["balance_cents"] == *expected
        );
    }
    took.sort_unstable();
    let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!(
        "{} notices told {told} times, {kills} kills: {median:?} in the middle, {p99:?} for 99 of 100",
        notices.len()
    );
    exchange.audit();
    assert_eq!((stripe.books().paid_in(), took.len()), (expected.iter().sum(), told));
    assert_eq!(stripe.books().wrong, Vec::<String>::new());
}

#[tokio::test]
async fn notices_told_three_times_to_a_server_that_is_killed_are_each_credited_once() {
    notices_count_once(Exchange::sqlite(), 1, 90).await;
}

#[tokio::test]
async fn a_thousand_notices_told_three_times_over_three_nodes_that_are_killed_are_each_credited_once() {
    let Some(exchange) = Exchange::postgres().await else { return };
    notices_count_once(exchange, 3, 475).await;
}
