//! What happens on Stripe's pages, at banks and in its dashboard, and what it tells of it.

use clawrk_server::outside::stripe::signature;
use serde_json::{Value, json};

use super::{Books, FakeStripe, Refusal, WEBHOOK_SECRET, invalid};

impl Books {
    /// A notice.
    pub(crate) fn tell(&mut self, kind: &str, object: &Value) {
        let mut own = json!({"type": kind, "api_version": "2024-06-20", "data": {"object": object},
            "pending_webhooks": 1});
        // What is a connected account's comes in its name.
        if object["object"] == "account" {
            own["account"] = object["id"].clone();
        }
        let event = self.make("event", "evt", own);
        self.notices.push(event);
    }

    /// A charge succeeds.
    pub(crate) fn succeed(&mut self, intent: &str) -> Value {
        let found = self.get("payment_intent", intent).unwrap().clone();
        let charge = self.make(
            "charge",
            "ch",
            json!({"amount": found["amount"], "currency": found["currency"],
            "customer": found["customer"], "payment_intent": intent, "metadata": found["metadata"],
            "amount_refunded": 0, "paid": true, "captured": true, "refunded": false, "disputed": false}),
        );
        let own = json!({"status": "succeeded", "amount_received": found["amount"],
            "latest_charge": charge["id"], "last_payment_error": null});
        let intent = self.change("payment_intent", intent, own);
        self.available += found["amount"].as_i64().unwrap();
        self.tell("payment_intent.succeeded", &intent);
        intent
    }

    fn charge_of(&self, intent: &str) -> Value {
        let all = self.objects.get("charge").into_iter().flatten();
        all.clone().find(|charge| charge["payment_intent"] == intent).unwrap().clone()
    }

    /// So much more of a charge is refunded, or less.
    fn refunded(&mut self, intent: &str, more: i64) -> Value {
        let charge = self.charge_of(intent);
        let total = charge["amount_refunded"].as_i64().unwrap() + more;
        assert!((0..=charge["amount"].as_i64().unwrap()).contains(&total));
        self.available -= more;
        let own = json!({"amount_refunded": total, "refunded": total == charge["amount"]});
        self.change("charge", charge["id"].as_str().unwrap(), own)
    }

    /// A transfer is taken back.
    pub(super) fn reverse(&mut self, id: &str, amount: Option<i64>) -> Result<Value, Refusal> {
        let found = self.get("transfer", id).unwrap().clone();
        let (all, before) = (found["amount"].as_i64().unwrap(), found["amount_reversed"].as_i64().unwrap());
        let amount = amount.unwrap_or(all - before);
        if amount <= 0 || before + amount > all {
            return Err(invalid(400, None, "Transfer reversal amount is greater than what is left"));
        }
        self.available += amount;
        let reversal = self.make("transfer_reversal", "trr", json!({"amount": amount, "transfer": id}));
        let own = json!({"amount_reversed": before + amount, "reversed": before + amount == all});
        let transfer = self.change("transfer", id, own);
        self.tell("transfer.reversed", &transfer);
        Ok(reversal)
    }

    /// What customers' payments brought in, less what went back to them.
    pub(crate) fn paid_in(&self) -> i64 {
        let of = |charge: &Value| {
            let disputed = self.objects.get("dispute").into_iter().flatten();
            let is_lost = |dispute: &&Value| {
                let is_inquiry = dispute["status"].as_str().unwrap().starts_with("warning");
                dispute["charge"] == charge["id"] && dispute["status"] != "won" && !is_inquiry
            };
            let disputed: i64 = disputed.filter(is_lost).map(|dispute| dispute["amount"].as_i64().unwrap()).sum();
            charge["amount"].as_i64().unwrap() - charge["amount_refunded"].as_i64().unwrap() - disputed
        };
        self.objects.get("charge").into_iter().flatten().map(of).sum()
    }

    /// What connected accounts were paid, less what was reversed.
    pub(crate) fn paid_out(&self) -> i64 {
        let of =
            |transfer: &Value| transfer["amount"].as_i64().unwrap() - transfer["amount_reversed"].as_i64().unwrap();
        self.objects.get("transfer").into_iter().flatten().map(of).sum()
    }
}

impl FakeStripe {
    /// The session behind the url of a page.
    pub(crate) fn session_at(&self, url: &str) -> String {
        let books = self.books();
        let found = books.objects["checkout.session"].iter().find(|session| session["url"] == url);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// The setup intent of a secret that was made for a page of one's own.
    pub(crate) fn setup_intent_of(&self, secret: &str) -> String {
        let books = self.books();
        let found = books.objects["setup_intent"].iter().find(|intent| intent["client_secret"] == secret);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Somebody pays on a page; the intent.
    pub(crate) fn pay(&self, session: &str) -> String {
        let mut books = self.books();
        let intent = open_intent(&mut books, session);
        books.succeed(&intent);
        complete(&mut books, session, &intent, "paid", "checkout.session.completed");
        intent
    }

    /// Somebody pays on a page by a way that takes days; the intent.
    pub(crate) fn pay_slowly(&self, session: &str) -> String {
        let mut books = self.books();
        let intent = open_intent(&mut books, session);
        complete(&mut books, session, &intent, "unpaid", "checkout.session.completed");
        intent
    }

    /// How that ends.
    pub(crate) fn end_slow_payment(&self, session: &str, is_paid: bool) {
        let mut books = self.books();
        let intent = books.get("checkout.session", session).unwrap()["payment_intent"].as_str().unwrap().to_owned();
        if is_paid {
            books.succeed(&intent);
            complete(&mut books, session, &intent, "paid", "checkout.session.async_payment_succeeded");
        } else {
            books.change("payment_intent", &intent, json!({"status": "requires_payment_method"}));
            complete(&mut books, session, &intent, "unpaid", "checkout.session.async_payment_failed");
        }
    }

    /// Nobody pays on a page in time.
    pub(crate) fn expire(&self, session: &str) {
        let mut books = self.books();
        let session = books.change("checkout.session", session, json!({"status": "expired", "url": null}));
        books.tell("checkout.session.expired", &session);
    }

    /// Somebody saves a card; its name.
    pub(crate) fn save_card(&self, setup_intent: &str) -> String {
        let mut books = self.books();
        let customer = books.get("setup_intent", setup_intent).unwrap()["customer"].clone();
        let card = books.make("payment_method", "pm", json!({"customer": customer, "type": "card"}));
        let own = json!({"status": "succeeded", "payment_method": card["id"]});
        let intent = books.change("setup_intent", setup_intent, own);
        books.tell("setup_intent.succeeded", &intent);
        card["id"].as_str().unwrap().to_owned()
    }

    /// A card is declined from now on, or is good again.
    pub(crate) fn decline(&self, card: &str, why: Option<&'static str>) {
        match why {
            Some(why) => self.books().declined.insert(card.to_owned(), why),
            None => self.books().declined.remove(card),
        };
    }

    /// A connected account can be paid, or not any more.
    pub(crate) fn activate(&self, account: &str, is_active: bool) {
        let state = if is_active { "active" } else { "inactive" };
        let mut books = self.books();
        let own = json!({"payouts_enabled": is_active, "details_submitted": true,
            "capabilities": {"transfers": state}});
        let account = books.change("account", account, own);
        books.tell("account.updated", &account);
    }

    /// So much of a payment goes back; the refund.
    pub(crate) fn refund(&self, intent: &str, amount: i64) -> String {
        let mut books = self.books();
        let own = json!({"amount": amount, "currency": "usd", "charge": books.charge_of(intent)["id"],
            "payment_intent": intent, "status": "succeeded"});
        let refund = books.make("refund", "re", own);
        let charge = books.refunded(intent, amount);
        books.tell("charge.refunded", &charge);
        refund["id"].as_str().unwrap().to_owned()
    }

    /// A refund does not reach whoever paid: the money is the exchange's again.
    pub(crate) fn fail_refund(&self, refund: &str) {
        let mut books = self.books();
        let refund =
            books.change("refund", refund, json!({"status": "failed", "failure_reason": "lost_or_stolen_card"}));
        let (intent, amount) = (refund["payment_intent"].as_str().unwrap(), refund["amount"].as_i64().unwrap());
        books.refunded(intent, -amount);
        books.tell("charge.refund.updated", &refund);
        books.tell("refund.failed", &refund);
    }

    /// A bank takes so much of a payment back, or only asks about it (`warning_needs_response`); the dispute.
    pub(crate) fn dispute(&self, intent: &str, amount: i64, status: &str) -> String {
        let mut books = self.books();
        let charge = books.charge_of(intent);
        let dispute = books.make(
            "dispute",
            "dp",
            json!({"amount": amount, "currency": "usd", "charge": charge["id"],
            "payment_intent": intent, "status": status}),
        );
        books.tell("charge.dispute.created", &dispute);
        if !status.starts_with("warning") {
            books.available -= amount;
            books.tell("charge.dispute.funds_withdrawn", &dispute);
        }
        dispute["id"].as_str().unwrap().to_owned()
    }

    /// How that ends: `won`, `lost` or `warning_closed`.
    pub(crate) fn close_dispute(&self, dispute: &str, status: &str) {
        let mut books = self.books();
        let dispute = books.change("dispute", dispute, json!({ "status": status }));
        if status == "won" {
            books.available += dispute["amount"].as_i64().unwrap();
        }
        books.tell("charge.dispute.closed", &dispute);
    }

    /// A transfer is taken back in the dashboard.
    pub(crate) fn reverse(&self, transfer: &str, amount: i64) {
        self.books().reverse(transfer, Some(amount)).unwrap();
    }

    /// The name of the newest object of a kind.
    pub(crate) fn newest(&self, of: &'static str) -> String {
        self.books().objects[of].last().unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// The notices since the last time.
    pub(crate) fn notices(&self) -> Vec<Value> {
        std::mem::take(&mut self.books().notices)
    }

    /// A notice as it is sent, and its signature.
    pub(crate) fn signed(&self, notice: &Value) -> (String, String) {
        let body = serde_json::to_string_pretty(notice).unwrap();
        let signature = signature::sign(body.as_bytes(), WEBHOOK_SECRET, self.books().now);
        (body, signature)
    }
}

fn open_intent(books: &mut Books, session: &str) -> String {
    let found = books.get("checkout.session", session).unwrap().clone();
    assert_eq!(found["status"], "open", "{found}");
    let intent = books.make(
        "payment_intent",
        "pi",
        json!({"amount": found["amount_total"], "amount_received": 0,
        "currency": found["currency"], "customer": found["customer"], "metadata": found["intent_metadata"],
        "status": "processing", "last_payment_error": null, "next_action": null, "canceled_at": null}),
    );
    intent["id"].as_str().unwrap().to_owned()
}

fn complete(books: &mut Books, session: &str, intent: &str, status: &str, kind: &str) {
    let own = json!({"status": "complete", "payment_status": status, "payment_intent": intent, "url": null});
    let session = books.change("checkout.session", session, own);
    books.tell(kind, &session);
}
