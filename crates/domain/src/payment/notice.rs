//! What Stripe tells, in whatever order and however often.

use super::moves::{after, balance_out, disputed, failed, paid, updated};
use super::{Payment, PaymentKind, PaymentState, StripeIds, StripeNews};
use crate::job::moves::Moment;
use crate::purse::Purse;
use crate::{Answer, Cents, Change, NoticeId, PaymentId, Subject, Task, TaskKind, Timestamp, UserId, Write};

/// A notice before anybody has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// Which one: computed from Stripe's name for it, so that the same notice is the same one.
    pub id: NoticeId,
    /// Stripe's name for it.
    pub event: String,
    /// What it is about, in Stripe's words.
    pub kind: String,
    /// All that it says, as it came.
    pub payload: String,
}

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeEnd {
    /// It was worked off.
    Done,
    /// It is about nothing of ours.
    Ignored(String),
    /// It says something that cannot be: people have to look.
    Parked(String),
}

/// What a notice means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Nothing for us, and why.
    Nothing(String),
    /// It cannot be understood now: it is looked at again.
    Trouble(String),
    /// A payment came in.
    Paid {
        /// Which one.
        payment: PaymentId,
        /// Stripe's session or intent.
        reference: String,
        /// Stripe's intent.
        intent: Option<String>,
        /// How much, as Stripe says; none in another currency.
        amount: Option<Cents>,
    },
    /// A charge succeeded: of a card, or behind a page.
    Charged {
        /// Which payment.
        payment: PaymentId,
        /// Stripe's intent.
        intent: String,
        /// How much, as Stripe says; none in another currency.
        amount: Option<Cents>,
    },
    /// A payment will not come.
    NotPaid {
        /// Which one.
        payment: PaymentId,
        /// Why.
        problem: String,
    },
    /// Of a payment so much is refunded now, all in all. A refund can fail later, so that this can become less.
    Refunded {
        /// Which one.
        payment: PaymentId,
        /// Its version before Stripe was asked: whoever has asked later knows better.
        seen: u32,
        /// How much, all in all.
        total: Cents,
    },
    /// Of a withdrawal so much was reversed, all in all.
    Reversed {
        /// Which one.
        payment: PaymentId,
        /// Stripe's name for the transfer.
        reference: String,
        /// How much, all in all.
        total: Cents,
    },
    /// A bank takes a payment back, or has decided about that.
    Disputed {
        /// Which payment.
        payment: PaymentId,
        /// Stripe's name for the dispute.
        dispute: String,
        /// How much.
        amount: Cents,
        /// How it ended, if it has.
        won: Option<bool>,
    },
    /// Something about a user.
    User(UserId, StripeNews),
}

impl Happened {
    /// The payment that it is about.
    pub const fn payment(&self) -> Option<PaymentId> {
        match self {
            Self::Paid { payment, .. }
            | Self::Charged { payment, .. }
            | Self::NotPaid { payment, .. }
            | Self::Refunded { payment, .. }
            | Self::Reversed { payment, .. }
            | Self::Disputed { payment, .. } => Some(*payment),
            Self::Nothing(_) | Self::Trouble(_) | Self::User(..) => None,
        }
    }
}

/// What is known of what a notice is about.
pub(crate) struct Known<'a> {
    pub(crate) payment: Option<Payment>,
    pub(crate) purse: Purse,
    pub(crate) stripe: &'a StripeIds,
    pub(crate) received_at: Timestamp,
}

/// For how long a notice that cannot be understood is looked at again, in seconds.
const PATIENCE_SECONDS: i64 = 3 * 24 * 3600;
/// Between two looks, in seconds.
const PAUSE_SECONDS: (i64, i64) = (2, 3600);

/// A notice has come: it is kept, once, and looked at soon.
pub(crate) fn take(notice: &NewNotice, is_known: bool, now: Timestamp) -> Change {
    let nothing = Change::none(Answer::Nothing);
    if is_known {
        return nothing;
    }
    let task = Task { kind: TaskKind::Heed, subject: Subject::Notice(notice.id), due_at: now };
    nothing.and(Write::CreateNotice(notice.clone(), now)).and(Write::Schedule(task))
}

/// What follows from a notice.
pub(crate) fn heed(task: Task, notice: NoticeId, happened: &Happened, known: Known<'_>, at: &mut Moment<'_>) -> Change {
    let (nothing, now) = (Change::none(Answer::Nothing), at.now);
    let over = |change: Change, end| after(Some(task), change.and(Write::EndNotice(notice, end, now)));
    let again = |seconds| nothing.clone().and(Write::Schedule(Task { due_at: now.plus_seconds(seconds), ..task }));
    match happened {
        Happened::Nothing(why) => over(nothing, NoticeEnd::Ignored(why.clone())),
        Happened::Trouble(problem) => {
            let waited = (now - known.received_at).as_secs().cast_signed();
            if waited >= PATIENCE_SECONDS {
                return over(nothing, NoticeEnd::Parked(problem.clone()));
            }
            again(waited.clamp(PAUSE_SECONDS.0, PAUSE_SECONDS.1))
        }
        Happened::Refunded { seen, .. } if known.payment.as_ref().is_some_and(|payment| payment.version != *seen) => {
            again(0)
        }
        Happened::User(user, news) => {
            let next = known.stripe.with(news).map(|next| Write::Stripe(*user, next));
            over(Change { answer: Answer::Nothing, writes: next.into_iter().collect() }, NoticeEnd::Done)
        }
        _ => match known.payment.map(|payment| of_payment(payment, happened, known.purse, at)) {
            None => over(nothing, NoticeEnd::Ignored("there is no such payment here".to_owned())),
            Some(Ok(change)) => over(change, NoticeEnd::Done),
            Some(Err(problem)) => over(nothing, NoticeEnd::Parked(problem)),
        },
    }
}

/// What follows for the payment; or why it cannot be.
fn of_payment(mut payment: Payment, happened: &Happened, purse: Purse, at: &mut Moment<'_>) -> Result<Change, String> {
    let (before, original) = (payment.task(), payment.clone());
    let is_withdrawal = payment.kind == PaymentKind::Withdrawal;
    let change = match happened {
        Happened::Paid { amount, .. } | Happened::Charged { amount, .. } => {
            if is_withdrawal {
                return Err("a withdrawal is said to have been paid in".to_owned());
            }
            if *amount != Some(payment.amount) {
                return Err(format!("Stripe says another amount than {} in US dollars", payment.amount));
            }
            let (reference, intent) = match happened {
                Happened::Paid { reference, intent, .. } => (Some(reference), intent.as_ref()),
                Happened::Charged { intent, .. } if payment.kind == PaymentKind::AutoTopUp => {
                    (Some(intent), Some(intent))
                }
                // Behind a page: the page has its own notice, which says for certain that it was paid.
                Happened::Charged { intent, .. } => (None, Some(intent)),
                _ => (None, None),
            };
            let is_another = |known: &Option<String>, told: Option<&String>| matches!((known, told), (Some(known), Some(told)) if known != told);
            if is_another(&payment.reference, reference) || is_another(&payment.intent, intent) {
                return Err("Stripe has another payment for it than the one that is known".to_owned());
            }
            payment.reference = payment.reference.or_else(|| reference.cloned());
            payment.intent = payment.intent.or_else(|| intent.cloned());
            if reference.is_some() && payment.state != PaymentState::Paid {
                return Ok(after(before, paid(payment, purse, at)));
            }
            Change::none(Answer::Nothing)
        }
        Happened::NotPaid { problem, .. } => {
            if is_withdrawal || matches!(payment.state, PaymentState::Paid | PaymentState::Failed) {
                return Ok(Change::none(Answer::Nothing));
            }
            return Ok(after(before, failed(payment, problem, at)));
        }
        Happened::Refunded { total, .. } => {
            if is_withdrawal {
                return Err("a withdrawal is said to have been refunded".to_owned());
            }
            payment.back = *total;
            let writes = balance_out(&mut payment, purse, at);
            // A new version even if nothing has changed: whoever asked Stripe before this has to ask again.
            return Ok(Change { answer: Answer::Nothing, writes }.and(updated(payment, at.now)));
        }
        Happened::Reversed { reference, total, .. } => {
            if !is_withdrawal {
                return Err("a payment that came in is said to have been reversed".to_owned());
            }
            if payment.state == PaymentState::Failed {
                return Err("Stripe has a transfer for a withdrawal that was given back".to_owned());
            }
            payment.back = payment.back.max(*total);
            if payment.state != PaymentState::Paid {
                // What was reversed had been paid.
                payment.reference = payment.reference.or_else(|| Some(reference.clone()));
                return Ok(after(before, paid(payment, purse, at)));
            }
            let writes = balance_out(&mut payment, purse, at);
            Change { answer: Answer::Nothing, writes }
        }
        Happened::Disputed { dispute, amount, won, .. } => {
            disputed(&mut payment, dispute, *amount, *won);
            let writes = balance_out(&mut payment, purse, at);
            Change { answer: Answer::Nothing, writes }
        }
        Happened::Nothing(_) | Happened::Trouble(_) | Happened::User(..) => Change::none(Answer::Nothing),
    };
    Ok(if payment == original { change } else { change.and(updated(payment, at.now)) })
}
