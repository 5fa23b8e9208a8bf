//! Sweeping: files that no job has named for a day go, and so do bytes that have no row.
//!
//! A row goes before its bytes, and bytes come before their row; whoever dies in between leaves bytes alone, which are
//! found here.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::causes;
use crate::{App, Error};

/// For how long a file waits to be named, in seconds.
const UNUSED_SECONDS: i64 = 24 * 3600;
/// Files that are looked at together.
const BATCH: usize = 200;
/// Between two rounds.
const REST: Duration = Duration::from_secs(600);

/// Sweeps until the app stops.
pub async fn run(app: App) {
    while !app.stopping.is_cancelled() {
        if sweep(&app).await.is_err() {
            tracing::warn!("unused files were not swept up; trying again later");
        }
        tokio::select! {
            () = sleep(REST) => {}
            () = app.stopping.cancelled() => {}
        }
    }
}

/// Sweeps once; how many files went.
pub async fn sweep(app: &App) -> Result<usize, Error> {
    if app.files.max_bytes().is_none() {
        return Ok(0);
    }
    let mut count = 0;
    loop {
        let dropped = app.store.drop_unused_uploads(UNUSED_SECONDS, BATCH as u32).await?;
        for id in &dropped {
            app.files.delete(*id).await?;
        }
        count += dropped.len();
        if dropped.len() < BATCH || app.stopping.is_cancelled() {
            break;
        }
    }
    let now = app.store.clock().now();
    for ids in app.files.stale(now).await?.chunks(BATCH) {
        for id in app.store.unknown_uploads(ids).await? {
            app.files.delete(id).await?;
            count += 1;
        }
    }
    match app.files.drop_pieces(now).await {
        Ok(pieces) => Ok(count + pieces),
        Err(error) => {
            tracing::warn!(cause = causes(&error), "pieces of files were not swept up");
            Ok(count)
        }
    }
}
