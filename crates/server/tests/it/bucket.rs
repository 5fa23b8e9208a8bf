//! Uploaded files in a bucket: the same promises as in a folder, over the real wire.

use axum::body::{Body, Bytes};
use axum::http::Request;
use clawrk_domain::Ids;
use clawrk_server::config::S3Setting;
use clawrk_server::outside::files::{Files, FilesError};
use clawrk_server::tasks::sweeping::sweep;
use futures_util::{StreamExt, stream};
use tower::ServiceExt;

use crate::fake_s3::{ACCESS_KEY, FakeS3, Mood, SECRET_KEY};
use crate::support::{Answer, TestApp, User};
use crate::uploads::{FORM, form};

const MAX_BYTES: u64 = 12 << 20;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

async fn exchange() -> (FakeS3, TestApp) {
    let fake = FakeS3::start().await;
    let app = TestApp::keeping(Files::s3(&fake.setting(), MAX_BYTES).unwrap()).await;
    (fake, app)
}

async fn upload(user: &User, bytes: &[u8]) -> Answer {
    user.send("POST", "/api/uploads", Some(form("a.bin", bytes)), &[("content-type", FORM)]).await
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 7 + n / 251) as u8).collect()
}

fn assert_is_right(fake: &FakeS3) {
    assert!(fake.bucket().wrong.is_empty(), "{:?}", fake.bucket().wrong);
}

#[tokio::test]
async fn files_of_any_length_come_down_from_a_bucket_as_they_went_up() {
    let (fake, app) = exchange().await;
    let ada = app.user("ada", 0).await;
    for (count, pieces) in [(1, 0), (5 << 20, 1), ((10 << 20) + 3, 3)] {
        let sent = bytes(count);
        fake.bucket().pieces = 0;
        let id = upload(&ada, &sent).await.expect(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(fake.bucket().pieces, pieces);
        assert!(fake.bucket().objects.contains_key(&format!("up/load/{id}")));
        assert!(ada.get(&format!("/api/uploads/{id}")).await.bytes == sent, "of {count} bytes");
        ada.delete(&format!("/api/uploads/{id}")).await.expect(200);
        assert!(fake.bucket().objects.is_empty());
    }
    assert_is_right(&fake);
}

#[tokio::test]
async fn a_file_that_is_too_large_or_cut_off_leaves_nothing_in_a_bucket() {
    let (fake, app) = exchange().await;
    let ada = app.user("ada", 0).await;
    let large = form("large", &bytes(MAX_BYTES as usize + 1));
    for (count, status) in [(usize::MAX, 413), (100, 400)] {
        let pieces: Vec<_> = large
            .chunks(64 << 10)
            .take(count)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let request = Request::post("/api/uploads").header("content-type", FORM);
        let request = request.header("authorization", format!("Bearer {}", ada.key));
        let request = request.body(Body::from_stream(stream::iter(pieces))).unwrap();
        assert_eq!(app.router.clone().oneshot(request).await.unwrap().status().as_u16(), status);
    }
    let bucket = fake.bucket();
    assert_eq!((bucket.aborted, bucket.unfinished.len(), bucket.objects.len()), (2, 0, 0));
}

#[tokio::test]
async fn a_file_whose_client_is_gone_is_aborted_in_the_bucket() {
    let (fake, app) = exchange().await;
    let id = Ids::new(7, app.clock.now()).upload();
    let mut incoming = app.app.files.begin(id, PATIENCE).await.unwrap();
    incoming.write(&bytes(6 << 20)).await.unwrap();
    assert_eq!(fake.bucket().unfinished.len(), 1);
    drop(incoming);
    for _ in 0..500 {
        if fake.bucket().aborted == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let bucket = fake.bucket();
    assert_eq!((bucket.aborted, bucket.unfinished.len(), bucket.objects.len()), (1, 0, 0));
}

#[tokio::test]
async fn objects_without_a_row_are_swept_up_and_no_others() {
    let (fake, app) = exchange().await;
    let ada = app.user("ada", 0).await;
    let kept = upload(&ada, b"kept").await.expect(201)["id"].as_str().unwrap().to_owned();
    let mut ids = Ids::new(7, app.clock.now());
    let orphan = ids.upload();
    let others = ["up/load/notes".to_owned(), format!("up/load/deep/{orphan}"), format!("up/loaded/{orphan}")];
    for key in others.iter().cloned().chain((0..3).map(|_| format!("up/load/{}", ids.upload()))) {
        fake.bucket().objects.insert(key, Bytes::from_static(b"x"));
    }
    assert_eq!(sweep(&app.app).await.unwrap(), 0, "they may be on their way");
    app.clock.advance(3600);
    assert_eq!(sweep(&app.app).await.unwrap(), 3);
    let left: Vec<String> = fake.bucket().objects.keys().cloned().collect();
    let mut expected = [others.to_vec(), vec![format!("up/load/{kept}")]].concat();
    expected.sort();
    assert_eq!(left, expected);
    assert_is_right(&fake);
}

#[tokio::test]
async fn a_bucket_that_is_down_is_answered_503_and_no_key_is_told() {
    let (fake, app) = exchange().await;
    let ada = app.user("ada", 0).await;
    let id = upload(&ada, &bytes(100_000)).await.expect(201)["id"].as_str().unwrap().to_owned();
    fake.bucket().mood = Mood::Down;
    upload(&ada, b"a").await.refused(503, "unavailable");
    upload(&ada, &bytes(6 << 20)).await.refused(503, "unavailable");
    ada.get(&format!("/api/uploads/{id}")).await.refused(503, "unavailable");
    let error = app.app.files.stale(app.clock.now()).await.unwrap_err();
    assert!(matches!(error, FilesError::Bucket(_)));
    let told = format!("{error} {error:?} {:?}", fake.setting());
    assert!(!told.contains(ACCESS_KEY) && !told.contains(SECRET_KEY), "{told}");
    fake.bucket().mood = Mood::Well;
    assert_eq!(fake.bucket().objects.len(), 1, "of what was refused nothing is there");
    assert_eq!(app.app.store.uploaded_bytes(ada.id.parse().unwrap()).await.unwrap(), 100_000, "and no row");
}

#[tokio::test]
async fn a_bucket_that_refuses_the_key_is_told_to_the_operator_by_the_settings_to_look_at() {
    let fake = FakeS3::start().await;
    let right = fake.setting();
    let key = "the bucket where files are kept refuses our key: see upload_s3_access_key, upload_s3_secret_key and \
               upload_s3_region";
    let request = "the bucket where files are kept finds our request wrong: see upload_s3_region and upload_url";
    for (setting, code, told) in [
        (S3Setting { secret_key: "another_canary".to_owned(), ..right.clone() }, "SignatureDoesNotMatch", key),
        (S3Setting { access_key: "another_canary".to_owned(), ..right.clone() }, "InvalidAccessKeyId", key),
        (S3Setting { region: "us-east-1".to_owned(), ..right.clone() }, "AuthorizationHeaderMalformed", request),
    ] {
        let app = TestApp::keeping(Files::s3(&setting, MAX_BYTES).unwrap()).await;
        let ada = app.user("ada", 0).await;
        // In one piece, and in several.
        for count in [1, 6 << 20] {
            upload(&ada, &bytes(count)).await.refused(503, "unavailable");
            let wrong = std::mem::take(&mut fake.bucket().wrong);
            assert!(!wrong.is_empty() && wrong.iter().all(|wrong| wrong.ends_with(code)), "{wrong:?}");
        }
        let mut incoming = app.app.files.begin(Ids::new(7, app.clock.now()).upload(), PATIENCE).await.unwrap();
        let errors = [
            app.app.files.stale(app.clock.now()).await.unwrap_err(),
            incoming.write(&bytes(6 << 20)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.to_string(), told);
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        fake.bucket().wrong.clear();
        assert_eq!(app.app.store.uploaded_bytes(ada.id.parse().unwrap()).await.unwrap(), 0);
    }
    assert!(fake.bucket().objects.is_empty() && fake.bucket().unfinished.is_empty());
}

#[tokio::test]
async fn a_download_that_breaks_off_is_no_whole_file() {
    let (fake, app) = exchange().await;
    let ada = app.user("ada", 0).await;
    let id = upload(&ada, &bytes(100_000)).await.expect(201)["id"].as_str().unwrap().to_owned();
    fake.bucket().mood = Mood::BreaksOff;
    let request = Request::get(format!("/api/uploads/{id}")).header("authorization", format!("Bearer {}", ada.key));
    let answer = app.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status();
    let pieces: Vec<_> = answer.into_body().into_data_stream().collect().await;
    let lengths: Vec<_> = pieces.iter().map(|piece| piece.as_ref().map(axum::body::Bytes::len)).collect();
    // Either it is refused, or it ends with an error: never what looks whole.
    assert!(status == 503 || pieces.last().unwrap().is_err(), "{status} {lengths:?}");
}
