//! What goes back: refunds, disputes and reversals, and what the operator is told when the books differ in them.

use clawrk_server::payments::compare::compare;
use clawrk_store::Outcome;
use serde_json::json;

use super::Bank;
use crate::fake_stripe::Fault;

#[tokio::test]
async fn what_is_refunded_leaves_the_wallet_in_whatever_order_it_is_told() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, payment) = bank.page(&ada, 2500).await;
    let intent = bank.stripe.pay(&session);
    bank.stripe.refund(&intent, 1000);
    bank.stripe.refund(&intent, 500);
    let mut notices = bank.stripe.notices();
    // The larger refund first, and all before the payment.
    notices.reverse();
    bank.tell_all(&notices).await;
    bank.tell_all(&notices).await;
    assert_eq!(ada.balance().await, 1000);
    let shown = ada.get(&format!("/api/wallet/payments/{payment}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["returned_cents"]), (&"paid".into(), &1500.into()));
    bank.check().await;
}

#[tokio::test]
async fn what_a_wallet_cannot_cover_is_a_loss_and_freezes_it_until_the_next_top_up_settles_it() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    bank.connect(&ada).await;
    let job = ada.job("write", 2000).await;
    bank.stripe.refund(&intent, 2500);
    bank.deliver().await;
    assert_eq!(ada.balance().await, 0);
    bank.check().await;
    let losses = bank.app.app.store.audit().await.unwrap().losses;
    assert_eq!(losses.0, -2000);
    let run = json!({"prompt": "x", "price_cents": 100, "time_limit_seconds": 60, "confirmed": true});
    ada.post("/api/jobs/run", run.clone()).await.refused(402, "wallet_frozen");
    ada.post("/api/wallet/withdraw", json!({"amount_cents": 500})).await.refused(402, "wallet_frozen");
    // What comes in by half settles half.
    bank.top_up(&ada, 1500).await;
    assert_eq!(ada.balance().await, 0);
    ada.post("/api/jobs/run", run.clone()).await.refused(402, "wallet_frozen");
    bank.top_up(&ada, 1000).await;
    assert_eq!(ada.balance().await, 500);
    ada.post("/api/jobs/run", run).await.expect(201);
    assert_eq!(bank.app.app.store.audit().await.unwrap().losses.0, 0);
    ada.act(&job, "cancel").await.expect(200);
    assert_eq!(ada.balance().await, 2400);
    bank.check().await;
}

#[tokio::test]
async fn a_dispute_takes_the_money_and_gives_it_back_when_it_is_won() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    let dispute = bank.stripe.dispute(&intent, 2500, "needs_response");
    bank.deliver().await;
    assert_eq!(ada.balance().await, 0);
    bank.check().await;
    bank.stripe.close_dispute(&dispute, "won");
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
    let lost = bank.stripe.dispute(&intent, 1000, "needs_response");
    bank.stripe.close_dispute(&lost, "lost");
    // Its end is told before its beginning.
    let mut notices = bank.stripe.notices();
    notices.reverse();
    bank.tell_all(&notices).await;
    assert_eq!(ada.balance().await, 1500);
    bank.check().await;
}

#[tokio::test]
async fn a_won_dispute_settles_what_it_had_left_owing() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    ada.job("write", 2000).await;
    let dispute = bank.stripe.dispute(&intent, 2500, "needs_response");
    bank.deliver().await;
    assert_eq!(bank.app.app.store.audit().await.unwrap().losses.0, -2000);
    bank.stripe.close_dispute(&dispute, "won");
    bank.deliver().await;
    assert_eq!((ada.balance().await, bank.app.app.store.audit().await.unwrap().losses.0), (500, 0));
    bank.check().await;
}

#[tokio::test]
async fn what_a_bank_takes_back_after_a_refund_is_lost_twice_and_owed() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    bank.stripe.refund(&intent, 2500);
    let dispute = bank.stripe.dispute(&intent, 2500, "needs_response");
    bank.deliver().await;
    assert_eq!((ada.balance().await, bank.app.app.store.audit().await.unwrap().losses.0), (0, -2500));
    assert_eq!(differences(&bank).await, Vec::<String>::new());
    bank.check().await;
    bank.stripe.close_dispute(&dispute, "won");
    bank.deliver().await;
    assert_eq!((ada.balance().await, bank.app.app.store.audit().await.unwrap().losses.0), (0, 0));
    bank.check().await;
}

#[tokio::test]
async fn a_bank_that_only_asks_takes_nothing() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    let inquiry = bank.stripe.dispute(&intent, 2500, "warning_needs_response");
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
    bank.stripe.close_dispute(&inquiry, "warning_closed");
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
}

#[tokio::test]
async fn a_refund_that_fails_is_in_the_wallet_again_in_whatever_order_it_is_told() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    let refund = bank.stripe.refund(&intent, 1000);
    bank.deliver().await;
    assert_eq!(ada.balance().await, 1500);
    bank.stripe.fail_refund(&refund);
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
    // Another one, whose end is told before its beginning, and a third one that stands.
    let another = bank.stripe.refund(&intent, 700);
    bank.stripe.fail_refund(&another);
    bank.stripe.refund(&intent, 500);
    let mut notices = bank.stripe.notices();
    notices.reverse();
    bank.tell_all(&notices).await;
    assert_eq!(ada.balance().await, 2000);
    bank.check().await;
}

#[tokio::test]
async fn a_refund_is_believed_when_stripe_can_be_asked_about_it() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    bank.stripe.refund(&intent, 1000);
    bank.stripe.fault("GET /v1/refunds", Fault::Fails);
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500, "nobody knows how much it is");
    bank.advance(10).await;
    assert_eq!(ada.balance().await, 1500);
    bank.check().await;
}

#[tokio::test]
async fn what_is_put_right_at_stripe_of_one_too_many_moves_nothing_here() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, topup) = bank.page(&ada, 2500).await;
    bank.stripe.pay(&session);
    bank.deliver().await;
    bank.connect(&ada).await;
    let paid = ada.post("/api/wallet/withdraw", json!({"amount_cents": 500})).await.expect(200);
    bank.settle().await;
    // A second charge and a second payout, which somebody made by hand with the names of the first ones.
    let metadata = json!({ "clawrk_payment": topup });
    {
        let mut books = bank.stripe.books();
        let intent = json!({"id": "pi_twin", "metadata": metadata, "status": "succeeded", "currency": "usd"});
        books.objects.get_mut("payment_intent").unwrap().push(intent);
        let refund = json!({"id": "re_twin", "payment_intent": "pi_twin", "amount": 2500, "currency": "usd",
            "status": "succeeded"});
        books.objects.entry("refund").or_default().push(refund);
        let charge = json!({"id": "ch_twin", "object": "charge", "payment_intent": "pi_twin", "metadata": metadata});
        books.tell("charge.refunded", &charge);
        let refund = json!({"id": "re_twin", "object": "refund", "payment_intent": "pi_twin", "metadata": {}});
        books.tell("charge.refund.updated", &refund);
        let dispute = json!({"id": "dp_twin", "object": "dispute", "payment_intent": "pi_twin", "amount": 2500,
            "currency": "usd", "status": "lost"});
        books.tell("charge.dispute.closed", &dispute);
        let transfer = json!({"id": "tr_twin", "object": "transfer", "transfer_group": paid["id"], "amount": 500,
            "currency": "usd", "amount_reversed": 500});
        books.tell("transfer.reversed", &transfer);
    }
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2000);
    assert_eq!(bank.parked_notices().await, Vec::<String>::new());
    bank.check().await;
}

#[tokio::test]
async fn a_reversal_settles_what_nobody_knew_only_if_the_payout_is_ours_to_the_cent() {
    // Two of them of which one is put right; one over more, of which the rest is.
    for transfers in [&[(600, 600), (600, 0)][..], &[(1000, 400)][..]] {
        let mut bank = Bank::new().await;
        let ada = bank.user("ada", 2500).await;
        let account = bank.connect(&ada).await;
        bank.stripe.fault("POST /v1/transfers", Fault::HangsUp);
        let paid = ada.post("/api/wallet/withdraw", json!({"amount_cents": 600})).await.expect(200);
        let payment = paid["id"].as_str().unwrap();
        bank.settle().await;
        for (at, (amount, reversed)) in transfers.iter().enumerate() {
            let transfer = json!({"id": format!("tr_hand_{at}"), "object": "transfer", "amount": amount,
                "currency": "usd", "destination": account, "transfer_group": payment, "amount_reversed": reversed});
            bank.stripe.books().objects.entry("transfer").or_default().push(transfer.clone());
            bank.stripe.books().tell("transfer.created", &transfer);
            if *reversed > 0 {
                bank.stripe.books().tell("transfer.reversed", &transfer);
            }
        }
        bank.deliver().await;
        bank.advance(60).await;
        assert_eq!((ada.balance().await, bank.status(&ada, payment).await), (1900, "pending".to_owned()));
        // The operator says what is left of it.
        let left = if transfers.len() == 2 { "tr_hand_1" } else { "tr_hand_0" };
        assert!(matches!(bank.resolve(payment, Some(left)).await, Outcome::Done(_)));
        assert_eq!((ada.balance().await, bank.status(&ada, payment).await), (1900, "paid".to_owned()));
        bank.app.audit().await;
        let theirs = bank.stripe.books().paid_out();
        assert_eq!(theirs, 600, "net, as in the ledger");
        // What was put right is right.
        if transfers.len() == 2 {
            assert_eq!(differences(&bank).await, Vec::<String>::new());
            bank.stripe.books().change("transfer", "tr_hand_0", json!({"amount_reversed": 0}));
            let told = differences(&bank).await;
            assert!(told.len() == 1 && told[0].contains("is $6.00 here and $12.00 at Stripe"), "{told:?}");
        }
    }
}

#[tokio::test]
async fn a_payout_that_is_told_of_after_it_was_called_unpaid_is_for_people() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 2500).await;
    bank.connect(&ada).await;
    bank.stripe.fault("POST /v1/transfers", Fault::ActsAndHangsUp);
    let paid = ada.post("/api/wallet/withdraw", json!({"amount_cents": 600})).await.expect(200);
    bank.settle().await;
    let hidden = bank.stripe.books().objects.get_mut("transfer").unwrap().pop().unwrap();
    bank.advance(25 * 3600).await;
    assert!(matches!(bank.resolve(paid["id"].as_str().unwrap(), None).await, Outcome::Done(_)));
    bank.stripe.books().objects.get_mut("transfer").unwrap().push(hidden);
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    assert_eq!(bank.parked_notices().await, ["Stripe has a transfer for a withdrawal that was given back"]);
}

#[tokio::test]
async fn what_went_back_on_one_side_only_is_told_to_the_operator() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let intent = bank.top_up(&ada, 2500).await;
    bank.connect(&ada).await;
    ada.post("/api/wallet/withdraw", json!({"amount_cents": 500})).await.expect(200);
    bank.settle().await;
    bank.deliver().await;
    let transfer = bank.stripe.newest("transfer");
    assert_eq!(differences(&bank).await, Vec::<String>::new());
    let refund = bank.stripe.refund(&intent, 300);
    let dispute = bank.stripe.dispute(&intent, 400, "needs_response");
    bank.stripe.dispute(&intent, 2500, "warning_needs_response");
    bank.stripe.reverse(&transfer, 200);
    bank.stripe.notices();
    let mut told = differences(&bank).await;
    told.sort();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("of topup ") && told[0].ends_with("$0.00 went back here and $7.00 at Stripe"),
        "{told:?}"
    );
    assert!(told[1].starts_with("of withdrawal ") && told[1].ends_with("$2.00 at Stripe"), "{told:?}");
    // Whoever compares takes up the notices that did not come.
    bank.settle().await;
    assert_eq!(differences(&bank).await, Vec::<String>::new());
    assert_eq!(ada.balance().await, 2500 - 500 - 300 - 400 + 200);
    bank.stripe.books().change("refund", &refund, json!({"status": "canceled"}));
    let told = differences(&bank).await;
    assert!(told.len() == 1 && told[0].ends_with("$7.00 went back here and $4.00 at Stripe"), "{told:?}");
    bank.stripe.books().change("refund", &refund, json!({"status": "succeeded"}));
    bank.stripe.close_dispute(&dispute, "won");
    bank.deliver().await;
    assert_eq!(differences(&bank).await, Vec::<String>::new());
    bank.check().await;
}

#[tokio::test]
async fn a_page_whose_charge_is_not_told_does_not_end_the_comparison() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, _) = bank.page(&ada, 2500).await;
    let paid = json!({"payment_status": "paid", "payment_intent": null});
    let session = bank.stripe.books().change("checkout.session", &session, paid);
    bank.stripe.books().tell("checkout.session.completed", &session);
    let told = differences(&bank).await;
    assert!(told.len() == 1 && told[0].contains("is not settled here yet"), "{told:?}");
}

/// What the operator is told of the last day.
async fn differences(bank: &Bank) -> Vec<String> {
    let now = bank.app.clock.now();
    let desk = bank.app.app.desk.as_deref().unwrap();
    compare(&bank.app.app.store, desk, (now.plus_seconds(-86_400), now.plus_seconds(1))).await.unwrap().differences
}
