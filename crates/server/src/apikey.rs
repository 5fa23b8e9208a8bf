//! API keys as text: `clawrk_`, a public id of 12 characters, 256 secret bits in 43, a checksum in 6.

use clawrk_domain::KeyId;
use sha2::{Digest, Sha256};

use crate::random;

const PREFIX: &str = "clawrk_";
const ID: usize = 12;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A fresh key: shown once, then only its hash is known.
pub struct FreshKey {
    /// The key itself.
    pub text: String,
    /// Its public part.
    pub id: KeyId,
    /// What is stored of it.
    pub hash: [u8; 32],
}

impl FreshKey {
    /// Makes a key from fresh randomness.
    #[expect(clippy::new_without_default, reason = "two of them are never alike")]
    pub fn new() -> Self {
        let id: String = letters(&random::bytes::<16>(), ID);
        let secret = letters(&random::bytes::<32>(), SECRET);
        let text = with_checksum(&format!("{PREFIX}{id}{secret}"));
        let id = id.parse().expect("letters and digits, as many as an id has");
        Self { id, hash: hash(&text), text }
    }
}

/// A key from all that comes before its checksum: a guess has to have the right one to be looked up at all.
pub fn with_checksum(body: &str) -> String {
    format!("{body}{}", checksum(body))
}

/// The public part of a well-formed key; none for text that cannot be one, without asking a database.
pub fn id_of(text: &str) -> Option<KeyId> {
    let well_formed =
        text.len() == PREFIX.len() + ID + SECRET + CHECKSUM && text.is_ascii() && text.starts_with(PREFIX);
    if !well_formed {
        return None;
    }
    let (body, check) = text.split_at(text.len() - CHECKSUM);
    if checksum(body) != check {
        return None;
    }
    text[PREFIX.len()..PREFIX.len() + ID].parse().ok()
}

/// What is stored of a key: it has 256 random bits, so a fast hash is enough.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn checksum(body: &str) -> String {
    letters(&crc32fast::hash(body.as_bytes()).to_le_bytes(), CHECKSUM)
}

/// A little-endian number as so many base-62 letters; its high end is dropped when it does not fit.
fn letters(bytes: &[u8], count: usize) -> String {
    let mut number = bytes.to_vec();
    let letter = |number: &mut Vec<u8>| {
        let mut rest = 0_u32;
        for byte in number.iter_mut().rev() {
            let part = rest * 256 + u32::from(*byte);
            *byte = (part / 62) as u8;
            rest = part % 62;
        }
        char::from(ALPHABET[rest as usize])
    };
    (0..count).map(|_| letter(&mut number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_reads_back() {
        let key = FreshKey::new();
        assert_eq!(key.text.len(), 68);
        assert_eq!(id_of(&key.text), Some(key.id));
        assert_eq!(hash(&key.text), key.hash);
        assert_ne!(FreshKey::new().text, key.text);
    }

    #[test]
    fn a_single_wrong_letter_is_found_without_a_database() {
        let key = FreshKey::new().text;
        for at in 0..key.len() {
            let mut bent = key.clone().into_bytes();
            bent[at] = if bent[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(id_of(&String::from_utf8(bent).unwrap()), None, "letter {at}");
        }
        for bad in ["", "clawrk_", "ä", &key[1..], &format!("{key}0"), &"é".repeat(34)] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_of_256_bits_fits_in_43_letters() {
        assert_eq!(letters(&[255; 32], 44).chars().last(), Some('0'));
    }
}
