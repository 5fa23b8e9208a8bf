//! The secret in the data folder, and the one before it while it changes.
//!
//! | File                         | What it is                                                                |
//! |------------------------------|---------------------------------------------------------------------------|
//! | `secret_key`                 | what is sealed under from now on                                          |
//! | `secret_key.previous`        | opens what is not sealed anew yet; while it differs, a change is under way |
//! | `secret_key.replaced-MOMENT` | opens backups from before a change; nobody reads it                       |
//!
//! Each gets its name when all of it is on the disk, so that a power cut leaves a whole one or none.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clawrk_domain::Timestamp;

use super::OpenError;
use crate::random;

const TODAY: &str = "secret_key";
const PREVIOUS: &str = "secret_key.previous";

/// Where the secret is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(TODAY)
}

/// The secret in the data folder; made there on the first start, for its owner's eyes only.
pub(crate) fn today(dir: &Path, set_up: bool) -> Result<String, OpenError> {
    let path = path(dir);
    if !path.exists() {
        if set_up {
            return Err(OpenError::SecretLost { path: path.display().to_string() });
        }
        put(dir, TODAY, &fresh()).map_err(failed(&path))?;
    }
    read(&path)
}

/// The one before it, if a change of it was cut off.
pub(crate) fn previous(dir: &Path) -> Result<Option<String>, OpenError> {
    let path = dir.join(PREVIOUS);
    path.exists().then(|| read(&path)).transpose()
}

/// Begins a change: the secret is the previous one from now on, and a new one is in its place. One that is under way
/// already is gone on with.
pub(crate) fn change(dir: &Path) -> Result<(), OpenError> {
    let today = today(dir, true)?;
    if previous(dir)?.is_some_and(|previous| previous != today) {
        return Ok(());
    }
    put(dir, PREVIOUS, &today).map_err(failed(&dir.join(PREVIOUS)))?;
    put(dir, TODAY, &fresh()).map_err(failed(&path(dir)))
}

/// Ends a change: the previous secret is kept under a name that nobody reads.
pub(crate) fn changed(dir: &Path, now: Timestamp) -> Result<PathBuf, OpenError> {
    let moment: String = now.to_string().chars().take(19).filter(|char| !matches!(char, '-' | ':')).collect();
    let name = |n: u32| if n == 0 { String::new() } else { format!("-{n}") };
    let free = (0..).map(|n| dir.join(format!("secret_key.replaced-{moment}{}", name(n))));
    let kept = free.into_iter().find(|path| !path.exists()).expect("there are more names than files");
    let renamed = std::fs::rename(dir.join(PREVIOUS), &kept).and_then(|()| File::open(dir)?.sync_all());
    renamed.map_err(failed(&kept))?;
    Ok(kept)
}

/// 256 random bits.
fn fresh() -> String {
    hex::encode(random::bytes::<32>())
}

fn read(path: &Path) -> Result<String, OpenError> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed(path))?;
    let secret = std::fs::read_to_string(path).map_err(failed(path))?;
    if secret.trim().is_empty() {
        let empty = std::io::Error::new(ErrorKind::InvalidData, "the file is empty: restore it from a backup");
        return Err(failed(path)(empty));
    }
    Ok(secret.trim().to_owned())
}

/// Puts a secret in its place when all of it is on the disk.
fn put(dir: &Path, name: &str, secret: &str) -> std::io::Result<()> {
    let beside = dir.join("secret_key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, dir.join(name))?;
    File::open(dir)?.sync_all()
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    let path = path.display().to_string();
    move |source| OpenError::SecretFile { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_change_that_was_cut_off_is_gone_on_with_and_no_old_secret_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let first = today(dir, false).unwrap();
        // Cut off when the old one has its second name and there is no new one.
        put(dir, PREVIOUS, &first).unwrap();
        change(dir).unwrap();
        let second = today(dir, true).unwrap();
        assert!(second != first && previous(dir).unwrap() == Some(first.clone()));
        change(dir).unwrap();
        assert_eq!(today(dir, true).unwrap(), second, "no third one is made before the second is in use");
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let kept = changed(dir, now).unwrap();
        change(dir).unwrap();
        changed(dir, now).unwrap();
        assert_eq!(read(&kept).unwrap(), first);
        let replaced = ["secret_key.replaced-20261126T120000", "secret_key.replaced-20261126T120000-1"];
        assert_eq!(names(dir), ["secret_key", replaced[0], replaced[1]]);
        for name in names(dir) {
            assert_eq!(dir.join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
