//! A running server: fill the market, listen, run the tasks, and stop without losing anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use clawrk_store::{JobList, Store, StoreError};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::market::Market;
use crate::tasks::runner;
use crate::{App, router};

/// Requests in hand have this long to end after the stop.
const GRACE: Duration = Duration::from_secs(8);

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
                Ok((stream, peer)) => spawn(converse(stream, peer, router.clone(), connections.watcher())),
                Err(error) => {
                    // Out of file descriptors, most likely: the connections in hand will free some.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stopped.cancelled() => break,
        };
    }
    drop(listener);
    if tokio::time::timeout(GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    let _ = tasks.await;
    Ok(())
}

/// Answers the requests of one connection, until it ends or nothing more is heard of it.
async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, watcher: Watcher) {
    // Answers are small and should go at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(Body::new))
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
