//! The data folder. Syncing a file makes its bytes durable; that the file, and the folder it is in, can be found
//! after a power cut takes a sync of the folders around them. SQLite syncs the folder of its database and none above.

use std::fs::{DirBuilder, File};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes the data folder for its owner alone, where there is none, so that a power cut does not take it away again.
pub fn data_folder(dir: &Path) -> Result<(), Error> {
    let dir = std::path::absolute(dir)?;
    let missing = dir.ancestors().take_while(|folder| !folder.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    // A folder that is there was made by somebody who may have been cut off before this.
    dir.ancestors().skip(1).take(missing.max(1)).try_for_each(sync)
}

/// Makes the names in a folder durable, where one may ask for that.
fn sync(folder: &Path) -> Result<(), Error> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // It may be entered and not read, or is not kept on a disk.
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folders_are_made_for_their_owner_alone_and_found_again() {
        let around = tempfile::tempdir().unwrap();
        let dir = around.path().join("a/b/data");
        for _ in 0..2 {
            data_folder(&dir).unwrap();
            assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        std::fs::write(around.path().join("file"), "").unwrap();
        assert!(data_folder(&around.path().join("file/data")).is_err());
    }
}
