//! Money in and out, against a Stripe that has its own books: after each test they are ours, to the cent.

use std::time::Duration;

use clawrk_domain::{Action, Actor, Cents, Command, Payment};
use clawrk_server::app::Outside;
use clawrk_server::config::StripeSetting;
use clawrk_server::outside::stripe::Stripe;
use clawrk_server::payments::Desk;
use clawrk_server::tasks::{paying, runner};
use clawrk_store::{Outcome, Request};
use serde_json::{Value, json};

use crate::fake_stripe::{FakeStripe, SECRET_KEY, WEBHOOK_SECRET};
use crate::support::{Answer, TestApp, User, unhurried};

mod auto_topups;
mod notices;
mod returns;
mod topups;
mod withdrawals;

/// Noon of the first day of 2025, in seconds since 1970.
const NOON: i64 = 1_735_732_800;
/// An answer of the fake's is waited for so long: long enough for a busy machine, and no test waits for many.
const WITHIN: Duration = Duration::from_millis(1500);

/// An exchange, and the Stripe that it deals with.
pub struct Bank {
    pub app: TestApp,
    pub stripe: FakeStripe,
    granted: i64,
}

impl Bank {
    pub async fn new() -> Self {
        let stripe = FakeStripe::start(NOON);
        let setting = StripeSetting {
            secret_key: SECRET_KEY.to_owned(),
            webhook_secrets: vec![WEBHOOK_SECRET.to_owned(), "whsec_older".to_owned()],
            api_url: stripe.url.parse().unwrap(),
            public_url: "https://clawrk.test/".parse().unwrap(),
        };
        let desk = Desk::new(Stripe::open(&setting).unwrap().within(WITHIN), &setting);
        let outside = Outside { desk: Some(desk), ..Outside::default() };
        Self { app: TestApp::using(outside, unhurried()).await, stripe, granted: 0 }
    }

    async fn user(&mut self, name: &str, cents: i64) -> User {
        self.granted += cents;
        self.app.user(name, cents).await
    }

    /// Does what is due, and what follows from it.
    async fn settle(&self) {
        while runner::settle(&self.app.app).await.unwrap() + paying::settle(&self.app.app).await.unwrap() > 0 {}
    }

    /// Moves both clocks.
    async fn advance(&self, seconds: i64) {
        self.app.clock.advance(seconds);
        self.stripe.books().now += seconds;
        self.settle().await;
    }

    /// Brings one notice.
    async fn tell(&self, notice: &Value) -> Answer {
        let (body, signature) = self.stripe.signed(notice);
        self.post_notice(body.into_bytes(), &signature).await
    }

    async fn post_notice(&self, body: Vec<u8>, signature: &str) -> Answer {
        let headers = [("stripe-signature", signature)];
        self.app.anonymous().send("POST", "/api/stripe/webhook", Some(body), &headers).await
    }

    /// Brings these notices, and has them worked off.
    async fn tell_all(&self, notices: &[Value]) {
        for notice in notices {
            assert_eq!(self.tell(notice).await.expect(200), json!({"received": true}));
        }
        self.settle().await;
    }

    /// Brings all that have not been brought.
    async fn deliver(&self) {
        self.tell_all(&self.stripe.notices()).await;
    }

    /// Begins a top-up; its session and its payment.
    async fn page(&self, user: &User, cents: i64) -> (String, String) {
        let page = user.post("/api/wallet/topup", json!({"amount_cents": cents})).await.expect(200);
        let session = self.stripe.session_at(page["url"].as_str().unwrap());
        (session, page["payment_id"].as_str().unwrap().to_owned())
    }

    /// A top-up, from its page to its credit; the intent.
    async fn top_up(&self, user: &User, cents: i64) -> String {
        let (session, _) = self.page(user, cents).await;
        let intent = self.stripe.pay(&session);
        self.deliver().await;
        intent
    }

    /// The user has an account that can be paid; its name.
    async fn connect(&self, user: &User) -> String {
        user.post("/api/stripe/connect", json!({})).await.expect(200);
        let account = self.stripe.newest("account");
        self.stripe.activate(&account, true);
        self.deliver().await;
        account
    }

    /// The user has a saved card; its name.
    async fn card(&self, user: &User) -> String {
        let secret = user.post("/api/wallet/setup-payment-method", json!({})).await.expect(200);
        let intent = self.stripe.setup_intent_of(secret["client_secret"].as_str().unwrap());
        let card = self.stripe.save_card(&intent);
        self.deliver().await;
        card
    }

    /// What became of a payment.
    async fn status(&self, user: &User, payment: &str) -> String {
        let shown = user.get(&format!("/api/wallet/payments/{payment}")).await.expect(200);
        shown["status"].as_str().unwrap().to_owned()
    }

    async fn payment(&self, payment: &str) -> Payment {
        self.app.app.store.payment(payment.parse().unwrap()).await.unwrap().unwrap()
    }

    /// The operator says what became of a payment.
    async fn resolve(&self, payment: &str, reference: Option<&str>) -> Outcome {
        let (payment, reference) = (payment.parse().unwrap(), reference.map(str::to_owned));
        let action = Action::Resolve { payment, reference };
        let command = Command { seed: clawrk_server::random::seed(), actor: Actor::Operator, action };
        self.app.app.store.submit(Request { command, receipt: None }).await.unwrap()
    }

    /// What cannot be, as the operator is told.
    async fn parked_notices(&self) -> Vec<String> {
        let parked = self.app.app.store.notices_parked(100).await.unwrap();
        parked.into_iter().map(|notice| notice.problem).collect()
    }

    /// Both have the same books, to the cent; nobody was paid twice, and nothing was asked that Stripe would not take.
    async fn check(&self) {
        self.app.audit().await;
        let audit = self.app.app.store.audit().await.unwrap();
        let books = self.stripe.books();
        let theirs = books.paid_in() - books.paid_out();
        assert_eq!(-audit.outside.0 - self.granted, theirs, "{audit:?}");
        assert_eq!(audit.in_transit, Cents::ZERO);
        let groups = books.objects.get("transfer").into_iter().flatten().map(|transfer| &transfer["transfer_group"]);
        let mut groups: Vec<String> = groups.map(Value::to_string).collect();
        let all = groups.len();
        groups.sort();
        groups.dedup();
        assert_eq!(groups.len(), all, "a withdrawal was paid twice");
        assert_eq!(books.wrong, Vec::<String>::new());
    }
}

/// The reasons of a wallet's ledger, the newest first.
async fn reasons(user: &User) -> Vec<String> {
    let balance = user.get("/api/wallet/balance").await.expect(200);
    let ledger = balance["ledger"].as_array().unwrap();
    ledger.iter().map(|line| format!("{} {}", line["delta"], line["reason"].as_str().unwrap())).collect()
}
