//! What went back of a payment, as Stripe has it now: notices come in any order, and a refund can fail after it was told.

use std::collections::BTreeMap;

use clawrk_domain::{Cents, Payment, PaymentKind};

use super::Desk;
use crate::outside::stripe::StripeError;
use crate::outside::stripe::objects::Transfer;

/// How much of what came in by an intent is refunded; none if some of it is in another currency.
pub(super) async fn refunded(desk: &Desk, intent: &str) -> Result<Option<Cents>, StripeError> {
    let refunds = desk.stripe.refunds_of(intent).await?;
    let stand = refunds.iter().filter(|refund| !matches!(refund.status.as_str(), "failed" | "canceled"));
    Ok(stand
        .map(|refund| (refund.currency == "usd").then_some(Cents(refund.amount)))
        .try_fold(Cents::ZERO, |sum, amount| amount.map(|amount| sum + amount)))
}

/// How much of a payment went back in whatever way.
pub(super) async fn all(desk: &Desk, payment: &Payment) -> Result<Option<Cents>, StripeError> {
    if payment.kind == PaymentKind::Withdrawal {
        let payout = payout(desk, payment).await?;
        return Ok(Some(payout.map_or(Cents::ZERO, |payout| Cents(payout.amount_reversed))));
    }
    let Some(intent) = &payment.intent else { return Ok(Some(Cents::ZERO)) };
    let Some(refunded) = refunded(desk, intent).await? else { return Ok(None) };
    let disputes = desk.stripe.disputes_of(intent).await?;
    let lost = disputes.iter().filter(|dispute| !is_harmless(&dispute.status));
    Ok(Some(lost.fold(refunded, |sum, dispute| sum + Cents(dispute.amount))))
}

/// What is left of all that Stripe has for a payment, which is these charges, or its payouts, less what was put right of
/// them by refunds and reversals; none if some of it is in another currency.
pub(super) async fn left(
    desk: &Desk,
    payment: &Payment,
    charges: &BTreeMap<String, Cents>,
) -> Result<Option<Cents>, StripeError> {
    if payment.kind == PaymentKind::Withdrawal {
        let payouts = desk.stripe.transfers_of(payment.id).await?.data;
        let left = |payout: &Transfer| Cents(payout.amount) - Cents(payout.amount_reversed);
        return Ok(Some(payouts.iter().map(left).fold(Cents::ZERO, |sum, left| sum + left)));
    }
    let mut sum = Cents::ZERO;
    for (name, amount) in charges {
        sum = sum + *amount;
        // A page whose charge is not told has no refunds to ask for.
        if name.starts_with("pi_") {
            let Some(refunded) = refunded(desk, name).await? else { return Ok(None) };
            sum = sum - refunded;
        }
    }
    Ok(Some(sum))
}

/// Whether a dispute has taken nothing, or has given it back: a bank that only asks takes nothing.
pub(super) fn is_harmless(status: &str) -> bool {
    status == "won" || status.starts_with("warning_")
}

/// The payout of a withdrawal that is booked, as Stripe has it.
pub async fn payout(desk: &Desk, payment: &Payment) -> Result<Option<Transfer>, StripeError> {
    let found = desk.stripe.transfers_of(payment.id).await?.data;
    Ok(found.into_iter().find(|transfer| payment.reference.as_ref() == Some(&transfer.id)))
}

/// Takes a payout back until so much of it is reversed, all in all; how much that is more than before. The ledger follows
/// when Stripe tells of it.
pub async fn reverse(desk: &Desk, payout: &Transfer, total: Cents) -> Result<Cents, StripeError> {
    let more = total - Cents(payout.amount_reversed);
    if more > Cents::ZERO {
        desk.stripe.reverse(payout, more).await?;
    }
    Ok(more.max(Cents::ZERO))
}
