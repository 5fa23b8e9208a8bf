//! What becomes of a payment: begun, sent, settled, given up, parked, and moved back.

use super::{AccountStatus, AutoTopUp, Dispute, KEY_SECONDS, Payment, PaymentKind, PaymentState, StripeIds};
use crate::job::moves::Moment;
use crate::purse::Purse;
use crate::{
    Account, Answer, Cents, Change, Ids, Reason, Rejection, Subject, Task, TaskKind, Timestamp, Transfer, UserId,
    Write, limits,
};

/// Charges that a user's card may have in a day without its owner.
const CHARGES_A_DAY: u32 = 5;
/// After this nothing that was sent is still under way, in seconds since it was first sent.
const SETTLED_SECONDS: i64 = KEY_SECONDS + 3600;
/// Between two tries, at first and at most, in seconds.
const PAUSE_SECONDS: (i64, i64) = (5, 3600);

/// What came of a try to have Stripe carry out a payment, or to find out whether it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is about to be sent: written down first, so that whoever comes after a crash knows that it may have been.
    Sending,
    /// It happened, under this name.
    Done(String),
    /// Stripe has taken it on, under this name, and will tell how it ends.
    Begun(String),
    /// Stripe refused: it did not happen, and will not.
    Refused {
        /// Why, for people.
        problem: String,
        /// The same would be refused again.
        is_final: bool,
    },
    /// It was surely not carried out, and may be later.
    Later {
        /// Why, for people.
        problem: String,
        /// For how long Stripe wants to be left alone, in seconds, if it says so.
        pause_seconds: Option<i64>,
    },
    /// Nobody knows whether it was carried out.
    Unknown(String),
}

impl Step {
    /// Whether it happened.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// A user is about to pay in.
pub(crate) fn begin_top_up(user: UserId, amount: Cents, at: &mut Moment<'_>) -> Result<Change, Rejection> {
    limits::within("amount_cents", amount.0, &limits::PAYMENT_CENTS)?;
    let payment = begun(user, PaymentKind::TopUp, amount, PaymentState::Open, at);
    Ok(Change::none(Answer::Payment(payment.clone())).and(Write::CreatePayment(payment)))
}

impl Payment {
    /// Stripe has a page for it.
    pub(crate) fn opened(mut self, session: &str, now: Timestamp) -> Change {
        if self.reference.as_deref() == Some(session) {
            return Change::none(Answer::Payment(self));
        }
        self.reference = Some(session.to_owned());
        Change::none(Answer::Payment(self.clone())).and(updated(self, now))
    }
}

/// A user wants to be paid out: the wallet is debited before Stripe hears of it.
pub(crate) fn withdraw(
    user: UserId,
    amount: Cents,
    available: Cents,
    stripe: &StripeIds,
    at: &mut Moment<'_>,
) -> Result<Change, Rejection> {
    limits::within("amount_cents", amount.0, &limits::PAYMENT_CENTS)?;
    let account = stripe.account.as_ref().filter(|_| stripe.account_status == Some(AccountStatus::Active));
    let account = account.ok_or(Rejection::NotConnected)?;
    if available < amount {
        return Err(Rejection::BalanceTooLow { required: amount, available });
    }
    let payment = Payment {
        counterparty: Some(account.clone()),
        due_at: Some(at.now),
        ..begun(user, PaymentKind::Withdrawal, amount, PaymentState::Sending, at)
    };
    let debit = moved(&payment, Account::Wallet(user), Account::InTransit, amount, reason(&payment), at.now, at.ids);
    Ok(Change::none(Answer::Payment(payment.clone()))
        .and(Write::CreatePayment(payment.clone()))
        .and(debit)
        .and(Write::Schedule(payment.task().expect("it is to be sent"))))
}

/// What a user says about topping up by itself.
pub(crate) fn set_auto_top_up(
    user: UserId,
    wanted: &AutoTopUp,
    purse: Purse,
    stripe: &StripeIds,
    now: Timestamp,
) -> Result<Change, Rejection> {
    if wanted.enabled {
        limits::within("amount_cents", wanted.amount.0, &limits::PAYMENT_CENTS)?;
        limits::within("threshold_cents", wanted.threshold.0, &limits::THRESHOLD_CENTS)?;
        if stripe.payment_method.is_none() {
            return Err(Rejection::NoCard);
        }
    }
    let wanted = AutoTopUp { off_because: None, ..wanted.clone() };
    let mut change = Change::none(Answer::AutoTopUp(wanted.clone())).and(Write::AutoTopUp(user, wanted.clone()));
    if wanted.enabled && purse.balance < wanted.threshold {
        change = change.and(Write::Schedule(Task { kind: TaskKind::TopUp, subject: Subject::User(user), due_at: now }));
    }
    Ok(change)
}

/// Begins to charge a card if the wallet still has too little, and no charge is under way.
pub(crate) fn charge_if_low(
    task: Task,
    user: UserId,
    facts: (Purse, &AutoTopUp, &StripeIds),
    charges: (bool, u32),
    at: &mut Moment<'_>,
) -> Change {
    let (purse, auto, stripe) = facts;
    let over = Change::none(Answer::Nothing).and(Write::Unschedule(task));
    let (is_under_way, today) = charges;
    let can = auto.enabled && purse.balance < auto.threshold && !is_under_way && today < CHARGES_A_DAY;
    let (Some(customer), Some(_), true) = (&stripe.customer, &stripe.payment_method, can) else { return over };
    let payment = Payment {
        counterparty: Some(customer.clone()),
        due_at: Some(at.now),
        ..begun(user, PaymentKind::AutoTopUp, auto.amount, PaymentState::Sending, at)
    };
    let task = payment.task().expect("it is to be sent");
    over.and(Write::CreatePayment(payment)).and(Write::Schedule(task))
}

/// What follows from a try.
pub(crate) fn step(
    task: Task,
    mut payment: Payment,
    step: &Step,
    purse: Purse,
    auto: &AutoTopUp,
    at: &mut Moment<'_>,
) -> Result<Change, Rejection> {
    let before = Some(task);
    if !matches!(payment.state, PaymentState::Sending | PaymentState::Parked) {
        // Something else has settled it meanwhile: the task is all that is left.
        return Ok(after(before, Change::none(Answer::Nothing)));
    }
    let change = match step {
        Step::Sending => {
            payment.sent_at = payment.sent_at.or(Some(at.now));
            return Ok(Change::none(Answer::Nothing).and(updated(payment, at.now)));
        }
        Step::Done(reference) => {
            payment.reference = Some(reference.clone());
            if payment.kind == PaymentKind::AutoTopUp {
                payment.intent = Some(reference.clone());
            }
            return Ok(after(before, paid(payment, purse, at)));
        }
        Step::Begun(reference) => {
            payment.reference = Some(reference.clone());
            payment.intent = Some(reference.clone());
            payment.problem = Some("Stripe has not said yet how it ends".to_owned());
            payment.state = PaymentState::Parked;
            payment.tries += 1;
            payment.due_at = Some(at.now.plus_seconds(PAUSE_SECONDS.1));
            Change::none(Answer::Nothing)
        }
        Step::Refused { problem, is_final } => {
            let mut change = failed(payment, problem, at);
            if *is_final && let Some(user) = charged(&change) {
                let off = AutoTopUp { enabled: false, off_because: Some(problem.clone()), ..auto.clone() };
                change = change.and(Write::AutoTopUp(user, off));
            }
            return Ok(after(before, change));
        }
        Step::Later { problem, pause_seconds } => {
            payment.problem = Some(problem.clone());
            payment.tries += 1;
            payment.due_at = Some(at.now.plus_seconds(pause(payment.tries).max(pause_seconds.unwrap_or(0))));
            Change::none(Answer::Nothing)
        }
        Step::Unknown(problem) => {
            payment.problem = Some(problem.clone());
            payment.state = PaymentState::Parked;
            payment.tries += 1;
            payment.due_at = Some(at.now.plus_seconds(pause(payment.tries)));
            Change::none(Answer::Nothing)
        }
    };
    let task = payment.task();
    Ok(after(before, change.and(updated(payment, at.now))).scheduled(task))
}

/// The operator has looked at Stripe's pages and says what became of a payment that is parked.
pub(crate) fn resolve(
    payment: Payment,
    reference: Option<&str>,
    purse: Purse,
    at: &mut Moment<'_>,
) -> Result<Change, Rejection> {
    if payment.state != PaymentState::Parked {
        return Err(Rejection::NotParked(payment.state));
    }
    // Longer than it is sent: what was sent at the last moment has ended by then, too.
    let still_known = payment.sent_at.is_some_and(|sent_at| at.now < sent_at.plus_seconds(SETTLED_SECONDS));
    if reference.is_none() && still_known {
        return Err(Rejection::StillTried);
    }
    let before = payment.task();
    let change = match reference {
        Some(reference) => paid(Payment { reference: Some(reference.to_owned()), ..payment }, purse, at),
        None => failed(payment, "the operator found that it did not happen", at),
    };
    Ok(after(before, change))
}

/// It happened: the ledger has it, with whatever was moved back before.
pub(super) fn paid(mut payment: Payment, mut purse: Purse, at: &mut Moment<'_>) -> Change {
    payment.state = PaymentState::Paid;
    payment.due_at = None;
    payment.problem = None;
    let (user, amount) = (payment.user, payment.amount);
    let (from, to) = match payment.kind {
        PaymentKind::Withdrawal => (Account::InTransit, Account::Outside),
        PaymentKind::TopUp | PaymentKind::AutoTopUp => (Account::Outside, Account::Wallet(user)),
    };
    let mut writes = vec![moved(&payment, from, to, amount, reason(&payment), at.now, at.ids)];
    if to == Account::Wallet(user) {
        purse.balance = purse.balance + amount;
        writes.extend(purse.settle(user, at.now, at.ids));
    }
    // What was spent while the card was charged has asked for nothing: one charge at a time.
    if payment.kind == PaymentKind::AutoTopUp && purse.tops_up_below.is_some_and(|below| purse.balance < below) {
        let (kind, subject) = (TaskKind::TopUp, Subject::User(user));
        writes.push(Write::Schedule(Task { kind, subject, due_at: at.now }));
    }
    writes.extend(balance_out(&mut payment, purse, at));
    let answer = Answer::Payment(payment.clone());
    writes.insert(0, updated(payment, at.now));
    Change { answer, writes }
}

/// It did not happen: a withdrawal is in its wallet again.
pub(super) fn failed(mut payment: Payment, problem: &str, at: &mut Moment<'_>) -> Change {
    payment.state = PaymentState::Failed;
    payment.due_at = None;
    payment.problem = Some(problem.to_owned());
    let (user, amount) = (payment.user, payment.amount);
    let back = (payment.kind == PaymentKind::Withdrawal).then(|| {
        let why = Reason::Reversal(payment.id);
        moved(&payment, Account::InTransit, Account::Wallet(user), amount, why, at.now, at.ids)
    });
    let answer = Answer::Payment(payment.clone());
    let mut change = Change::none(answer).and(updated(payment, at.now));
    change.writes.extend(back);
    change
}

/// Moves back what Stripe has moved back and the ledger has not; or forth again what a bank gave back.
pub(super) fn balance_out(payment: &mut Payment, mut purse: Purse, at: &mut Moment<'_>) -> Vec<Write> {
    let disputed = payment.disputes.iter().filter(|dispute| !dispute.won).map(|dispute| dispute.amount);
    // More than came in, where a bank takes back what had been refunded: that is lost twice.
    let back = disputed.fold(payment.back, |sum, amount| sum + amount);
    if payment.state != PaymentState::Paid || back == payment.moved_back {
        return Vec::new();
    }
    let delta = back - payment.moved_back;
    payment.moved_back = back;
    let (user, why) = (payment.user, Reason::Reversal(payment.id));
    let mut pay = |from, to, amount| moved(payment, from, to, amount, why, at.now, at.ids);
    let into_wallet = (payment.kind == PaymentKind::Withdrawal) == (delta > Cents::ZERO);
    let amount = delta.max(-delta);
    if into_wallet {
        let mut writes = vec![pay(Account::Outside, Account::Wallet(user), amount)];
        purse.balance = purse.balance + amount;
        writes.extend(purse.settle(user, at.now, at.ids));
        return writes;
    }
    let covered = amount.min(purse.balance);
    let mut writes = Vec::new();
    if covered > Cents::ZERO {
        writes.push(pay(Account::Wallet(user), Account::Outside, covered));
    }
    if amount > covered {
        writes.push(pay(Account::Losses, Account::Outside, amount - covered));
        writes.push(Write::Owe(user, amount - covered));
    }
    writes
}

/// Remembers a dispute, or how it ended.
pub(super) fn disputed(payment: &mut Payment, id: &str, amount: Cents, won: Option<bool>) {
    match (payment.disputes.iter_mut().find(|dispute| dispute.id == id), won) {
        (Some(dispute), Some(won)) => dispute.won = won,
        (Some(_), None) => {}
        (None, won) => payment.disputes.push(Dispute { id: id.to_owned(), amount, won: won.unwrap_or(false) }),
    }
}

/// The payment as it is written down once more.
pub(super) fn updated(mut payment: Payment, now: Timestamp) -> Write {
    payment.version += 1;
    payment.updated_at = now;
    Write::UpdatePayment(payment)
}

fn begun(user: UserId, kind: PaymentKind, amount: Cents, state: PaymentState, at: &mut Moment<'_>) -> Payment {
    Payment {
        id: at.ids.payment(),
        user,
        kind,
        amount,
        state,
        reference: None,
        intent: None,
        counterparty: None,
        sent_at: None,
        tries: 0,
        problem: None,
        back: Cents::ZERO,
        disputes: Vec::new(),
        moved_back: Cents::ZERO,
        due_at: None,
        created_at: at.now,
        updated_at: at.now,
        version: 1,
    }
}

/// Whose card was charged, if it was a charge that failed.
fn charged(change: &Change) -> Option<UserId> {
    match &change.answer {
        Answer::Payment(payment) if payment.kind == PaymentKind::AutoTopUp => Some(payment.user),
        _ => None,
    }
}

/// The change, after the task that it follows from has gone.
pub(super) fn after(before: Option<Task>, mut change: Change) -> Change {
    change.writes.extend(before.map(Write::Unschedule));
    change
}

const fn pause(tries: u32) -> i64 {
    let (first, most) = PAUSE_SECONDS;
    let doublings = if tries > 20 { 20 } else { tries.saturating_sub(1) };
    let pause = first << doublings;
    if pause > most { most } else { pause }
}

const fn reason(payment: &Payment) -> Reason {
    match payment.kind {
        PaymentKind::TopUp => Reason::TopUp(payment.id),
        PaymentKind::AutoTopUp => Reason::AutoTopUp(payment.id),
        PaymentKind::Withdrawal => Reason::Withdrawal(payment.id),
    }
}

fn moved(
    payment: &Payment,
    from: Account,
    to: Account,
    amount: Cents,
    reason: Reason,
    now: Timestamp,
    ids: &mut Ids,
) -> Write {
    debug_assert!(reason.payment() == Some(payment.id));
    Write::Transfer(Transfer { id: ids.transfer(), at: now, from, to, amount, reason })
}

impl Change {
    /// This change, and a task that follows.
    fn scheduled(mut self, task: Option<Task>) -> Self {
        self.writes.extend(task.map(Write::Schedule));
        self
    }
}
