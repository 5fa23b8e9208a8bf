//! A running server: fill the market, listen, run the tasks, and stop without losing anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clawrk_store::{JobList, Store, StoreError};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::net::TcpListener;

use crate::market::Market;
use crate::tasks::runner;
use crate::{App, router};

/// Requests in hand have this long to end after the stop.
const GRACE: Duration = Duration::from_secs(8);

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
    let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let graceful = stopped.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { graceful.cancelled().await });
    let late = async move {
        stopped.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result?,
        () = late => tracing::warn!("some requests did not end in time"),
    }
    app.stopping.cancel();
    let _ = tasks.await;
    Ok(())
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
