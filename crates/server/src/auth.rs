//! Who is calling: a key from the `Authorization` header, found by its public part, compared in constant time.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use clawrk_domain::{ApiKey, KeyId, Rejection, Scope, Scopes, Timestamp, UserId};
use subtle::ConstantTimeEq;

use crate::{App, Error, apikey};

/// A user who showed a key that counts.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// What the key allows.
    pub scopes: Scopes,
    key: KeyId,
}

impl Caller {
    /// Refuses when the key lacks the scope.
    pub fn may(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.has(scope) { Ok(()) } else { Err(Rejection::ScopeMissing(scope).into()) }
    }
}

impl Caller {
    /// Refuses when the key has expired or was revoked since: for requests that wait.
    pub async fn still_counts(&self, app: &App) -> Result<(), Error> {
        let kept = app.store.known_key(self.key).await?.ok_or_else(Error::unauthenticated)?;
        if has_expired(&kept, app.store.clock().now()) { Err(Error::unauthenticated()) } else { Ok(()) }
    }
}

fn has_expired(key: &ApiKey, now: Timestamp) -> bool {
    key.expires_at.is_some_and(|time| time <= now)
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let key = bearer(&parts.headers).ok_or_else(Error::unauthenticated)?;
        let id = apikey::id_of(key).ok_or_else(Error::unauthenticated)?;
        let hash = apikey::hash(key);
        let kept = app.store.known_key(id).await?.ok_or_else(Error::unauthenticated)?;
        let same: bool = kept.hash.ct_eq(&hash).into();
        let now = app.store.clock().now();
        if !same || has_expired(&kept, now) {
            return Err(Error::unauthenticated());
        }
        app.used_keys.note(id, now);
        Ok(Self { user: kept.user, scopes: kept.scopes, key: id })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// When keys were last used, until the runner writes it down.
#[derive(Debug, Default)]
pub struct UsedKeys(Mutex<HashMap<KeyId, Timestamp>>);

impl UsedKeys {
    fn note(&self, key: KeyId, at: Timestamp) {
        self.0.lock().expect("nothing panics while it is held").insert(key, at);
    }

    /// When the key was used, if that was noted and is not written down yet.
    pub(crate) fn of(&self, key: KeyId) -> Option<Timestamp> {
        self.0.lock().expect("nothing panics while it is held").get(&key).copied()
    }

    /// What was noted since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<(KeyId, Timestamp)> {
        self.0.lock().expect("nothing panics while it is held").drain().collect()
    }
}
