//! Files that people upload: they are named by jobs and submissions, and read by whoever may see all of those.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use clawrk_domain::upload::{NewUpload, no_such_file};
use clawrk_domain::{Action, Answer, Ids, Rejection, Scope, Timestamp, Upload, UploadId, limits};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Done, ErrorBody, id};
use crate::auth::Caller;
use crate::error::causes;
use crate::input::{self, DRAIN_BYTES, Named};
use crate::multipart::{AROUND_BYTES, Form, Head};
use crate::outside::files::{FilesError, Incoming, Kept};
use crate::reply::Reply;
use crate::{App, Error, random};

/// A file that was uploaded.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadBody {
    /// What jobs name it by.
    id: String,
    /// A harmless form of the name it was uploaded with.
    name: String,
    /// In bytes.
    size: u64,
    /// One of a short list, else `application/octet-stream`.
    content_type: String,
    /// Of its bytes, in hexadecimal.
    sha256: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A form with one file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is read as it comes")]
pub struct UploadForm {
    /// The file; any name will do when the part has a filename.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

impl From<&Upload> for UploadBody {
    fn from(file: &Upload) -> Self {
        Self {
            id: file.id.to_string(),
            name: file.name.clone(),
            size: file.size_bytes,
            content_type: file.content_type.clone(),
            sha256: hex::encode(file.sha256),
            created_at: file.created_at,
        }
    }
}

/// Upload a file, at most 25 MiB unless the operator says otherwise. One that no job names is deleted after a day.
#[utoipa::path(post, path = "/api/uploads", tag = "uploads",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 201, body = UploadBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn create(State(app): State<App>, caller: Caller, request: Request) -> Result<Reply, Error> {
    may_upload(caller)?;
    let most = app.files.max_bytes().ok_or_else(Error::no_uploads)?;
    let (parts, body) = request.into_parts();
    input::idempotency_key(&parts.headers)?;
    let mut form = Form::new(&parts.headers, body, app.limits)?;
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > most + AROUND_BYTES) {
        return too_large(form, most).await;
    }
    let quota = app.policy.upload_quota_bytes;
    if app.store.uploaded_bytes(caller.user).await? >= quota {
        return Err(Rejection::UploadQuota(quota).into());
    }
    let Head { name, content_type } = form.head().await?;
    let id = Ids::new(random::seed(), app.store.clock().now()).upload();
    let mut incoming = app.files.begin(id, app.limits.room).await?;
    let kept = match take_in(&mut form, &mut incoming, most).await {
        Ok(true) => form.finish().await,
        Ok(false) => {
            give_up(incoming).await;
            return too_large(form, most).await;
        }
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        give_up(incoming).await;
        return Err(error);
    }
    let Kept { size_bytes, sha256 } = incoming.finish().await?;
    let said = content_type.as_deref().unwrap_or_default();
    let once = input::once_for(&parts, format!("{}\n{said}\n{name}", hex::encode(sha256)).as_bytes())?;
    let action = Action::Upload(NewUpload { id, name, size_bytes, content_type, sha256 });
    let render = Arc::new(|answer: &Answer| match answer {
        Answer::Upload(file) => Reply::json(StatusCode::CREATED, &UploadBody::from(file)),
        _ => Reply::nothing(),
    });
    let reply = app.exchange.act(caller.user, action, once, render).await;
    // After a failure nobody knows whether the row was written: the bytes may be needed.
    let has_no_row = match &reply {
        Ok(reply) => reply.is_replayed(),
        Err(error) => error.is_refusal(),
    };
    if has_no_row {
        app.files.delete(id).await?;
    }
    reply
}

/// What is left of a file that does not come is swept up later, if it cannot be deleted now: the refusal says more.
async fn give_up(incoming: Incoming) {
    if let Err(error) = incoming.abort().await {
        tracing::warn!(cause = causes(&error), "what came of a file could not be deleted");
    }
}

/// Takes the file in; false when it is larger than it may be.
async fn take_in(form: &mut Form, incoming: &mut Incoming, most: u64) -> Result<bool, Error> {
    let mut size = 0;
    while let Some(bytes) = form.next().await? {
        size += bytes.len() as u64;
        if size > most {
            return Ok(false);
        }
        incoming.write(&bytes).await?;
    }
    Ok(true)
}

async fn too_large(form: Form, most: u64) -> Result<Reply, Error> {
    form.drain(DRAIN_BYTES).await?;
    Err(Error::file_too_large(most))
}

/// Download a file: one's own, or one of a job that one may see all of.
#[utoipa::path(get, path = "/api/uploads/{id}", tag = "uploads", params(("id" = String, Path, description = "Upload id")),
    responses((status = 200, content_type = "application/octet-stream", description = "The file's bytes"),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn show(State(app): State<App>, caller: Caller, Named(upload): Named) -> Result<Response, Error> {
    caller.may(Scope::Read)?;
    let found = app.store.upload_known_to(id("upload", &upload)?, caller.user).await?;
    let file = found.ok_or(Rejection::NotFound("upload"))?;
    let mut response = Response::new(Body::from_stream(app.files.read(&file).await?));
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::try_from(text).expect("it is made of visible ASCII");
    headers.insert(header::CONTENT_TYPE, text(file.content_type.clone()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size_bytes));
    headers.insert(header::CONTENT_DISPOSITION, text(disposition(&file.name)));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::ETAG, text(format!("\"{}\"", hex::encode(file.sha256))));
    Ok(response)
}

/// Delete one of one's files; one that a job names stays.
#[utoipa::path(delete, path = "/api/uploads/{id}", tag = "uploads",
    params(("id" = String, Path, description = "Upload id")),
    responses((status = 200, body = Done), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "A job names it")))]
pub async fn delete(State(app): State<App>, caller: Caller, Named(upload): Named) -> Result<Reply, Error> {
    may_upload(caller)?;
    let upload: UploadId = id("upload", &upload)?;
    let done = Arc::new(|_: &Answer| Reply::ok(&Done { ok: true }));
    let reply = app.exchange.act(caller.user, Action::DeleteUpload(upload), None, done).await?;
    // The row is gone: bytes that stay behind now are swept up.
    if let Err(error) = app.files.delete(upload).await {
        tracing::warn!(cause = crate::error::causes(&error), "a file's bytes were not deleted yet");
    }
    Ok(reply)
}

/// Whoever may post a job may upload, and so may whoever works.
fn may_upload(caller: Caller) -> Result<(), Error> {
    if caller.scopes.has(Scope::Work) { Ok(()) } else { caller.may(Scope::Spend) }
}

/// Reads upload ids; text that is no id names nothing.
pub(super) fn upload_ids(field: &'static str, list: Option<Vec<String>>) -> Result<Vec<UploadId>, Error> {
    let list = list.unwrap_or_default();
    if list.len() > limits::FILES {
        return Err(Rejection::invalid(field, format!("must be at most {} files", limits::FILES)).into());
    }
    list.iter().map(|text| text.parse().map_err(|_| no_such_file(field).into())).collect()
}

/// `attachment`, and the name as RFC 6266 has it: for old clients in ASCII, for others as it is.
fn disposition(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' };
    let plain: String = name.chars().map(plain).collect();
    let encoded = name.bytes().map(|byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
        if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", encoded.collect::<String>())
}

impl From<FilesError> for Error {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::NoPlace => Self::no_uploads(),
            FilesError::Busy => Self::too_busy(),
            error => Self::of_files(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn names_stand_in_a_header_without_breaking_out_of_it() {
        assert_eq!(disposition("a b.txt"), "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
        let plain = "attachment; filename=\"a_; x=____41.txt\"";
        let encoded = "filename*=UTF-8''a%22%3B%20x%3D%0D%0A%E6%97%A5%2541.txt";
        assert_eq!(disposition("a\"; x=\r\n日%41.txt"), format!("{plain}; {encoded}"));
    }
}
