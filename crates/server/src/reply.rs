//! An answer as it goes out: a status and JSON bytes, the same bytes for every repeat.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// A status and a body, ready to be sent or kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    body: Vec<u8>,
    replayed: bool,
}

impl Reply {
    /// A JSON body with its status.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status, body: serde_json::to_vec(body).expect("our own bodies are JSON"), replayed: false }
    }

    /// 200 with a JSON body.
    pub fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// 204, nothing to say.
    pub const fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: Vec::new(), replayed: false }
    }

    /// Whether it was kept from an earlier request.
    pub(crate) const fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// The same, with an empty text for each value of this object of texts; byte for byte the same if each is one
    /// already. None if the body is no JSON object.
    pub(crate) fn without_values(mut self, object: &str) -> Option<Self> {
        let mut body: Map<String, Value> = serde_json::from_slice(&self.body).ok()?;
        let values = body.get_mut(object).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
        let mut told = 0;
        for value in values.filter(|value| *value != "") {
            *value = Value::String(String::new());
            told += 1;
        }
        if told > 0 {
            self.body = serde_json::to_vec(&body).ok()?;
        }
        Some(self)
    }

    /// Its JSON.
    pub(crate) fn value(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The form in which it is kept.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.status.as_u16().to_be_bytes().as_slice(), &self.body].concat()
    }

    /// A kept answer, sent again.
    pub(crate) fn replayed(bytes: &[u8]) -> Option<Self> {
        let (status, body) = bytes.split_first_chunk()?;
        let status = StatusCode::from_u16(u16::from_be_bytes(*status)).ok()?;
        Some(Self { status, body: body.to_vec(), replayed: true })
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_TYPE);
        } else {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if self.replayed {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}
