//! The ledger's words: accounts, and transfers between two of them.
//!
//! A transfer is one amount from one account to another, so the sum over all accounts is zero by
//! construction. It touches at most one wallet and one escrow. Transfers are never changed.

use std::fmt;

use crate::{Cents, JobId, PaymentId, Timestamp, TransferId, UserId};

/// A place where money is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A user's balance; never below zero.
    Wallet(UserId),
    /// What is set aside for a job; its price while the job is open and paid, else zero.
    Escrow(JobId),
    /// Fees earned.
    Platform,
    /// Payouts that have left a wallet and are not known to have arrived; never below zero.
    InTransit,
    /// What was taken back of payments and wallets could not cover, as a debt; never above zero.
    Losses,
    /// Everything beyond the exchange; what came in stands here as a debt.
    Outside,
}

impl Account {
    /// The account's kind, as stored and shown.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Wallet(_) => "wallet",
            Self::Escrow(_) => "escrow",
            Self::Platform => "platform",
            Self::InTransit => "in_transit",
            Self::Losses => "losses",
            Self::Outside => "outside",
        }
    }
}

/// Why money moved: the ledger line's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A job was paid for.
    Job(JobId),
    /// A job's price came back.
    Refund(JobId),
    /// A job's payout, or the exchange's fee of it.
    Earning(JobId),
    /// The operator gave balance.
    Grant(TransferId),
    /// Somebody paid in.
    TopUp(PaymentId),
    /// A card was charged because a balance ran low.
    AutoTopUp(PaymentId),
    /// Somebody was paid out.
    Withdrawal(PaymentId),
    /// A payment was taken back, or came back: a refund, a dispute, a payout that was refused or reversed.
    Reversal(PaymentId),
    /// What a wallet could not cover of such was settled.
    Settlement(TransferId),
}

impl Reason {
    /// The reason of that word, about this job or this payment, or else about this transfer itself.
    pub fn of(word: &str, job: Option<JobId>, payment: Option<PaymentId>, transfer: TransferId) -> Option<Self> {
        let of_job = job.map(|job| [Self::Job(job), Self::Refund(job), Self::Earning(job)]);
        let of_payment = payment.map(|payment| {
            [Self::TopUp(payment), Self::AutoTopUp(payment), Self::Withdrawal(payment), Self::Reversal(payment)]
        });
        let of_itself = [Self::Grant(transfer), Self::Settlement(transfer)];
        let all = of_job.into_iter().flatten().chain(of_payment.into_iter().flatten()).chain(of_itself);
        all.into_iter().find(|reason| reason.word() == word)
    }

    /// The payment that it is about, if it is about one.
    pub const fn payment(self) -> Option<PaymentId> {
        match self {
            Self::TopUp(payment) | Self::AutoTopUp(payment) | Self::Withdrawal(payment) | Self::Reversal(payment) => {
                Some(payment)
            }
            _ => None,
        }
    }

    /// The reason's first word, as stored; what it is about is the job, the payment, or the transfer itself.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Job(_) => "job",
            Self::Refund(_) => "refund",
            Self::Earning(_) => "earning",
            Self::Grant(_) => "grant",
            Self::TopUp(_) => "topup",
            Self::AutoTopUp(_) => "auto_topup",
            Self::Withdrawal(_) => "withdrawal",
            Self::Reversal(_) => "reversal",
            Self::Settlement(_) => "settlement",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) | Self::Refund(job) | Self::Earning(job) => write!(f, "{}:{job}", self.word()),
            Self::Grant(transfer) | Self::Settlement(transfer) => write!(f, "{}:{transfer}", self.word()),
            Self::TopUp(payment) | Self::AutoTopUp(payment) | Self::Withdrawal(payment) | Self::Reversal(payment) => {
                write!(f, "{}:{payment}", self.word())
            }
        }
    }
}

/// One movement of money, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Which one.
    pub id: TransferId,
    /// When.
    pub at: Timestamp,
    /// The account that has less now.
    pub from: Account,
    /// The account that has more now.
    pub to: Account,
    /// How much; above zero.
    pub amount: Cents,
    /// Why.
    pub reason: Reason,
}

impl Transfer {
    /// The change to the one wallet that this transfer touches, if any.
    pub fn wallet(&self) -> Option<(UserId, Cents)> {
        match (self.from, self.to) {
            (Account::Wallet(user), _) => Some((user, -self.amount)),
            (_, Account::Wallet(user)) => Some((user, self.amount)),
            _ => None,
        }
    }

    /// The change to the one escrow that this transfer touches, if any.
    pub fn escrow(&self) -> Option<(JobId, Cents)> {
        match (self.from, self.to) {
            (Account::Escrow(job), _) => Some((job, -self.amount)),
            (_, Account::Escrow(job)) => Some((job, self.amount)),
            _ => None,
        }
    }
}

/// A line of a wallet's ledger, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The transfer behind it.
    pub id: TransferId,
    /// What it did to the balance.
    pub delta: Cents,
    /// Why.
    pub reason: Reason,
    /// Stripe's name for the payment behind it: its session or its intent.
    pub reference: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Entry {
    /// The reason as its owner sees it: what was paid in goes by Stripe's name, as on Stripe's own pages.
    pub fn reason(&self) -> String {
        match (self.reason, &self.reference) {
            (Reason::TopUp(_) | Reason::AutoTopUp(_), Some(reference)) => {
                format!("{}:{reference}", self.reason.word())
            }
            (reason, _) => reason.to_string(),
        }
    }
}
