//! Paying out: whatever Stripe answers, once or not at all.

use clawrk_server::tasks::paying;
use clawrk_store::Outcome;
use serde_json::json;

use super::{Bank, reasons};
use crate::fake_stripe::Fault::{
    ActsAndFails, ActsAndHangs, ActsAndHangsUp, Fails, Hangs, HangsUp, IsElsewhere, IsSlow, TooMany,
};
use crate::support::{User, at_once};

const DAY: i64 = 24 * 3600;
const TRANSFERS: &str = "POST /v1/transfers";

/// Asks to be paid out; the payment.
async fn withdraws(user: &User, cents: i64) -> String {
    let paid = user.post("/api/wallet/withdraw", json!({"amount_cents": cents})).await.expect(200);
    assert_eq!((&paid["status"], &paid["kind"]), (&"pending".into(), &"withdrawal".into()), "{paid}");
    paid["id"].as_str().unwrap().to_owned()
}

async fn with_account(cents: i64) -> (Bank, User) {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", cents).await;
    bank.connect(&ada).await;
    (bank, ada)
}

#[tokio::test]
async fn a_withdrawal_needs_an_account_and_the_money_and_is_paid() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 3000).await;
    let out = |cents: i64| ada.post("/api/wallet/withdraw", json!({"amount_cents": cents}));
    out(1000).await.refused(400, "not_connected");
    assert_eq!(ada.get("/api/stripe/connect/status").await.expect(200), json!({"status": "not_connected"}));
    let page = ada.post("/api/stripe/connect", json!({})).await.expect(200);
    assert!(page["url"].as_str().unwrap().starts_with("https://connect.stripe.test/"), "{page}");
    assert_eq!(ada.get("/api/stripe/connect/status").await.expect(200), json!({"status": "pending"}));
    out(1000).await.refused(400, "not_connected");
    bank.stripe.activate(&bank.stripe.newest("account"), true);
    // Whoever looks need not wait for the notice.
    assert_eq!(ada.get("/api/stripe/connect/status").await.expect(200), json!({"status": "active"}));
    out(3001).await.refused(402, "balance_too_low");
    out(499).await.expect(400);
    let payment = withdraws(&ada, 1000).await;
    assert_eq!(ada.balance().await, 2000);
    bank.settle().await;
    assert_eq!(bank.status(&ada, &payment).await, "paid");
    bank.deliver().await;
    assert_eq!((ada.balance().await, reasons(&ada).await[0].clone()), (2000, format!("-1000 withdrawal:{payment}")));
    bank.check().await;
}

#[tokio::test]
async fn how_an_account_stands_is_what_stripe_says_now_and_not_what_came_last() {
    let (bank, ada) = with_account(1000).await;
    let account = bank.stripe.newest("account");
    bank.stripe.activate(&account, true);
    bank.stripe.activate(&account, false);
    let mut notices = bank.stripe.notices();
    notices.reverse();
    bank.tell_all(&notices).await;
    ada.post("/api/wallet/withdraw", json!({"amount_cents": 500})).await.refused(400, "not_connected");
    assert_eq!(ada.get("/api/stripe/connect/status").await.expect(200), json!({"status": "pending"}));
    bank.check().await;
}

#[tokio::test]
async fn what_stripe_refuses_is_in_the_wallet_again() {
    let (bank, ada) = with_account(3000).await;
    bank.stripe.books().available = 0;
    let payment = withdraws(&ada, 1000).await;
    bank.settle().await;
    let shown = ada.get(&format!("/api/wallet/payments/{payment}")).await.expect(200);
    assert_eq!(shown["status"], "failed");
    assert!(shown["problem"].as_str().unwrap().contains("insufficient available funds"), "{shown}");
    assert_eq!(ada.balance().await, 3000);
    assert_eq!(reasons(&ada).await[..2], [format!("1000 reversal:{payment}"), format!("-1000 withdrawal:{payment}")]);
    bank.advance(2 * DAY).await;
    assert_eq!(bank.stripe.count(TRANSFERS), 1);
    bank.check().await;
}

#[tokio::test]
async fn a_withdrawal_whose_outcome_is_unknown_is_paid_once() {
    // How often it is sent in all.
    let ways = [
        (ActsAndFails, 1),
        (ActsAndHangs, 1),
        (ActsAndHangsUp, 1),
        (HangsUp, 2),
        (Hangs, 2),
        (TooMany, 2),
        (IsElsewhere(404), 2),
        (IsElsewhere(400), 2),
        (IsElsewhere(502), 2),
    ];
    for (fault, sent) in ways {
        let (bank, ada) = with_account(3000).await;
        bank.stripe.fault(TRANSFERS, fault);
        let payment = withdraws(&ada, 1000).await;
        bank.settle().await;
        // Neither paid nor credited on a guess.
        assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (2000, "pending".to_owned()), "{fault:?}");
        bank.advance(10).await;
        assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (2000, "paid".to_owned()), "{fault:?}");
        bank.advance(2 * DAY).await;
        assert_eq!(bank.stripe.count(TRANSFERS), sent, "{fault:?}");
        bank.deliver().await;
        bank.check().await;
    }
}

#[tokio::test]
async fn a_withdrawal_that_is_still_under_way_at_stripe_is_not_made_twice() {
    let (bank, ada) = with_account(3000).await;
    bank.stripe.fault(TRANSFERS, IsSlow);
    let payment = withdraws(&ada, 1000).await;
    bank.settle().await;
    for _ in 0..3 {
        // Not there, and its key is in use.
        bank.advance(30).await;
        assert_eq!(bank.status(&ada, &payment).await, "pending");
    }
    assert_eq!(bank.stripe.count(TRANSFERS), 4);
    bank.stripe.release();
    let is_there =
        || bank.stripe.count("GET /v1/transfers") > 100 || bank.stripe.books().objects.contains_key("transfer");
    for _ in 0..600 {
        if is_there() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bank.advance(60).await;
    assert_eq!(bank.status(&ada, &payment).await, "paid");
    bank.check().await;
}

#[tokio::test]
async fn a_payout_at_stripe_that_is_not_ours_to_the_cent_settles_nothing() {
    let (bank, ada) = with_account(3000).await;
    let account = bank.stripe.newest("account");
    // Two of them, one over another amount, one to somebody else, one of another currency.
    let wrong: [&[(i64, &str, &str)]; 4] = [
        &[(1000, &account, "usd"), (1000, &account, "usd")],
        &[(999, &account, "usd")],
        &[(1000, "acct_of_mallory", "usd")],
        &[(1000, &account, "eur")],
    ];
    for (case, transfers) in wrong.into_iter().enumerate() {
        bank.stripe.fault(TRANSFERS, HangsUp);
        let payment = withdraws(&ada, 500 + case as i64).await;
        bank.settle().await;
        let sent = bank.stripe.count(TRANSFERS);
        let ours = 500 + case as i64 - 1000;
        for (at, (amount, to, currency)) in transfers.iter().enumerate() {
            let transfer = json!({"id": format!("tr_{case}_{at}"), "object": "transfer", "amount": amount + ours,
                "currency": currency, "destination": to, "transfer_group": payment});
            bank.stripe.books().objects.entry("transfer").or_default().push(transfer);
        }
        bank.advance(60).await;
        assert_eq!(bank.status(&ada, &payment).await, "pending", "{transfers:?}");
        let problem = bank.payment(&payment).await.problem.unwrap();
        assert!(problem.contains(&format!("another payout for it, tr_{case}_")), "{problem}");
        assert_eq!(bank.stripe.count(TRANSFERS), sent, "it was sent again: {transfers:?}");
    }
    bank.app.audit().await;
}

#[tokio::test]
async fn whoever_has_lost_a_withdrawal_to_another_node_while_looking_for_it_sends_nothing() {
    let (bank, ada) = with_account(3000).await;
    bank.stripe.fault(TRANSFERS, HangsUp);
    let payment = withdraws(&ada, 1000).await;
    bank.settle().await;
    bank.app.clock.advance(10);
    bank.stripe.fault("GET /v1/transfers", IsSlow);
    let slow = async {
        paying::settle(&bank.app.app).await.unwrap();
    };
    let other = async {
        while bank.stripe.count("GET /v1/transfers") == 0 {
            tokio::task::yield_now().await;
        }
        // Its lease runs out.
        bank.app.clock.advance(11);
        paying::settle(&bank.app.app).await.unwrap();
        assert_eq!((bank.status(&ada, &payment).await, bank.stripe.count(TRANSFERS)), ("paid".to_owned(), 2));
        bank.stripe.release();
    };
    tokio::join!(slow, other);
    assert_eq!(bank.stripe.count(TRANSFERS), 2, "it sent, too");
    bank.deliver().await;
    bank.check().await;
}

#[tokio::test]
async fn what_stripe_keeps_failing_is_parked_and_after_a_day_nothing_is_sent_until_the_operator_says() {
    let (bank, ada) = with_account(3000).await;
    bank.stripe.fault(TRANSFERS, Fails);
    let payment = withdraws(&ada, 1000).await;
    bank.settle().await;
    // The same key, the same 500, for as long as Stripe knows it.
    bank.advance(10).await;
    bank.advance(3600).await;
    assert!(bank.stripe.count(TRANSFERS) >= 3);
    let keys: std::collections::BTreeSet<String> =
        bank.stripe.books().calls.iter().filter(|call| call.starts_with(TRANSFERS)).cloned().collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (2000, "pending".to_owned()));
    assert_eq!(bank.app.app.store.payments_parked(None, 10).await.unwrap().len(), 1);
    // While it is tried nobody can give it up.
    assert!(matches!(bank.resolve(&payment, None).await, Outcome::Rejected(_)));
    bank.advance(23 * 3600 - 3700).await;
    let sent = bank.stripe.count(TRANSFERS);
    bank.advance(300).await;
    assert!(matches!(bank.resolve(&payment, None).await, Outcome::Rejected(_)), "it may be under way at this moment");
    for _ in 0..5 {
        bank.advance(DAY).await;
    }
    assert_eq!((bank.stripe.count(TRANSFERS), ada.balance().await), (sent, 2000));
    let problem = bank.payment(&payment).await.problem.unwrap();
    assert!(problem.contains("not sent again"), "{problem}");
    assert!(matches!(bank.resolve(&payment, None).await, Outcome::Done(_)));
    assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (3000, "failed".to_owned()));
    assert!(matches!(bank.resolve(&payment, None).await, Outcome::Rejected(_)), "once");
    bank.advance(DAY).await;
    assert_eq!(bank.stripe.count(TRANSFERS), sent);
    bank.check().await;
}

#[tokio::test]
async fn after_a_day_a_withdrawal_is_looked_for_and_never_sent() {
    let (bank, ada) = with_account(3000).await;
    bank.stripe.fault(TRANSFERS, HangsUp);
    let lost = withdraws(&ada, 500).await;
    bank.settle().await;
    bank.stripe.fault(TRANSFERS, ActsAndHangsUp);
    let paid = withdraws(&ada, 1000).await;
    bank.settle().await;
    // Nobody looks for a day and an hour.
    bank.advance(25 * 3600).await;
    assert_eq!(bank.stripe.count(TRANSFERS), 2);
    assert_eq!(
        (bank.status(&ada, &lost).await, bank.status(&ada, &paid).await),
        ("pending".to_owned(), "paid".to_owned())
    );
    assert!(matches!(bank.resolve(&lost, None).await, Outcome::Done(_)));
    assert_eq!(ada.balance().await, 2000);
    bank.check().await;
}

#[tokio::test]
async fn the_operator_says_that_a_parked_withdrawal_was_paid() {
    let (bank, ada) = with_account(3000).await;
    bank.stripe.fault(TRANSFERS, ActsAndHangsUp);
    let payment = withdraws(&ada, 1000).await;
    bank.settle().await;
    let transfer = bank.stripe.newest("transfer");
    assert!(matches!(bank.resolve(&payment, Some(&transfer)).await, Outcome::Done(_)));
    bank.advance(60).await;
    bank.deliver().await;
    assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (2000, "paid".to_owned()));
    bank.check().await;
}

#[tokio::test]
async fn a_reversed_transfer_comes_back_and_settles_what_nobody_knew() {
    let (bank, ada) = with_account(3000).await;
    let payment = withdraws(&ada, 1000).await;
    bank.settle().await;
    let transfer = bank.stripe.newest("transfer");
    bank.stripe.reverse(&transfer, 300);
    bank.stripe.reverse(&transfer, 700);
    let mut notices = bank.stripe.notices();
    notices.reverse();
    bank.tell_all(&notices).await;
    bank.tell_all(&notices).await;
    assert_eq!(ada.balance().await, 3000);
    let shown = ada.get(&format!("/api/wallet/payments/{payment}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["returned_cents"]), (&"paid".into(), &1000.into()));
    // One whose answer was lost is told of by its reversal first.
    bank.stripe.fault(TRANSFERS, ActsAndHangsUp);
    let unknown = withdraws(&ada, 2000).await;
    bank.settle().await;
    bank.stripe.reverse(&bank.stripe.newest("transfer"), 2000);
    bank.deliver().await;
    assert_eq!((ada.balance().await, bank.status(&ada, &unknown).await), (3000, "paid".to_owned()));
    bank.advance(DAY).await;
    assert_eq!(bank.stripe.count(TRANSFERS), 2);
    bank.check().await;
}

#[tokio::test]
async fn the_same_withdrawal_under_the_same_key_is_one() {
    let (bank, ada) = with_account(3000).await;
    let body = json!({"amount_cents": 1000});
    let first = ada.post_once("k", "/api/wallet/withdraw", body.clone()).await;
    bank.settle().await;
    let again = ada.post_once("k", "/api/wallet/withdraw", body).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.expect(200), first.expect(200));
    let other = ada.post_once("k", "/api/wallet/withdraw", json!({"amount_cents": 999})).await;
    other.refused(422, "idempotency_key_reused");
    bank.settle().await;
    assert_eq!((ada.balance().await, bank.stripe.count(TRANSFERS)), (2000, 1));
    bank.check().await;
}

#[tokio::test]
async fn withdrawals_that_race_never_take_more_than_there_is() {
    let (bank, ada) = with_account(3000).await;
    let work = (0..20).map(|_| {
        let ada = ada.clone();
        Box::pin(async move { ada.post("/api/wallet/withdraw", json!({"amount_cents": 700})).await.status.as_u16() })
            as futures_util::future::BoxFuture<'static, u16>
    });
    let mut came = at_once(work.collect()).await;
    came.sort_unstable();
    assert_eq!(came, [vec![200; 4], vec![402; 16]].concat());
    bank.settle().await;
    assert_eq!((ada.balance().await, bank.stripe.books().paid_out()), (200, 2800));
    bank.check().await;
}

#[tokio::test]
async fn many_withdrawals_with_all_that_can_go_wrong_are_each_paid_once() {
    let (bank, ada) = with_account(600_000).await;
    let faults = [ActsAndFails, ActsAndHangsUp, HangsUp, TooMany, IsElsewhere(503)];
    for round in 0..10 {
        for at in 0..30 {
            if at % 3 == 0 {
                let call = if at % 2 == 0 { TRANSFERS } else { "GET /v1/transfers" };
                bank.stripe.fault(call, faults[(round + at) % faults.len()]);
            }
            withdraws(&ada, 500 + round as i64).await;
        }
        bank.settle().await;
        bank.advance(30).await;
    }
    for _ in 0..10 {
        bank.advance(600).await;
    }
    assert_eq!(bank.app.app.store.payments_parked(None, 10).await.unwrap(), []);
    let sum: i64 = (0..10).map(|round| 30 * (500 + round)).sum();
    assert_eq!((ada.balance().await, bank.stripe.books().paid_out()), (600_000 - sum, sum));
    bank.check().await;
}
