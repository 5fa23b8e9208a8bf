//! What comes to the webhook, and what of it is Stripe's.

use std::process::Command;

use clawrk_server::outside::stripe::signature;
use serde_json::json;

use super::{Bank, NOON};
use crate::fake_stripe::WEBHOOK_SECRET;
use crate::support::TestApp;

#[tokio::test]
async fn what_is_forged_stale_truncated_or_anothers_is_refused_and_leaves_nothing() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let (session, _) = bank.page(&ada, 2500).await;
    bank.stripe.pay(&session);
    let notices = bank.stripe.notices();
    let notice = notices.iter().find(|notice| notice["type"] == "checkout.session.completed").unwrap();
    let (body, good) = bank.stripe.signed(notice);
    let body = body.into_bytes();
    let v1 = good.split_once("v1=").unwrap().1.to_owned();
    let mut changed = body.clone();
    let place = body.windows(4).position(|bytes| bytes == b"2500").unwrap();
    changed[place] = b'9';
    let sign = |secret: &str, at: i64| signature::sign(&body, secret, at);
    let forged = [
        (body.clone(), sign("whsec_of_mallory", NOON)),
        (body.clone(), sign(WEBHOOK_SECRET, NOON - 301)),
        (body.clone(), sign(WEBHOOK_SECRET, NOON + 301)),
        (changed, good.clone()),
        (body[..body.len() - 1].to_vec(), good.clone()),
        (Vec::new(), good.clone()),
        (body.clone(), format!("t={NOON},v0={v1}")),
        (body.clone(), format!("t={},v1={v1}", NOON + 1)),
        (body.clone(), format!("t={NOON},t={NOON},v1={v1}")),
        (body.clone(), format!("t={NOON}{}", ",v1=00".repeat(10_000))),
        (body.clone(), String::new()),
    ];
    let before = bank.app.kept().await.len();
    for _ in 0..18 {
        for (body, signature) in &forged {
            let refused = bank.post_notice(body.clone(), signature).await.refused(400, "bad_signature");
            assert!(!refused.to_string().contains("whsec"), "{refused}");
        }
    }
    bank.app
        .anonymous()
        .send("POST", "/api/stripe/webhook", Some(body.clone()), &[])
        .await
        .refused(400, "bad_signature");
    bank.settle().await;
    assert_eq!(ada.balance().await, 0);
    assert_eq!(bank.parked_notices().await, Vec::<String>::new());
    assert_eq!(bank.app.kept().await.len(), before, "something was written");
    // Ours, but no event.
    for text in ["{", "[]", r#"{"id":"evt_1"}"#, "\u{feff}"] {
        let signature = signature::sign(text.as_bytes(), WEBHOOK_SECRET, NOON);
        bank.post_notice(text.as_bytes().to_vec(), &signature).await.refused(400, "malformed_request");
    }
    // One of several signatures, made with the secret from before it was changed.
    let older = sign("whsec_older", NOON - 300);
    let (time, older) = older.split_once(',').unwrap();
    bank.post_notice(body.clone(), &format!("{time},v1={},{older},v0=x", "00".repeat(32))).await.expect(200);
    bank.settle().await;
    assert_eq!(ada.balance().await, 2500);
    bank.check().await;
}

#[tokio::test]
async fn a_kind_that_nobody_knows_is_acknowledged_and_forgotten() {
    let bank = Bank::new().await;
    let before = bank.app.kept().await.len();
    let event = |kind: &str| {
        json!({"id": format!("evt_{kind}"), "object": "event", "type": kind, "created": NOON,
            "livemode": false, "data": {"object": {"id": "x"}}})
    };
    for kind in ["invoice.paid", "customer.created", "", "v2.core.event"] {
        bank.tell(&event(kind)).await.expect(200);
    }
    bank.settle().await;
    assert_eq!(bank.app.kept().await.len(), before, "something was written");
    // Of a known kind, about something that is not what it should be: looked at for days, then for people.
    bank.tell_all(&[event("transfer.reversed"), event("charge.dispute.created")]).await;
    assert_eq!(bank.parked_notices().await, Vec::<String>::new());
    for _ in 0..90 {
        bank.advance(3600).await;
    }
    assert_eq!(bank.parked_notices().await.len(), 2);
    bank.check().await;
}

#[tokio::test]
async fn without_a_key_every_route_of_stripes_says_so_and_the_balance_works() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 1000).await;
    let amount = json!({"amount_cents": 500});
    let auto = json!({"enabled": false});
    for (path, body) in [
        ("/api/wallet/topup", &amount),
        ("/api/wallet/withdraw", &amount),
        ("/api/wallet/setup-payment-method", &json!({})),
        ("/api/wallet/auto-topup", &auto),
        ("/api/stripe/connect", &json!({})),
        ("/api/stripe/webhook", &json!({})),
    ] {
        let refused = ada.post(path, body.clone()).await;
        assert!(refused.headers.contains_key("retry-after"), "{path}");
        refused.refused(503, "stripe_not_configured");
    }
    for path in ["/api/wallet/auto-topup", "/api/stripe/connect/status"] {
        ada.get(path).await.refused(503, "stripe_not_configured");
    }
    assert_eq!(ada.balance().await, 1000);
    assert_eq!(ada.get("/api/wallet/payments").await.expect(200), json!([]));
    app.audit().await;
}

#[tokio::test]
async fn a_payment_of_anothers_is_not_there() {
    let mut bank = Bank::new().await;
    let (ada, bob) = (bank.user("ada", 0).await, bank.user("bob", 0).await);
    let (_, payment) = bank.page(&ada, 2500).await;
    let path = format!("/api/wallet/payments/{payment}");
    assert_eq!(ada.get(&path).await.expect(200)["amount_cents"], 2500);
    let others = bob.get(&path).await.refused(404, "not_found");
    let nobodys = bob.get("/api/wallet/payments/01900000-0000-7000-8000-000000000000").await.refused(404, "not_found");
    assert_eq!(others["error"], nobodys["error"]);
    assert_eq!(bob.get("/api/wallet/payments").await.expect(200), json!([]));
    bank.app.anonymous().get(&path).await.expect(401);
}

#[tokio::test]
async fn a_second_card_has_a_second_intent_and_a_repeated_request_the_same() {
    let mut bank = Bank::new().await;
    let ada = bank.user("ada", 0).await;
    let path = "/api/wallet/setup-payment-method";
    let first = ada.post_once("one", path, json!({})).await.expect(200);
    assert_eq!(ada.post_once("one", path, json!({})).await.expect(200), first);
    let second = ada.post_once("two", path, json!({})).await.expect(200);
    assert_ne!(second, first);
    let page = ada.post(path, json!({"page": true})).await.expect(200);
    let session = bank.stripe.session_at(page["url"].as_str().unwrap());
    let intent = bank.stripe.books().get("checkout.session", &session).unwrap()["setup_intent"].clone();
    assert_eq!(ada.get("/api/wallet/auto-topup").await.expect(200)["has_card"], false);
    bank.stripe.save_card(intent.as_str().unwrap());
    bank.deliver().await;
    assert_eq!(ada.get("/api/wallet/auto-topup").await.expect(200)["has_card"], true);
    bank.check().await;
}

/// Signs and checks as Stripe's own library does.
const OFFICIAL: &str = r#"
import sys
try:
    import stripe
except ImportError:
    sys.exit(77)
mode, secret, header, body = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]
verify = stripe.WebhookSignature.verify_header
if mode == "sign":
    print("t=%s,v1=%s" % (header, stripe.WebhookSignature._compute_signature("%s.%s" % (header, body), secret)))
else:
    try:
        print(verify(body, header, secret))
    except stripe.SignatureVerificationError:
        print(False)
"#;

/// What Stripe's library for Python says; nothing where it is not installed.
fn official(arguments: [&str; 4]) -> Option<String> {
    let asked = Command::new("python3").args(["-c", OFFICIAL]).args(arguments).output().ok()?;
    if asked.status.code() == Some(77) {
        return None;
    }
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    Some(String::from_utf8(asked.stdout).unwrap().trim().to_owned())
}

#[test]
fn signatures_are_those_of_stripes_own_library() {
    for body in ["{\"id\":\"evt_1\"}", "", "{\"name\": \"Zoë\", \"n\": 1}\n", "not json at all"] {
        let ours = signature::sign(body.as_bytes(), WEBHOOK_SECRET, NOON);
        let Some(theirs) = official(["sign", WEBHOOK_SECRET, &NOON.to_string(), body]) else {
            println!("skipped: Stripe's library for Python is not installed");
            return;
        };
        assert_eq!(ours, theirs);
        let secrets = [WEBHOOK_SECRET.to_owned()];
        assert_eq!(signature::verify(Some(&theirs), body.as_bytes(), &secrets, NOON), Ok(()));
        // Both take it, and neither takes it for another body or from another secret.
        let taken = |secret, body| official(["verify", secret, &ours, body]).unwrap();
        assert_eq!(taken(WEBHOOK_SECRET, body), "True");
        assert_eq!(taken(WEBHOOK_SECRET, "{}"), "False");
        assert_eq!(taken("whsec_other", body), "False");
        assert!(signature::verify(Some(&theirs), b"{}", &secrets, NOON).is_err());
    }
}
