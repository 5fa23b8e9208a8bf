//! Connections that only read: a few, made when they are needed and kept with their statements.
//!
//! More at once would read no faster than the machine has cores, and each takes memory of its own: whoever comes when
//! all are lent waits.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::StoreError;

/// Connections, at most.
const MOST: usize = 8;

#[derive(Clone)]
pub(super) struct Readers(Arc<Lent>);

struct Lent {
    path: PathBuf,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Lent { path, places: Arc::new(Semaphore::new(MOST)), idle: Mutex::new(Vec::new()) }))
    }

    /// Reads on a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| StoreError::Gone)?;
        let lent = Arc::clone(&self.0);
        let read = move || {
            // Until the read is over, even if nobody waits for it any more.
            let _place = place;
            let idle = lent.idle.lock().expect("nothing panics while it is held").pop();
            let connection = idle.map_or_else(|| super::read_only(&lent.path), Ok)?;
            let answer = read(&connection)?;
            lent.idle.lock().expect("nothing panics while it is held").push(connection);
            Ok(answer)
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| StoreError::Gone)?
    }
}
