//! `kill -9` at every step of a payout, and on the acknowledgement of a notice: whoever comes after pays once.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::exchange::{Exchange, Server, User};
use crate::fake_stripe::Fault::{ActsAndHangs, Hangs, HangsUp, IsSlow};
use crate::fake_stripe::{FakeStripe, SECRET_KEY, WEBHOOK_SECRET};

const TRANSFERS: &str = "POST /v1/transfers";
/// So many payouts are under way at once on a node: whatever comes then waits, and is not marked as sent.
const SEATS: usize = 8;
/// A busy machine, leases that run out, and the pauses between tries.
const PATIENCE: Duration = Duration::from_secs(120);

/// An exchange that pays by the fake.
fn paying(exchange: Exchange) -> (Exchange, FakeStripe) {
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
