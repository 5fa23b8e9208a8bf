//! A change of the secret: all that was sealed under an older one is sealed anew.
//!
//! The seal comes first, so that from then on no server starts that lacks the new secret. Whatever moment this is cut
//! off at, all that is sealed opens under one of the secrets, and to do it again goes on with what is left. A piece that
//! no secret opens is told of and left as it is: nobody can read it, so it keeps nobody from changing the secret.

use std::path::PathBuf;

use clawrk_store::{Clock, Sealed, SealedPlace, Store, StoreError};

use crate::config::Config;
use crate::open::{self, OpenError, secret};
use crate::vault::{Purpose, Vault};

/// Sealed pieces that are replaced in one transaction.
const CHUNK: u32 = 50;

/// What a change of the secret did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Pieces that were sealed anew.
    pub resealed: u64,
    /// Pieces that no secret opens, such as `the variables of job …`.
    pub unopened: Vec<String>,
    /// Where the old secret is kept, when it was a file in the data folder.
    pub kept: Option<PathBuf>,
}

/// Changes the secret of an exchange that nobody has open, which on SQLite is for the caller to see to.
///
/// Where the settings give no secret, a new one is made in the data folder; otherwise they give the old one too.
pub async fn rotate(config: &Config) -> Result<Rotated, OpenError> {
    let store = alone(config).await?;
    let Some(seal) = store.kept_seal().await? else { return Ok(Rotated::default()) };
    if !open::vault_of(config, true)?.sealed(&seal) {
        return Err(OpenError::OtherSecret);
    }
    let in_folder = config.secret_key.is_none();
    if in_folder {
        secret::change(&config.data_dir)?;
    }
    let mut rotated = reseal(&store, &open::vault_of(config, true)?).await?;
    store.sweep().await?;
    if in_folder {
        rotated.kept = Some(secret::changed(&config.data_dir, Clock::System.now())?);
    }
    Ok(rotated)
}

async fn alone(config: &Config) -> Result<Store, StoreError> {
    match &config.database_url {
        Some(url) => Store::postgres_alone(url, config.policy.clone(), Clock::System).await,
        None => open::open_store(config).await,
    }
}

/// Seals anew what is not sealed under the vault's secret of today.
pub async fn reseal(store: &Store, vault: &Vault) -> Result<Rotated, OpenError> {
    let mut rotated = Rotated::default();
    let Some(seal) = store.kept_seal().await? else { return Ok(rotated) };
    if !vault.sealed(&seal) {
        return Err(OpenError::OtherSecret);
    }
    renew(store, vault, vec![Sealed { place: SealedPlace::Seal, bytes: seal }], &mut rotated).await?;
    let mut after = None;
    loop {
        let chunk = store.sealed_env(after, CHUNK).await?;
        let Some(Sealed { place: SealedPlace::Env(last), .. }) = chunk.last() else { break };
        after = Some(*last);
        renew(store, vault, chunk, &mut rotated).await?;
    }
    let mut after = None;
    loop {
        let chunk = store.sealed_answers(after, CHUNK).await?;
        let Some(Sealed { place: SealedPlace::Answer(user, key), .. }) = chunk.last() else { break };
        after = Some((*user, key.clone()));
        renew(store, vault, chunk, &mut rotated).await?;
    }
    Ok(rotated)
}

async fn renew(store: &Store, vault: &Vault, chunk: Vec<Sealed>, rotated: &mut Rotated) -> Result<(), OpenError> {
    let mut list = Vec::new();
    for piece in chunk {
        let (purpose, name) = match &piece.place {
            SealedPlace::Seal => (Purpose::Seal, "the seal".to_owned()),
            SealedPlace::Env(job) => (Purpose::EnvVars, format!("the variables of job {job}")),
            SealedPlace::Answer(user, key) => {
                (Purpose::Receipt, format!("the answer that is kept for user {user} under the key {key:?}"))
            }
        };
        match vault.renewed(purpose, &piece.bytes) {
            Ok(Some(bytes)) => list.push((piece, bytes)),
            Ok(None) => {}
            Err(_) => rotated.unopened.push(name),
        }
    }
    rotated.resealed += list.len() as u64;
    if !list.is_empty() {
        store.reseal(list).await?;
    }
    Ok(())
}
