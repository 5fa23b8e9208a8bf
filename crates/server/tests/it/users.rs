//! Users and who is calling: the seed's page.

use serde_json::json;

use crate::support::{TestApp, keys_of};

#[tokio::test]
async fn one_sees_oneself_and_nobody_else() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 7_00).await, app.user("bob", 0).await);
    let body = ada.get(&format!("/api/users/{}", ada.id)).await.expect(200);
    let fields =
        "avatar_url balance_cents created_at id name stripe_account_id stripe_account_status stripe_customer_id";
    assert_eq!(keys_of(&body), fields);
    assert_eq!((&body["name"], &body["balance_cents"]), (&json!("ada"), &json!(700)));
    assert_eq!(body["stripe_customer_id"], json!(null));
    assert_eq!(body["created_at"], "2025-01-01T12:00:00.000Z");
    for other in [bob.id.as_str(), "01941f29-7c00-7000-8000-000000000000", "nonsense"] {
        ada.get(&format!("/api/users/{other}")).await.refused(403, "forbidden");
    }
    app.anonymous().get(&format!("/api/users/{}", ada.id)).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn whoami_ignores_its_body() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 7_00).await;
    let expected = json!({"user": {"id": ada.id, "balance_cents": 700}});
    assert_eq!(ada.send("POST", "/api/whoami", None, &[]).await.expect(200), expected);
    assert_eq!(ada.send("POST", "/api/whoami", Some(b"{nonsense".to_vec()), &[]).await.expect(200), expected);
    let refused = app.anonymous().send("POST", "/api/whoami", None, &[]).await;
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert_eq!(refused.refused(401, "unauthenticated")["error"], "Authentication required");
}

#[tokio::test]
async fn the_status_lists_what_ones_agents_have_in_hand_latest_first() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 20_00).await, app.user("bob", 0).await);
    let (one, two) = (ada.job("one", 5_00).await, ada.job("two", 5_00).await);
    bob.work(&one, "done").await.expect(200);
    app.advance(1).await;
    bob.act(&two, "claim").await.expect(200);
    let list = bob.get("/api/users/status").await.expect(200);
    let ids: Vec<&str> = list.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [two.as_str(), one.as_str()]);
}

#[tokio::test]
async fn a_ledger_of_many_lines_is_whole_and_in_order() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    futures_util::future::join_all((1..=1001).map(|cents| app.grant(&ada, cents))).await;
    let wallet = ada.get("/api/wallet/balance").await.expect(200);
    let lines = wallet["ledger"].as_array().unwrap();
    let deltas: Vec<i64> = lines.iter().map(|line| line["delta"].as_i64().unwrap()).collect();
    assert_eq!((deltas.len(), deltas.iter().sum::<i64>()), (1001, wallet["balance_cents"].as_i64().unwrap()));
    assert_eq!(crate::support::keys_of(&wallet), "balance_cents ledger");
    let mut path = "/api/wallet/balance?limit=200".to_owned();
    let mut walked = Vec::new();
    loop {
        let page = ada.get(&path).await;
        walked.extend(page.json()["ledger"].as_array().unwrap().clone());
        let Some(link) = page.headers.get("link") else { break };
        path = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    }
    assert_eq!(&walked, lines);
}
