//! Uploaded files: what comes in, who may read it, and what is left when something goes wrong.

use axum::body::{Body, Bytes};
use axum::http::Request;
use clawrk_domain::Ids;
use clawrk_server::tasks::sweeping::sweep;
use futures_util::stream;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, QUOTA_BYTES, TestApp, UPLOAD_BYTES, User, at_once};

pub const FORM: &str = "multipart/form-data; boundary=edge";

pub fn form(name: &str, bytes: &[u8]) -> Vec<u8> {
    let head = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"";
    [head.as_bytes(), name.as_bytes(), b"\"\r\nContent-Type: text/html\r\n\r\n", bytes, b"\r\n--edge--\r\n"].concat()
}

async fn upload(user: &User, name: &str, bytes: &[u8]) -> Answer {
    user.send("POST", "/api/uploads", Some(form(name, bytes)), &[("content-type", FORM)]).await
}

pub async fn uploaded(user: &User, name: &str) -> String {
    upload(user, name, name.as_bytes()).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn post(user: &User, attachments: Value) -> Answer {
    let body = json!({"prompt": "sum up", "title": "sum up", "price_cents": 500, "time_limit_seconds": 600,
        "criteria": ["it is right"], "confirmed": true, "attachments": attachments});
    user.post("/api/jobs/run", body).await
}

#[tokio::test]
async fn a_file_goes_up_is_named_by_a_job_and_comes_down_unrun() {
    let app = TestApp::new().await;
    let (ada, bob, eve) = (app.user("ada", 5000).await, app.user("bob", 0).await, app.user("eve", 0).await);
    let file = upload(&ada, "../../<b>\u{202e}日.html", b"<script>").await.expect(201);
    assert_eq!((&file["name"], &file["size"]), (&json!("_b_日.html"), &json!(8)));
    assert_eq!(file["content_type"], "application/octet-stream");
    let id = file["id"].as_str().unwrap();
    let path = format!("/api/uploads/{id}");
    let down = ada.get(&path).await;
    assert_eq!((down.status.as_u16(), down.bytes.as_slice()), (200, b"<script>".as_slice()));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("cache-control", "private, no-store"),
        ("content-disposition", "attachment; filename=\"_b__.html\"; filename*=UTF-8''_b_%E6%97%A5.html"),
    ] {
        assert_eq!(down.headers[name], value);
    }
    let job = post(&ada, json!([id])).await.expect(201);
    assert_eq!(job["attachments"], json!([file]));
    let job = job["id"].as_str().unwrap();
    let unseen = bob.get(&path).await.refused(404, "not_found");
    let unknown = Ids::new(7, app.clock.now()).upload();
    let none = bob.get(&format!("/api/uploads/{unknown}")).await.refused(404, "not_found");
    assert_eq!(unseen["error"], none["error"], "on the board nobody sees files");
    assert_eq!(bob.get(&format!("/api/jobs/{job}")).await.expect(200)["attachments"], json!([]));
    bob.act(job, "claim").await.expect(200);
    assert_eq!(bob.get(&path).await.status, 200, "its holder may read it");
    bob.act(job, "accept").await.expect(200);
    let result = uploaded(&bob, "result.txt").await;
    let handed =
        bob.post(&format!("/api/jobs/{job}/submit"), json!({"output_attachments": [result]})).await.expect(200);
    assert_eq!(handed["output_attachments"][0]["name"], "result.txt");
    assert_eq!(ada.get(&format!("/api/uploads/{result}")).await.bytes, b"result.txt");
    eve.get(&format!("/api/uploads/{result}")).await.refused(404, "not_found");
    ada.delete(&format!("/api/uploads/{result}")).await.refused(404, "not_found");
    ada.delete(&path).await.refused(409, "upload_in_use");
    ada.review(job, "pass").await.expect(200);
    app.clock.advance(48 * 3600);
    assert_eq!(sweep(&app.app).await.unwrap(), 0, "what jobs name stays");
    assert_eq!(ada.get(&format!("/api/uploads/{result}")).await.status, 200);
    app.audit().await;
}

#[tokio::test]
async fn only_ones_own_files_are_named_and_each_once() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 50_000).await, app.user("bob", 0).await);
    let (own, others) = (uploaded(&ada, "a.txt").await, uploaded(&bob, "b.txt").await);
    let unknown = Ids::new(7, app.clock.now()).upload().to_string();
    let refusals = [
        post(&ada, json!([others])).await.refused(400, "invalid_field"),
        post(&ada, json!([unknown])).await.refused(400, "invalid_field"),
        post(&ada, json!(["nonsense"])).await.refused(400, "invalid_field"),
    ];
    assert!(refusals.iter().all(|refusal| refusal["error"] == refusals[0]["error"]), "{refusals:?}");
    post(&ada, json!([own, own])).await.refused(400, "invalid_field");
    post(&ada, json!(vec![own.clone(); 11])).await.refused(400, "invalid_field");
    let same = uploaded(&ada, "A.txt").await;
    let job = post(&ada, json!([own, same])).await.expect(201);
    assert_eq!(
        (&job["attachments"][0]["name"], &job["attachments"][1]["name"]),
        (&json!("a.txt"), &json!("A (2).txt"))
    );
    let job = job["id"].as_str().unwrap().to_owned();
    bob.work(&job, " ").await.refused(400, "invalid_field");
    bob.post(&format!("/api/jobs/{job}/submit"), json!({"output_attachments": [own]}))
        .await
        .refused(400, "invalid_field");
    let free = uploaded(&ada, "free.txt").await;
    ada.delete(&format!("/api/uploads/{free}")).await.expect(200);
    ada.get(&format!("/api/uploads/{free}")).await.refused(404, "not_found");
    assert_eq!(app.kept_files().len(), 3);
}

#[tokio::test]
async fn the_quota_holds_for_twenty_uploads_at_once() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let bytes = vec![7; UPLOAD_BYTES as usize];
    let one = |n: usize| {
        let (ada, bytes) = (ada.clone(), bytes.clone());
        Box::pin(async move { upload(&ada, &format!("{n}"), &bytes).await })
            as futures_util::future::BoxFuture<'static, Answer>
    };
    let answers = at_once((0..20).map(one).collect()).await;
    let (kept, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer: &Answer| answer.status == 201);
    assert_eq!(kept.len() as u64, QUOTA_BYTES / UPLOAD_BYTES);
    refused.into_iter().for_each(|answer| drop(answer.refused(400, "upload_quota")));
    assert_eq!(app.kept_files().len(), kept.len(), "of what was refused no byte is left");
}

#[tokio::test]
async fn a_file_that_is_too_large_or_cut_off_leaves_nothing() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let large = vec![7; UPLOAD_BYTES as usize + 1];
    upload(&ada, "large", &large).await.refused(413, "file_too_large");
    let begin = form("large", &large);
    for (pieces, status) in [(begin.chunks(64 << 10).count(), 413), (5, 400)] {
        let pieces =
            begin.chunks(64 << 10).take(pieces).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)));
        let body = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
        let request = Request::post("/api/uploads").header("content-type", FORM);
        let request = request.header("authorization", format!("Bearer {}", ada.key)).body(body).unwrap();
        let answer = app.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    assert_eq!(app.kept_files().len(), 0);
    upload(&app.anonymous(), "a", b"a").await.refused(401, "unauthenticated");
    ada.post("/api/uploads", json!({})).await.refused(400, "malformed_request");
}

#[tokio::test]
async fn what_is_sure_to_be_refused_is_refused_before_its_file_is_read() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.user("ada", 0).await, app.user("bob", 0).await);
    for _ in 0..QUOTA_BYTES / UPLOAD_BYTES {
        upload(&ada, "full", &vec![7; UPLOAD_BYTES as usize]).await.expect(201);
    }
    // What comes is no form: whoever reads on says so instead.
    for (user, length, status) in [(&ada, 10, 400), (&bob, UPLOAD_BYTES * 2, 413)] {
        let headers = [("content-type", FORM), ("content-length", &length.to_string())];
        let answer = user.send("POST", "/api/uploads", Some(b"no form at all".to_vec()), &headers).await;
        answer.refused(status, if status == 400 { "upload_quota" } else { "file_too_large" });
    }
}

#[tokio::test]
async fn an_upload_with_a_key_happens_once() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 0).await;
    let send = async |bytes: &[u8]| {
        let headers = [("content-type", FORM), ("idempotency-key", "k")];
        ada.send("POST", "/api/uploads", Some(form("a.txt", bytes)), &headers).await
    };
    let first = send(b"one").await;
    let again = send(b"one").await;
    assert_eq!((first.status.as_u16(), &first.bytes), (201, &again.bytes));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    send(b"two").await.refused(422, "idempotency_key_reused");
    assert_eq!(app.kept_files().len(), 1, "what came again is gone");
}

#[tokio::test]
async fn bytes_without_a_row_and_files_without_a_job_are_swept_up() {
    let app = TestApp::new().await;
    let ada = app.user("ada", 5000).await;
    let (unused, used) = (uploaded(&ada, "unused").await, uploaded(&ada, "used").await);
    post(&ada, json!([used])).await.expect(201);
    let orphan = Ids::new(7, app.clock.now()).upload();
    app.leave_file(&orphan.to_string());
    app.leave_file(&format!("{orphan}#1"));
    assert_eq!(sweep(&app.app).await.unwrap(), 0, "they may be on their way");
    app.clock.advance(3600);
    assert_eq!(sweep(&app.app).await.unwrap(), 2);
    app.clock.advance(23 * 3600 - 60);
    assert_eq!(sweep(&app.app).await.unwrap(), 0);
    app.clock.advance(120);
    assert_eq!(sweep(&app.app).await.unwrap(), 1);
    assert_eq!(app.kept_files(), [used]);
    ada.get(&format!("/api/uploads/{unused}")).await.refused(404, "not_found");
    app.audit().await;
}
