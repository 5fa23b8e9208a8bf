//! Paying in on Stripe's page.

use serde_json::{Value, json};

use super::{Bank, reasons};
use crate::support::at_once;

#[tokio::test]
async fn a_top_up_is_credited_once_however_often_and_in_whatever_order_it_is_told() {
    for order in 0..4 {
        let mut bank = Bank::new().await;
        let ada = bank.user("ada", 0).await;
        let (session, payment) = bank.page(&ada, 2500).await;
        assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (0, "open".to_owned()));
        bank.stripe.pay(&session);
        let mut notices = bank.stripe.notices();
        assert_eq!(notices.len(), 2);
        if order % 2 == 1 {
            notices.reverse();
        }
        if order < 2 {
            bank.tell_all(&[notices.clone(), notices.clone(), notices.clone()].concat()).await;
        } else {
            for notice in &notices {
                bank.tell_all(&[notice.clone(), notice.clone()]).await;
            }
            bank.tell_all(&notices).await;
        }
        assert_eq!(ada.balance().await, 2500);
        assert_eq!(reasons(&ada).await, [format!("2500 topup:{session}")]);
        assert_eq!(bank.status(&ada, &payment).await, "paid");
        bank.check().await;
    }
}

#[tokio::test]
async fn a_notice_that_comes_many_times_at_once_counts_once() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, _) = bank.page(&ada, 2500).await;
    bank.stripe.pay(&session);
    let anonymous = bank.app.anonymous();
    let mut work: Vec<futures_util::future::BoxFuture<'static, u16>> = Vec::new();
    for notice in bank.stripe.notices().iter().cycle().take(16) {
        let (body, signature) = bank.stripe.signed(notice);
        let anonymous = anonymous.clone();
        work.push(Box::pin(async move {
            let headers = [("stripe-signature", signature.as_str())];
            let told = anonymous.send("POST", "/api/stripe/webhook", Some(body.into_bytes()), &headers).await;
            told.status.as_u16()
        }));
    }
    assert_eq!(at_once(work).await, [200; 16]);
    bank.settle().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
}

#[tokio::test]
async fn a_charge_behind_a_page_waits_for_its_page() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, payment) = bank.page(&ada, 2500).await;
    bank.stripe.pay(&session);
    let notices = bank.stripe.notices();
    let (charged, completed): (Vec<Value>, Vec<Value>) =
        notices.into_iter().partition(|notice| notice["type"] == "payment_intent.succeeded");
    bank.tell_all(&charged).await;
    assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (0, "open".to_owned()));
    bank.tell_all(&completed).await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
}

#[tokio::test]
async fn what_differs_from_our_record_is_parked_and_not_credited() {
    type Change = fn(&mut Value);
    let wrong: [(&str, Change); 3] = [
        ("more", |session| session["amount_total"] = 250_000.into()),
        ("euros", |session| session["currency"] = "eur".into()),
        ("nothing", |session| session["amount_total"] = Value::Null),
    ];
    for (what, change) in wrong {
        let mut bank = Bank::new().await;
        let ada = bank.user("ada", 0).await;
        let (session, payment) = bank.page(&ada, 2500).await;
        bank.stripe.pay(&session);
        let notices = bank.stripe.notices();
        let good = notices.iter().find(|notice| notice["type"] == "checkout.session.completed").unwrap();
        let mut bad = good.clone();
        bad["id"] = "evt_other".into();
        change(&mut bad["data"]["object"]);
        bank.tell_all(&[bad]).await;
        assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (0, "open".to_owned()), "{what}");
        assert_eq!(bank.parked_notices().await, ["Stripe says another amount than $25.00 in US dollars"], "{what}");
        // What is right is taken all the same.
        bank.tell_all(&notices).await;
        assert_eq!(ada.balance().await, 2500);
        bank.check().await;
    }
}

#[tokio::test]
async fn a_page_of_somebody_elses_credits_nobody() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, _) = bank.page(&ada, 2500).await;
    bank.stripe.pay(&session);
    let notices = bank.stripe.notices();
    let good = notices.iter().find(|notice| notice["type"] == "checkout.session.completed").unwrap().clone();
    // A page of the same Stripe account that names our payment as its reference, and cannot write metadata.
    let mut other = good.clone();
    other["id"] = "evt_reference".into();
    other["data"]["object"]["metadata"] = json!({});
    // A page of a connected account, whose owner writes there what they like.
    let mut connected = good.clone();
    connected["id"] = "evt_connected".into();
    connected["account"] = "acct_of_mallory".into();
    // A page where no real money moves, or here where none should.
    let mut live = good.clone();
    live["id"] = "evt_live".into();
    live["livemode"] = true.into();
    bank.tell_all(&[other, connected, live]).await;
    assert_eq!(ada.balance().await, 0);
    bank.tell_all(&notices).await;
    // A second session that claims the same payment is not a second credit, and people are told.
    let mut second = good;
    second["id"] = "evt_second".into();
    second["data"]["object"]["id"] = "cs_second".into();
    bank.tell_all(&[second]).await;
    assert_eq!(ada.balance().await, 2500);
    assert_eq!(bank.parked_notices().await, ["Stripe has another payment for it than the one that is known"]);
    bank.check().await;
}

#[tokio::test]
async fn a_payment_that_takes_days_is_credited_when_it_has_come_and_never_when_it_fails() {
    for is_paid in [true, false] {
        let mut bank = Bank::new().await;
        let ada = bank.user("ada", 0).await;
        let (session, payment) = bank.page(&ada, 2500).await;
        bank.stripe.pay_slowly(&session);
        bank.deliver().await;
        assert_eq!((ada.balance().await, bank.status(&ada, &payment).await), (0, "open".to_owned()));
        bank.advance(3 * 24 * 3600).await;
        bank.stripe.end_slow_payment(&session, is_paid);
        bank.deliver().await;
        let ends = if is_paid { (2500, "paid") } else { (0, "failed") };
        assert_eq!((ada.balance().await, bank.status(&ada, &payment).await.as_str()), ends);
        bank.check().await;
    }
}

#[tokio::test]
async fn a_page_that_nobody_pays_on_in_time_is_over() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, payment) = bank.page(&ada, 2500).await;
    bank.stripe.expire(&session);
    bank.deliver().await;
    let shown = ada.get(&format!("/api/wallet/payments/{payment}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["problem"]), (&"failed".into(), &"nobody paid in time".into()));
    bank.check().await;
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_one_page() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let body = json!({"amount_cents": 2500});
    let first = ada.post_once("k", "/api/wallet/topup", body.clone()).await.expect(200);
    assert_eq!(ada.post_once("k", "/api/wallet/topup", body.clone()).await.expect(200), first);
    ada.post_once("k", "/api/wallet/topup", json!({"amount_cents": 2501})).await.refused(422, "idempotency_key_reused");
    let other = ada.post_once("k2", "/api/wallet/topup", body).await.expect(200);
    assert_ne!(other, first);
    assert_eq!(bank.stripe.books().objects["checkout.session"].len(), 2);
    assert_eq!(bank.stripe.books().objects["customer"].len(), 1);
    bank.stripe.pay(&bank.stripe.session_at(first["url"].as_str().unwrap()));
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
}

#[tokio::test]
async fn an_answer_of_stripes_that_was_lost_keeps_nobody_from_paying_in() {
    use crate::fake_stripe::Fault::{ActsAndFails, ActsAndHangsUp, Fails, HangsUp, TooMany};
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    for fault in [Fails, ActsAndFails, ActsAndHangsUp, HangsUp, TooMany] {
        for call in ["POST /v1/customers", "POST /v1/checkout/sessions"] {
            bank.stripe.fault(call, fault);
        }
    }
    let mut tries = 0;
    while ada.post("/api/wallet/topup", json!({"amount_cents": 2500})).await.status != 200 {
        tries += 1;
        assert!(tries < 11, "what Stripe has kept under one key stands in the way");
    }
    assert_eq!(tries, 10);
    bank.stripe.pay(&bank.stripe.newest("checkout.session"));
    bank.deliver().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
}
