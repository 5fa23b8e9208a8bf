//! What Stripe told, understood: which payment or user it is about, and what happened to it.

use std::sync::Arc;

use clawrk_domain::payment::{AccountStatus, Happened, StripeNews};
use clawrk_domain::{Action, Cents, Lease, NoticeId, Payment, PaymentId, PaymentState, UserId};
use clawrk_store::StoreError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pay::paid_out;
use super::{Desk, back};
use crate::App;
use crate::outside::stripe::StripeError;
use crate::outside::stripe::objects::{
    Account, Dispute, Event, Intent, Metadata, OfIntent, Session, SetupIntent, Transfer,
};
use crate::tasks::lease::while_leased;

pub(super) async fn heed(app: &App, desk: &Arc<Desk>, lease: Lease, notice: NoticeId) -> Result<(), StoreError> {
    let Some(notice) = app.store.notice(notice).await? else { return app.exchange.run(lease).await };
    let understood = async {
        match serde_json::from_str::<Event>(&notice.payload) {
            Ok(event) => understood(app, desk, &event).await,
            Err(_) => Ok(Happened::Trouble("it is no event".to_owned())),
        }
    };
    match while_leased(app, lease, understood).await {
        Some(Ok(happened)) => {
            app.exchange.under_lease(Action::Heed { lease, happened }).await?;
            // A wallet may have more now, or too little.
            desk.nudge.notify_one();
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    }
}

/// What an event means.
async fn understood(app: &App, desk: &Desk, event: &Event) -> Result<Happened, StoreError> {
    let object = &event.data.object;
    Ok(match event.kind.as_str() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            of(object, |session: Session| paid_on_a_page(event, session))
        }
        "checkout.session.async_payment_failed" => {
            of(object, |session: Session| not_paid(session, "the payment failed"))
        }
        "checkout.session.expired" => of(object, |session: Session| not_paid(session, "nobody paid in time")),
        "payment_intent.succeeded" => of(object, intent_succeeded),
        "payment_intent.payment_failed" => {
            Happened::Nothing("whoever pays is told by Stripe, and may try again".to_owned())
        }
        "setup_intent.succeeded" => match serde_json::from_value::<SetupIntent>(object.clone()) {
            Ok(intent) => card_saved(app, intent).await?,
            Err(_) => unreadable(),
        },
        "account.updated" => match serde_json::from_value::<Account>(object.clone()) {
            Ok(account) => account_updated(app, desk, &account).await?,
            Err(_) => unreadable(),
        },
        "charge.refunded" | "charge.refund.updated" | "refund.updated" | "refund.failed" => {
            match serde_json::from_value::<OfIntent>(object.clone()) {
                Ok(of) => refunded(app, desk, &of).await?,
                Err(_) => unreadable(),
            }
        }
        "charge.dispute.created" if object["status"].as_str().is_some_and(back::is_harmless) => {
            Happened::Nothing("a bank asks about a payment, and has taken nothing back".to_owned())
        }
        "charge.dispute.created" | "charge.dispute.funds_withdrawn" | "charge.dispute.closed" => {
            match serde_json::from_value::<Dispute>(object.clone()) {
                Ok(dispute) => {
                    let amount = cents(dispute.amount, &dispute.currency);
                    let payment = payment_of(app, desk, &Metadata::new(), dispute.payment_intent.as_deref()).await?;
                    let payment = payment.map(|payment| payment.id);
                    let is_closed = event.kind == "charge.dispute.closed";
                    let won = is_closed.then_some(back::is_harmless(&dispute.status));
                    let dispute = dispute.id;
                    about(payment, amount, |payment, amount| Happened::Disputed { payment, dispute, amount, won })
                }
                Err(_) => unreadable(),
            }
        }
        "transfer.created" => match serde_json::from_value::<Transfer>(object.clone()) {
            Ok(transfer) => made(app, transfer).await?,
            Err(_) => unreadable(),
        },
        "transfer.reversed" => match serde_json::from_value::<Transfer>(object.clone()) {
            Ok(transfer) => reversed(app, desk, transfer).await?,
            Err(_) => unreadable(),
        },
        _ => Happened::Nothing("nothing follows from such a notice".to_owned()),
    })
}

fn of<T: DeserializeOwned>(object: &Value, meaning: impl FnOnce(T) -> Happened) -> Happened {
    serde_json::from_value(object.clone()).map_or_else(|_| unreadable(), meaning)
}

fn unreadable() -> Happened {
    Happened::Trouble("what it is about is not what it should be".to_owned())
}

fn foreign() -> Happened {
    Happened::Nothing("it is about nothing of this exchange".to_owned())
}

/// One too many was put right at Stripe: it never was in our books.
fn another() -> Happened {
    Happened::Nothing("it is about another one at Stripe than the one that is booked".to_owned())
}

/// What follows from an amount about a payment, if both are known.
fn about(
    payment: Result<PaymentId, Happened>,
    amount: Option<Cents>,
    meaning: impl FnOnce(PaymentId, Cents) -> Happened,
) -> Happened {
    match (payment, amount) {
        (Err(other), _) => other,
        (Ok(_), None) => Happened::Trouble("it is in another currency than US dollars".to_owned()),
        (Ok(payment), Some(amount)) => meaning(payment, amount),
    }
}

fn paid_on_a_page(event: &Event, session: Session) -> Happened {
    // Somebody who pays on another page can write a reference, but no metadata.
    let Some(payment) = named_by(&session.metadata) else { return foreign() };
    if session.mode != "payment" {
        return Happened::Nothing("nothing is paid on such a page".to_owned());
    }
    if event.kind == "checkout.session.completed" && session.payment_status != "paid" {
        return Happened::Nothing("the payment is under way: another notice tells how it ends".to_owned());
    }
    let currency = session.currency.unwrap_or_default();
    let amount = session.amount_total.and_then(|amount| cents(amount, &currency));
    Happened::Paid { payment, reference: session.id, intent: session.payment_intent, amount }
}

fn not_paid(session: Session, problem: &str) -> Happened {
    match named_by(&session.metadata) {
        Some(payment) => Happened::NotPaid { payment, problem: problem.to_owned() },
        None => foreign(),
    }
}

fn intent_succeeded(intent: Intent) -> Happened {
    let Some(payment) = named_by(&intent.metadata) else { return foreign() };
    Happened::Charged { payment, amount: cents(intent.amount_received, &intent.currency), intent: intent.id }
}

async fn card_saved(app: &App, intent: SetupIntent) -> Result<Happened, StoreError> {
    let of_metadata: Option<UserId> = intent.metadata.get("clawrk_user").and_then(|user| user.parse().ok());
    let (Some(card), Some(customer)) = (intent.payment_method, intent.customer) else { return Ok(foreign()) };
    let of_customer = app.store.user_with_customer(&customer).await?;
    Ok(match (of_metadata, of_customer) {
        (Some(said), Some(user)) if said == user => Happened::User(user, StripeNews::Card(card)),
        (Some(said), None) if app.store.stripe_ids(said).await?.customer.is_none() => {
            Happened::Trouble("its customer is not known yet".to_owned())
        }
        _ => foreign(),
    })
}

/// Notices come in any order, and an older one is as good as none: how the account stands now, Stripe says.
async fn account_updated(app: &App, desk: &Desk, account: &Account) -> Result<Happened, StoreError> {
    let Some(user) = app.store.user_with_account(&account.id).await? else {
        let said: Option<UserId> = account.metadata.get("clawrk_user").and_then(|user| user.parse().ok());
        let Some(said) = said else { return Ok(foreign()) };
        return Ok(match app.store.stripe_ids(said).await?.account {
            None => Happened::Trouble("whose account it is is not known yet".to_owned()),
            // Made twice, when nobody knew whether it had been made at all.
            Some(_) => foreign(),
        });
    };
    Ok(match desk.stripe.account(&account.id).await {
        Ok(found) => Happened::User(user, StripeNews::Status(found.id.clone(), status(&found))),
        Err(error) => Happened::Trouble(error.to_string()),
    })
}

/// A refund is made, or fails later: how much is refunded now, Stripe says.
async fn refunded(app: &App, desk: &Desk, of: &OfIntent) -> Result<Happened, StoreError> {
    let Some(intent) = of.payment_intent.as_deref() else { return Ok(foreign()) };
    // Read before Stripe is asked: who asks later knows better, and changes the version.
    let (payment, seen) = match payment_of(app, desk, &of.metadata, Some(intent)).await? {
        Ok(payment) => (payment.id, payment.version),
        Err(other) => return Ok(other),
    };
    Ok(match back::refunded(desk, intent).await {
        Ok(total) => about(Ok(payment), total, |payment, total| Happened::Refunded { payment, seen, total }),
        Err(error) => Happened::Trouble(error.to_string()),
    })
}

/// What a payout was made for.
async fn withdrawal_of(app: &App, transfer: &Transfer) -> Result<Option<Payment>, StoreError> {
    let payment = transfer.transfer_group.as_deref().and_then(|group| group.parse().ok());
    let Some(payment) = payment else { return Ok(None) };
    app.store.payment(payment).await
}

/// A payout was made: whoever sent it knows that, or looks for it. One for a withdrawal that was given back is for people,
/// as its reversal is.
async fn made(app: &App, transfer: Transfer) -> Result<Happened, StoreError> {
    let given_back = withdrawal_of(app, &transfer).await?.filter(|payment| payment.state == PaymentState::Failed);
    let Some(payment) = given_back.map(|payment| payment.id) else {
        return Ok(Happened::Nothing("it is for those who compare the books".to_owned()));
    };
    Ok(Happened::Reversed { payment, reference: transfer.id, total: Cents::ZERO })
}

async fn reversed(app: &App, desk: &Desk, transfer: Transfer) -> Result<Happened, StoreError> {
    let Some(payment) = withdrawal_of(app, &transfer).await? else { return Ok(foreign()) };
    match &payment.reference {
        Some(known) if *known != transfer.id => return Ok(another()),
        Some(_) => {}
        // Nobody knows yet whether it was paid: one that is not ours to the cent is put right, and settles nothing.
        None if payment.state != PaymentState::Failed => match desk.stripe.transfers_of(payment.id).await {
            Ok(found) if paid_out(&payment, &transfer, found.data.len()).is_done() => {}
            Ok(_) => return Ok(another()),
            Err(error) => return Ok(Happened::Trouble(error.to_string())),
        },
        None => {}
    }
    let (total, reference) = (cents(transfer.amount_reversed, &transfer.currency), transfer.id);
    Ok(about(Ok(payment.id), total, |payment, total| Happened::Reversed { payment, reference, total }))
}

/// What an account may do: be paid, and pay out.
pub(crate) fn status(account: &Account) -> AccountStatus {
    let can_be_paid = account.capabilities.get("transfers").is_some_and(|state| state == "active");
    if can_be_paid && account.payouts_enabled { AccountStatus::Active } else { AccountStatus::Pending }
}

fn named_by(metadata: &Metadata) -> Option<PaymentId> {
    metadata.get("clawrk_payment")?.parse().ok()
}

fn cents(amount: i64, currency: &str) -> Option<Cents> {
    (currency == "usd").then_some(Cents(amount))
}

/// The payment that something of Stripe's is about: by what the exchange has written on it, by the intent's name, or by
/// what it has written on the intent.
async fn payment_of(
    app: &App,
    desk: &Desk,
    metadata: &Metadata,
    intent: Option<&str>,
) -> Result<Result<Payment, Happened>, StoreError> {
    let Some(intent) = intent else { return Ok(Err(foreign())) };
    if let Some(payment) = app.store.payment_named(intent).await? {
        return Ok(Ok(payment));
    }
    let named = match named_by(metadata) {
        Some(payment) => Some(payment),
        None => match desk.stripe.intent(intent).await {
            Ok(intent) => named_by(&intent.metadata),
            Err(StripeError::Refused { .. }) => None,
            Err(error) => return Ok(Err(Happened::Trouble(error.to_string()))),
        },
    };
    let Some(named) = named else { return Ok(Err(foreign())) };
    Ok(match app.store.payment(named).await? {
        None => Err(foreign()),
        Some(payment) if payment.intent.as_deref().is_some_and(|known| known != intent) => Err(another()),
        Some(payment) => Ok(payment),
    })
}
