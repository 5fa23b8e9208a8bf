//! What a route leaves of a request's body: it stands between the answer and the next request of the connection.
//!
//! A small rest that is there is taken off the wire. After any other the connection ends, and the answer says so, since
//! a request that a client sends behind it would be lost without a word.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// More than this is not taken off the wire for nothing.
const SMALL_BYTES: usize = 64 << 10;
/// For how long a rest that is still on its way is waited for; the answer waits as long.
const PATIENCE: Duration = Duration::from_millis(200);

/// The rest of a body, once its route is done with it.
pub(super) struct Rest {
    body: Shared,
    /// Whoever waits to be asked for the body is not asked for what nobody wants.
    waits: bool,
}

type Shared = Arc<Mutex<Incoming>>;

/// The body as its route has it.
struct Lent(Shared);

/// Lends the body to a route; nothing to look after where there is none.
pub(super) fn lend(request: Request<Incoming>) -> (Request<Body>, Option<Rest>) {
    if request.body().is_end_stream() {
        return (request.map(|_| Body::empty()), None);
    }
    let waits = request.headers().contains_key(hyper::header::EXPECT);
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let lent = Body::new(Lent(Arc::clone(&body)));
    (Request::from_parts(parts, lent), Some(Rest { body, waits }))
}

impl Rest {
    /// Takes what is left off the wire; whether nothing is left then.
    pub(super) async fn taken_off(self) -> bool {
        // A route that keeps reading while it answers has not left it.
        let Some(body) = Arc::into_inner(self.body) else { return false };
        let mut body = body.into_inner().expect("nothing panics while it is held");
        if body.is_end_stream() {
            return true;
        }
        let many = usize::try_from(body.size_hint().lower()).is_ok_and(|left| left > SMALL_BYTES);
        if self.waits || many {
            return false;
        }
        let all = async {
            let mut taken = 0;
            while let Some(Ok(frame)) = body.frame().await {
                taken += frame.data_ref().map_or(0, Bytes::len);
                if taken > SMALL_BYTES {
                    return false;
                }
            }
            body.is_end_stream()
        };
        timeout(PATIENCE, all).await.unwrap_or(false)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.lock().expect("nothing panics while it is held");
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().expect("nothing panics while it is held").is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().expect("nothing panics while it is held").size_hint()
    }
}
