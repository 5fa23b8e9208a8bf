//! Where the bytes of uploaded files are kept: a folder or a bucket, each file under its id.
//!
//! | What                        | How                                                                             |
//! |-----------------------------|---------------------------------------------------------------------------------|
//! | a file comes                | beside its place, piece by piece; synced and renamed before its row is written  |
//! | it is given up              | what was written is deleted                                                     |
//! | the server dies on the way  | bytes without a row stay behind, and [`Files::stale`] finds them                |
//! | a file goes                 | its row first, then its bytes                                                   |
//!
//! A bucket takes pieces of 5 MiB and shows nothing of a file before its end; what is given up there is aborted, and
//! what a server that died left of it is for the bucket's own rule to delete: it is in no listing.
//!
//! So there is never a row without its bytes. Nothing is ever held in memory but a piece of each file that is on its way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use clawrk_domain::{Timestamp, Upload, UploadId};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{
    BackoffConfig, ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::S3Setting;

/// How much of a file is gathered before it is written to the disk, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// The same for S3, which takes no smaller piece but the last; some that speak it want all others alike.
const S3_PIECE_BYTES: usize = 5 << 20;
/// Files that come in at once; more wait.
const AT_ONCE: usize = 32;
/// The same for S3, whose pieces are held in memory.
const S3_AT_ONCE: usize = 12;
/// How long S3 may take to be reached, and how long it may be silent.
const S3_CONNECT: Duration = Duration::from_secs(5);
const S3_SILENCE: Duration = Duration::from_secs(30);
/// No file is on its way for so long, in seconds: what has no row by then never gets one.
pub const STALE_SECONDS: i64 = 3600;

/// The place where files are kept, if there is one; cheap to clone.
#[derive(Clone, Default)]
pub struct Files(Option<Arc<Place>>);

struct Place {
    store: Arc<dyn ObjectStore>,
    /// None for a bucket.
    folder: Option<PathBuf>,
    prefix: Option<Name>,
    piece_bytes: usize,
    max_bytes: u64,
    seats: Arc<Semaphore>,
}

/// Why a file cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// No place was set up.
    #[error("there is no place for files: set upload_url")]
    NoPlace,
    /// As many come in as may.
    #[error("too many files come in at once")]
    Busy,
    /// The folder failed.
    #[error("the place where files are kept failed")]
    Store(#[source] object_store::Error),
    /// The bucket failed. What it said is left out: providers repeat keys.
    #[error("the bucket where files are kept {0}")]
    Bucket(&'static str),
    /// The folder failed.
    #[error("{path} cannot be used for files")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not those that were uploaded.
    #[error("file {0} is not what was uploaded")]
    Damaged(UploadId),
}

/// A file that is on its way in. Dropped before its end, it leaves nothing behind.
pub struct Incoming {
    place: Arc<Place>,
    id: UploadId,
    /// None before the first piece, and when it is over.
    upload: Option<Box<dyn MultipartUpload>>,
    piece: Vec<u8>,
    size_bytes: u64,
    hasher: Sha256,
    _seat: OwnedSemaphorePermit,
}

/// Bytes that end too soon, or do not, are an error.
fn whole(
    pieces: BoxStream<'static, Result<Bytes, FilesError>>,
    id: UploadId,
    size_bytes: u64,
) -> impl Stream<Item = Result<Bytes, FilesError>> {
    stream::unfold(Some((pieces, 0)), move |reading| async move {
        let (mut pieces, seen) = reading?;
        match pieces.next().await {
            Some(Ok(piece)) if seen + piece.len() as u64 <= size_bytes => {
                let seen = seen + piece.len() as u64;
                Some((Ok(piece), Some((pieces, seen))))
            }
            None if seen == size_bytes => None,
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(_)) | None => Some((Err(FilesError::Damaged(id)), None)),
        }
    })
}

/// What was kept of a file that came in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How long it is, in bytes.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Files {
    /// No place for files: they are refused.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Files of at most `max_bytes` in this folder, which is made where there is none; it is the exchange's alone.
    pub fn folder(folder: &Path, max_bytes: u64) -> Result<Self, FilesError> {
        let fail = |source| FilesError::Folder { path: folder.display().to_string(), source };
        clawrk_store::data_folder(folder).map_err(fail)?;
        // A folder that is not synced into the one around it could be gone after a power cut, and its files with it.
        if let Some(around) = std::path::absolute(folder).map_err(fail)?.parent() {
            std::fs::File::open(around).and_then(|around| around.sync_all()).map_err(fail)?;
        }
        let store = LocalFileSystem::new_with_prefix(folder).map_err(FilesError::Store)?.with_fsync(true);
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let (store, folder) = (Arc::new(store), Some(folder.to_owned()));
        Ok(Self(Some(Arc::new(Place { store, folder, prefix: None, piece_bytes: PIECE_BYTES, max_bytes, seats }))))
    }

    /// Files of at most `max_bytes` in this bucket, under its prefix. Whether it can be reached shows with the first file.
    pub fn s3(bucket: &S3Setting, max_bytes: u64) -> Result<Self, FilesError> {
        // Without one its client panics; that there is one already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_plain = bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        // A large file may take its time, as long as something comes.
        let client = ClientOptions::new().with_timeout_disabled().with_connect_timeout(S3_CONNECT);
        let client = client.with_read_timeout(S3_SILENCE).with_allow_http(is_plain);
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(10) };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.bucket)
            .with_region(&bucket.region)
            .with_access_key_id(&bucket.access_key)
            .with_secret_access_key(&bucket.secret_key)
            .with_disable_bulk_delete(true)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = Arc::new(builder.build().map_err(|error| of_bucket(&error))?);
        let prefix = (!bucket.prefix.is_empty()).then(|| Name::from(bucket.prefix.as_str()));
        let (piece_bytes, seats) = (S3_PIECE_BYTES, Arc::new(Semaphore::new(S3_AT_ONCE)));
        Ok(Self(Some(Arc::new(Place { store, folder: None, prefix, piece_bytes, max_bytes, seats }))))
    }

    /// What one file may have, in bytes; none when there is no place for files.
    pub fn max_bytes(&self) -> Option<u64> {
        self.0.as_ref().map(|place| place.max_bytes)
    }

    /// Begins to take a file in, after a wait for others that come in.
    pub async fn begin(&self, id: UploadId, patience: Duration) -> Result<Incoming, FilesError> {
        let place = self.place()?;
        let seat = timeout(patience, Arc::clone(&place.seats).acquire_owned()).await;
        let seat = seat.map_err(|_| FilesError::Busy)?.expect("nobody closes it");
        let (place, piece) = (Arc::clone(place), Vec::new());
        Ok(Incoming { place, id, upload: None, piece, size_bytes: 0, hasher: Sha256::new(), _seat: seat })
    }

    /// The bytes of a file, as they come from where they are kept: so many as were uploaded, or an error at the end.
    pub async fn read(&self, file: &Upload) -> Result<BoxStream<'static, Result<Bytes, FilesError>>, FilesError> {
        let place = Arc::clone(self.place()?);
        let found = place.store.get(&place.name(file.id)).await.map_err(|error| place.fail(error))?;
        if found.meta.size != file.size_bytes {
            return Err(FilesError::Damaged(file.id));
        }
        let pieces = found.into_stream().map(move |piece| piece.map_err(|error| place.fail(error)));
        Ok(whole(pieces.boxed(), file.id, file.size_bytes).boxed())
    }

    /// Whether the bytes are there and are those that were uploaded.
    pub async fn verify(&self, file: &Upload) -> Result<(), FilesError> {
        let (mut pieces, mut hasher) = (self.read(file).await?, Sha256::new());
        while let Some(piece) = pieces.next().await {
            hasher.update(&piece?);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        if digest == file.sha256 { Ok(()) } else { Err(FilesError::Damaged(file.id)) }
    }

    /// Deletes bytes; that there are none is no error.
    pub async fn delete(&self, id: UploadId) -> Result<(), FilesError> {
        let place = self.place()?;
        match place.store.delete(&place.name(id)).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(place.fail(error)),
        }
    }

    /// The files of which bytes are kept and that should have had their rows long ago. What is not named by an id is
    /// none of ours.
    pub async fn stale(&self, now: Timestamp) -> Result<Vec<UploadId>, FilesError> {
        let Some(place) = &self.0 else { return Ok(Vec::new()) };
        let (mut all, mut stale) = (place.store.list(place.prefix.as_ref()), Vec::new());
        while let Some(found) = all.next().await {
            let found = found.map_err(|error| place.fail(error))?.location;
            let id = found.filename().and_then(|name| name.parse::<UploadId>().ok());
            stale.extend(id.filter(|id| place.name(*id) == found && is_stale(*id, now)));
        }
        Ok(stale)
    }

    /// Deletes what a server that died left of files that had not come in whole; how many there were.
    pub async fn drop_pieces(&self, now: Timestamp) -> Result<usize, FilesError> {
        let Some(folder) = self.0.as_ref().and_then(|place| place.folder.as_ref()) else { return Ok(0) };
        let fail = |source| FilesError::Folder { path: folder.display().to_string(), source };
        let (mut entries, mut count) = (tokio::fs::read_dir(folder).await.map_err(fail)?, 0);
        while let Some(entry) = entries.next_entry().await.map_err(fail)? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.split_once('#')).and_then(|(id, _)| id.parse().ok());
            if id.is_some_and(|id| is_stale(id, now)) {
                tokio::fs::remove_file(entry.path()).await.map_err(fail)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn place(&self) -> Result<&Arc<Place>, FilesError> {
        self.0.as_ref().ok_or(FilesError::NoPlace)
    }
}

impl Place {
    fn name(&self, id: UploadId) -> Name {
        let id = id.to_string();
        self.prefix.as_ref().map_or_else(|| Name::from(id.as_str()), |prefix| prefix.clone().join(id.as_str()))
    }

    fn fail(&self, error: object_store::Error) -> FilesError {
        if self.folder.is_some() { FilesError::Store(error) } else { of_bucket(&error) }
    }
}

impl Incoming {
    /// Takes the next bytes.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), FilesError> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        // As much as a piece takes and no more: grown bit by bit it would take twice that.
        self.piece.reserve_exact(self.place.piece_bytes - self.piece.len());
        while self.piece.len() + bytes.len() >= self.place.piece_bytes {
            let (now, later) = bytes.split_at(self.place.piece_bytes - self.piece.len());
            self.piece.extend_from_slice(now);
            self.put().await?;
            self.piece.reserve_exact(self.place.piece_bytes);
            bytes = later;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    /// Puts the file in its place; it is on the disk, or with the provider, when this returns.
    pub async fn finish(mut self) -> Result<Kept, FilesError> {
        if self.upload.is_none() && self.place.folder.is_none() {
            let piece = PutPayload::from(std::mem::take(&mut self.piece));
            let put = self.place.store.put(&self.place.name(self.id), piece).await;
            put.map_err(|error| self.place.fail(error))?;
            return Ok(self.kept());
        }
        if !self.piece.is_empty() || self.upload.is_none() {
            self.put().await?;
        }
        // It stays where it can be dropped until it is whole.
        if let Some(upload) = &mut self.upload {
            upload.complete().await.map_err(|error| self.place.fail(error))?;
        }
        self.upload = None;
        Ok(self.kept())
    }

    /// Gives the file up.
    pub async fn abort(mut self) -> Result<(), FilesError> {
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        upload.abort().await.map_err(|error| self.place.fail(error))
    }

    async fn put(&mut self) -> Result<(), FilesError> {
        if self.upload.is_none() {
            let upload = self.place.store.put_multipart(&self.place.name(self.id)).await;
            self.upload = Some(upload.map_err(|error| self.place.fail(error))?);
        }
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let piece = PutPayload::from(std::mem::take(&mut self.piece));
        upload.put_part(piece).await.map_err(|error| self.place.fail(error))
    }

    fn kept(&mut self) -> Kept {
        Kept { size_bytes: self.size_bytes, sha256: std::mem::take(&mut self.hasher).finalize().into() }
    }
}

impl Drop for Incoming {
    /// What lies in a folder goes with its writer; a provider must be told.
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take().filter(|_| self.place.folder.is_none()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!(cause = %of_bucket(&error), "pieces of a file were left in the bucket");
            }
        });
    }
}

/// What is told of a bucket's error.
fn of_bucket(error: &object_store::Error) -> FilesError {
    // Where it lists, the library says only in words what it was answered. They go no further: providers repeat keys.
    let words = error.to_string();
    let was = |status: &str| words.contains(&format!("status code: {status}"));
    FilesError::Bucket(match error {
        object_store::Error::NotFound { .. } => NOT_THERE,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => KEY_REFUSED,
        object_store::Error::Generic { .. } if was("404") => NOT_THERE,
        object_store::Error::Generic { .. } if was("401") || was("403") => KEY_REFUSED,
        object_store::Error::Generic { .. } if was("400") || words.contains("without LOCATION") => {
            "finds our request wrong: see upload_s3_region and upload_url"
        }
        object_store::Error::Generic { .. } => "did not answer, or with an error: see upload_s3_endpoint",
        _ => "failed",
    })
}

const NOT_THERE: &str = "has no such object, or there is no such bucket";
const KEY_REFUSED: &str = "refuses our key: see upload_s3_access_key, upload_s3_secret_key and upload_s3_region";

/// Whether a file of this id is older than any that is still on its way: an id begins with the time.
fn is_stale(id: UploadId, now: Timestamp) -> bool {
    id.made_at().is_some_and(|made| made.plus_seconds(STALE_SECONDS) <= now)
}

#[cfg(test)]
mod tests {
    use clawrk_domain::Ids;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_a_dead_server_left_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::folder(dir.path(), 1 << 20).unwrap();
        let now = Timestamp::from_micros(1_735_689_600_000_000);
        let mut ids = Ids::new(1, now);
        let (whole, cut_off) = (ids.upload(), ids.upload());
        let mut incoming = files.begin(whole, Duration::from_secs(1)).await.unwrap();
        incoming.write(b"all of it").await.unwrap();
        assert_eq!(incoming.finish().await.unwrap().size_bytes, 9);
        std::fs::write(dir.path().join(format!("{cut_off}#1")), "a piece").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "somebody else's").unwrap();
        let soon = now.plus_seconds(STALE_SECONDS - 1);
        assert_eq!(files.stale(soon).await.unwrap(), []);
        assert_eq!(files.drop_pieces(soon).await.unwrap(), 0, "it may still be on its way");
        let later = now.plus_seconds(STALE_SECONDS);
        assert_eq!(files.stale(later).await.unwrap(), [whole]);
        assert_eq!(files.drop_pieces(later).await.unwrap(), 1);
        files.delete(whole).await.unwrap();
        files.delete(whole).await.unwrap();
        assert_eq!(names(dir.path()), ["notes.txt"]);
    }

    #[tokio::test]
    async fn a_file_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::folder(dir.path(), 1 << 20).unwrap();
        let id = Ids::new(1, Timestamp::from_micros(0)).upload();
        let mut incoming = files.begin(id, Duration::from_secs(1)).await.unwrap();
        incoming.write(&vec![7; PIECE_BYTES]).await.unwrap();
        assert_eq!(names(dir.path()).len(), 1, "it is on the disk");
        incoming.abort().await.unwrap();
        assert_eq!(names(dir.path()).len(), 0);
    }
}
