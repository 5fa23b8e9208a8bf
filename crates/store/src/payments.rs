//! Payments, notices and users' dealings with Stripe: what a command about them needs to know, what it writes, what is
//! read of them.

use clawrk_domain::payment::{AutoTopUp, NewNotice, NoticeEnd, StripeIds};
use clawrk_domain::{Action, Facts, Ids, NoticeId, Payment, PaymentId, Timestamp, UserId};

use crate::tx::{Step, Tx};
use crate::value::Value;
use crate::writes::{Statement, Wallets, one};
use crate::{Store, StoreError, row, sql};

/// How long a charge counts against those of a day, in seconds.
const DAY_SECONDS: i64 = 24 * 3600;

/// What a command about a payment, a notice or a user's dealings with Stripe needs to know.
pub(crate) async fn load(
    tx: &mut impl Tx,
    actor: Option<UserId>,
    action: &Action,
    facts: &mut Facts,
    wallets: &mut Wallets,
) -> Result<(), StoreError> {
    if let Some(notice) = action.notice() {
        let found = tx.look(vec![Step::Locked(&sql::NOTICE, vec![notice.into()])]).await?.row(0);
        facts.notice_at = found.map(|found| found.time(0)).transpose()?;
    }
    if let Some(payment) = action.payment() {
        let found = tx.look(vec![Step::Locked(&sql::PAYMENT, vec![payment.into()])]).await?.row(0);
        facts.payment = found.as_ref().map(row::payment).transpose()?;
    }
    let of_payment = facts.payment.as_ref().map(|payment| payment.user);
    let deals = matches!(action, Action::Withdraw(_) | Action::SetAutoTopUp(_));
    let Some(user) = of_payment.or_else(|| action.dealer()).or(actor.filter(|_| deals)) else { return Ok(()) };
    let mut steps =
        vec![Step::Locked(&sql::STRIPE_IDS, vec![user.into()]), Step::Read(sql::AUTO_TOPUP, vec![user.into()])];
    // The actor's own wallet is loaded with what else the action names.
    let is_others = actor.is_none();
    if is_others {
        steps.push(Step::Locked(&sql::WALLET, vec![user.into()]));
    }
    let mut found = tx.look(steps).await?;
    facts.stripe = found.row(0).as_ref().map(row::stripe_ids).transpose()?.unwrap_or_default();
    facts.auto_top_up = found.row(1).as_ref().map(row::auto_top_up).transpose()?.unwrap_or_default();
    if is_others && let Some(wallet) = found.row(2).as_ref().map(row::wallet).transpose()? {
        facts.purse = wallet.purse();
        wallets.insert(user, wallet);
    }
    if matches!(action, Action::Run(_)) {
        // With the wallet locked, nobody else begins a charge meanwhile.
        let since = found.now.plus_seconds(-DAY_SECONDS);
        let charges = tx.look(vec![Step::Read(sql::CHARGES, vec![since.into(), user.into()])]).await?.row(0);
        if let Some(charges) = charges {
            facts.charges = (charges.int(0)? > 0, charges.count(1)?);
        }
    }
    Ok(())
}

fn values(payment: &Payment) -> Vec<Value> {
    let disputes = serde_json::to_string(&payment.disputes).expect("there are no maps in it");
    vec![
        payment.state.as_str().into(),
        payment.reference.as_deref().into(),
        payment.intent.as_deref().into(),
        payment.counterparty.as_deref().into(),
        payment.sent_at.into(),
        payment.tries.into(),
        payment.problem.as_deref().into(),
        payment.back.into(),
        Some(disputes).filter(|_| !payment.disputes.is_empty()).into(),
        payment.moved_back.into(),
        payment.due_at.into(),
        payment.updated_at.into(),
        payment.version.into(),
        payment.id.into(),
    ]
}

pub(crate) fn create(payment: &Payment) -> Statement {
    let begun = [payment.user.into(), payment.kind.as_str().into(), payment.amount.into(), payment.created_at.into()];
    one(
        "INSERT INTO payments (state, reference, intent, counterparty, sent_at, tries, problem, back_cents, disputes,
                               moved_back_cents, due_at, updated_at, version, id, user_id, kind, cents, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        values(payment).into_iter().chain(begun).collect(),
    )
}

/// The version before is part of the condition: a payment that someone else changed meanwhile is never overwritten.
pub(crate) fn update(payment: &Payment) -> Statement {
    one(
        "UPDATE payments SET state = $1, reference = $2, intent = $3, counterparty = $4, sent_at = $5, tries = $6,
                             problem = $7, back_cents = $8, disputes = $9, moved_back_cents = $10, due_at = $11,
                             updated_at = $12, version = $13
          WHERE id = $14 AND version = $15",
        values(payment).into_iter().chain([(payment.version - 1).into()]).collect(),
    )
}

pub(crate) fn stripe_ids(user: UserId, ids: &StripeIds) -> Statement {
    one(
        "UPDATE users SET stripe_customer_id = $1, stripe_account_id = $2, stripe_account_status = $3,
                          stripe_payment_method = $4 WHERE id = $5",
        vec![
            ids.customer.as_deref().into(),
            ids.account.as_deref().into(),
            ids.account_status.map(clawrk_domain::payment::AccountStatus::as_str).into(),
            ids.payment_method.as_deref().into(),
            user.into(),
        ],
    )
}

/// What the owner said, and in the wallet when to look at it.
pub(crate) fn auto_top_up(user: UserId, auto: &AutoTopUp) -> [Statement; 2] {
    [
        one(
            "INSERT INTO auto_topups (user_id, enabled, amount_cents, threshold_cents, off_because)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id) DO UPDATE SET enabled = excluded.enabled, amount_cents = excluded.amount_cents,
                    threshold_cents = excluded.threshold_cents, off_because = excluded.off_because",
            vec![
                user.into(),
                auto.enabled.into(),
                auto.amount.into(),
                auto.threshold.into(),
                auto.off_because.as_deref().into(),
            ],
        ),
        one(
            "UPDATE wallets SET tops_up_below_cents = $1 WHERE user_id = $2",
            vec![auto.enabled.then_some(auto.threshold).into(), user.into()],
        ),
    ]
}

pub(crate) fn create_notice(notice: &NewNotice, at: Timestamp) -> Statement {
    Statement {
        sql: "INSERT INTO notices (id, event, kind, payload, received_at) VALUES ($1, $2, $3, $4, $5)
              ON CONFLICT (id) DO NOTHING",
        values: vec![
            notice.id.into(),
            notice.event.as_str().into(),
            notice.kind.as_str().into(),
            notice.payload.as_str().into(),
            at.into(),
        ],
        // Whoever brings the same one at the same time was faster.
        one_row: false,
    }
}

pub(crate) fn end_notice(notice: NoticeId, end: &NoticeEnd, at: Timestamp) -> Statement {
    let (outcome, problem) = match end {
        NoticeEnd::Done => ("done", None),
        NoticeEnd::Ignored(why) => ("ignored", Some(why.as_str())),
        NoticeEnd::Parked(problem) => ("parked", Some(problem.as_str())),
    };
    one(
        "UPDATE notices SET ended_at = $1, outcome = $2, problem = $3 WHERE id = $4",
        vec![at.into(), outcome.into(), problem.into(), notice.into()],
    )
}

/// A notice that says what cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedNotice {
    /// Stripe's name for it.
    pub event: String,
    /// What it is about, in Stripe's words.
    pub kind: String,
    /// What is wrong.
    pub problem: String,
    /// When it came.
    pub received_at: Timestamp,
}

impl Store {
    /// A payment.
    pub async fn payment(&self, payment: PaymentId) -> Result<Option<Payment>, StoreError> {
        let found = self.backend.query(sql::PAYMENT.read, vec![payment.into()]).await?;
        found.first().map(row::payment).transpose()
    }

    /// The payment that Stripe has under this name: its session, intent or transfer.
    pub async fn payment_named(&self, name: &str) -> Result<Option<Payment>, StoreError> {
        let found = self.backend.query(sql::PAYMENT_NAMED, vec![name.into()]).await?;
        found.first().map(row::payment).transpose()
    }

    /// A user's payments behind one, the newest first.
    pub async fn payments(
        &self,
        user: UserId,
        behind: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<Payment>, StoreError> {
        let behind = behind.unwrap_or(PaymentId(uuid::Uuid::max()));
        let found = self.backend.query(sql::PAYMENTS, vec![user.into(), behind.into(), limit.into()]).await?;
        found.iter().map(row::payment).collect()
    }

    /// The payments whose outcome nobody knows, behind one, the oldest first.
    pub async fn payments_parked(&self, behind: Option<PaymentId>, limit: i64) -> Result<Vec<Payment>, StoreError> {
        let behind = behind.unwrap_or(PaymentId(uuid::Uuid::nil()));
        let found = self.backend.query(sql::PAYMENTS_PARKED, vec![behind.into(), limit.into()]).await?;
        found.iter().map(row::payment).collect()
    }

    /// The payments that were begun from one time to before another, behind one, the oldest first.
    pub async fn payments_of_span(
        &self,
        (from, to): (Timestamp, Timestamp),
        behind: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<Payment>, StoreError> {
        // Ids begin with the time: those of the span are looked at, and no others.
        let (behind, end) = (behind.unwrap_or(Ids::first_payment_at(from)), Ids::first_payment_at(to.plus_seconds(1)));
        let values = vec![behind.into(), end.into(), from.into(), to.into(), limit.into()];
        self.backend.query(sql::PAYMENTS_OF_SPAN, values).await?.iter().map(row::payment).collect()
    }

    /// What is known of a user's dealings with Stripe.
    pub async fn stripe_ids(&self, user: UserId) -> Result<StripeIds, StoreError> {
        let found = self.backend.query(sql::STRIPE_IDS.read, vec![user.into()]).await?;
        Ok(found.first().map(row::stripe_ids).transpose()?.unwrap_or_default())
    }

    /// When a user's wallet is topped up by itself.
    pub async fn auto_top_up(&self, user: UserId) -> Result<AutoTopUp, StoreError> {
        let found = self.backend.query(sql::AUTO_TOPUP, vec![user.into()]).await?;
        Ok(found.first().map(row::auto_top_up).transpose()?.unwrap_or_default())
    }

    /// Who has this connected account.
    pub async fn user_with_account(&self, account: &str) -> Result<Option<UserId>, StoreError> {
        let found = self.backend.query(sql::USER_WITH_ACCOUNT, vec![account.into()]).await?;
        found.first().map(|row| row.user(0)).transpose()
    }

    /// Who is this customer.
    pub async fn user_with_customer(&self, customer: &str) -> Result<Option<UserId>, StoreError> {
        let found = self.backend.query(sql::USER_WITH_CUSTOMER, vec![customer.into()]).await?;
        found.first().map(|row| row.user(0)).transpose()
    }

    /// A notice as it came.
    pub async fn notice(&self, notice: NoticeId) -> Result<Option<NewNotice>, StoreError> {
        let found = self.backend.query(sql::NOTICE_PAYLOAD, vec![notice.into()]).await?;
        let Some(row) = found.first() else { return Ok(None) };
        Ok(Some(NewNotice { id: notice, event: row.text(0)?, kind: row.text(1)?, payload: row.text(2)? }))
    }

    /// The notices that say what cannot be, the newest first.
    pub async fn notices_parked(&self, limit: i64) -> Result<Vec<ParkedNotice>, StoreError> {
        let found = self.backend.query(sql::NOTICES_PARKED, vec![limit.into()]).await?;
        let parked = found.iter().map(|row| {
            Ok(ParkedNotice {
                event: row.text(0)?,
                kind: row.text(1)?,
                problem: row.text_or_null(2)?.unwrap_or_default(),
                received_at: row.time(3)?,
            })
        });
        parked.collect()
    }
}
