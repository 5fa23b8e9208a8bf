//! One payment before Stripe: looked for, sent, reported.
//!
//! | Phase | What happens                                                                                       |
//! |-------|----------------------------------------------------------------------------------------------------|
//! | find  | it may have been sent before: Stripe is asked for it by the payment's id                             |
//! | mark  | it is written down that it is about to be sent, by whoever has the lease                             |
//! | send  | under the payment's own key, which is the same for ever; never when Stripe may have forgotten it      |
//! | tell  | what came of it; whoever dies before this leaves it to the next one, who begins by looking for it     |

use std::sync::Arc;

use clawrk_domain::payment::Step;
use clawrk_domain::{Action, Cents, Lease, Payment, PaymentId, PaymentKind};
use clawrk_store::StoreError;

use super::Desk;
use crate::App;
use crate::outside::stripe::StripeError;
use crate::outside::stripe::objects::{Intent, Transfer};
use crate::tasks::lease::while_leased;

pub(super) async fn pay(app: &App, desk: &Arc<Desk>, lease: Lease, payment: PaymentId) -> Result<(), StoreError> {
    let Some(payment) = app.store.payment(payment).await? else { return app.exchange.run(lease).await };
    let found = while_leased(app, lease, carried_out(app, desk, lease, &payment)).await;
    match found {
        Some(Ok(Some(step))) => app.exchange.step(lease, step).await.map(|_| ()),
        Some(Ok(None)) | None => Ok(()),
        Some(Err(error)) => Err(error),
    }
}

/// What came of it; nothing if it is somebody else's now.
async fn carried_out(app: &App, desk: &Desk, lease: Lease, payment: &Payment) -> Result<Option<Step>, StoreError> {
    if payment.sent_at.is_some() {
        match find(desk, payment).await {
            Ok(Some(step)) => return Ok(Some(step)),
            Ok(None) => {}
            Err(error) => return Ok(Some(Step::Unknown(error.to_string()))),
        }
        if !payment.may_be_sent(app.store.clock().now()) {
            let problem = "Stripe has nothing of it, and may have forgotten its key: it is not sent again. Look at \
                           Stripe's pages, then say what became of it with `clawrk admin payments resolve`";
            return Ok(Some(Step::Unknown(problem.to_owned())));
        }
    }
    // Also before it is sent again: to look for it takes a while, and it may have become another node's meanwhile.
    if !app.exchange.step(lease, Step::Sending).await? {
        return Ok(None);
    }
    Ok(Some(send(app, desk, payment).await?))
}

/// What Stripe has of it already, if anything.
pub async fn find(desk: &Desk, payment: &Payment) -> Result<Option<Step>, StripeError> {
    match payment.kind {
        PaymentKind::Withdrawal => {
            let found = desk.stripe.transfers_of(payment.id).await?.data;
            Ok(found.first().map(|transfer| paid_out(payment, transfer, found.len())))
        }
        PaymentKind::AutoTopUp => {
            let known = payment.intent.as_deref();
            let intent = match (known, &payment.counterparty) {
                (Some(intent), _) => Some(desk.stripe.intent(intent).await?),
                (None, Some(customer)) => {
                    let all = desk.stripe.intents_of(customer).await?.data;
                    let id = payment.id.to_string();
                    all.into_iter().find(|intent| intent.metadata.get("clawrk_payment") == Some(&id))
                }
                (None, None) => None,
            };
            Ok(intent.map(|intent| charged(payment, &intent)))
        }
        // Its payer pays on Stripe's page: nothing is sent.
        PaymentKind::TopUp => Ok(None),
    }
}

async fn send(app: &App, desk: &Desk, payment: &Payment) -> Result<Step, StoreError> {
    let Some(counterparty) = &payment.counterparty else {
        return Ok(Step::Refused { problem: "there is nobody to pay".to_owned(), is_final: true });
    };
    let sent = match payment.kind {
        PaymentKind::Withdrawal => {
            let transfer = desk.stripe.transfer(payment.id, counterparty, payment.amount).await;
            transfer.map(|transfer| paid_out(payment, &transfer, 1))
        }
        PaymentKind::AutoTopUp => {
            let Some(card) = app.store.stripe_ids(payment.user).await?.payment_method else {
                return Ok(Step::Refused { problem: "there is no card to charge".to_owned(), is_final: true });
            };
            let intent = desk.stripe.charge(payment.id, counterparty, &card, payment.amount).await;
            intent.map(|intent| charged(payment, &intent))
        }
        PaymentKind::TopUp => Ok(Step::Unknown("a top-up is paid on Stripe's page".to_owned())),
    };
    Ok(sent.unwrap_or_else(|error| {
        let is_final = error.is_final();
        match error {
            StripeError::Refused { problem, .. } => Step::Refused { problem, is_final },
            StripeError::Away { problem, pause_seconds } => Step::Later { problem, pause_seconds },
            StripeError::Unknown(problem) => Step::Unknown(problem),
        }
    }))
}

/// What a payout that Stripe has means: nothing is settled by one that is not ours to the cent.
pub(super) fn paid_out(payment: &Payment, transfer: &Transfer, many: usize) -> Step {
    let is_ours = Cents(transfer.amount) == payment.amount
        && transfer.currency == "usd"
        && transfer.destination == payment.counterparty
        && many == 1;
    match is_ours {
        true => Step::Done(transfer.id.clone()),
        false => Step::Unknown(format!("Stripe has another payout for it, {}: look at it", transfer.id)),
    }
}

/// What a charge that Stripe has means.
fn charged(payment: &Payment, intent: &Intent) -> Step {
    match intent.status.as_str() {
        "succeeded" if Cents(intent.amount_received) == payment.amount && intent.currency == "usd" => {
            Step::Done(intent.id.clone())
        }
        "succeeded" => Step::Unknown(format!("Stripe has another charge for it, {}: look at it", intent.id)),
        "processing" => Step::Begun(intent.id.clone()),
        _ => {
            let error = intent.last_payment_error.as_ref();
            let code = error.and_then(|error| error.decline_code.as_ref().or(error.code.as_ref()));
            let problem = code.map_or_else(|| intent.status.clone(), Clone::clone);
            let codes = [Some(problem.clone()), None];
            let is_final = StripeError::Refused { problem: String::new(), codes }.is_final();
            Step::Refused { problem: format!("the card was not charged: {problem}"), is_final }
        }
    }
}

impl crate::exchange::Exchange {
    /// What came of a try of a payment; false when it is somebody else's now.
    pub(crate) async fn step(&self, lease: Lease, step: Step) -> Result<bool, StoreError> {
        self.under_lease(Action::Step { lease, step }).await
    }
}
