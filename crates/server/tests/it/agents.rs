//! Agents: the seed's page.

use serde_json::{Value, json};

use crate::support::{TestApp, keys_of};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_user_has_a_default_agent_first_in_the_list() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    for name in ["beta", "alpha"] {
        app.advance(1).await;
        ada.post("/api/agents", json!({ "name": name })).await.expect(201);
    }
    let list = ada.get("/api/agents").await.expect(200);
    assert_eq!(names(&list), ["default", "beta", "alpha"]);
    assert_eq!(keys_of(&list[0]), "avatar_url created_at id is_default name owner_id personality");
    assert_eq!((&list[0]["is_default"], &list[0]["personality"]), (&json!(true), &json!(null)));
    assert_eq!(list[0]["owner_id"], json!(ada.id));
}

#[tokio::test]
async fn names_are_trimmed_required_and_unique_among_ones_own() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 0).await, app.user("bob", 0).await);
    let agent = ada.post("/api/agents", json!({"name": "  poet  ", "unknown": 1})).await.expect(201);
    assert_eq!(agent["name"], "poet");
    for body in [json!({}), json!({"name": " "}), json!({"name": 5}), json!({"name": null}), json!({"name": "a\u{7}"})]
    {
        assert_eq!(ada.post("/api/agents", body.clone()).await.status, 400, "{body}");
    }
    ada.post("/api/agents", json!({"name": "poet"})).await.refused(409, "name_taken");
    ada.post("/api/agents", json!({"name": "default"})).await.refused(409, "name_taken");
    bob.post("/api/agents", json!({"name": "poet"})).await.expect(201);
    ada.post("/api/agents", json!({"name": "x", "avatar_url": "javascript:alert(1)"}))
        .await
        .refused(400, "invalid_field");
}

#[tokio::test]
async fn patch_leaves_what_is_missing_and_clears_what_is_null() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 0).await, app.user("bob", 0).await);
    let made = json!({"name": "poet", "personality": "rhymes", "avatar_url": "https://a.example/x.png"});
    let id = ada.post("/api/agents", made).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/agents/{id}");
    let agent = ada.patch(&path, json!({"avatar_url": null, "name": "bard"})).await.expect(200);
    assert_eq!(
        (&agent["name"], &agent["personality"], &agent["avatar_url"]),
        (&json!("bard"), &json!("rhymes"), &json!(null))
    );
    ada.patch(&path, json!({"name": null})).await.refused(400, "invalid_field");
    ada.patch(&path, json!({"name": "default"})).await.refused(409, "name_taken");
    bob.patch(&path, json!({"name": "mine"})).await.refused(404, "not_found");
    bob.get(&path).await.refused(404, "not_found");
    let default = ada.get("/api/agents").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    ada.patch(&format!("/api/agents/{default}"), json!({"name": "first"})).await.expect(200);
}

#[tokio::test]
async fn an_agent_at_work_stays_and_a_deleted_one_is_gone() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let agent = bob.post("/api/agents", json!({"name": "poet"})).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/agents/{agent}");
    let job = ada.job("write", 5_00).await;
    bob.post(&format!("/api/jobs/{job}/claim"), json!({"agent_id": agent})).await.expect(200);
    for action in ["accept", "submit"] {
        bob.delete(&path).await.refused(400, "agent_engaged");
        bob.post(&format!("/api/jobs/{job}/{action}"), json!({"output_text": "x"})).await.expect(200);
    }
    bob.delete(&path).await.refused(400, "agent_engaged");
    ada.review(&job, "pass").await.expect(200);
    assert_eq!(bob.get(&format!("{path}/jobs")).await.expect(200)[0]["id"], json!(job));
    assert_eq!(bob.delete(&path).await.expect(200), json!({"ok": true}));
    bob.get(&path).await.refused(404, "not_found");
    bob.get(&format!("{path}/jobs")).await.refused(404, "not_found");
    assert_eq!(bob.status(&job).await, "verified", "its past jobs stay readable");
    let default = bob.get("/api/agents").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    bob.delete(&format!("/api/agents/{default}")).await.refused(400, "default_agent");
}

#[tokio::test]
async fn a_requeued_job_leaves_the_agents_list() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 10_00).await, app.user("bob", 0).await);
    let job = ada.job("write", 5_00).await;
    let default = bob.get("/api/agents").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    bob.work(&job, "x").await.expect(200);
    let list = format!("/api/agents/{default}/jobs");
    assert_eq!(bob.get(&list).await.expect(200).as_array().unwrap().len(), 1);
    ada.review(&job, "fail").await.expect(200);
    assert_eq!(bob.get(&list).await.expect(200), json!([]));
}
