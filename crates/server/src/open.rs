//! From settings to a running exchange: the store, the secret, the app.

pub(crate) mod secret;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clawrk_store::{Clock, Store, StoreError};

use crate::app::Outside;
use crate::config::{Config, UploadPlace};
use crate::edge::Limits;
use crate::outside::embed::{EmbedError, Embedder};
use crate::outside::files::{Files, FilesError};
use crate::outside::llm::{Llm, LlmOpenError};
use crate::outside::stripe::StripeOpenError;
use crate::outside::structurer::{Modelled, Offline, Structurer};
use crate::payments::Desk;
use crate::vault::Vault;
use crate::verify::{Commands, Judge};
use crate::{App, serve};

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
        "this secret_key is not the one that the database was set up with or changed to: \
         give that one, or restore its file from a backup"
    )]
    OtherSecret,
    /// The database was set up with a secret that is no longer there.
    #[error("the database was set up with a secret_key, and {path} is gone: restore it from a backup, or give the key")]
    SecretLost {
        /// The file.
        path: String,
    },
    /// Stripe cannot be reached from here.
    #[error(transparent)]
    Stripe(#[from] StripeOpenError),
    /// Each server keeps the open jobs in memory, so one of two would not hear of the other's.
    #[error("another server has {path} open: stop that one, or use PostgreSQL, which several servers may share")]
    Claimed {
        /// The data folder.
        path: String,
    },
    /// The place for uploaded files.
    #[error("files cannot be kept")]
    Files(#[from] FilesError),
    /// The embedding model.
    #[error(transparent)]
    Embedding(#[from] EmbedError),
    /// The language model.
    #[error(transparent)]
    Llm(#[from] LlmOpenError),
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
    open_on(open_store(config).await?, config).await
}

/// Opens the exchange on a store that is open already.
pub async fn open_on(store: Store, config: &Config) -> Result<App, OpenError> {
    let llm = config.llm.as_ref().map(Llm::open).transpose()?;
    // Connections of its own: whoever waits for an estimate does not wait for a judge.
    let judge = config.llm.as_ref().map(Judge::open).transpose()?;
    let embedder = config.embedding.as_ref().map(Embedder::open).transpose()?;
    let vault = vault_of(config, store.kept_seal().await?.is_some())?;
    if !vault.sealed(&store.seal(vault.fresh_seal()).await?) {
        return Err(OpenError::OtherSecret);
    }
    let limits = Limits {
        requests_per_minute: config.requests_per_minute,
        verifications_per_day: config.verifications_per_day,
        ..Limits::default()
    };
    let structurer: Box<dyn Structurer> = match llm {
        Some(llm) => Box::new(Modelled::new(llm, store.clone(), config.estimates_per_day)),
        None => Box::new(Offline),
    };
    let files = match &config.upload_place {
        Some(UploadPlace::Folder(folder)) => Files::folder(folder, config.upload_max_bytes)?,
        Some(UploadPlace::S3(bucket)) => Files::s3(bucket, config.upload_max_bytes)?,
        None => Files::none(),
    };
    let desk = config.stripe.as_ref().map(Desk::open).transpose()?;
    let outside = Outside { structurer, embedder, commands: Commands::new(config.sandbox.clone()), judge, files, desk };
    let app = App::new(store, vault, config.policy.clone(), outside, limits);
    serve::fill(&app).await?;
    Ok(app)
}

/// The vault of the settings or the data folder: under the secret of today, with those of before.
pub(crate) fn vault_of(config: &Config, set_up: bool) -> Result<Vault, OpenError> {
    let mut previous = config.previous_secrets.clone();
    let secret = match &config.secret_key {
        Some(secret) => secret.clone(),
        None => {
            let secret = secret::today(&config.data_dir, set_up)?;
            // A change of it was cut off.
            previous.extend(secret::previous(&config.data_dir)?);
            secret
        }
    };
    Ok(Vault::after(&secret, &previous))
}

/// Opens the store alone: all that the operator's commands need.
pub async fn open_store(config: &Config) -> Result<Store, StoreError> {
    let policy = config.policy.clone();
    match &config.database_url {
        Some(url) => Store::postgres(url, policy, Clock::System).await,
        None => Store::sqlite(&config.data_dir, policy, Clock::System),
    }
}

/// A data folder that is one server's, until this is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
    /// What was made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl Claim {
    /// Lets go of the folder and takes away what was made for the claim, if nothing else has come into it.
    pub fn undo(self) {
        // Others who have opened the file see that it has gone once they have its lock.
        for path in &self.made {
            let gone = if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
            if gone.is_err() {
                return;
            }
        }
    }
}

/// Claims the data folder for one server; it is made where there is none.
pub fn claim(config: &Config) -> Result<Option<Claim>, OpenError> {
    if config.database_url.is_some() {
        return Ok(None);
    }
    let dir = &config.data_dir;
    let path = dir.join("serve.lock");
    let fail = |source| StoreError::File { path: path.display().to_string(), source };
    let whole = std::path::absolute(&path).map_err(fail)?;
    loop {
        let made = whole.ancestors().take_while(|path| std::fs::symlink_metadata(path).is_err());
        let made = made.map(Path::to_owned).collect();
        clawrk_store::data_folder(dir).map_err(fail)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) if leads_to(&path, &lock) => return Ok(Some(Claim { _lock: lock, made })),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Claimed { path: dir.display().to_string() }),
            Err(TryLockError::Error(error)) => return Err(fail(error).into()),
        }
    }
}

/// Whether the file still has its name.
fn leads_to(path: &Path, file: &File) -> bool {
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// Whether a server with these settings could open what a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretFit {
    /// Its secret opens the seal, or there is none yet.
    Opens,
    /// Another secret than the database was set up with.
    Other,
    /// The database was set up with a secret, and none is given or in the data folder.
    Missing,
}

/// Compares the secret that is given or in the data folder with a database's seal; makes none.
pub fn secret_fit(config: &Config, seal: Option<&[u8]>) -> Result<SecretFit, OpenError> {
    let Some(seal) = seal else { return Ok(SecretFit::Opens) };
    if config.secret_key.is_none() && !secret::path(&config.data_dir).exists() {
        return Ok(SecretFit::Missing);
    }
    Ok(if vault_of(config, true)?.sealed(seal) { SecretFit::Opens } else { SecretFit::Other })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use crate::config::{Settings, Sources};

    use super::*;

    fn config_of(dir: &Path) -> Config {
        let flags = vec![("data_dir".to_owned(), dir.display().to_string())];
        Settings::read(&Sources { flags, variables: Vec::new(), file: None }).unwrap().config().unwrap()
    }

    #[test]
    fn a_folder_is_never_claimed_twice_also_while_claims_are_undone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config_of(dir.path());
        let (inside, claims) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let Ok(Some(claim)) = claim(&config) else { continue };
                        assert!(!inside.swap(true, Ordering::SeqCst), "two have it");
                        claims.fetch_add(1, Ordering::SeqCst);
                        (0..20).for_each(|_| std::thread::yield_now());
                        inside.store(false, Ordering::SeqCst);
                        claim.undo();
                    }
                });
            }
        });
        assert!(claims.into_inner() > 4);
    }

    #[test]
    fn an_undone_claim_takes_away_what_it_made_and_nothing_else() {
        let around = tempfile::tempdir().unwrap();
        let dir = around.path().join("a").join("data");
        let config = config_of(&dir);
        let names =
            |dir: &Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        claim(&config).unwrap().unwrap().undo();
        assert_eq!(names(around.path()).len(), 0);
        let claimed = claim(&config).unwrap().unwrap();
        std::fs::write(around.path().join("a").join("other"), "").unwrap();
        claimed.undo();
        assert_eq!(names(&around.path().join("a")), ["other"]);
        std::fs::create_dir(&dir).unwrap();
        claim(&config).unwrap().unwrap().undo();
        assert_eq!(names(&dir).len(), 0, "the folder was there and stays");
        drop(claim(&config).unwrap());
        claim(&config).unwrap().unwrap().undo();
        assert_eq!(names(&dir), ["serve.lock"], "a server left it");
    }
}
