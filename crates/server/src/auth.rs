//! Who is calling: a key from the `Authorization` header, found by its public part, compared in constant time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use clawrk_domain::{ApiKey, KeyId, Rejection, Scope, Scopes, Timestamp, UserId};
use subtle::ConstantTimeEq;

use crate::envelope::peer_of;
use crate::rates::Counted;
use crate::{App, Error, apikey, request_id};

/// Where jobs are run and estimated, and where things are verified outside of any: it may cost a model's answer, and is
/// counted by itself.
const COSTLY: [&str; 2] = ["/api/jobs/run", "/api/verify"];

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
        let now = app.store.clock().now();
        let stranger = async |what| refuse(app, what, peer_of(&parts.extensions), Error::unauthenticated()).await;
        let Some(key) = bearer(&parts.headers) else { return Err(stranger(Counted::Stranger).await) };
        // Even from an address that has shown too many wrong ones, a right key is looked for: nobody can lock it out.
        let Some(kept) = counting(app, key, now).await? else { return Err(stranger(Counted::WrongKey).await) };
        let is_run = parts.method == Method::POST && COSTLY.contains(&parts.uri.path());
        request_id::stand(app.rates.key(kept.id, is_run, now).await?);
        app.used_keys.note(kept.id, now);
        Ok(Self { user: kept.user, scopes: kept.scopes, key: kept.id })
    }
}

/// The refusal of a request that showed no key that counts, or that there is one too many of its kind from there.
pub(crate) async fn refuse(app: &App, what: Counted, peer: IpAddr, refusal: Error) -> Error {
    match app.rates.address(what, peer, app.store.clock().now()).await {
        Ok(standing) => {
            request_id::stand(standing);
            refusal
        }
        Err(one_too_many) => one_too_many,
    }
}

/// Counts a request for a page that is open to everybody: by its key if it has a right one, else by its address.
pub(crate) async fn count_visit(app: &App, key: Option<String>, peer: IpAddr) -> Result<(), Error> {
    let now = app.store.clock().now();
    // A database that is away keeps nobody from what needs no key.
    let kept = match key {
        Some(key) => counting(app, &key, now).await.ok().flatten(),
        None => None,
    };
    let standing = match kept {
        Some(kept) => app.rates.key(kept.id, false, now).await?,
        None => app.rates.address(Counted::Page, peer, now).await?,
    };
    request_id::stand(standing);
    Ok(())
}

/// What is kept of a key that counts; one that its checksum gives away costs no look at the database.
async fn counting(app: &App, key: &str, now: Timestamp) -> Result<Option<Arc<ApiKey>>, Error> {
    let Some(id) = apikey::id_of(key) else { return Ok(None) };
    let hash = apikey::hash(key);
    let kept = app.store.known_key(id).await?;
    Ok(kept.filter(|kept| kept.hash.ct_eq(&hash).into() && !has_expired(kept, now)))
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
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
