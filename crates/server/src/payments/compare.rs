//! The ledger beside what Stripe remembers: what it told and nobody heard, and what the two do not say alike.

use std::collections::{BTreeMap, BTreeSet};

use clawrk_domain::{Cents, Payment, PaymentId, PaymentKind, PaymentState, Timestamp};
use clawrk_store::{Store, StoreError};

use super::{Desk, KINDS, back, notice, notice_id};
use crate::exchange::take_notice;
use crate::outside::stripe::StripeError;
use crate::outside::stripe::objects::{Event, Intent, Session, Transfer};

/// By how much Stripe's clock may be ahead of ours.
const CLOCKS_DIFFER_SECONDS: i64 = 300;

/// What a comparison found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How many notices of Stripe's were looked at.
    pub events: usize,
    /// Those that had not come, and were taken up now.
    pub missed: Vec<String>,
    /// What came in, in the ledger and by Stripe's notices.
    pub paid_in: (Cents, Cents),
    /// What went out, in the ledger and by Stripe's notices.
    pub paid_out: (Cents, Cents),
    /// What differs, in sentences.
    pub differences: Vec<String>,
    /// The payments whose outcome nobody knows.
    pub parked: usize,
    /// What is on Stripe's account, available and not yet.
    pub balance: (Cents, Cents),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Stripe did not answer.
    #[error("Stripe cannot be asked")]
    Stripe(#[from] StripeError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
}

/// Compares the payments that were begun in a span of time with all that Stripe has told since its beginning, and takes up
/// the notices that did not come.
pub async fn compare(store: &Store, desk: &Desk, span: (Timestamp, Timestamp)) -> Result<Comparison, CompareError> {
    // Read before Stripe is asked: whatever is settled here has been told there by then.
    let payments = payments(store, span).await?;
    let seconds = |time: Timestamp| time.micros().div_euclid(1_000_000);
    let until = store.clock().now().plus_seconds(CLOCKS_DIFFER_SECONDS);
    let events = desk.stripe.events((seconds(span.0), seconds(until)), &KINDS).await?;
    let mut found = Comparison { events: events.len(), ..Comparison::default() };
    for event in &events {
        if store.notice(notice_id(&event.id)).await?.is_some() {
            continue;
        }
        let payload = serde_json::json!({"id": event.id, "type": event.kind, "created": event.created,
            "livemode": event.livemode, "account": event.account, "data": {"object": event.data.object}});
        if let Some(notice) = notice(desk, event, &payload.to_string()) {
            take_notice(store, notice).await?;
            found.missed.push(format!("{} {}", event.kind, event.id));
        }
    }
    if !found.missed.is_empty() {
        desk.nudge.notify_one();
    }
    let told = Told::of(&events);
    for payment in &payments {
        let theirs = told.sum(payment);
        let sums = if is_out(payment) { &mut found.paid_out } else { &mut found.paid_in };
        if payment.state == PaymentState::Paid {
            sums.0 = sums.0 + payment.amount;
        }
        sums.1 = sums.1 + theirs;
        if told.beside(payment).is_some()
            // It may have been settled while Stripe was asked.
            && let Some(payment) = store.payment(payment.id).await?
        {
            found.differences.extend(differs(desk, &told, &payment).await?);
        }
    }
    let known: BTreeSet<PaymentId> = payments.iter().map(|payment| payment.id).collect();
    for (id, theirs) in told.paid_in.iter().chain(&told.paid_out).filter(|(id, _)| !known.contains(id)) {
        match store.payment(*id).await? {
            None => {
                let (names, amount) = described(theirs);
                found.differences.push(format!("Stripe has {names} over {amount} for a payment {id} that is not here"));
            }
            // What came of it was told within the span.
            Some(payment) if payment.created_at < span.0 => {
                found.differences.extend(differs(desk, &told, &payment).await?);
            }
            Some(_) => {}
        }
    }
    found.differences.extend(returns(store, desk, &events, payments).await?);
    found.parked = parked(store).await?;
    let balance = desk.stripe.balance().await?;
    let dollars = |amounts: &[crate::outside::stripe::objects::Amount]| {
        Cents(amounts.iter().filter(|amount| amount.currency == "usd").map(|amount| amount.amount).sum())
    };
    found.balance = (dollars(&balance.available), dollars(&balance.pending));
    Ok(found)
}

/// How many payments there are whose outcome nobody knows; no more than are counted in a moment.
pub(crate) async fn parked(store: &Store) -> Result<usize, StoreError> {
    Ok(store.payments_parked(None, 10_000).await?.len())
}

async fn payments(store: &Store, span: (Timestamp, Timestamp)) -> Result<Vec<Payment>, StoreError> {
    let mut all: Vec<Payment> = Vec::new();
    loop {
        let page = store.payments_of_span(span, all.last().map(|payment| payment.id), 500).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// What differs about one payment, unless it was put right at Stripe: then what is left there is what is booked.
async fn differs(desk: &Desk, told: &Told, payment: &Payment) -> Result<Option<String>, StripeError> {
    let (Some(difference), theirs) = (told.beside(payment), told.theirs(payment)) else { return Ok(None) };
    let Some(theirs) = theirs else { return Ok(Some(difference)) };
    let ours = if payment.state == PaymentState::Paid { payment.amount - payment.back } else { Cents::ZERO };
    let left = back::left(desk, payment, theirs).await?;
    Ok((left != Some(ours)).then_some(difference))
}

/// What went back of payments here and did not at Stripe, or the other way around: of those of the span, and of those
/// that something was told of in it.
async fn returns(
    store: &Store,
    desk: &Desk,
    events: &[Event],
    of_span: Vec<Payment>,
) -> Result<Vec<String>, CompareError> {
    let mut asked: BTreeSet<PaymentId> =
        of_span.into_iter().filter(|payment| payment.moved_back != Cents::ZERO).map(|payment| payment.id).collect();
    for event in events {
        let object = &event.data.object;
        let is_back = event.kind.contains("refund") || event.kind.contains("dispute");
        if event.kind == "transfer.reversed" {
            asked.extend(object["transfer_group"].as_str().and_then(|id| id.parse::<PaymentId>().ok()));
        } else if is_back && let Some(intent) = object["payment_intent"].as_str() {
            asked.extend(store.payment_named(intent).await?.map(|payment| payment.id));
        }
    }
    let mut differences = Vec::new();
    for id in asked {
        let Some(payment) = store.payment(id).await? else { continue };
        let theirs = back::all(desk, &payment).await?;
        // It may have been moved while Stripe was asked.
        let Some(payment) = store.payment(id).await? else { continue };
        if payment.state == PaymentState::Paid && theirs != Some(payment.moved_back) {
            let (kind, amount, ours) = (payment.kind.as_str(), payment.amount, payment.moved_back);
            let theirs = theirs.map_or_else(|| "another currency".to_owned(), |theirs| theirs.to_string());
            differences.push(format!("of {kind} {id} over {amount}, {ours} went back here and {theirs} at Stripe"));
        }
    }
    Ok(differences)
}

/// What Stripe has for a payment: names, and how much each is.
type Theirs = BTreeMap<String, Cents>;

/// What Stripe's notices say of payments.
#[derive(Default)]
struct Told {
    /// By intents, or by pages where the intent is not told.
    paid_in: BTreeMap<PaymentId, Theirs>,
    /// By transfers.
    paid_out: BTreeMap<PaymentId, Theirs>,
}

impl Told {
    fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for event in events {
            let object = event.data.object.clone();
            match event.kind.as_str() {
                "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
                    let Ok(session) = serde_json::from_value::<Session>(object) else { continue };
                    let payment = session.metadata.get("clawrk_payment").and_then(|id| id.parse().ok());
                    if let (Some(payment), "paid") = (payment, session.payment_status.as_str()) {
                        let name = session.payment_intent.unwrap_or(session.id);
                        let amount = Cents(session.amount_total.unwrap_or(0));
                        told.paid_in.entry(payment).or_default().insert(name, amount);
                    }
                }
                "payment_intent.succeeded" => {
                    let Ok(intent) = serde_json::from_value::<Intent>(object) else { continue };
                    let payment = intent.metadata.get("clawrk_payment").and_then(|id| id.parse().ok());
                    if let Some(payment) = payment {
                        told.paid_in.entry(payment).or_default().insert(intent.id, Cents(intent.amount_received));
                    }
                }
                "transfer.created" => {
                    let Ok(transfer) = serde_json::from_value::<Transfer>(object) else { continue };
                    let payment = transfer.transfer_group.as_ref().and_then(|id| id.parse().ok());
                    if let Some(payment) = payment {
                        told.paid_out.entry(payment).or_default().insert(transfer.id, Cents(transfer.amount));
                    }
                }
                _ => {}
            }
        }
        told
    }

    fn theirs(&self, payment: &Payment) -> Option<&Theirs> {
        if is_out(payment) { self.paid_out.get(&payment.id) } else { self.paid_in.get(&payment.id) }
    }

    fn sum(&self, payment: &Payment) -> Cents {
        self.theirs(payment).map_or(Cents::ZERO, |theirs| described(theirs).1)
    }

    /// What differs about one payment.
    fn beside(&self, payment: &Payment) -> Option<String> {
        let (id, kind, amount) = (payment.id, payment.kind.as_str(), payment.amount);
        let Some(theirs) = self.theirs(payment) else {
            let is_paid = payment.state == PaymentState::Paid;
            return is_paid.then(|| format!("{kind} {id} over {amount} is paid here, and Stripe tells nothing of it"));
        };
        let (names, sum) = described(theirs);
        match payment.state {
            PaymentState::Paid if sum == amount => {
                // One that was told of before the span may be another.
                let ours = [payment.reference.as_ref(), payment.intent.as_ref()];
                let is_ours = theirs.keys().all(|name| ours.contains(&Some(name)));
                let [reference, _] = ours.map(|name| name.map_or("nothing", String::as_str));
                (!is_ours).then(|| format!("{kind} {id} over {amount} is {reference} here and {names} at Stripe"))
            }
            PaymentState::Paid => Some(format!("{kind} {id} is {amount} here and {sum} at Stripe ({names})")),
            PaymentState::Failed => {
                Some(format!("{kind} {id} over {amount} failed here, and Stripe has {sum} for it ({names})"))
            }
            PaymentState::Sending | PaymentState::Parked | PaymentState::Open => {
                Some(format!("{kind} {id} over {amount} is not settled here yet, and Stripe has it ({names})"))
            }
        }
    }
}

fn is_out(payment: &Payment) -> bool {
    payment.kind == PaymentKind::Withdrawal
}

/// The names, and how much they are together.
fn described(theirs: &Theirs) -> (String, Cents) {
    let names: Vec<&str> = theirs.keys().map(String::as_str).collect();
    (names.join(", "), theirs.values().fold(Cents::ZERO, |sum, amount| sum + *amount))
}
