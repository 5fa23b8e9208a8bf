//! What comes in with a request: bodies, idempotency keys, pages.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use clawrk_domain::{Rejection, limits};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::edge::Limits;
use crate::{App, Error, json, misfit};

/// After a body that is too large, this much more is read before the refusal, so that most clients see it.
pub(crate) const DRAIN_BYTES: usize = 4 << 20;

/// Up to here a body is small, and needs no place among the large ones.
const SMALL_BYTES: usize = 8 << 10;

/// A JSON body that a route takes.
pub trait Take: DeserializeOwned {
    /// The largest body, in bytes.
    const LIMIT_BYTES: usize = 1 << 20;
}

/// A request's JSON body, and its idempotency key.
pub struct Input<T> {
    /// The body; an empty one counts as `{}`.
    pub body: T,
    /// The idempotency key, if one was sent.
    pub once: Option<Once>,
    /// Its place among the large bodies, kept until the request is answered: what is made of a body takes memory, too.
    pub room: Room,
}

/// An `Idempotency-Key` and what it stands for.
#[derive(Clone)]
pub struct Once {
    /// The key.
    pub key: String,
    /// SHA-256 of method, path and body, the body's JSON brought into one form.
    pub fingerprint: [u8; 32],
}

impl<T: Take> FromRequest<App> for Input<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let (bytes, mut room) = receive(body, T::LIMIT_BYTES, &app.limits, &app.large_bodies).await?;
        let read = json::read(&bytes).and_then(|body| Ok((body, once(&parts, &bytes)?)));
        room.give_back(bytes);
        let (body, once) = read?;
        Ok(Self { body, once, room })
    }
}

/// A request's body as it came, at most 512 KiB.
pub struct Raw {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their place among the large bodies.
    _room: Room,
}

impl FromRequest<App> for Raw {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let (bytes, room) = receive(request.into_body(), 512 << 10, &app.limits, &app.large_bodies).await?;
        Ok(Self { bytes, _room: room })
    }
}

/// The memory for bodies that are large, which all requests share: who finds none left waits for some.
///
/// Buffers are used again: an allocator keeps what was freed for a while, and a rush would have several times as much.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    kibibytes: Arc<Semaphore>,
    all: u32,
    spare: Spare,
}

/// Buffers that nobody uses now; together with those in use they are never larger than all of the memory.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// A body's place among the large ones, until it is dropped; a small one needs none.
#[derive(Debug, Default)]
pub struct Room(Option<Place>);

#[derive(Debug)]
struct Place {
    // Dropped last, when the buffer is among the spare ones.
    _permit: OwnedSemaphorePermit,
    spare: Spare,
    buffer: Vec<u8>,
}

impl LargeBodies {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes >> 10).unwrap_or(u32::MAX >> 4);
        Self { kibibytes: Arc::new(Semaphore::new(all as usize)), all, spare: Spare::default() }
    }

    /// Room for a body of so many bytes, or for as many as there are at all.
    async fn room(&self, bytes: usize) -> Room {
        let wanted = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, self.all);
        let permit = Arc::clone(&self.kibibytes).acquire_many_owned(wanted).await.expect("nobody closes it");
        Room(Some(Place { _permit: permit, buffer: self.buffer(bytes), spare: Arc::clone(&self.spare) }))
    }

    /// A spare buffer that is large enough, or a new one.
    fn buffer(&self, bytes: usize) -> Vec<u8> {
        let mut spare = lock(&self.spare);
        let fits = spare.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= bytes);
        if let Some((at, _)) = fits.min_by_key(|(_, buffer)| buffer.capacity()) {
            return spare.swap_remove(at);
        }
        let free = self.kibibytes.available_permits() << 10;
        while spare.iter().map(Vec::capacity).sum::<usize>() > free {
            spare.pop();
        }
        Vec::with_capacity(bytes)
    }
}

impl Room {
    /// The buffer for the body; only for one that has a place.
    fn take(&mut self) -> Vec<u8> {
        self.0.as_mut().map(|place| std::mem::take(&mut place.buffer)).unwrap_or_default()
    }

    /// What was read is no longer needed: somebody else may have the buffer when the place is free.
    fn give_back(&mut self, buffer: Vec<u8>) {
        if let Some(place) = &mut self.0 {
            place.buffer = buffer;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() > 0 {
            buffer.clear();
            lock(&self.spare).push(buffer);
        }
    }
}

fn lock(spare: &Spare) -> MutexGuard<'_, Vec<Vec<u8>>> {
    spare.lock().expect("nothing panics while it is held")
}

/// Receives a body up to its limit, and its place among the large ones. Of one that is larger nothing is kept.
async fn receive(
    mut body: Body,
    limit: usize,
    times: &Limits,
    large_bodies: &LargeBodies,
) -> Result<(Vec<u8>, Room), Error> {
    let announced = body.size_hint();
    let most = usize::try_from(announced.upper().unwrap_or(u64::MAX)).unwrap_or(usize::MAX).min(limit);
    let mut too_large = announced.lower() > limit as u64;
    let end = Instant::now() + times.request / 10 * 9;
    let (mut bytes, mut room, mut drained) = (Vec::new(), Room::default(), 0);
    loop {
        let pause_ends = Instant::now() + times.body_pause;
        let frame = timeout_at(end.min(pause_ends), body.frame()).await.map_err(|_| Error::slow_body())?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Error::malformed("The request body ended early, or its chunks are malformed"))?;
        let Some(data) = frame.data_ref() else { continue };
        too_large |= bytes.len() + data.len() > limit;
        if too_large {
            room.give_back(bytes);
            (bytes, room) = (Vec::new(), Room::default());
            drained += data.len();
            if drained > limit + DRAIN_BYTES {
                break;
            }
            continue;
        }
        if room.0.is_none() && bytes.len() + data.len() > SMALL_BYTES {
            room = timeout(times.room, large_bodies.room(most)).await.map_err(|_| Error::too_busy())?;
            let small = std::mem::replace(&mut bytes, room.take());
            bytes.extend_from_slice(&small);
        }
        bytes.extend_from_slice(data);
    }
    if too_large { Err(Error::too_large(limit)) } else { Ok((bytes, room)) }
}

/// The request's idempotency key, if one was sent, and what it stands for.
pub(crate) fn once(parts: &Parts, body: &[u8]) -> Result<Option<Once>, Error> {
    if parts.headers.contains_key(IDEMPOTENCY_KEY) { once_for(parts, &json::canonical(body)?) } else { Ok(None) }
}

/// The same for a body of which this says all.
pub(crate) fn once_for(parts: &Parts, said: &[u8]) -> Result<Option<Once>, Error> {
    let Some(key) = idempotency_key(&parts.headers)? else { return Ok(None) };
    let path = parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.path(), |uri| uri.path());
    let mut hasher = Sha256::new();
    hasher.update(format!("{} {path}\n", parts.method));
    hasher.update(said);
    Ok(Some(Once { key, fingerprint: hasher.finalize().into() }))
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.trim().is_empty() || key.len() > 255 {
        return Err(Error::malformed("The Idempotency-Key must be 1 to 255 visible ASCII characters"));
    }
    Ok(Some(key.to_owned()))
}

/// Query parameters, read as JSON bodies are: unknown ones are ignored, wrong ones are 400.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> Query<T> {
    /// Reads the query of an address.
    pub fn of(uri: &Uri) -> Result<Self, Error> {
        let texts = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        misfit::read_texts(texts).map(Self).map_err(|misfit| Error::malformed(format!("In the query, {misfit}")))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        Self::of(&parts.uri)
    }
}

/// What the path names, which may be anything in percent signs: what is no text names nothing.
pub struct Named(pub String);

impl FromRequestParts<App> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let read = axum::extract::Path::<String>::from_request_parts(parts, app).await;
        read.map(|axum::extract::Path(text)| Self(text)).map_err(|_| Rejection::NotFound("page").into())
    }
}

/// The part of a list that is asked for.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most, 1 to 200; without it the whole list.
    pub limit: Option<i64>,
    /// Where to go on: the cursor from the `Link` header of the page before.
    pub after: Option<String>,
}

impl PageQuery {
    /// The limit, if there is one; 400 when it is out of bounds.
    pub fn limit(&self) -> Result<Option<i64>, Error> {
        let Some(limit) = self.limit else { return Ok(None) };
        limits::within("limit", limit, &(1..=200)).map_err(Error::from)?;
        Ok(Some(limit))
    }

    /// The cursor, if there is one; 400 when it is none of ours.
    pub fn after<P: std::str::FromStr>(&self) -> Result<Option<P>, Error> {
        let Some(after) = &self.after else { return Ok(None) };
        let refuse = |_| Rejection::invalid("after", "must be a cursor from a Link header").into();
        after.parse().map(Some).map_err(refuse)
    }
}

/// Tells a field that is missing from one that is `null`: for PATCH and for fields sent back from an estimate.
pub fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
