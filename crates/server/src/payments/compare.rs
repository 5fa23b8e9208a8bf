//! The ledger beside what Stripe remembers: what it told and nobody heard, and what the two do not say alike.

use std::collections::BTreeMap;

use clawrk_domain::{Action, Cents, Payment, PaymentId, PaymentKind, PaymentState, Timestamp};
use clawrk_store::StoreError;

use super::{Desk, KINDS, notice, notice_id};
use crate::outside::stripe::objects::{Event, Session, Transfer};
use crate::outside::stripe::{Stripe, StripeError};
use crate::{App, Error};

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
    /// A notice could not be kept.
    #[error("a notice could not be kept")]
    Notice,
}

impl From<Error> for CompareError {
    fn from(_: Error) -> Self {
        Self::Notice
    }
}

/// Compares a span of time, and takes up the notices that did not come.
pub async fn compare(app: &App, desk: &Desk, span: (Timestamp, Timestamp)) -> Result<Comparison, CompareError> {
    let seconds = |time: Timestamp| time.micros().div_euclid(1_000_000);
    let events = events(&desk.stripe, (seconds(span.0), seconds(span.1))).await?;
    let mut found = Comparison { events: events.len(), ..Comparison::default() };
    for event in &events {
        if app.store.notice(notice_id(&event.id)).await?.is_some() {
            continue;
        }
        let payload = serde_json::json!({"id": event.id, "type": event.kind, "created": event.created,
            "livemode": event.livemode, "account": event.account, "data": {"object": event.data.object}});
        if let Some(notice) = notice(desk, event, &payload.to_string()) {
            app.exchange.by_itself(Action::Notice(notice)).await?;
            found.missed.push(format!("{} {}", event.kind, event.id));
        }
    }
    if !found.missed.is_empty() {
        desk.nudge.notify_one();
    }
    let told = Told::of(&events);
    let payments = payments(app, span).await?;
    for payment in &payments {
        told.beside(payment, &mut found);
    }
    let known: BTreeMap<PaymentId, &Payment> = payments.iter().map(|payment| (payment.id, payment)).collect();
    for (id, (name, amount)) in told.paid_in.iter().chain(&told.paid_out) {
        // What began before the span is not among them.
        if !known.contains_key(id) && app.store.payment(*id).await?.is_none() {
            found.differences.push(format!("Stripe has {name} over {amount} for a payment {id} that is not here"));
        }
    }
    found.paid_in.1 = told.paid_in.values().fold(Cents::ZERO, |sum, (_, amount)| sum + *amount);
    found.paid_out.1 = told.paid_out.values().fold(Cents::ZERO, |sum, (_, amount)| sum + *amount);
    found.parked = app.store.payments_parked(None, 10_000).await?.len();
    let balance = desk.stripe.balance().await?;
    let dollars = |amounts: &[crate::outside::stripe::objects::Amount]| {
        Cents(amounts.iter().filter(|amount| amount.currency == "usd").map(|amount| amount.amount).sum())
    };
    found.balance = (dollars(&balance.available), dollars(&balance.pending));
    Ok(found)
}

async fn events(stripe: &Stripe, span: (i64, i64)) -> Result<Vec<Event>, StripeError> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let behind = all.last().map(|event| event.id.clone());
        let page = stripe.events(span, &KINDS, behind.as_deref()).await?;
        let is_last = !page.has_more || page.data.is_empty();
        all.extend(page.data);
        if is_last {
            return Ok(all);
        }
    }
}

async fn payments(app: &App, span: (Timestamp, Timestamp)) -> Result<Vec<Payment>, StoreError> {
    let mut all: Vec<Payment> = Vec::new();
    loop {
        let page = app.store.payments_of_span(span, all.last().map(|payment| payment.id), 500).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// What Stripe's notices say of payments: its name for each, and how much.
#[derive(Default)]
struct Told {
    paid_in: BTreeMap<PaymentId, (String, Cents)>,
    paid_out: BTreeMap<PaymentId, (String, Cents)>,
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
                        told.paid_in.insert(payment, (session.id, Cents(session.amount_total.unwrap_or(0))));
                    }
                }
                "payment_intent.succeeded" => {
                    let Ok(intent) = serde_json::from_value::<crate::outside::stripe::objects::Intent>(object) else {
                        continue;
                    };
                    let payment = intent.metadata.get("clawrk_payment").and_then(|id| id.parse().ok());
                    if let Some(payment) = payment {
                        told.paid_in.entry(payment).or_insert((intent.id, Cents(intent.amount_received)));
                    }
                }
                "transfer.created" => {
                    let Ok(transfer) = serde_json::from_value::<Transfer>(object) else { continue };
                    let payment = transfer.transfer_group.as_ref().and_then(|id| id.parse().ok());
                    if let Some(payment) = payment {
                        let amount = Cents(transfer.amount);
                        if let Some((_, sum)) = told.paid_out.get_mut(&payment) {
                            *sum = *sum + amount;
                        } else {
                            told.paid_out.insert(payment, (transfer.id, amount));
                        }
                    }
                }
                _ => {}
            }
        }
        told
    }

    /// What differs about one payment.
    fn beside(&self, payment: &Payment, found: &mut Comparison) {
        let is_out = payment.kind == PaymentKind::Withdrawal;
        let told = if is_out { self.paid_out.get(&payment.id) } else { self.paid_in.get(&payment.id) };
        let (id, kind, amount) = (payment.id, payment.kind.as_str(), payment.amount);
        let sum = if is_out { &mut found.paid_out.0 } else { &mut found.paid_in.0 };
        if payment.state == PaymentState::Paid {
            *sum = *sum + amount;
        }
        let difference = match (payment.state, told) {
            (PaymentState::Paid, None) => {
                format!("{kind} {id} over {amount} is paid here, and Stripe tells nothing of it")
            }
            (PaymentState::Paid, Some((name, theirs))) if *theirs != amount => {
                format!("{kind} {id} is {amount} here and {theirs} at Stripe ({name})")
            }
            (PaymentState::Failed, Some((name, theirs))) => {
                format!("{kind} {id} over {amount} failed here, and Stripe has {theirs} for it ({name})")
            }
            (PaymentState::Sending | PaymentState::Parked | PaymentState::Open, Some((name, _))) => {
                format!("{kind} {id} over {amount} is not settled here yet, and Stripe has it ({name})")
            }
            _ => return,
        };
        found.differences.push(difference);
    }
}
