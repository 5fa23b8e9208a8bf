//! Files and their names: where a copy may go, and how it gets there whole or not at all.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::BackupError;
use crate::sqlite::{FILE, LOCK};

/// What SQLite leaves beside a database, after its name.
const COMPANY: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A file under a passing name, locked against others who would write it too. Dropped, it is gone; killed, the next
/// one of the same name begins it anew.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    in_place: bool,
}

impl Partial {
    /// Begins a file that shall have this name.
    pub(super) fn beside(target: &Path) -> Result<Self, BackupError> {
        let path = with_suffix(target, ".partial");
        let fail = |source| BackupError::File { path: path.clone(), what: "make", source };
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(BackupError::NotAFile(path));
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = options.map_err(fail)?;
        let is_mine = file.try_lock().is_ok() && is_same(&file, &path);
        if !is_mine {
            return Err(BackupError::UnderWay(target.to_owned()));
        }
        file.set_permissions(Permissions::from_mode(0o600)).and_then(|()| file.set_len(0)).map_err(fail)?;
        let partial = Self { path, file, in_place: false };
        partial.leave_alone();
        Ok(partial)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts what was written on the disk.
    pub(super) fn sync(&self) -> Result<(), BackupError> {
        let synced = self.file.sync_all();
        synced.map_err(|source| BackupError::File { path: self.path.clone(), what: "sync", source })
    }

    /// Gives the file its name, in place of what had it, for good.
    pub(super) fn put_at(mut self, target: &Path) -> Result<(), BackupError> {
        self.sync()?;
        let renamed = std::fs::rename(&self.path, target);
        renamed.map_err(|source| BackupError::File { path: target.to_owned(), what: "replace", source })?;
        self.in_place = true;
        sync_folder(target)
    }

    /// Removes what SQLite may have left beside the file.
    fn leave_alone(&self) {
        for path in company(&self.path) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.in_place {
            // Nothing more can be done where it cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
        self.leave_alone();
    }
}

/// Whether the path still leads to the open file.
fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Whether a backup may be written to this file.
pub(super) fn check_target(file: &Path, dir: &Path, overwrite: bool) -> Result<(), BackupError> {
    let folder = folder(file);
    if let Err(source) = std::fs::metadata(&folder) {
        return Err(BackupError::File { path: folder, what: "write to", source });
    }
    check_own(file, dir)?;
    match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.file_name().is_some() => Ok(()),
        Err(source) => Err(BackupError::File { path: file.to_owned(), what: "make", source }),
        Ok(found) if !found.is_file() => Err(BackupError::NotAFile(file.to_owned())),
        Ok(_) if !overwrite => Err(BackupError::Exists(file.to_owned())),
        Ok(_) => Ok(()),
    }
}

/// Refuses a file that is part of the exchange in this folder, by whatever name it is called.
pub(super) fn check_own(file: &Path, dir: &Path) -> Result<(), BackupError> {
    let database = dir.join(FILE);
    let mut own = vec![dir.join(LOCK), dir.join("serve.lock"), dir.join("secret_key")];
    own.extend(company(&database));
    own.push(database);
    let is_there = |own: &Path| match (std::fs::metadata(own), std::fs::metadata(file)) {
        (Ok(own), Ok(file)) => (own.dev(), own.ino()) == (file.dev(), file.ino()),
        _ => false,
    };
    let is_named = |own: &Path| {
        let same_folder = dir.canonicalize().ok() == folder(file).canonicalize().ok();
        same_folder && own.file_name() == file.file_name()
    };
    match own.iter().any(|own| is_there(own) || is_named(own)) {
        true => Err(BackupError::Own(file.to_owned())),
        false => Ok(()),
    }
}

/// What SQLite may have left beside a database.
pub(super) fn company(database: &Path) -> impl Iterator<Item = PathBuf> {
    COMPANY.iter().map(|suffix| with_suffix(database, suffix))
}

/// A name that begins with another one.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes sure that the names in a file's folder survive a power cut.
pub(super) fn sync_folder(file: &Path) -> Result<(), BackupError> {
    let folder = folder(file);
    let synced = File::open(&folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| BackupError::File { path: folder, what: "sync", source })
}

fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
}
