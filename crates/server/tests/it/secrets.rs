//! What nobody may read: keys and variables at rest, and other people's.

use clawrk_server::vault::Vault;
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn keys_variables_and_kept_answers_are_nowhere_to_be_read_at_rest() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let made = ada.post_once("k1", "/api/keys", json!({"name": "kept with its answer"})).await.expect(201);
    let body =
        json!({"prompt": "a canary in the open", "envVars": {"TOKEN": "canary-in-a-variable"}, "confirmed": true});
    let job = ada.post_once("k2", "/api/jobs/run", body).await.expect(201);
    assert_eq!(job["env_vars"]["TOKEN"], "canary-in-a-variable");
    let job = job["id"].as_str().unwrap();
    bob.act(job, "claim").await.expect(200);
    let accepted = bob.act(job, "accept").await.expect(200);
    assert_eq!(accepted["env_vars"]["TOKEN"], "canary-in-a-variable");

    let kept = app.kept().await;
    let holds = |text: &str| kept.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("a canary in the open"), "this looks where things are kept");
    assert!(holds("kept with its answer"));
    assert!(!holds("canary-in-a-variable"));
    for key in [&ada.key, &bob.key, made["key"].as_str().unwrap()] {
        let (_, secret) = key.split_at("clawrk_".len() + 12);
        assert!(!holds(secret), "{key}");
    }
}

#[tokio::test]
async fn a_database_is_opened_under_its_own_secret_only() {
    let app = TestApp::new().await;
    let (one, two) = (Vault::new("one"), Vault::new("two"));
    assert!(one.sealed(&app.app.store.seal(one.fresh_seal()).await.unwrap()));
    assert!(one.sealed(&app.app.store.seal(one.fresh_seal()).await.unwrap()));
    assert!(!two.sealed(&app.app.store.seal(two.fresh_seal()).await.unwrap()));
}
