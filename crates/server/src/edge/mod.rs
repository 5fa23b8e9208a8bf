//! Where the world's bytes arrive: what a client may take of the server, and what never gets further than here.
//!
//! [`wire`] reads heads and watches the time, [`connections`] counts, and [`converse`] carries one connection from its
//! first byte to its last.

mod connections;
mod head;
mod rest;
mod wire;

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::net::TcpStream;
use tower::Service;

use crate::{App, Error, envelope};
pub(crate) use connections::{Connections, Place};
pub(crate) use head::{Ends, FIELDS, HEAD_BYTES, Head, Refusal, Step, URI_BYTES};
use wire::{InHand, Talk, Wire};

/// What hyper reads ahead and writes behind on a connection, at most, in bytes: a whole head, and little more, since
/// many connections may have it full.
const BUFFER_BYTES: usize = HEAD_BYTES + (4 << 10);

/// What one client may take of the server.
///
/// An answer that is a stream takes as long as it takes: only a client that no longer reads ends it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the connection to the first byte.
    pub first_byte: Duration,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// Between two parts of a body.
    pub body_pause: Duration,
    /// From a request's head to the head of its answer; nine tenths of it are for the body to come.
    pub request: Duration,
    /// For an upload, which may be large and come over a slow line; silence ends it as it does any body.
    pub upload: Duration,
    /// From an answer to the next request on the same connection.
    pub idle: Duration,
    /// For how long a client may take nothing of what is written to it.
    pub unread: Duration,
    /// Connections at once; as many as the process has file descriptors for when nothing is said.
    pub connections: Option<usize>,
    /// Of these, from one address that is not on this machine.
    pub connections_of_an_address: usize,
    /// Answers at once that are streams, each on a connection; never more than half of the connections.
    pub streams: usize,
    /// Of these, from one address that is not on this machine.
    pub streams_of_an_address: usize,
    /// How often a stream that has nothing to tell says so.
    pub stream_pulse: Duration,
    /// Memory for bodies that are large, all together, in bytes: who finds none left waits for some.
    pub large_bodies: usize,
    /// For how long a large body waits for memory.
    pub room: Duration,
    /// Requests a minute with one key; what else is counted is in proportion. 0 for no limits of that kind.
    pub requests_per_minute: u32,
    /// Texts that a user may have judged on a day without a job.
    pub verifications_per_day: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_pause: Duration::from_secs(15),
            request: Duration::from_secs(60),
            upload: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(60),
            unread: Duration::from_secs(60),
            connections: None,
            connections_of_an_address: 256,
            streams: 1000,
            streams_of_an_address: 20,
            stream_pulse: Duration::from_secs(15),
            large_bodies: 8 << 20,
            room: Duration::from_secs(20),
            requests_per_minute: 600,
            verifications_per_day: 200,
        }
    }
}

/// Answers the requests of one connection, until it ends or has been silent for too long.
pub(crate) async fn converse(stream: TcpStream, peer: SocketAddr, app: App, router: Router, watcher: Watcher) {
    // Answers are small and should go at once.
    let _ = stream.set_nodelay(true);
    let talk = Arc::new(Talk::new());
    let wire = Wire::new(stream, Arc::clone(&talk), app.limits);
    let service = service_fn(move |request| {
        let in_hand = InHand::new(&talk);
        let answer = answer(request, peer, &talk, app.clone(), router.clone());
        let stopping = app.stopping.clone();
        async move {
            let mut answer = answer.await;
            // Nobody will read another request of this connection.
            if stopping.is_cancelled() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| Answer { body, _in_hand: in_hand }))
        }
    });
    let mut http = http1::Builder::new();
    // The wire watches the time.
    http.header_read_timeout(None).max_buf_size(BUFFER_BYTES);
    // That a client goes away in the middle is nothing to tell of.
    let _ = watcher.watch(http.serve_connection(TokioIo::new(wire), service)).await;
}

fn answer(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    talk: &Talk,
    app: App,
    mut router: Router,
) -> impl Future<Output = Response<Body>> + use<> {
    let has_host = request.version() == Version::HTTP_10 || request.headers().contains_key(header::HOST);
    let refusal = if has_host { None } else { Some(talk.refusal()) };
    // After chunks, as after a refused head, the wire does not know where the next request would begin.
    let mut is_last = refusal.is_some() || request.headers().contains_key(header::TRANSFER_ENCODING);
    request.extensions_mut().insert(ConnectInfo(peer));
    async move {
        let (request, rest) = rest::lend(request);
        let mut response = match refusal {
            Some(refusal) => envelope::of_refusal(&app, peer.ip(), Error::from(refusal)).await,
            None => match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        if let Some(rest) = rest.filter(|_| !is_last) {
            is_last = !rest.taken_off().await;
        }
        if is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The body of an answer: the request is in hand until it is written.
struct Answer {
    body: Body,
    _in_hand: InHand,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells a client for whom there is no place, if it listens, and closes.
pub(crate) fn turn_away(stream: TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
        cache-control: no-store\r\nconnection: close\r\n\r\n{\"error\":\"There are too many connections: close some, \
        or try again in 5 seconds\",\"code\":\"too_many_connections\",\"request_id\":null}";
    // It never blocks, and nobody waits for it.
    let _ = stream.into_std().and_then(|mut stream| stream.write(FULL));
}
