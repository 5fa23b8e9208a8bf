//! A running server: fill the market, listen, run the tasks, and stop without losing anything.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use clawrk_domain::JobId;
use clawrk_store::{JobList, StoreError};
use futures_util::future::join3;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::edge::{self, Connections};
use crate::tasks::{comparing, counting, paying, runner, sweeping, verifying};
use crate::{App, meaning, rates, router, telemetry};

/// Requests and tasks in hand have this long to end after the stop.
const GRACE: Duration = Duration::from_secs(8);

/// Open jobs that are read together at the start.
const CHUNK: usize = 500;
/// Of them, those that the market takes in at once.
const TOGETHER: usize = 50;

/// Requests that are on their way when the stop comes have this long to arrive.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// Begins what takes a while and what somebody will need: whoever needs it first would have to wait for it.
pub fn prepare(app: &App) {
    let app = app.clone();
    spawn(async move {
        tokio::select! {
            () = app.commands.find_out() => {}
            () = app.stopping.cancelled() => {}
        }
    });
}

/// Serves until `stop` resolves, then finishes what is in hand.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let tasks = spawn(runner::run(app.clone()));
    let sums = spawn(telemetry::sum_up_regularly());
    let counts = spawn(rates::nodes::tell(app.clone()));
    spawn(counting::run(app.clone()));
    spawn(sweeping::run(app.clone()));
    let comparisons = spawn(comparing::run(app.clone()));
    let verifiers = spawn(verifying::run(app.clone()));
    let desk = spawn(paying::run(app.clone()));
    let meanings = spawn(meaning::run(app.clone()));
    let stopping = app.stopping.clone();
    let stopped = stopping.clone();
    spawn(async move {
        stop.await;
        tracing::info!("stopping: no new requests, finishing those in hand");
        stopping.cancel();
    });
    let (router, watched) = (router(app.clone()), GracefulShutdown::new());
    let connections = Connections::new(&app.limits);
    let admit = |(stream, peer): (TcpStream, SocketAddr)| {
        let Some(place) = connections.admit(peer.ip()) else { return edge::turn_away(stream) };
        let conversation = edge::converse(stream, peer, app.clone(), router.clone(), watched.watcher());
        spawn(async move {
            conversation.await;
            drop(place);
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped.cancelled() => break,
        };
        match accepted {
            Ok(connection) => admit(connection),
            // The client went away again before it was its turn.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of file descriptors, most likely: the connections in hand will free some.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let end = Instant::now() + GRACE;
    connected(listener)?.into_iter().for_each(admit);
    // Closed at once, a connection would swallow a request that its client has sent and nobody has read.
    sleep(UNDER_WAY).await;
    if timeout_at(end, watched.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    sums.abort();
    counts.abort();
    meanings.abort();
    comparisons.abort();
    if timeout_at(end, join3(tasks, verifiers, desk)).await.is_err() {
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

/// Reads the open jobs into the market; changes that arrive meanwhile are told apart by their version.
pub async fn fill(app: &App) -> Result<(), StoreError> {
    let places = app.store.job_places(JobList::Queued, None, i64::MAX).await?;
    let ids: Vec<JobId> = places.into_iter().map(|place| place.job).collect();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let take_in = |ids: &[JobId]| {
        let (app, ids) = (app.clone(), ids.to_vec());
        // To read their words takes longest, and every core can help.
        spawn(async move {
            let jobs: Vec<_> = app.store.jobs(&ids).await?.into_iter().map(Arc::new).collect();
            // Whoever is served already waits for no more than a few at once.
            jobs.chunks(TOGETHER).for_each(|jobs| app.market.changed(jobs));
            Ok::<_, StoreError>(())
        })
    };
    let chunks = stream::iter(ids.chunks(CHUNK)).map(take_in).buffer_unordered(cores + 1);
    chunks.map(|end| end.expect("nothing panics over a job that was stored")).try_collect().await
}

#[expect(clippy::disallowed_methods, reason = "the one place where the server starts what runs beside requests")]
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}
