//! From settings to a running exchange: the store, the secret, the app.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use clawrk_store::{Clock, Store, StoreError};

use crate::config::Config;
use crate::edge::Limits;
use crate::outside::structurer::Offline;
use crate::vault::Vault;
use crate::{App, random, serve};

/// Why the exchange cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error("the database cannot be opened")]
    Store(#[from] StoreError),
    /// Several nodes must share one secret.
    #[error("with PostgreSQL a secret_key must be given, the same on every node (for example: openssl rand -hex 32)")]
    SecretMissing,
    /// The database was set up with another secret, and holds what only that one opens.
    #[error(
        "this secret_key is not the one that the database was set up with: \
         give that one, or restore its file from a backup"
    )]
    OtherSecret,
    /// The database was set up with a secret that is no longer there.
    #[error("the database was set up with a secret_key, and {path} is gone: restore it from a backup, or give the key")]
    SecretLost {
        /// The file.
        path: String,
    },
    /// Each server keeps the open jobs in memory, so one of two would not hear of the other's.
    #[error("another server has {path} open: stop that one, or use PostgreSQL, which several servers may share")]
    Claimed {
        /// The data folder.
        path: String,
    },
    /// The secret's file.
    #[error("the secret key in {path} cannot be read or made")]
    SecretFile {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Opens the exchange that the settings describe.
pub async fn open(config: &Config) -> Result<App, OpenError> {
    if config.database_url.is_some() && config.secret_key.is_none() {
        return Err(OpenError::SecretMissing);
    }
    let store = open_store(config).await?;
    let secret = match &config.secret_key {
        Some(secret) => secret.clone(),
        None => secret_of(&config.data_dir, store.kept_seal().await?.is_some())?,
    };
    let vault = Vault::new(&secret);
    if !vault.sealed(&store.seal(vault.fresh_seal()).await?) {
        return Err(OpenError::OtherSecret);
    }
    let limits = Limits { requests_per_minute: config.requests_per_minute, ..Limits::default() };
    let app = App::new(store, vault, config.policy.clone(), Box::new(Offline), limits);
    serve::fill(&app.store, &app.market).await?;
    Ok(app)
}

/// Opens the store alone: all that the operator's commands need.
pub async fn open_store(config: &Config) -> Result<Store, StoreError> {
    let policy = config.policy.clone();
    match &config.database_url {
        Some(url) => Store::postgres(url, policy, Clock::System).await,
        None => Store::sqlite(&config.data_dir, policy, Clock::System),
    }
}

/// Claims the data folder for one server, until the claim is dropped or the process ends in whatever way.
pub fn claim(config: &Config) -> Result<Option<File>, OpenError> {
    if config.database_url.is_some() {
        return Ok(None);
    }
    let dir = &config.data_dir;
    let path = dir.join("serve.lock");
    let fail = |source| StoreError::File { path: path.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Claimed { path: dir.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(fail(error).into()),
    }
}

/// The secret in the data folder; made there on the first start, for its owner's eyes only.
fn secret_of(dir: &Path, set_up: bool) -> Result<String, OpenError> {
    let path = dir.join("secret_key");
    if set_up && !path.exists() {
        return Err(OpenError::SecretLost { path: path.display().to_string() });
    }
    let fail = |source| OpenError::SecretFile { path: path.display().to_string(), source };
    let fresh = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match fresh {
        Ok(mut file) => {
            let secret = hex::encode(random::bytes::<32>());
            file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)?;
            Ok(secret)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
            let secret = std::fs::read_to_string(&path).map_err(fail)?;
            if secret.trim().is_empty() {
                return Err(fail(std::io::Error::other("the file is empty: restore it from a backup")));
            }
            Ok(secret.trim().to_owned())
        }
        Err(error) => Err(fail(error)),
    }
}
