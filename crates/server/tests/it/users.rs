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
