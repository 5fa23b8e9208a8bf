//! The property that payments are for: whatever people, Stripe, the network and crashes do, in the end the ledger and
//! Stripe's books say the same to the cent, and nothing was paid twice or lost.
//!
//! Each seed is a schedule: people pay in, are paid out, spend, refund and dispute; calls fail before they act, act and
//! fail, hang or break off; whoever works is cut off at any moment; notices come late, again, in any order or not at
//! all; a day passes. Then the weather clears, everything is told, and what is parked is resolved by what Stripe shows.
//! `CLAWRK_MONEY_SCHEDULES=10000 cargo nextest run --release -p clawrk-server schedules` runs as many.

use std::future::Future as _;
use std::task::Poll;
use std::time::Duration;

use clawrk_domain::payment::KEY_SECONDS;
use clawrk_domain::{PaymentKind, PaymentState, Timestamp};
use clawrk_server::app::Outside;
use clawrk_server::config::StripeSetting;
use clawrk_server::exchange::Operator;
use clawrk_server::outside::stripe::Stripe;
use clawrk_server::payments::Desk;
use clawrk_server::payments::compare::compare;
use clawrk_server::tasks::{paying, runner};
use serde_json::{Value, json};

use crate::fake_stripe::{FakeStripe, Fault, SECRET_KEY, WEBHOOK_SECRET};
use crate::support::{TestApp, User, unhurried};

/// Schedules that are run when nobody says.
const SCHEDULES: u64 = 40;
/// Steps of a schedule.
const STEPS: usize = 40;

/// A few random numbers from a seed: `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.below(list.len())].clone()) }
    }
}

struct Schedule {
    dice: Dice,
    app: TestApp,
    stripe: FakeStripe,
    users: Vec<User>,
    granted: i64,
    begun: Timestamp,
    /// Notices on their way, and those that came.
    under_way: Vec<Value>,
    told: Vec<Value>,
    disputes: Vec<String>,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let stripe = FakeStripe::start(1_735_732_800);
        let setting = StripeSetting {
            secret_key: SECRET_KEY.to_owned(),
            webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
            api_url: stripe.url.parse().unwrap(),
            public_url: "http://exchange.test".parse().unwrap(),
        };
        let client = Stripe::open(&setting).unwrap().within(Duration::from_millis(60));
        let outside = Outside { desk: Some(Desk::new(client, &setting)), ..Outside::default() };
        let app = TestApp::using(outside, unhurried()).await;
        let begun = app.clock.now();
        let users = vec![app.user("ada", 50_00).await, app.user("bob", 0).await];
        let mut schedule = Self {
            dice: Dice(seed),
            app,
            stripe,
            users,
            granted: 50_00,
            begun,
            under_way: Vec::new(),
            told: Vec::new(),
            disputes: Vec::new(),
        };
        for user in schedule.users.clone() {
            until_done(&user, "/api/stripe/connect").await;
            let account = schedule.stripe.newest("account");
            schedule.stripe.activate(&account, true);
            let secret = until_done(&user, "/api/wallet/setup-payment-method").await;
            let intent = schedule.stripe.setup_intent_of(secret["client_secret"].as_str().unwrap());
            schedule.stripe.save_card(&intent);
        }
        schedule.deliver_all().await;
        schedule
    }

    fn advance(&mut self, seconds: i64) {
        self.app.clock.advance(seconds);
        self.stripe.books().now += seconds;
    }

    async fn step(&mut self) {
        let user = self.dice.pick(&self.users).unwrap();
        match self.dice.below(100) {
            0..12 => {
                let amount = 500 + self.dice.below(40) as i64 * 100;
                // Stripe may be away, or do it and not say so.
                user.post("/api/wallet/topup", json!({"amount_cents": amount})).await;
            }
            12..26 => self.somebody_pays(),
            26..40 => {
                let amount = 500 + self.dice.below(20) as i64 * 100;
                user.post("/api/wallet/withdraw", json!({"amount_cents": amount})).await;
            }
            40..48 => {
                let price = 100 + self.dice.below(20) as i64 * 100;
                let job = json!({"prompt": "Spend it", "title": "Spend it", "price_cents": price,
                    "time_limit_seconds": 600, "confirmed": true});
                // The wallet may be short, or frozen.
                user.post("/api/jobs/run", job).await;
            }
            48..52 => {
                let (enabled, below) = (self.dice.below(3) > 0, 500 + self.dice.below(20) as i64 * 100);
                let body = json!({"enabled": enabled, "amount_cents": 1000, "threshold_cents": below});
                user.post("/api/wallet/auto-topup", body).await;
            }
            52..60 => self.something_goes_back(),
            60..72 => self.trouble(),
            72..84 => self.work().await,
            84..94 => self.deliver_some().await,
            94..99 => {
                let seconds = [1, 6, 11, 60, 3_600][self.dice.below(5)];
                self.advance(seconds);
            }
            _ => self.advance(25 * 3600),
        }
    }

    fn objects(&self, of: &'static str, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.stripe.books().objects.get(of).into_iter().flatten().filter(|object| is(object)).cloned().collect()
    }

    fn somebody_pays(&mut self) {
        let open = self.objects("checkout.session", |page| page["status"] == "open" && page["mode"] == "payment");
        let Some(page) = self.dice.pick(&open) else { return };
        let id = page["id"].as_str().unwrap();
        if self.dice.below(5) == 0 {
            self.stripe.expire(id);
        } else {
            self.stripe.pay(id);
        }
    }

    fn something_goes_back(&mut self) {
        let is_whole = |charge: &Value| charge["amount_refunded"] == 0;
        let disputed: Vec<Value> = self.objects("dispute", |_| true);
        let of_charge = |charge: &Value| disputed.iter().any(|dispute| dispute["charge"] == charge["id"]);
        match self.dice.below(5) {
            0 => {
                let refunds = self.objects("refund", |refund| refund["status"] == "succeeded");
                let Some(refund) = self.dice.pick(&refunds) else { return };
                self.stripe.fail_refund(refund["id"].as_str().unwrap());
            }
            1 => {
                let charges = self.objects("charge", |charge| is_whole(charge) && !of_charge(charge));
                let Some(charge) = self.dice.pick(&charges) else { return };
                let amount = charge["amount"].as_i64().unwrap();
                let part = [amount, amount / 2, 1][self.dice.below(3)];
                self.stripe.refund(charge["payment_intent"].as_str().unwrap(), part);
            }
            2 => {
                let charges = self.objects("charge", |charge| !of_charge(charge));
                let Some(charge) = self.dice.pick(&charges) else { return };
                let (intent, amount) = (charge["payment_intent"].as_str().unwrap(), charge["amount"].as_i64().unwrap());
                let dispute = self.stripe.dispute(intent, amount, "needs_response");
                self.disputes.push(dispute);
            }
            3 => {
                if !self.disputes.is_empty() {
                    let at = self.dice.below(self.disputes.len());
                    let dispute = self.disputes.swap_remove(at);
                    let end = ["won", "lost"][self.dice.below(2)];
                    self.stripe.close_dispute(&dispute, end);
                }
            }
            _ => {
                let transfers = self.objects("transfer", |transfer| transfer["amount_reversed"] == 0);
                let Some(transfer) = self.dice.pick(&transfers) else { return };
                let amount = transfer["amount"].as_i64().unwrap();
                let part = [amount, amount / 3][self.dice.below(2)];
                self.stripe.reverse(transfer["id"].as_str().unwrap(), part);
            }
        }
    }

    fn trouble(&mut self) {
        let calls =
            ["POST /v1/transfers", "POST /v1/payment_intents", "GET /v1/transfers", "POST /v1/checkout", "GET /v1"];
        let faults = [
            Fault::Fails,
            Fault::ActsAndFails,
            Fault::ActsAndHangsUp,
            Fault::ActsAndHangs,
            Fault::HangsUp,
            Fault::TooMany,
            Fault::IsElsewhere(502),
        ];
        let (call, fault) = (self.dice.pick(&calls).unwrap(), self.dice.pick(&faults).unwrap());
        self.stripe.fault(call, fault);
        if self.dice.below(8) == 0
            && let Some(card) = self.dice.pick(&self.objects("payment_method", |_| true))
        {
            let why = self.dice.pick(&[Some("expired_card"), Some("insufficient_funds"), None]).unwrap();
            self.stripe.decline(card["id"].as_str().unwrap(), why);
        }
    }

    /// What is due is worked off; sometimes whoever does it is cut off at some moment.
    async fn work(&mut self) {
        let mut left = if self.dice.below(3) == 0 { Some(self.dice.below(40)) } else { None };
        let work = async {
            runner::settle(&self.app.app).await.unwrap();
            paying::settle(&self.app.app).await.unwrap();
        };
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            if let Some(polls) = &mut left {
                if *polls == 0 {
                    return Poll::Ready(());
                }
                *polls -= 1;
            }
            work.as_mut().poll(context)
        })
        .await;
    }

    /// Some of what Stripe has to tell comes: in any order, some of it again.
    async fn deliver_some(&mut self) {
        self.under_way.extend(self.stripe.notices());
        for _ in 0..self.dice.below(6) {
            if self.under_way.is_empty() {
                break;
            }
            let at = self.dice.below(self.under_way.len());
            let notice = self.under_way.swap_remove(at);
            self.deliver(&notice).await;
            self.told.push(notice);
        }
        if let Some(again) = self.dice.pick(&self.told) {
            self.deliver(&again).await;
        }
    }

    async fn deliver(&self, notice: &Value) {
        let (body, signature) = self.stripe.signed(notice);
        let headers = [("stripe-signature", signature.as_str()), ("content-type", "application/json")];
        let anonymous = self.app.anonymous();
        anonymous.send("POST", "/api/stripe/webhook", Some(body.into_bytes()), &headers).await.expect(200);
    }

    async fn deliver_all(&mut self) {
        self.under_way.extend(self.stripe.notices());
        while !self.under_way.is_empty() {
            let at = self.dice.below(self.under_way.len());
            let notice = self.under_way.swap_remove(at);
            self.deliver(&notice).await;
            self.told.push(notice);
        }
        paying::settle(&self.app.app).await.unwrap();
    }

    /// The weather clears: no more faults, everything is told, and what nobody knows is looked up.
    async fn clear_up(&mut self) {
        self.stripe.clear_faults();
        for hour in 0..60 {
            self.advance(if hour < 20 { 11 } else { 3_601 });
            runner::settle(&self.app.app).await.unwrap();
            paying::settle(&self.app.app).await.unwrap();
            self.deliver_all().await;
        }
        let parked = self.app.app.store.payments_parked(None, 1_000).await.unwrap();
        for payment in parked {
            assert!(
                payment.sent_at.is_some_and(|at| self.app.clock.now() >= at.plus_seconds(KEY_SECONDS + 3600)),
                "{payment:?}"
            );
            let id = payment.id.to_string();
            let found = match payment.kind {
                PaymentKind::Withdrawal => {
                    self.objects("transfer", |transfer| transfer["transfer_group"] == id.as_str())
                }
                _ => self.objects("payment_intent", |intent| intent["metadata"]["clawrk_payment"] == id.as_str()),
            };
            assert!(found.is_empty(), "Stripe has it, and nobody found it: {payment:?} {found:?}");
            let operator = Operator(self.app.app.store.clone());
            operator.resolve(payment.id, None).await.unwrap();
        }
        self.deliver_all().await;
    }

    /// The two books, to the cent.
    async fn compare(&self) {
        self.app.audit().await;
        let store = &self.app.app.store;
        let audit = store.audit().await.unwrap();
        assert_eq!(audit.in_transit.0, 0, "nothing is on its way any more");
        let (paid_in, paid_out) = {
            let books = self.stripe.books();
            assert_eq!(books.wrong, Vec::<String>::new(), "what Stripe would not take");
            (books.paid_in(), books.paid_out())
        };
        assert_eq!(-audit.outside.0, self.granted + paid_in - paid_out);
        for transfer in self.objects("transfer", |_| true) {
            let group = transfer["transfer_group"].clone();
            let same = self.objects("transfer", |other| other["transfer_group"] == group);
            assert_eq!(same.len(), 1, "paid twice: {same:?}");
            let payment = store.payment(group.as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
            assert_eq!((payment.state, payment.amount.0), (PaymentState::Paid, transfer["amount"].as_i64().unwrap()));
        }
        let charges = self.objects("charge", |_| true);
        for charge in &charges {
            let id = charge["metadata"]["clawrk_payment"].as_str().unwrap();
            let payment = store.payment(id.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!((payment.state, payment.amount.0), (PaymentState::Paid, charge["amount"].as_i64().unwrap()));
            let same = charges.iter().filter(|other| other["metadata"]["clawrk_payment"] == id).count();
            assert_eq!(same, 1, "charged twice: {charge}");
        }
        for user in &self.users {
            for payment in user.get("/api/wallet/payments?limit=200").await.expect(200).as_array().unwrap() {
                assert_ne!(payment["status"], "pending", "{payment}");
            }
        }
        assert_eq!(store.notices_parked(10).await.unwrap(), []);
        let desk = self.app.app.desk.as_deref().unwrap();
        let span = (self.begun, self.app.clock.now().plus_seconds(1));
        let found = loop {
            // Stripe has little time to answer.
            if let Ok(found) = compare(store, desk, span).await {
                break found;
            }
        };
        assert_eq!((found.missed, found.differences), (vec![], vec![]), "what the operator would be told");
    }

    async fn run(seed: u64) {
        let mut schedule = Self::new(seed).await;
        for _ in 0..STEPS {
            schedule.step().await;
        }
        schedule.clear_up().await;
        schedule.compare().await;
    }
}

/// Asks until Stripe has answered in its short time.
async fn until_done(user: &User, path: &str) -> Value {
    loop {
        let answer = user.post(path, json!({})).await;
        if answer.status != 503 {
            return answer.expect(200);
        }
    }
}

#[tokio::test]
async fn schedules_of_faults_crashes_and_deliveries_end_with_equal_books() {
    #[expect(clippy::disallowed_methods, reason = "a switch of this test")]
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (first, many) = (number("CLAWRK_MONEY_FIRST", 1), number("CLAWRK_MONEY_SCHEDULES", SCHEDULES));
    for seed in first..first + many {
        println!("schedule {seed}: CLAWRK_MONEY_FIRST={seed} CLAWRK_MONEY_SCHEDULES=1");
        Schedule::run(seed).await;
        if seed % 100 == 0 {
            println!("{seed} schedules, equal books");
        }
    }
}
