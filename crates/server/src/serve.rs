//! A running server: fill the market, listen, run the tasks, and stop without losing anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, header};
use clawrk_store::{JobList, Store, StoreError};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tower::ServiceExt;

use crate::market::Market;
use crate::tasks::runner;
use crate::{App, router};

/// Requests and tasks in hand have this long to end after the stop.
const GRACE: Duration = Duration::from_secs(8);

/// Requests that are on their way when the stop comes have this long to arrive.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// The headers of a connection's next request have to come within this time, or it is closed.
const HEADERS: Duration = Duration::from_secs(30);

/// Serves until `stop` resolves, then finishes what is in hand.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let tasks = spawn(runner::run(app.clone()));
    let stopping = app.stopping.clone();
    let stopped = stopping.clone();
    spawn(async move {
        stop.await;
        tracing::info!("stopping: no new requests, finishing those in hand");
        stopping.cancel();
    });
    let router = router(app.clone());
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => spawn(converse(stream, peer, router.clone(), app.clone(), connections.watcher())),
                Err(error) => {
                    // Out of file descriptors, most likely: the connections in hand will free some.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stopped.cancelled() => break,
        };
    }
    let end = Instant::now() + GRACE;
    for (stream, peer) in connected(listener)? {
        spawn(converse(stream, peer, router.clone(), app.clone(), connections.watcher()));
    }
    // Closed at once, a connection would swallow a request that its client has sent and nobody has read.
    sleep(UNDER_WAY).await;
    if timeout_at(end, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    if timeout_at(end, tasks).await.is_err() {
        tracing::warn!("the tasks in hand did not end in time; they are run after the next start, or on another node");
    }
    Ok(())
}

/// Closes the door; whoever had connected before is inside.
fn connected(listener: TcpListener) -> std::io::Result<Vec<(TcpStream, SocketAddr)>> {
    let listener = listener.into_std()?;
    let mut inside = Vec::new();
    while let Ok((stream, peer)) = listener.accept() {
        stream.set_nonblocking(true)?;
        inside.push((TcpStream::from_std(stream)?, peer));
    }
    Ok(inside)
}

/// Answers the requests of one connection, until it ends or nothing more is heard of it.
async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, app: App, watcher: Watcher) {
    // Answers are small and should go at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (router, app) = (router.clone(), app.clone());
        async move {
            let mut response = router.oneshot(request.map(Body::new)).await?;
            if app.stopping.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    // That a client goes away in the middle is nothing to tell of.
    let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
}

/// Reads the open jobs into the market; changes that arrive meanwhile are told apart by their version.
pub async fn fill(store: &Store, market: &Market) -> Result<(), StoreError> {
    let places = store.job_places(JobList::Queued, None, i64::MAX).await?;
    stream::iter(places)
        .map(|place| store.job(place.job))
        .buffered(8)
        .try_for_each(|job| {
            if let Some(job) = job {
                market.changed(&Arc::new(job));
            }
            std::future::ready(Ok(()))
        })
        .await
}

#[expect(clippy::disallowed_methods, reason = "the one place where the server starts what runs beside requests")]
fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}
