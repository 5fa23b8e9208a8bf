//! Where an exchange under measurement keeps its data, and the people in it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use clawrk_domain::action::NewUser;
use clawrk_domain::key::NewKey;
use clawrk_domain::{Cents, Policy, Scopes, UserId};
use clawrk_server::apikey::FreshKey;
use clawrk_server::exchange::Operator;
use clawrk_store::{Clock, Store};
use futures_util::stream::{self, StreamExt};
use tempfile::TempDir;

/// A folder for SQLite, or a database of a PostgreSQL that was started for it.
pub(crate) enum Place {
    Folder(TempDir),
    Database(Database),
}

/// A PostgreSQL of its own, on the disk, that syncs as a real one does; gone when dropped.
pub(crate) struct Database {
    pub(crate) url: String,
    folder: TempDir,
}

/// A user of an exchange under measurement.
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) key: String,
}

impl Place {
    /// An empty folder.
    pub(crate) fn folder() -> Self {
        Self::Folder(tempfile::tempdir().expect("a folder can be made"))
    }

    /// An empty PostgreSQL; none where its server is not installed.
    pub(crate) fn postgres() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let said = script().arg("start").arg(folder.path().join("cluster")).output().ok()?;
        let url = String::from_utf8(said.stdout).ok()?.trim().to_owned();
        (said.status.success() && !url.is_empty()).then_some(Self::Database(Database { url, folder }))
    }

    /// Its folder, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder.path()),
            Self::Database(_) => None,
        }
    }

    pub(crate) async fn store(&self) -> Store {
        match self {
            Self::Folder(folder) => Store::sqlite(folder.path(), Policy::default(), Clock::System),
            Self::Database(database) => Store::postgres(&database.url, Policy::default(), Clock::System).await,
        }
        .expect("a store can be made")
    }

    /// Waits until a store that was dropped has copied its log into the database, on a thread of its own.
    pub(crate) fn wait_until_closed(&self) {
        while self.path().is_some_and(|folder| folder.join("clawrk.db-wal").exists()) {
            std::thread::yield_now();
        }
    }

    /// Makes so many users with so much in the wallet.
    pub(crate) async fn people(&self, count: usize, cents: i64) -> Arc<[Person]> {
        people(&self.store().await, count, cents).await
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/postgres"))
}

impl Drop for Database {
    fn drop(&mut self) {
        script().arg("stop").arg(self.folder.path().join("cluster")).output().map(|_| ()).unwrap_or_default();
    }
}

/// Makes so many users with so much in the wallet, and a key each.
pub(crate) async fn people(store: &Store, count: usize, cents: i64) -> Arc<[Person]> {
    let made = stream::iter(0..count).map(|number| {
        let operator = Operator(store.clone());
        async move {
            let fresh = FreshKey::new();
            let scopes = Scopes::USER;
            let key = NewKey { id: fresh.id, hash: fresh.hash, name: "bench".to_owned(), scopes, expires_at: None };
            let new = NewUser {
                name: format!("user {number}"),
                email: None,
                is_admin: false,
                grant: (cents > 0).then_some(Cents(cents)),
                key: Some(key),
            };
            let user = operator.create_user(new).await.expect("the user is new");
            Person { id: user.id, key: fresh.text }
        }
    });
    made.buffer_unordered(1024).collect::<Vec<_>>().await.into()
}
