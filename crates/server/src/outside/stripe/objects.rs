//! What Stripe says, as far as it is looked at.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the exchange has written on an object.
pub type Metadata = BTreeMap<String, String>;

/// Something of which only the name counts.
#[derive(Debug, Clone, Deserialize)]
pub struct Named {
    /// Stripe's name.
    pub id: String,
}

/// Some of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct List<T> {
    /// These.
    pub data: Vec<T>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A page on which somebody pays or saves a card.
#[derive(Debug, Clone, Deserialize)]
pub struct Session {
    /// Stripe's name.
    pub id: String,
    /// Where it is, until it is over.
    pub url: Option<String>,
    /// `payment` or `setup`.
    #[serde(default)]
    pub mode: String,
    /// `paid`, `unpaid` or `no_payment_required`.
    #[serde(default)]
    pub payment_status: String,
    /// How much, in the smallest unit of the currency.
    pub amount_total: Option<i64>,
    /// In what.
    pub currency: Option<String>,
    /// The intent behind it.
    pub payment_intent: Option<String>,
    /// What the exchange has written on it.
    #[serde(default)]
    pub metadata: Metadata,
}

/// What a page needs to save a card.
#[derive(Debug, Clone, Deserialize)]
pub struct SetupIntent {
    /// Stripe's name.
    pub id: String,
    /// What the page shows for it.
    pub client_secret: Option<String>,
    /// Whose card.
    pub customer: Option<String>,
    /// The card.
    pub payment_method: Option<String>,
    /// What the exchange has written on it.
    #[serde(default)]
    pub metadata: Metadata,
}

/// A charge on its way.
#[derive(Debug, Clone, Deserialize)]
pub struct Intent {
    /// Stripe's name.
    pub id: String,
    /// Such as `succeeded`, `processing`, `requires_action` or `canceled`.
    pub status: String,
    /// How much has come in, in the smallest unit of the currency.
    #[serde(default)]
    pub amount_received: i64,
    /// In what.
    pub currency: String,
    /// What was wrong the last time.
    pub last_payment_error: Option<PaymentError>,
    /// What the exchange has written on it.
    #[serde(default)]
    pub metadata: Metadata,
}

/// Why a charge failed.
#[derive(Debug, Clone, Deserialize)]
pub struct PaymentError {
    /// Stripe's code.
    pub code: Option<String>,
    /// The bank's.
    pub decline_code: Option<String>,
}

/// A connected account.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// Stripe's name.
    pub id: String,
    /// Whether it can pay out to a bank.
    #[serde(default)]
    pub payouts_enabled: bool,
    /// What it may do, each `active`, `inactive` or `pending`.
    #[serde(default)]
    pub capabilities: BTreeMap<String, String>,
    /// What the exchange has written on it.
    #[serde(default)]
    pub metadata: Metadata,
}

/// A page for the owner of a connected account.
#[derive(Debug, Clone, Deserialize)]
pub struct AccountLink {
    /// Where it is.
    pub url: String,
}

/// A payout to a connected account.
#[derive(Debug, Clone, Deserialize)]
pub struct Transfer {
    /// Stripe's name.
    pub id: String,
    /// How much, in cents.
    pub amount: i64,
    /// How much of it was reversed.
    #[serde(default)]
    pub amount_reversed: i64,
    /// In what.
    pub currency: String,
    /// To which account.
    pub destination: Option<String>,
    /// Which withdrawal of the exchange it is for.
    pub transfer_group: Option<String>,
}

/// A charge, or a refund of one, as far as a notice needs it: what it is about.
#[derive(Debug, Clone, Deserialize)]
pub struct OfIntent {
    /// The intent behind it.
    pub payment_intent: Option<String>,
    /// What the exchange has written on it.
    #[serde(default)]
    pub metadata: Metadata,
}

/// Some of a charge goes back.
#[derive(Debug, Clone, Deserialize)]
pub struct Refund {
    /// Stripe's name.
    pub id: String,
    /// How much, in the smallest unit of the currency.
    pub amount: i64,
    /// In what.
    pub currency: String,
    /// Such as `pending`, `succeeded`, `failed` or `canceled`.
    #[serde(default)]
    pub status: String,
}

/// A bank takes a charge back.
#[derive(Debug, Clone, Deserialize)]
pub struct Dispute {
    /// Stripe's name.
    pub id: String,
    /// How much.
    pub amount: i64,
    /// In what.
    pub currency: String,
    /// Such as `needs_response`, `won` or `lost`.
    pub status: String,
    /// The intent behind the charge.
    pub payment_intent: Option<String>,
}

/// What Stripe tells.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Stripe's name.
    pub id: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// When, in seconds since 1970.
    pub created: i64,
    /// Whether real money moved.
    #[serde(default)]
    pub livemode: bool,
    /// The connected account that it is about, if it is one's.
    pub account: Option<String>,
    /// The object.
    pub data: EventData,
}

/// What an event is about.
#[derive(Debug, Clone, Deserialize)]
pub struct EventData {
    /// The object as it was then.
    pub object: Value,
}

/// What a list is read on behind.
pub trait Item {
    /// Stripe's name.
    fn name(&self) -> &str;
}

impl Item for Event {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Item for Refund {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Item for Dispute {
    fn name(&self) -> &str {
        &self.id
    }
}

/// What is on an account.
#[derive(Debug, Clone, Deserialize)]
pub struct Balance {
    /// What can be paid out.
    pub available: Vec<Amount>,
    /// What cannot yet.
    pub pending: Vec<Amount>,
}

/// An amount of a currency.
#[derive(Debug, Clone, Deserialize)]
pub struct Amount {
    /// How much, in the smallest unit.
    pub amount: i64,
    /// Of what.
    pub currency: String,
}
