//! Payments as they are read on a screen, where the exchange has no Stripe.

use super::{FORMS, Transcript};

#[test]
fn where_no_payments_are_taken_that_is_said_with_what_to_do() {
    let mut story = Transcript::of(&[("ada", 2000)]);
    story.play(
        "ada $ wallet
        ada $ wallet topup 20.00
        ada $ wallet topup 4.99
        ada $ wallet topup 10000.01
        ada $ wallet topup '$20'
        ada $ wallet topup -5
        ada $ wallet topup 12.5
        ada $ wallet topup twenty
        ada $ wallet withdraw 20.00
        ada $ wallet withdraw 20.00 -y
        ada $ wallet auto-topup
        ada $ wallet auto-topup on --amount 20.00 --below 5.00
        ada $ wallet auto-topup on --amount 20.00
        ada $ wallet auto-topup on --amount 20.00 --below 0.00
        ada $ wallet auto-topup off
        ada $ wallet card
        ada $ wallet connect
        ada $ wallet connect status
        ada $ connect status
        ada $ wallet ledger
        ada $ wallet payments
        ada $ wallet payments 01970000-0000-7000-8000-000000000000
        stranger $ wallet topup 20.00
        operator $ admin payments
        operator $ admin payments resolve
        operator $ admin payments resolve nothing --not-paid
        operator $ admin payments resolve 01970000-0000-7000-8000-000000000000 --paid tr_1 --not-paid
        operator $ admin payments resolve 01970000-0000-7000-8000-000000000000 --paid tr_1
        operator $ admin payments reverse
        operator $ admin payments reverse 01970000-0000-7000-8000-000000000000 --total 5
        operator $ admin payments reverse 01970000-0000-7000-8000-000000000000
        operator $ admin payments --data-dir elsewhere
        operator $ admin reconcile
        operator $ admin reconcile --since 2025-01-01
        operator $ admin reconcile --since yesterday",
    );
    assert_told!(story.told());
}
