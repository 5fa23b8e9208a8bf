//! A provider of S3 for tests: a real HTTP server that takes nothing that the real one would not, and what it must see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use clawrk_server::config::S3Setting;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use self::sigv4::{Known, Refusal};

mod sigv4;

/// The halves of the key that the fake knows.
pub const ACCESS_KEY: &str = "s3_access_canary";
pub const SECRET_KEY: &str = "s3_secret_canary";
const REGION: &str = "eu-test-7";
/// No piece but the last may be smaller, in bytes.
const LEAST_PIECE: usize = 5 << 20;

/// What it does instead of its work.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// 503 for everything, in words that repeat the key, as Amazon's do.
    Down,
    /// A download breaks off in its midst.
    BreaksOff,
}

/// The server; cheap to clone.
#[derive(Clone)]
pub struct FakeS3 {
    port: u16,
    bucket: Arc<Mutex<Bucket>>,
}

pub struct Bucket {
    pub mood: Mood,
    pub objects: BTreeMap<String, Bytes>,
    /// Files that are on their way: their keys and pieces by upload id.
    pub unfinished: BTreeMap<String, (String, BTreeMap<usize, Bytes>)>,
    pub aborted: usize,
    pub pieces: usize,
    /// What the real one would not have taken.
    pub wrong: Vec<String>,
    started: usize,
}

type Answer = Result<Response<Body>, Refusal>;

impl FakeS3 {
    pub async fn start() -> Self {
        let bucket = Bucket {
            mood: Mood::Well,
            objects: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            aborted: 0,
            pieces: 0,
            wrong: Vec::new(),
            started: 0,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, bucket: Arc::new(Mutex::new(bucket)) };
        let router = Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(fake.clone());
        crate::support::background(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    pub fn setting(&self) -> S3Setting {
        S3Setting {
            bucket: "files".to_owned(),
            prefix: "up/load".to_owned(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            region: REGION.to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
        }
    }

    pub fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap()
    }
}

async fn serve(
    State(fake): State<FakeS3>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut bucket = fake.bucket();
    if bucket.mood == Mood::Down {
        return error(503, &format!("SlowDown {ACCESS_KEY}"));
    }
    let range = headers.get("range").and_then(|range| range.to_str().ok());
    let answer = is_allowed(&method, &uri, &headers, &body).and_then(|()| bucket.answer(&method, &uri, range, body));
    answer.unwrap_or_else(|(status, code)| {
        if !matches!(code, "NoSuchKey" | "NoSuchUpload") {
            bucket.wrong.push(format!("{method} {uri}: {code}"));
        }
        error(status, code)
    })
}

/// Whether the request is signed by whoever has the secret, and asks for nothing public.
fn is_allowed(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let known = Known { access_key: ACCESS_KEY, secret_key: SECRET_KEY, region: REGION };
    sigv4::check(&known, method, uri, headers, body)?;
    let makes_public = |name: &str| name.starts_with("x-amz-acl") || name.starts_with("x-amz-grant");
    if headers.keys().any(|name| makes_public(name.as_str())) {
        return Err((400, "AccessControlListNotSupported"));
    }
    Ok(())
}

impl Bucket {
    fn answer(&mut self, method: &Method, uri: &Uri, range: Option<&str>, body: Bytes) -> Answer {
        let path = uri.path().strip_prefix("/files").ok_or((404, "NoSuchBucket"))?;
        let key = path.trim_start_matches('/').to_owned();
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        match (method.as_str(), query.get("uploadId")) {
            ("GET", None) if key.is_empty() => self.list(&query),
            _ if key.is_empty() => Err((405, "MethodNotAllowed")),
            ("POST", None) if query.contains_key("uploads") => self.create(key),
            ("PUT", Some(id)) => self.take_piece(id, &key, query.get("partNumber"), body),
            ("POST", Some(id)) => self.complete(id, &key, &body),
            ("DELETE", Some(id)) => {
                self.unfinished.remove(id).ok_or((404, "NoSuchUpload"))?;
                self.aborted += 1;
                Ok(empty(204))
            }
            ("PUT", None) if query.is_empty() => {
                let tag = tag(&body);
                self.objects.insert(key, body);
                Ok(Response::builder().header("etag", tag).body(Body::empty()).unwrap())
            }
            ("GET" | "HEAD", None) => self.read(&key, range),
            ("DELETE", None) if query.is_empty() => {
                self.objects.remove(&key);
                Ok(empty(204))
            }
            _ => Err((405, "MethodNotAllowed")),
        }
    }

    fn create(&mut self, key: String) -> Answer {
        self.started += 1;
        let id = format!("upload-{}", self.started);
        self.unfinished.insert(id.clone(), (key, BTreeMap::new()));
        let result = "InitiateMultipartUploadResult";
        Ok(xml(200, format!("<{result}><Bucket>files</Bucket><UploadId>{id}</UploadId></{result}>")))
    }

    fn take_piece(&mut self, id: &str, key: &str, number: Option<&String>, body: Bytes) -> Answer {
        let number = number.and_then(|number| number.parse().ok()).filter(|number| (1..=10_000).contains(number));
        let (of, pieces) = self.unfinished.get_mut(id).ok_or((404, "NoSuchUpload"))?;
        if of != key {
            return Err((404, "NoSuchUpload"));
        }
        let tag = tag(&body);
        pieces.insert(number.ok_or((400, "InvalidArgument"))?, body);
        self.pieces += 1;
        Ok(Response::builder().header("etag", tag).body(Body::empty()).unwrap())
    }

    fn complete(&mut self, id: &str, key: &str, body: &[u8]) -> Answer {
        let (of, pieces) = self.unfinished.get(id).ok_or((404, "NoSuchUpload"))?;
        let told = String::from_utf8_lossy(body).replace("&quot;", "\"");
        let is_told = |(number, piece): (&usize, &Bytes)| {
            told.contains(&format!("<PartNumber>{number}</PartNumber>")) && told.contains(&tag(piece))
        };
        if of != key || pieces.is_empty() || !pieces.iter().all(is_told) {
            return Err((400, "InvalidPart"));
        }
        if pieces.values().rev().skip(1).any(|piece| piece.len() < LEAST_PIECE) {
            return Err((400, "EntityTooSmall"));
        }
        let whole = Bytes::from(pieces.values().flatten().copied().collect::<Vec<u8>>());
        let tag = tag(&whole);
        self.unfinished.remove(id);
        self.objects.insert(key.to_owned(), whole);
        let result = "CompleteMultipartUploadResult";
        Ok(xml(200, format!("<{result}><Key>{key}</Key><ETag>{tag}</ETag></{result}>")))
    }

    fn read(&self, key: &str, range: Option<&str>) -> Answer {
        let whole = self.objects.get(key).ok_or((404, "NoSuchKey"))?.clone();
        let asked = range.map(|range| {
            let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
            let (from, to) = (from.parse::<usize>().ok()?, to.parse::<usize>().map_or(whole.len(), |last| last + 1));
            (from < to && to <= whole.len()).then_some((from, to))
        });
        let (from, to) = asked.unwrap_or(Some((0, whole.len()))).ok_or((416, "InvalidRange"))?;
        let bytes = whole.slice(from..to);
        let head = Response::builder().header("content-length", bytes.len()).header("etag", tag(&whole));
        let mut head = head.header("last-modified", "Wed, 01 Jan 2025 12:00:00 GMT");
        if range.is_some() {
            let last = to.saturating_sub(1);
            head = head.status(206).header("content-range", format!("bytes {from}-{last}/{}", whole.len()));
        }
        let body = if self.mood == Mood::BreaksOff {
            // Whoever asks for the rest gets no further.
            let half = if range.is_some() { Bytes::new() } else { bytes.slice(..bytes.len() / 2) };
            Body::from_stream(futures_util::stream::iter([Ok(half), Err(std::io::Error::other("it broke off"))]))
        } else {
            Body::from(bytes)
        };
        Ok(head.body(body).unwrap())
    }

    /// Two keys a page, so that there is always another.
    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        if query.get("list-type").map(String::as_str) != Some("2") {
            return Err((400, "InvalidArgument"));
        }
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        let (prefix, after) = (of("prefix"), of("continuation-token"));
        let found = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let (page, rest): (Vec<_>, Vec<_>) = found.enumerate().partition(|(place, _)| *place < 2);
        let contents = page.iter().map(|(_, (key, bytes))| {
            let (size, tag) = (bytes.len(), tag(bytes));
            let time = "2025-01-01T12:00:00.000Z";
            format!("<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>{tag}</ETag><Size>{size}</Size></Contents>")
        });
        let next = page
            .last()
            .filter(|_| !rest.is_empty())
            .map(|(_, (key, _))| format!("<NextContinuationToken>{key}</NextContinuationToken>"));
        let contents = contents.collect::<String>() + &next.unwrap_or_default();
        Ok(xml(200, format!("<ListBucketResult><Name>files</Name>{contents}</ListBucketResult>")))
    }
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &hex::encode(Sha256::digest(bytes))[..32])
}

fn empty(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn xml(status: u16, text: String) -> Response<Body> {
    let head = Response::builder().status(status).header("content-type", "application/xml");
    head.body(Body::from(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}"))).unwrap()
}

fn error(status: u16, code: &str) -> Response<Body> {
    xml(status, format!("<Error><Code>{code}</Code><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>"))
}
