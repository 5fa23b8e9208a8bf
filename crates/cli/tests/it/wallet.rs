//! Money in and out through the real binary.

use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exchange::{Exchange, Server, User};
use crate::fake_stripe::{FakeStripe, Fault};
use crate::payments::paying;

/// An exchange that is paid by the fake, its server, and Ada.
fn exchange(cents: i64) -> (FakeStripe, Exchange, Server, User) {
    let (exchange, stripe) = paying(Exchange::sqlite());
    let (server, ada) = (exchange.serve(), exchange.user("ada", cents));
    (stripe, exchange, server, ada)
}

/// The page of a kind that was made last, if there is one.
fn page(stripe: &FakeStripe) -> Option<Value> {
    stripe.books().objects.get("checkout.session")?.last().cloned()
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
    let (stripe, exchange, server, ada) = exchange(0);
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        said(&server.command(&exchange, &ada, &words).output().unwrap())
    };
    let reconciled = || exchange.command(["admin", "reconcile", "--json"]).output().unwrap();

    let waiting = begun(server.command(&exchange, &ada, &["wallet", "topup", "20.00"]));
    let session = eventually("there is a page", || page(&stripe));
    stripe.pay(session["id"].as_str().unwrap());
    // Nobody tells the exchange: it hears of it when the books are compared.
    let found: Value = serde_json::from_slice(&reconciled().stdout).unwrap();
    let missed: Vec<&str> = found["missed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(missed.len() == 2 && missed[0].starts_with("checkout.session.completed evt_"), "{missed:?}");
    let (code, text) = said(&waiting.wait_with_output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with(&format!("{}\n$20.00 paid in.\n", session["url"].as_str().unwrap())), "{text}");

    let (code, text) = run("wallet withdraw 5.00 -y");
    assert_eq!(code, 1);
    assert!(text.contains("not_connected") && text.contains("hint: `clawrk wallet connect` sets up"), "{text}");
    let (code, text) = run("wallet connect --no-wait");
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("https://connect.stripe.test/setup/acct_"), "{text}");
    assert!(run("wallet connect status").1.starts_with("pending\n"));
    stripe.activate(&stripe.newest("account"), true);
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
    let told = stripe.books().objects.get_mut("event").unwrap().pop().unwrap();
    assert_eq!(told["type"], "transfer.created");
    let (code, text) = said(&reconciled());
    assert!(code == 1 && text.contains("is paid here, and Stripe tells nothing of it"), "{text}");
    stripe.books().objects.get_mut("event").unwrap().push(told.clone());
    stripe.books().available = 1500;
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
    let (mut twin, first) = (told["data"]["object"].clone(), told["data"]["object"]["id"].as_str().unwrap());
    twin["id"] = "tr_twin".into();
    stripe.books().now += 60;
    stripe.books().tell("transfer.created", &twin);
    stripe.books().objects.get_mut("transfer").unwrap().push(twin.clone());
    let (code, text) = said(&exchange.command(["admin", "reconcile"]).output().unwrap());
    assert_eq!(code, 1);
    let twice = &format!("is $5.00 here and $10.00 at Stripe ({first}, tr_twin)");
    assert!(text.contains(twice), "{text}");
    let (code, text) = said(&exchange.command(later).output().unwrap());
    assert!(code == 1 && text.contains(&format!("over $5.00 is {first} here and tr_twin at Stripe")), "{text}");
    exchange.audit();
}

#[test]
fn what_nobody_knows_the_outcome_of_is_shown_to_the_operator_who_says_it() {
    let (stripe, exchange, server, ada) = exchange(2000);
    let run = |words: &[&str]| said(&server.command(&exchange, &ada, words).output().unwrap());
    assert_eq!(run(&["wallet", "connect", "--no-wait"]).0, 0);
    stripe.activate(&stripe.newest("account"), true);
    assert_eq!(run(&["wallet", "connect", "status"]).0, 0);
    let (code, text) = run(&["wallet", "auto-topup", "on", "--amount", "20.00", "--below", "5.00"]);
    assert!(code == 1 && text.contains("hint: `clawrk wallet card` saves one"), "{text}");
    assert!(run(&["wallet", "card", "--no-wait"]).1.starts_with("https://checkout.stripe.test/c/pay/"));
    assert_eq!(run(&["wallet", "withdraw", "6.00", "-y"]).0, 0);
    let others = stripe.newest("transfer");
    stripe.fault("POST /v1/transfers", Fault::Fails);

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
    let (code, text) = resolve(&["--paid", &others, "-y"]);
    assert!(code == 1 && text.contains(&format!("{others} is payment ")), "{text}");
    let (code, text) = resolve(&["--paid", "tr_9"]);
    assert!(code == 2 && text.contains("add -y to confirm it"), "{text}");
    let (code, text) = resolve(&["--paid", "tr_9", "-y"]);
    assert!(code == 1 && text.contains(&format!("Stripe has nothing for {id}, and no tr_9")), "{text}");
    // Two of them: which one counts is for people to say.
    for name in ["tr_9", "tr_10"] {
        let transfer = json!({"id": name, "object": "transfer", "amount": 500, "currency": "usd",
            "destination": payment["counterparty"], "transfer_group": id});
        stripe.books().objects.get_mut("transfer").unwrap().push(transfer);
    }
    let (code, text) = resolve(&["--paid", "tr_9", "-y"]);
    assert_eq!((code, &*text), (0, "The withdrawal of $5.00 by ada is paid.\n"));
    let (code, text) = resolve(&["--paid", "tr_9", "-y"]);
    assert!(code == 1 && text.contains("This payment is paid, not parked"), "{text}");
    let (code, text) = said(&waiting.wait_with_output().unwrap());
    assert!(code == 0 && text.starts_with("$5.00 paid out.\n"), "{text}");
    assert!(said(&exchange.command(["admin", "payments"]).output().unwrap()).1.contains("Nothing is parked."));
    stripe.books().objects.get_mut("transfer").unwrap().pop();
    let (code, text) = resolve(&["--not-paid", "-y"]);
    assert!(code == 1 && text.contains("Stripe has it: tr_9") && text.contains("--paid tr_9"), "{text}");
    exchange.audit();
}

#[test]
fn a_payout_is_taken_back_once_however_often_that_is_asked_for() {
    let (stripe, exchange, server, ada) = exchange(2000);
    let run = |words: &[&str]| said(&server.command(&exchange, &ada, words).output().unwrap());
    assert_eq!(run(&["wallet", "connect", "--no-wait"]).0, 0);
    stripe.activate(&stripe.newest("account"), true);
    assert_eq!(run(&["wallet", "connect", "status"]).0, 0);
    assert_eq!(run(&["wallet", "withdraw", "8.00", "-y"]).0, 0);
    let payments = server.json(&exchange, &ada, &["wallet", "payments"]);
    let id = payments[0]["id"].as_str().unwrap();
    let reverse = |more: &[&str]| {
        let words = ["admin", "payments", "reverse", id].into_iter().chain(more.iter().copied());
        said(&exchange.command(words).output().unwrap())
    };
    let transfer = stripe.newest("transfer");
    let (code, text) = reverse(&["--total", "8.01", "-y"]);
    assert!(code == 2 && text.contains("more than was paid out, which is $8.00"), "{text}");
    let (code, text) = reverse(&["--total", "3.00"]);
    assert!(code == 2 && text.contains("add -y to confirm it"), "{text}");
    // Done, and nobody is told so: whoever asks again finds it done.
    stripe.fault("POST /v1/transfers", Fault::ActsAndHangsUp);
    let (code, text) = reverse(&["--total", "3.00", "-y"]);
    assert!(code == 1 && text.contains("nobody knows whether Stripe did it"), "{text}");
    let (code, text) = reverse(&["--total", "3.00", "-y"]);
    assert_eq!((code, text), (0, format!("$3.00 of {transfer} was reversed before: nothing is left to do.\n")));
    let (code, text) = reverse(&["-y"]);
    assert!(code == 0 && text.starts_with(&format!("$5.00 of {transfer} is reversed.")), "{text}");
    // The exchange hears of it like of any other reversal.
    let balance = || server.json(&exchange, &ada, &["balance"])["balance_cents"].clone();
    assert_eq!(balance(), 1200);
    let (_, text) = said(&exchange.command(["admin", "reconcile"]).output().unwrap());
    assert!(text.contains("transfer.reversed evt_"), "{text}");
    eventually("it is in the wallet", || (balance() == 2000).then_some(()));
    assert_eq!(exchange.command(["admin", "reconcile"]).status().unwrap().code(), Some(0));
    let books = stripe.books();
    assert_eq!((books.paid_out(), books.objects["transfer_reversal"].len(), &books.wrong), (0, 2, &vec![]));
    drop(books);
    exchange.audit();
}
