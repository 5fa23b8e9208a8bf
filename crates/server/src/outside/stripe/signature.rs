//! The signature of what Stripe sends by itself: HMAC-SHA-256 over the time and the raw body.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header.
pub const HEADER: &str = "stripe-signature";
/// How far the time may be off, in either direction, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;
/// A header is no longer than this, in bytes: Stripe's has two parts, and a third while a secret changes.
const MOST_BYTES: usize = 4096;

/// Why a body is not taken for Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The header is missing or is none.
    #[error("the header stripe-signature is missing or malformed")]
    Malformed,
    /// No part of it was made with a secret of ours over these bytes.
    #[error("no signature in stripe-signature fits the body")]
    Mismatch,
    /// It was made too long ago, or has yet to be.
    #[error("the time in stripe-signature is more than 5 minutes away from now")]
    Stale,
}

/// Whether Stripe has signed these bytes at about this time (seconds since 1970), with one of these secrets.
pub fn verify(header: Option<&str>, body: &[u8], secrets: &[String], now: i64) -> Result<(), Forged> {
    let header = header.filter(|header| header.len() <= MOST_BYTES).ok_or(Forged::Malformed)?;
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            // Which of two would count?
            Some(("t", _)) if time.is_some() => return Err(Forged::Malformed),
            Some(("t", text)) => time = Some(text),
            Some(("v1", text)) => signatures.extend(hex::decode(text).ok()),
            // Schemes of before and to come.
            _ => {}
        }
    }
    let time = time.ok_or(Forged::Malformed)?;
    let seconds: i64 = time.parse().map_err(|_| Forged::Malformed)?;
    if signatures.is_empty() {
        return Err(Forged::Malformed);
    }
    let fits = secrets
        .iter()
        .any(|secret| signatures.iter().any(|signature| mac(secret, time, body).verify_slice(signature).is_ok()));
    if !fits {
        return Err(Forged::Mismatch);
    }
    if now.abs_diff(seconds) > TOLERANCE_SECONDS.unsigned_abs() { Err(Forged::Stale) } else { Ok(()) }
}

/// The header that Stripe would send for these bytes.
pub fn sign(body: &[u8], secret: &str, at: i64) -> String {
    let time = at.to_string();
    format!("t={time},v1={}", hex::encode(mac(secret, &time, body).finalize().into_bytes()))
}

fn mac(secret: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: i64 = 1_764_000_000;

    fn verdict(header: &str) -> Result<(), Forged> {
        verify(Some(header), BODY, &["whsec_old".to_owned(), "whsec_new".to_owned()], NOW)
    }

    #[test]
    fn what_stripe_signed_is_taken_with_any_of_the_secrets_and_any_of_the_signatures() {
        for secret in ["whsec_old", "whsec_new"] {
            for at in [NOW - 300, NOW, NOW + 300] {
                assert_eq!(verdict(&sign(BODY, secret, at)), Ok(()));
            }
        }
        let good = sign(BODY, "whsec_new", NOW);
        let (time, good) = good.split_once(',').unwrap();
        assert_eq!(verdict(&format!("{time},v1={},{good},v0=x", "00".repeat(32))), Ok(()));
    }

    #[test]
    fn what_is_forged_stale_or_cut_is_refused() {
        let good = sign(BODY, "whsec_new", NOW);
        let signature = good.split_once("v1=").unwrap().1;
        assert_eq!(verify(None, BODY, &["whsec_new".to_owned()], NOW), Err(Forged::Malformed));
        assert_eq!(verify(Some(&good), b"{\"id\":\"evt_2\"}", &["whsec_new".to_owned()], NOW), Err(Forged::Mismatch));
        assert_eq!(verify(Some(&good), &BODY[1..], &["whsec_new".to_owned()], NOW), Err(Forged::Mismatch));
        for (header, why) in [
            (sign(BODY, "whsec_other", NOW), Forged::Mismatch),
            (sign(BODY, "", NOW), Forged::Mismatch),
            (sign(BODY, "whsec_new", NOW - 301), Forged::Stale),
            (sign(BODY, "whsec_new", NOW + 301), Forged::Stale),
            (format!("t={},v1={signature}", NOW + 1), Forged::Mismatch),
            (format!("t={NOW},v0={signature}"), Forged::Malformed),
            (format!("t={NOW},v1={}", &signature[2..]), Forged::Mismatch),
            (format!("t={NOW},t={NOW},v1={signature}"), Forged::Malformed),
            (format!("v1={signature}"), Forged::Malformed),
            (format!("t=now,v1={signature}"), Forged::Malformed),
            (format!("t={NOW},v1=zz"), Forged::Malformed),
            (format!("t={NOW}{}", ",v1=00".repeat(10_000)), Forged::Malformed),
            (String::new(), Forged::Malformed),
        ] {
            assert_eq!(verdict(&header), Err(why), "{}", &header[..header.len().min(120)]);
        }
    }
}
