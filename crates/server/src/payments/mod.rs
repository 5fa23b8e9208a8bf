//! Payments: having Stripe carry them out, and understanding what it tells.
//!
//! | What          | Where        | How it is driven                                                     |
//! |---------------|--------------|----------------------------------------------------------------------|
//! | a payment     | `pay.rs`     | a leased task until Stripe's answer, or its notice, settles it        |
//! | a notice      | `heed.rs`    | kept as it came, acknowledged, then worked off by a leased task       |
//! | what went back | `back.rs`   | asked when a notice says that something did, and when books are compared |
//! | the books     | `compare.rs` | on demand, and once a day: the ledger beside what Stripe remembers   |
//!
//! What follows from anything is the domain's: see `domain/payment`.

pub mod back;
pub mod compare;
mod heed;
pub mod pay;

use std::sync::Arc;

use clawrk_domain::payment::{NewNotice, StripeNews};
use clawrk_domain::{Action, Lease, NoticeId, Subject, TaskKind, User, UserId};
use clawrk_store::StoreError;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use uuid::Builder;

use crate::config::StripeSetting;
pub(crate) use heed::status as status_of;

use crate::outside::stripe::objects::Event;
use crate::outside::stripe::{Stripe, StripeError, StripeOpenError};
use crate::{App, Error, random};

/// The way to Stripe, and what is known of it.
#[derive(Debug)]
pub struct Desk {
    /// The client.
    pub(crate) stripe: Stripe,
    /// What it signs with what it sends.
    pub(crate) webhook_secrets: Vec<String>,
    /// Where people come back to from its pages.
    pub(crate) back_to: String,
    /// Whether real money moves.
    pub(crate) is_live: bool,
    /// Something may be to be done.
    pub(crate) nudge: Notify,
}

impl Desk {
    /// The way that the settings describe.
    pub fn open(setting: &StripeSetting) -> Result<Self, StripeOpenError> {
        Ok(Self::new(Stripe::open(setting)?, setting))
    }

    /// The same, by this client.
    pub fn new(stripe: Stripe, setting: &StripeSetting) -> Self {
        let back_to =
            setting.public_url.join("stripe/done").map_or_else(|_| setting.public_url.to_string(), Into::into);
        let (webhook_secrets, is_live) = (setting.webhook_secrets.clone(), setting.is_live());
        Self { stripe, webhook_secrets, back_to, is_live, nudge: Notify::new() }
    }
}

/// Does what a lease is about.
pub(crate) async fn work(app: &App, desk: &Arc<Desk>, lease: Lease) -> Result<(), StoreError> {
    match (lease.task.kind, lease.task.subject) {
        (TaskKind::Pay, Subject::Payment(payment)) => pay::pay(app, desk, lease, payment).await,
        (TaskKind::Heed, Subject::Notice(notice)) => heed::heed(app, desk, lease, notice).await,
        _ => app.exchange.run(lease).await,
    }
}

/// The id of a notice of that name: the same notice is the same one.
pub(crate) fn notice_id(event: &str) -> NoticeId {
    let digest: [u8; 32] = Sha256::digest(event.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    NoticeId(Builder::from_custom_bytes(bytes).into_uuid())
}

/// The notices that anything follows from.
pub(crate) const KINDS: [&str; 17] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "setup_intent.succeeded",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "account.updated",
    "charge.refunded",
    "charge.refund.updated",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.closed",
    "transfer.created",
    "transfer.reversed",
];

/// A notice of Stripe's, for us to keep: none if nothing follows from it.
pub(crate) fn notice(desk: &Desk, event: &Event, payload: &str) -> Option<NewNotice> {
    // What happens on a connected account is its owner's own business, whatever is written on it: only how the account
    // itself stands counts.
    let is_others = event.account.is_some() && event.kind != "account.updated";
    if is_others || !KINDS.contains(&event.kind.as_str()) || event.livemode != desk.is_live {
        return None;
    }
    let (id, kind) = (notice_id(&event.id), event.kind.clone());
    Some(NewNotice { id, event: event.id.clone(), kind, payload: payload.to_owned() })
}

/// A key at Stripe for something of which two do no harm.
pub(crate) fn fresh_key() -> String {
    format!("clawrk-{:032x}", random::seed())
}

/// Stripe's customer for a user, who is made one if need be.
pub(crate) async fn customer_of(app: &App, desk: &Desk, user: &User) -> Result<String, Error> {
    if let Some(customer) = app.store.stripe_ids(user.id).await?.customer {
        return Ok(customer);
    }
    let key = fresh_key();
    let made = desk.stripe.create_customer(user.id, &user.name, user.email.as_deref(), &key).await;
    let made = made.map_err(of_stripe)?;
    remember(app, user.id, StripeNews::Customer(made.id)).await?;
    // Somebody may have been faster.
    app.store.stripe_ids(user.id).await?.customer.ok_or_else(Error::internal)
}

/// Stripe's connected account for a user, which is made if need be.
pub(crate) async fn account_of(app: &App, desk: &Desk, user: &User) -> Result<String, Error> {
    if let Some(account) = app.store.stripe_ids(user.id).await?.account {
        return Ok(account);
    }
    let made = desk.stripe.create_account(user.id, user.email.as_deref(), &fresh_key()).await.map_err(of_stripe)?;
    remember(app, user.id, StripeNews::Account(made.id)).await?;
    app.store.stripe_ids(user.id).await?.account.ok_or_else(Error::internal)
}

/// Writes down what is new about a user's dealings with Stripe.
pub(crate) async fn remember(app: &App, user: UserId, news: StripeNews) -> Result<(), Error> {
    app.exchange.by_itself(Action::Stripe(user, news)).await.map(|_| ())
}

/// What a user is told when Stripe did not do what they asked for.
pub(crate) fn of_stripe(error: StripeError) -> Error {
    match error {
        StripeError::Refused { problem, .. } => Error::stripe_refuses(&problem),
        StripeError::Away { .. } | StripeError::Unknown(_) => {
            tracing::error!(%error, "Stripe did not do what somebody asked for");
            Error::stripe_unavailable()
        }
    }
}
