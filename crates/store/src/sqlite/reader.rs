//! Connections that only read: made when they are needed, kept for the next one.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::Connection;

use crate::StoreError;

/// How many idle connections are kept.
const IDLE: usize = 16;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()) }
    }

    /// Lends a connection for one read.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().expect("nothing panics while it is held").pop();
        let connection = idle.map_or_else(|| super::read_only(&self.path), Ok)?;
        let answer = read(&connection)?;
        let mut idle = self.idle.lock().expect("nothing panics while it is held");
        if idle.len() < IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }
}
