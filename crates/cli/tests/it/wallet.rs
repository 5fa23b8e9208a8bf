//! Money in and out through the real binary, with a Stripe that does what it is told and nothing else.

use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Json, Router, body};
use serde_json::{Value, json};

use crate::exchange::{Exchange, Server, User};

/// What this Stripe has, and how it behaves.
#[derive(Default)]
struct Books {
    sessions: Vec<Value>,
    transfers: Vec<Value>,
    events: Vec<Value>,
    /// Connected accounts have all that is asked of them.
    is_active: bool,
    /// It breaks over every payout, and makes none.
    breaks: bool,
}

struct FakeStripe {
    books: Arc<Mutex<Books>>,
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl FakeStripe {
    fn start() -> Self {
        let (runtime, books) = (tokio::runtime::Runtime::new().unwrap(), Arc::new(Mutex::new(Books::default())));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&books));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { books, url, _runtime: runtime }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Remembers that something happened, and tells nobody.
    fn remember(&self, kind: &str, object: &Value) {
        let (mut books, now) = (self.books(), jiff::Timestamp::UNIX_EPOCH.as_second());
        let id = format!("evt_{}", books.events.len() + 1);
        let event = json!({"id": id, "type": kind, "created": now, "livemode": false, "data": {"object": object}});
        books.events.insert(0, event);
    }

    /// An exchange that is paid through it, its server, and Ada.
    fn exchange(&self, cents: i64) -> (Exchange, Server, User) {
        let exchange = Exchange::sqlite()
            .with("CLAWRK_STRIPE_SECRET_KEY", "sk_test_1")
            .with("CLAWRK_STRIPE_WEBHOOK_SECRET", "whsec_1")
            .with("CLAWRK_STRIPE_API_URL", &self.url);
        let server = exchange.serve();
        let ada = exchange.user("ada", cents);
        (exchange, server, ada)
    }
}

async fn answer(State(books): State<Arc<Mutex<Books>>>, request: Request) -> (StatusCode, Json<Value>) {
    let (head, body) = request.into_parts();
    let body = body::to_bytes(body, 1 << 20).await.unwrap();
    let sent = reqwest::Url::parse(&format!("http://x/?{}", std::str::from_utf8(&body).unwrap())).unwrap();
    let field = |name: &str| sent.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let mut books = books.lock().unwrap();
    let list = |data: &[Value]| json!({"object": "list", "data": data, "has_more": false});
    let answer = match (head.method.as_str(), head.uri.path()) {
        ("POST", "/v1/customers") => json!({"id": "cus_1"}),
        ("POST", "/v1/checkout/sessions") => {
            let id = format!("cs_{}", books.sessions.len() + 1);
            let amount = field("line_items[0][price_data][unit_amount]").map(|cents| cents.parse::<i64>().unwrap());
            let session = json!({"id": id, "url": format!("https://checkout.example/{id}"), "mode": field("mode"),
                "payment_status": "unpaid", "amount_total": amount, "currency": "usd", "payment_intent": null,
                "client_reference_id": field("client_reference_id"),
                "metadata": {"clawrk_payment": field("metadata[clawrk_payment]").unwrap_or_default()}});
            books.sessions.push(session.clone());
            session
        }
        ("POST", "/v1/accounts") => json!({"id": "acct_1"}),
        ("POST", "/v1/account_links") => json!({"url": "https://connect.example/acct_1"}),
        ("GET", "/v1/accounts/acct_1") => {
            let state = if books.is_active { "active" } else { "pending" };
            json!({"id": "acct_1", "payouts_enabled": books.is_active, "capabilities": {"transfers": state}})
        }
        ("POST", "/v1/transfers") if books.breaks => {
            return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": {"type": "api_error"}})));
        }
        ("POST", "/v1/transfers") => {
            let id = format!("tr_{}", books.transfers.len() + 1);
            let transfer = json!({"id": id, "amount": field("amount").unwrap().parse::<i64>().unwrap(),
                "currency": "usd", "destination": field("destination"), "transfer_group": field("transfer_group")});
            books.transfers.push(transfer.clone());
            transfer
        }
        ("GET", "/v1/transfers") => {
            let asked = head.uri.query().unwrap_or_default();
            let of_group = |transfer: &&Value| asked.contains(transfer["transfer_group"].as_str().unwrap());
            list(&books.transfers.iter().filter(of_group).cloned().collect::<Vec<_>>())
        }
        ("GET", "/v1/events") => list(&books.events),
        ("GET", "/v1/balance") => {
            json!({"available": [{"amount": 1500, "currency": "usd"}], "pending": []})
        }
        _ => return (StatusCode::NOT_FOUND, Json(json!({"error": {"type": "invalid_request_error"}}))),
    };
    (StatusCode::OK, Json(answer))
}

/// What comes of it, asked for again and again.
#[track_caller]
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        wait_a_moment();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is at work")]
fn wait_a_moment() {
    std::thread::sleep(Duration::from_millis(50));
}

fn begun(mut command: std::process::Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The exit code, and all that was said.
fn said(output: &Output) -> (i32, String) {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn money_comes_in_and_goes_out_and_the_books_are_compared() {
    let stripe = FakeStripe::start();
    let (exchange, server, ada) = stripe.exchange(0);
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        said(&server.command(&exchange, &ada, &words).output().unwrap())
    };
    let reconciled = || exchange.command(["admin", "reconcile", "--json"]).output().unwrap();

    let waiting = begun(server.command(&exchange, &ada, &["wallet", "topup", "20.00"]));
    let mut session = eventually("there is a page", || stripe.books().sessions.first().cloned());
    session["payment_status"] = "paid".into();
    // Nobody tells the exchange: it hears of it when the books are compared.
    stripe.remember("checkout.session.completed", &session);
    let found: Value = serde_json::from_slice(&reconciled().stdout).unwrap();
    assert_eq!(found["missed"], json!(["checkout.session.completed evt_1"]));
    let (code, text) = said(&waiting.wait_with_output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("https://checkout.example/cs_1\n$20.00 paid in.\n"), "{text}");

    let (code, text) = run("wallet withdraw 5.00 -y");
    assert_eq!(code, 1);
    assert!(text.contains("not_connected") && text.contains("hint: `clawrk wallet connect` sets up"), "{text}");
    let (code, text) = run("wallet connect --no-wait");
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("https://connect.example/acct_1\n"), "{text}");
    assert!(run("wallet connect status").1.starts_with("pending\n"));
    stripe.books().is_active = true;
    assert!(run("wallet connect status").1.starts_with("active\n"));
    let (code, text) = run("wallet withdraw 25.00 -y");
    assert_eq!(code, 4, "{text}");
    let (code, text) = run("wallet withdraw 5.00 -y");
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("$5.00 paid out.\n"), "{text}");
    let payments = server.json(&exchange, &ada, &["wallet", "payments"]);
    let brief = |n: usize| (payments[n]["kind"].as_str().unwrap(), payments[n]["status"].as_str().unwrap());
    assert_eq!((brief(0), brief(1)), (("withdrawal", "paid"), ("topup", "paid")));
    let id = payments[0]["id"].as_str().unwrap();
    assert!(run(&format!("wallet payments {id}")).1.starts_with("$5.00 withdrawal  paid\n"));

    // Stripe has not told of the payout.
    let (code, text) = said(&reconciled());
    assert!(code == 1 && text.contains("is paid here, and Stripe tells nothing of it"), "{text}");
    let transfer = stripe.books().transfers[0].clone();
    stripe.remember("transfer.created", &transfer);
    let found = reconciled();
    assert_eq!(found.status.code(), Some(0), "{}", said(&found).1);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["paid_in_cents"], json!({"ledger": 2000, "stripe": 2000}));
    assert_eq!(found["paid_out_cents"], json!({"ledger": 500, "stripe": 500}));
    assert_eq!(found["balance_cents"], json!({"available": 1500, "pending": 0}));
    // What was begun before the span is none of its sums, and no stranger either.
    let later = ["admin", "reconcile", "--json", "--since", payments[0]["updated_at"].as_str().unwrap()];
    let found = exchange.json(later);
    assert_eq!(found["paid_in_cents"], json!({"ledger": 0, "stripe": 0}));
    assert_eq!(found["differences"], json!([]));
    // A second payout for the same withdrawal is what must never be.
    let mut twin = transfer;
    twin["id"] = "tr_2".into();
    stripe.remember("transfer.created", &twin);
    let (code, text) = said(&exchange.command(["admin", "reconcile"]).output().unwrap());
    assert_eq!(code, 1);
    let twice = "is $5.00 here and $10.00 at Stripe (tr_1, tr_2)";
    assert!(text.contains(twice), "{text}");
    let (code, text) = said(&exchange.command(later).output().unwrap());
    assert!(code == 1 && text.contains(twice), "{text}");
    exchange.audit();
}

#[test]
fn what_nobody_knows_the_outcome_of_is_shown_to_the_operator_who_says_it() {
    let stripe = FakeStripe::start();
    let (exchange, server, ada) = stripe.exchange(2000);
    stripe.books().is_active = true;
    stripe.books().breaks = true;
    let run = |words: &[&str]| said(&server.command(&exchange, &ada, words).output().unwrap());
    assert_eq!(run(&["wallet", "connect", "--no-wait"]).0, 0);
    assert_eq!(run(&["wallet", "connect", "status"]).0, 0);
    let (code, text) = run(&["wallet", "auto-topup", "on", "--amount", "20.00", "--below", "5.00"]);
    assert!(code == 1 && text.contains("hint: `clawrk wallet card` saves one"), "{text}");
    assert!(run(&["wallet", "card", "--no-wait"]).1.starts_with("https://checkout.example/cs_1\n"));

    let waiting = begun(server.command(&exchange, &ada, &["wallet", "withdraw", "5.00", "-y"]));
    let parked = || {
        let parked = exchange.json(["admin", "payments", "--json"])["payments"].clone();
        parked.as_array().unwrap().first().cloned()
    };
    let payment = eventually("it is parked", parked);
    assert_eq!((&payment["kind"], &payment["user"]), (&json!("withdrawal"), &json!("ada")));
    assert_eq!((&payment["amount_cents"], &payment["status"]), (&json!(500), &json!("parked")));
    let audit = exchange.json(["admin", "audit", "--json"]);
    assert_eq!((&audit["in_transit_cents"], &audit["losses_cents"]), (&json!(500), &json!(0)));
    let (_, listed) = said(&exchange.command(["admin", "payments"]).output().unwrap());
    assert!(listed.contains("it answered 500"), "{listed}");

    let id = payment["id"].as_str().unwrap();
    let resolve = |more: &[&str]| {
        let words = ["admin", "payments", "resolve", id].into_iter().chain(more.iter().copied());
        said(&exchange.command(words).output().unwrap())
    };
    let (code, text) = resolve(&["--not-paid", "-y"]);
    assert!(code == 1 && text.contains("sent less than a day ago"), "{text}");
    let (code, text) = resolve(&["--paid", "pi_9", "-y"]);
    assert!(code == 2 && text.contains("it begins with tr_"), "{text}");
    let (code, text) = resolve(&["--paid", "tr_9"]);
    assert!(code == 2 && text.contains("add -y to confirm it"), "{text}");
    let (code, text) = resolve(&["--paid", "tr_9", "-y"]);
    assert_eq!((code, &*text), (0, "The withdrawal of $5.00 by ada is paid.\n"));
    let (code, text) = resolve(&["--paid", "tr_9", "-y"]);
    assert!(code == 1 && text.contains("This payment is paid, not parked"), "{text}");
    let (code, text) = said(&waiting.wait_with_output().unwrap());
    assert!(code == 0 && text.starts_with("$5.00 paid out.\n"), "{text}");
    assert!(said(&exchange.command(["admin", "payments"]).output().unwrap()).1.contains("Nothing is parked."));
    exchange.audit();
}
