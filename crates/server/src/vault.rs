//! What keeps secrets at rest: XChaCha20-Poly1305 under the exchange's `secret_key`.
//!
//! A sealed value is a version byte, a random nonce of 24 bytes, and the ciphertext with its tag.
//! The purpose is authenticated with it: a sealed variable can't be passed off as a sealed answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::random;

const VERSION: u8 = 1;
const NONCE: usize = 24;

/// Seals and opens; cheap to clone.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
    /// What was sealed before the key changed is opened by these.
    previous: Arc<[XChaCha20Poly1305]>,
}

/// What is sealed.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// A job's environment variables.
    EnvVars,
    /// The answer to a request with an `Idempotency-Key`.
    Receipt,
    /// Nothing: whether it opens is all that counts.
    Seal,
}

/// The value was sealed under another key or for another purpose, or was tampered with.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value cannot be opened: was the secret_key changed?")]
pub struct Unsealable;

impl Vault {
    /// A vault under this secret, which should have 256 random bits in whatever form.
    pub fn new(secret: &str) -> Self {
        Self { cipher: cipher(secret), previous: Arc::new([]) }
    }

    /// A vault that seals under the first secret, and opens what was sealed under any of them.
    pub fn after(secret: &str, previous: &[String]) -> Self {
        Self { cipher: cipher(secret), previous: previous.iter().map(|secret| cipher(secret)).collect() }
    }

    /// Seals bytes; twice the same bytes give different results.
    pub fn seal(&self, purpose: Purpose, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = random::bytes();
        let payload = Payload { msg: plain, aad: purpose.label() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("far below the cipher's limit");
        [&[VERSION], nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    pub fn open(&self, purpose: Purpose, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (&version, rest) = sealed.split_first().ok_or(Unsealable)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(Unsealable)?;
        if version != VERSION {
            return Err(Unsealable);
        }
        let open = |cipher: &XChaCha20Poly1305| {
            let payload = Payload { msg: ciphertext, aad: purpose.label() };
            cipher.decrypt(&XNonce::from(*nonce), payload).ok()
        };
        open(&self.cipher).or_else(|| self.previous.iter().find_map(open)).ok_or(Unsealable)
    }

    /// The same sealed under the key of today; none for what is so already.
    pub fn renewed(&self, purpose: Purpose, sealed: &[u8]) -> Result<Option<Vec<u8>>, Unsealable> {
        let today = Self { cipher: self.cipher.clone(), previous: Arc::new([]) };
        if today.open(purpose, sealed).is_ok() {
            return Ok(None);
        }
        Ok(Some(self.seal(purpose, &self.open(purpose, sealed)?)))
    }

    /// Something that only a vault under the same secret opens.
    pub fn fresh_seal(&self) -> Vec<u8> {
        self.seal(Purpose::Seal, b"clawrk")
    }

    /// Whether a seal was made under the same secret.
    pub fn sealed(&self, seal: &[u8]) -> bool {
        self.open(Purpose::Seal, seal).is_ok()
    }

    /// Seals environment variables; none for none.
    pub fn seal_env(&self, vars: &BTreeMap<String, String>) -> Option<Vec<u8>> {
        let plain = serde_json::to_vec(vars).expect("strings are JSON");
        (!vars.is_empty()).then(|| self.seal(Purpose::EnvVars, &plain))
    }

    /// Opens environment variables.
    pub fn open_env(&self, sealed: Option<&[u8]>) -> Result<BTreeMap<String, String>, Unsealable> {
        let Some(sealed) = sealed else { return Ok(BTreeMap::new()) };
        serde_json::from_slice(&self.open(Purpose::EnvVars, sealed)?).map_err(|_| Unsealable)
    }
}

fn cipher(secret: &str) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Sha256::digest([b"clawrk vault v1 ".as_slice(), secret.as_bytes()].concat()))
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::EnvVars => b"env vars",
            Self::Receipt => b"receipt",
            Self::Seal => b"seal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_was_sealed_before_the_key_changed_and_seals_under_the_new_one() {
        let (old, new) = (Vault::new("old"), Vault::new("new"));
        let both = Vault::after("new", &["older".to_owned(), "old".to_owned()]);
        let before = old.seal(Purpose::EnvVars, b"hush");
        assert_eq!(both.open(Purpose::EnvVars, &before).unwrap(), b"hush");
        assert!(new.open(Purpose::EnvVars, &before).is_err() && both.open(Purpose::Receipt, &before).is_err());
        let renewed = both.renewed(Purpose::EnvVars, &before).unwrap().unwrap();
        assert_eq!(new.open(Purpose::EnvVars, &renewed).unwrap(), b"hush");
        assert!(old.open(Purpose::EnvVars, &renewed).is_err());
        assert!(both.renewed(Purpose::EnvVars, &renewed).unwrap().is_none(), "once is enough");
        assert!(new.renewed(Purpose::EnvVars, &before).is_err());
        assert!(old.open(Purpose::EnvVars, &both.seal(Purpose::EnvVars, b"hush")).is_err());
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let vault = Vault::new("one");
        let sealed = vault.seal(Purpose::EnvVars, b"hush");
        assert_eq!(vault.open(Purpose::EnvVars, &sealed).unwrap(), b"hush");
        assert!(vault.open(Purpose::Receipt, &sealed).is_err(), "another purpose");
        assert!(Vault::new("two").open(Purpose::EnvVars, &sealed).is_err(), "another key");
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(vault.open(Purpose::EnvVars, &bent).is_err(), "byte {at}");
            assert!(vault.open(Purpose::EnvVars, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert!(!sealed.windows(4).any(|part| part == b"hush"));
    }
}
