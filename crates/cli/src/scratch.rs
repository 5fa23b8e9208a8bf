//! The demo's throwaway folder: it goes however the process ends, unless it is killed outright.

use std::path::PathBuf;
use std::sync::Mutex;

use tempfile::TempDir;

static FOLDER: Mutex<Option<TempDir>> = Mutex::new(None);

/// Makes the folder, for its owner alone.
pub(crate) fn make() -> std::io::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("clawrk-demo-").tempdir()?;
    let path = folder.path().to_owned();
    *FOLDER.lock().expect("nothing panics while it is held") = Some(folder);
    Ok(path)
}

/// Removes the folder, if there is one.
pub(crate) fn remove() {
    drop(FOLDER.lock().expect("nothing panics while it is held").take());
}
