//! The files that a command may see: made by the server, readable by the user that the command runs as and by nobody
//! else, and gone when they are dropped.
//!
//! A container's user is none of this machine's: for it everybody may read them, in a folder that nobody else may pass
//! through. The engine mounts them past it.
//!
//! They stand in a folder of this server's own, whose lock it holds as long as it lives: what a killed server left has a
//! free lock, and is removed by the next one that starts.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::Mutex;

use super::{SandboxError, slots::Slot};
use crate::random;

/// What the folders of all servers begin with.
pub(super) const PREFIX: &str = "clawrk-sandbox.";

/// The name of the lock in a server's folder.
const LOCK: &str = "lock";

/// A name that no file system takes is longer, in bytes.
const NAME_LENGTH: usize = 255;

/// How a command gets at its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// They belong to the user that it runs as.
    OneUser,
    /// They are mounted for it by somebody who may pass through our folder.
    Mounted,
}

impl Access {
    /// Rights of this server's folder, of folders in it and of files.
    const fn modes(self) -> (u32, u32, u32) {
        match self {
            // Other users pass through it, to what is theirs, and cannot list it.
            Self::OneUser => (0o711, 0o700, 0o400),
            Self::Mounted => (0o700, 0o755, 0o444),
        }
    }
}

/// This server's folder for all that is staged.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    access: Access,
    _lock: File,
}

impl Home {
    /// Makes the folder below `parent`, and removes those that killed servers left there.
    pub(super) fn make(parent: &Path, access: Access) -> io::Result<Self> {
        sweep(parent);
        let path =
            parent.join(format!("{PREFIX}{}.{}", rustix::process::geteuid().as_raw(), hex::encode(random::unique())));
        let (mode, ..) = access.modes();
        DirBuilder::new().mode(mode).create(&path)?;
        // Locked before it has its name: another server that starts now would take a free lock for one that was left.
        let unnamed = path.join(format!("{LOCK}.new"));
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        std::fs::rename(unnamed, path.join(LOCK))?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(Self { path, access, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name, which no other server's is.
    pub(super) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("the name is made above, of ASCII")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

/// Whether the server that made the folder still lives; a folder that cannot be asked counts as alive.
pub(super) fn alive(folder: &Path) -> bool {
    let lock = OpenOptions::new()
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(folder.join(LOCK));
    match lock {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Removes what killed servers of this user left.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let ours =
            entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw());
        // A folder whose lock is not made yet is a second old at most.
        if named && ours && entry.path().join(LOCK).exists() && !alive(&entry.path()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// Files for commands, and the turn to run them; dropped, both are given back.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    slot: Slot,
    /// The commands of one staging run one after another.
    pub(super) running: Mutex<()>,
    home: Arc<Home>,
}

impl Staging {
    pub(super) fn make(home: Arc<Home>, slot: Slot) -> io::Result<Self> {
        let folder = home.path().join(hex::encode(random::unique()));
        let staging = Self { folder, slot, running: Mutex::new(()), home };
        for folder in [staging.folder.clone(), staging.submission(), staging.files(), staging.attachments()] {
            DirBuilder::new().mode(0o700).create(&folder)?;
            let (_, mode, _) = staging.home.access.modes();
            staging.hand_over(&folder, mode)?;
        }
        Ok(staging)
    }

    /// What stands in `/submission/output.txt`; written twice, the second counts.
    pub fn write_output_text(&self, text: &str) -> Result<(), SandboxError> {
        let path = self.submission().join("output.txt");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.create(&path)?.write_all(text.as_bytes())?;
        Ok(())
    }

    /// A file of the submission, `/submission/files/<name>`; the name that it got, another than asked for when there is
    /// such a file already.
    pub async fn add_submission_file(&self, name: &str, bytes: impl AsyncRead) -> Result<String, SandboxError> {
        self.add(self.files(), name, bytes).await
    }

    /// A file of the job, `/attachments/<name>`; the name that it got, another than asked for when there is such a file
    /// already.
    pub async fn add_attachment(&self, name: &str, bytes: impl AsyncRead) -> Result<String, SandboxError> {
        self.add(self.attachments(), name, bytes).await
    }

    async fn add(&self, folder: PathBuf, name: &str, bytes: impl AsyncRead) -> Result<String, SandboxError> {
        if matches!(name, "" | "." | "..") || name.len() > NAME_LENGTH || name.contains(['/', '\0']) {
            return Err(SandboxError::FileName(name.to_owned()));
        }
        let (file, name) = self.create_beside(&folder, name)?;
        let mut file = tokio::fs::File::from_std(file);
        tokio::io::copy(&mut std::pin::pin!(bytes), &mut file).await?;
        file.flush().await?;
        Ok(name)
    }

    /// `report.csv`, or `report-2.csv` when that is taken.
    fn create_beside(&self, folder: &Path, name: &str) -> Result<(File, String), SandboxError> {
        let (stem, ending) = match name.rfind('.') {
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name, ""),
        };
        for number in 1..1_000 {
            let tried = if number == 1 { name.to_owned() } else { format!("{stem}-{number}{ending}") };
            match self.create(&folder.join(&tried)) {
                Ok(file) => return Ok((file, tried)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => break,
                Err(error) => return Err(error.into()),
            }
        }
        Err(SandboxError::FileName(name.to_owned()))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
        let (.., mode) = self.home.access.modes();
        self.hand_over(path, mode)?;
        Ok(file)
    }

    fn hand_over(&self, path: &Path, mode: u32) -> io::Result<()> {
        // Whatever the server's mask takes away.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        let Some(uid) = self.slot.uid() else { return Ok(()) };
        chown(path, Some(uid), Some(uid)).map_err(|error| {
            let problem = format!(
                "the server is root, and cannot give files to user {uid} ({error}): run it as an ordinary user, or map the \
                 users 60001 to 60008 into its user namespace"
            );
            io::Error::new(error.kind(), problem)
        })
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(super) fn submission(&self) -> PathBuf {
        self.folder.join("submission")
    }

    fn files(&self) -> PathBuf {
        self.folder.join("submission/files")
    }

    pub(super) fn attachments(&self) -> PathBuf {
        self.folder.join("attachments")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_start_at_once_leave_each_other_their_folders() {
        let parent = tempfile::tempdir().unwrap();
        let start = || {
            for _ in 0..300 {
                let home = Home::make(parent.path(), Access::OneUser).unwrap();
                assert!(home.path().join(LOCK).exists() && alive(home.path()));
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(start))));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
