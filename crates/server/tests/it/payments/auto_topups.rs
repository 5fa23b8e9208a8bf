//! Charging a saved card when a balance runs low.

use serde_json::{Value, json};

use super::Bank;
use crate::fake_stripe::Fault;
use crate::support::User;

/// Asks to be topped up by this when less than that is left.
async fn asks(user: &User, amount: i64, threshold: i64) -> Value {
    let body = json!({"enabled": true, "amount_cents": amount, "threshold_cents": threshold});
    user.post("/api/wallet/auto-topup", body).await.expect(200)
}

async fn kinds(user: &User) -> Vec<String> {
    let all = user.get("/api/wallet/payments").await.expect(200);
    let line =
        |payment: &Value| format!("{} {}", payment["kind"].as_str().unwrap(), payment["status"].as_str().unwrap());
    all.as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn a_debit_that_leaves_too_little_charges_the_saved_card_once() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 3000).await;
    let body = json!({"enabled": true, "amount_cents": 2000, "threshold_cents": 1000});
    ada.post("/api/wallet/auto-topup", body).await.refused(400, "no_card");
    bank.card(&ada).await;
    let set = asks(&ada, 2000, 1000).await;
    assert_eq!(
        set,
        json!({"enabled": true, "amount_cents": 2000, "threshold_cents": 1000, "off_because": null,
        "has_card": true})
    );
    ada.job("enough is left", 2000).await;
    bank.settle().await;
    assert_eq!(ada.balance().await, 1000);
    ada.job("too little is left", 100).await;
    bank.settle().await;
    assert_eq!(ada.balance().await, 2900);
    // Its notice tells nothing new, before or after.
    bank.deliver().await;
    assert_eq!((ada.balance().await, kinds(&ada).await), (2900, vec!["auto_topup paid".to_owned()]));
    bank.check().await;
}

#[tokio::test]
async fn one_charge_at_a_time_and_what_was_spent_meanwhile_asks_again() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 1000).await;
    bank.card(&ada).await;
    bank.stripe.books().charges_take_time = true;
    asks(&ada, 500, 900).await;
    for _ in 0..3 {
        ada.job("spend", 300).await;
        bank.settle().await;
    }
    assert_eq!(kinds(&ada).await, ["auto_topup pending"]);
    bank.stripe.books().charges_take_time = false;
    let intent = bank.stripe.newest("payment_intent");
    bank.stripe.books().succeed(&intent);
    bank.deliver().await;
    // 100 were left and 500 came: still too little, so there was another.
    assert_eq!((ada.balance().await, kinds(&ada).await), (1100, vec!["auto_topup paid".to_owned(); 2]));
    bank.deliver().await;
    bank.check().await;
}

#[tokio::test]
async fn a_card_is_charged_five_times_a_day_at_most() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 1000).await;
    bank.card(&ada).await;
    asks(&ada, 500, 501).await;
    for _ in 0..7 {
        let left = ada.balance().await;
        if left > 100 {
            ada.job("spend", left).await;
        }
        bank.settle().await;
        bank.advance(600).await;
    }
    assert_eq!(bank.stripe.count("POST /v1/payment_intents"), 5);
    assert_eq!(ada.balance().await, 0);
    bank.advance(24 * 3600).await;
    asks(&ada, 500, 501).await;
    bank.settle().await;
    assert!(bank.stripe.count("POST /v1/payment_intents") > 5);
    bank.deliver().await;
    bank.check().await;
}

#[tokio::test]
async fn a_hard_decline_switches_it_off_and_says_why_and_a_soft_one_does_not() {
    for (why, is_hard) in [("stolen_card", true), ("expired_card", true), ("insufficient_funds", false)] {
        let mut bank = Bank::new().await;
        let ada = bank.user("ada", 1000).await;
        let card = bank.card(&ada).await;
        bank.stripe.decline(&card, Some(why));
        asks(&ada, 2000, 900).await;
        ada.job("spend", 500).await;
        bank.settle().await;
        bank.deliver().await;
        assert_eq!((ada.balance().await, kinds(&ada).await), (500, vec!["auto_topup failed".to_owned()]));
        let set = ada.get("/api/wallet/auto-topup").await.expect(200);
        assert_eq!(set["enabled"], !is_hard, "{set}");
        assert_eq!(set["off_because"].as_str().is_some_and(|off| off.contains(why)), is_hard, "{set}");
        ada.job("spend", 100).await;
        bank.stripe.decline(&card, None);
        bank.settle().await;
        assert_eq!(ada.balance().await, if is_hard { 400 } else { 2400 });
        bank.deliver().await;
        bank.check().await;
    }
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_found_and_credited_once() {
    use Fault::{ActsAndFails, ActsAndHangs, ActsAndHangsUp, HangsUp, TooMany};
    for fault in [ActsAndFails, ActsAndHangs, ActsAndHangsUp, HangsUp, TooMany] {
        let mut bank = Bank::new().await;
        let ada = bank.user("ada", 1000).await;
        bank.card(&ada).await;
        asks(&ada, 2000, 900).await;
        bank.stripe.fault("POST /v1/payment_intents", fault);
        ada.job("spend", 500).await;
        bank.settle().await;
        assert_eq!((ada.balance().await, kinds(&ada).await), (500, vec!["auto_topup pending".to_owned()]), "{fault:?}");
        bank.advance(10).await;
        assert_eq!((ada.balance().await, kinds(&ada).await), (2500, vec!["auto_topup paid".to_owned()]), "{fault:?}");
        bank.deliver().await;
        assert_eq!(ada.balance().await, 2500);
        bank.check().await;
    }
}

#[tokio::test]
async fn the_notice_of_a_charge_settles_it_before_anybody_looks() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 1000).await;
    bank.card(&ada).await;
    asks(&ada, 2000, 900).await;
    bank.stripe.fault("POST /v1/payment_intents", Fault::ActsAndHangsUp);
    ada.job("spend", 500).await;
    bank.settle().await;
    bank.deliver().await;
    assert_eq!((ada.balance().await, kinds(&ada).await), (2500, vec!["auto_topup paid".to_owned()]));
    bank.advance(3600).await;
    assert_eq!((ada.balance().await, bank.stripe.count("POST /v1/payment_intents")), (2500, 1));
    bank.check().await;
}

#[tokio::test]
async fn a_card_is_saved_for_whom_it_was_asked_for_and_for_nobody_else() {
    let mut bank = Bank::new().await;
    let (ada, bob) = (bank.user("ada", 0).await, bank.user("bob", 0).await);
    bank.card(&bob).await;
    ada.post("/api/wallet/setup-payment-method", json!({})).await.expect(200);
    let intent = bank.stripe.newest("setup_intent");
    let mut told = bank.stripe.books().get("setup_intent", &intent).unwrap().clone();
    told["payment_method"] = "pm_of_whom".into();
    let of_bob = bank.stripe.books().objects["setup_intent"][0]["metadata"].clone();
    // By a page of another program at the same Stripe account, or with names that do not belong together.
    for metadata in [json!({}), of_bob, json!({"clawrk_user": "bob"})] {
        told["metadata"] = metadata;
        bank.stripe.books().tell("setup_intent.succeeded", &told);
    }
    bank.deliver().await;
    assert_eq!(ada.get("/api/wallet/auto-topup").await.expect(200)["has_card"], false);
    bank.stripe.save_card(&intent);
    bank.deliver().await;
    assert_eq!(ada.get("/api/wallet/auto-topup").await.expect(200)["has_card"], true);
    bank.check().await;
}
