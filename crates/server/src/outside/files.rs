//! Where the bytes of uploaded files are kept: a folder, each file under its id.
//!
//! | What                        | How                                                                             |
//! |-----------------------------|---------------------------------------------------------------------------------|
//! | a file comes                | beside its place, piece by piece; synced and renamed before its row is written  |
//! | it is given up              | what was written is deleted                                                     |
//! | the server dies on the way  | bytes without a row stay behind, and [`Files::stale`] finds them                |
//! | a file goes                 | its row first, then its bytes                                                   |
//!
//! So there is never a row without its bytes. Nothing is ever held in memory but a piece of each file that is on its way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use clawrk_domain::{Timestamp, Upload, UploadId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How much of a file is gathered before it is written, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// Files that come in at once; more wait.
const AT_ONCE: usize = 32;
/// No file is on its way for so long, in seconds: what has no row by then never gets one.
pub const STALE_SECONDS: i64 = 3600;

/// The place where files are kept, if there is one; cheap to clone.
#[derive(Clone, Default)]
pub struct Files(Option<Arc<Place>>);

struct Place {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
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
    /// The place failed.
    #[error("the place where files are kept failed")]
    Store(#[from] object_store::Error),
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
    upload: Box<dyn MultipartUpload>,
    piece: Vec<u8>,
    size_bytes: u64,
    hasher: Sha256,
    _seat: OwnedSemaphorePermit,
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
        let store = Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true));
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        Ok(Self(Some(Arc::new(Place { store, folder: folder.to_owned(), max_bytes, seats }))))
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
        let upload = place.store.put_multipart(&name(id)).await?;
        Ok(Incoming { upload, piece: Vec::new(), size_bytes: 0, hasher: Sha256::new(), _seat: seat })
    }

    /// The bytes of a file, as they come from the disk; an error in their midst is the end of them.
    pub async fn read(&self, file: &Upload) -> Result<BoxStream<'static, Result<Bytes, FilesError>>, FilesError> {
        let found = self.place()?.store.get(&name(file.id)).await?;
        if found.meta.size != file.size_bytes {
            return Err(FilesError::Damaged(file.id));
        }
        Ok(found.into_stream().map(|piece| piece.map_err(FilesError::from)).boxed())
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
        match self.place()?.store.delete(&name(id)).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The files of which bytes are kept and that should have had their rows long ago. What is not named by an id is
    /// none of ours.
    pub async fn stale(&self, now: Timestamp) -> Result<Vec<UploadId>, FilesError> {
        let Some(place) = &self.0 else { return Ok(Vec::new()) };
        let (mut all, mut stale) = (place.store.list(None), Vec::new());
        while let Some(found) = all.next().await {
            let id = found?.location.filename().and_then(|name| name.parse::<UploadId>().ok());
            stale.extend(id.filter(|id| is_stale(*id, now)));
        }
        Ok(stale)
    }

    /// Deletes what a server that died left of files that had not come in whole; how many there were.
    pub async fn drop_pieces(&self, now: Timestamp) -> Result<usize, FilesError> {
        let Some(place) = &self.0 else { return Ok(0) };
        let fail = |source| FilesError::Folder { path: place.folder.display().to_string(), source };
        let (mut entries, mut count) = (tokio::fs::read_dir(&place.folder).await.map_err(fail)?, 0);
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

    fn place(&self) -> Result<&Place, FilesError> {
        self.0.as_deref().ok_or(FilesError::NoPlace)
    }
}

impl Incoming {
    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FilesError> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES { self.put().await } else { Ok(()) }
    }

    /// Puts the file in its place; it is on the disk when this returns.
    pub async fn finish(mut self) -> Result<Kept, FilesError> {
        if !self.piece.is_empty() {
            self.put().await?;
        }
        self.upload.complete().await?;
        Ok(Kept { size_bytes: self.size_bytes, sha256: self.hasher.finalize().into() })
    }

    /// Gives the file up.
    pub async fn abort(mut self) -> Result<(), FilesError> {
        Ok(self.upload.abort().await?)
    }

    async fn put(&mut self) -> Result<(), FilesError> {
        let piece = std::mem::take(&mut self.piece);
        Ok(self.upload.put_part(PutPayload::from(piece)).await?)
    }
}

fn name(id: UploadId) -> Name {
    Name::from(id.to_string())
}

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
