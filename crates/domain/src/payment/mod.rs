//! Money that comes in from outside or goes out: payments, and what Stripe tells of them.
//!
//! | Kind          | Begins                | Money moves in the ledger                                              |
//! |---------------|-----------------------|------------------------------------------------------------------------|
//! | top-up        | open: the payer pays  | outside → wallet when Stripe says that it was paid                      |
//! | auto top-up   | sending               | the same, once the charge succeeded                                    |
//! | withdrawal    | sending               | wallet → in transit at once; → outside when paid, → wallet when refused |
//!
//! ```text
//!   open ──────┐                 ┌──> paid      (what is refunded, disputed or reversed moves back from there)
//!              ├─(Stripe's word)─┤
//!   sending ───┤                 └──> failed
//!      │       │
//!      └─> parked: nobody knows whether it happened; asked about until somebody does
//! ```
//!
//! Nothing is ever concluded from silence: a payment whose outcome is unknown is parked, looked for at Stripe under its
//! id, and sent again under the same key only while Stripe surely knows that key.

mod moves;
mod notice;

use serde::{Deserialize, Serialize};

use crate::{Cents, PaymentId, Subject, Task, TaskKind, Timestamp, UserId};

pub use moves::Step;
pub(crate) use moves::{begin_top_up, charge_if_low, resolve, set_auto_top_up, step, withdraw};
pub use notice::{Happened, NewNotice, NoticeEnd};
pub(crate) use notice::{Known, heed, take};

/// For how long after its first use Stripe surely knows a key, with an hour to spare, in seconds.
pub const KEY_SECONDS: i64 = 23 * 3600;

/// Which way money goes, and who begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    /// Somebody pays in on Stripe's page.
    TopUp,
    /// A saved card is charged.
    AutoTopUp,
    /// Somebody is paid out.
    Withdrawal,
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// The payer is to pay.
    Open,
    /// The exchange is to have Stripe carry it out.
    Sending,
    /// Nobody knows whether it happened.
    Parked,
    /// It happened.
    Paid,
    /// It did not happen, and will not.
    Failed,
}

/// Somebody's bank took a payment back, or wants to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// Stripe's name for it.
    pub id: String,
    /// How much of the payment.
    pub amount: Cents,
    /// The money is the payment's again.
    pub won: bool,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Which one; also what Stripe's key for it is made from, and a withdrawal's `transfer_group`.
    pub id: PaymentId,
    /// Whose wallet.
    pub user: UserId,
    /// Which way.
    pub kind: PaymentKind,
    /// How much.
    pub amount: Cents,
    /// How far it is.
    pub state: PaymentState,
    /// Stripe's name for it: a top-up's session, an auto top-up's intent, a withdrawal's transfer.
    pub reference: Option<String>,
    /// Stripe's intent behind a top-up of either kind.
    pub intent: Option<String>,
    /// The connected account that a withdrawal goes to, or the customer that is charged.
    pub counterparty: Option<String>,
    /// When it was first sent, or may have been.
    pub sent_at: Option<Timestamp>,
    /// How many tries came to nothing.
    pub tries: u32,
    /// What was wrong the last time, for people.
    pub problem: Option<String>,
    /// How much of it Stripe says was refunded or reversed.
    pub back: Cents,
    /// Who disputes it.
    pub disputes: Vec<Dispute>,
    /// How much of it the ledger has moved back.
    pub moved_back: Cents,
    /// When it is to be tried or looked for next.
    pub due_at: Option<Timestamp>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts its changes.
    pub version: u32,
}

/// What is kept of a user's dealings with Stripe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StripeIds {
    /// The customer, who pays.
    pub customer: Option<String>,
    /// The connected account, which is paid.
    pub account: Option<String>,
    /// What that account may do.
    pub account_status: Option<AccountStatus>,
    /// The card that may be charged without its owner.
    pub payment_method: Option<String>,
}

/// What a connected account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// Something is left to be filled in or checked.
    Pending,
    /// It can be paid.
    Active,
}

/// Something new about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StripeNews {
    /// There is a customer.
    Customer(String),
    /// There is a connected account.
    Account(String),
    /// What this account may do has changed.
    Status(String, AccountStatus),
    /// There is a card that may be charged.
    Card(String),
}

/// When and by how much a wallet is topped up by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoTopUp {
    /// Whether it is.
    pub enabled: bool,
    /// By how much.
    pub amount: Cents,
    /// When less than this is left.
    pub threshold: Cents,
    /// Why the exchange switched it off.
    pub off_because: Option<String>,
}

impl StripeIds {
    /// With this news; none if that changes nothing.
    pub(crate) fn with(&self, news: &StripeNews) -> Option<Self> {
        let mut next = self.clone();
        match news {
            // The first one stays: what it has done goes by its name.
            StripeNews::Customer(id) => next.customer = next.customer.or_else(|| Some(id.clone())),
            StripeNews::Account(id) => {
                if next.account.is_none() {
                    next.account = Some(id.clone());
                    next.account_status = Some(AccountStatus::Pending);
                }
            }
            StripeNews::Status(id, status) if next.account.as_ref() == Some(id) => next.account_status = Some(*status),
            StripeNews::Status(..) => {}
            StripeNews::Card(id) => next.payment_method = Some(id.clone()),
        }
        (next != *self).then_some(next)
    }
}

impl PaymentKind {
    /// The kind as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "topup",
            Self::AutoTopUp => "auto_topup",
            Self::Withdrawal => "withdrawal",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::TopUp, Self::AutoTopUp, Self::Withdrawal].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl PaymentState {
    /// The state as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sending => "sending",
            Self::Parked => "parked",
            Self::Paid => "paid",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Sending, Self::Parked, Self::Paid, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

impl AccountStatus {
    /// The status as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Active].into_iter().find(|status| status.as_str() == name)
    }
}

impl Payment {
    /// What the exchange has to do about it.
    pub fn task(&self) -> Option<Task> {
        let due_at = self.due_at?;
        Some(Task { kind: TaskKind::Pay, subject: Subject::Payment(self.id), due_at })
    }

    /// Whether it may be sent, again or for the first time, under its key.
    pub fn may_be_sent(&self, now: Timestamp) -> bool {
        self.sent_at.is_none_or(|sent_at| now < sent_at.plus_seconds(KEY_SECONDS))
    }
}
