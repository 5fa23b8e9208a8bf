//! Counting: what happened to jobs is summed up a moment later, on every node.
//!
//! The store tells of every job that changed, here or elsewhere; they gather here and are counted a few at a time, so
//! that nobody who pays waits long for it. Whoever died before it counted is made up for by a walk over all jobs, which
//! begins when the server does. A job that is counted twice counts once: see the store's `tally.rs`.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use clawrk_domain::JobId;
use clawrk_store::{Store, StoreError};
use tokio::time::sleep;

use crate::App;
use crate::error::causes;

/// Jobs that are counted in one transaction.
const BATCH: usize = 32;
/// Jobs that the walk looks through at once.
const STRIDE: u32 = 500;
/// Jobs that may wait; when there are more, the walk finds them again.
const MOST: usize = 200_000;
/// Between two rounds: what happened is counted within a second.
const REST: Duration = Duration::from_millis(400);
/// Between two strides of the walk, so that it is no burden.
const BREATH: Duration = Duration::from_millis(5);

/// The jobs that may have something to be counted.
#[derive(Debug)]
pub(crate) struct ToCount(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    jobs: BTreeSet<JobId>,
    walk: Walk,
    /// How often there were too many.
    overflows: u64,
}

/// How far the walk over all jobs has come.
#[derive(Debug, Clone, Copy)]
enum Walk {
    Behind(Option<JobId>),
    Over,
}

impl Default for ToCount {
    fn default() -> Self {
        Self(Mutex::new(Waiting { jobs: BTreeSet::new(), walk: Walk::Behind(None), overflows: 0 }))
    }
}

impl ToCount {
    /// Something happened to these jobs.
    pub(crate) fn note(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut waiting = self.waiting();
        waiting.jobs.extend(jobs);
        if waiting.jobs.len() > MOST {
            let overflows = waiting.overflows + 1;
            *waiting = Waiting { jobs: BTreeSet::new(), walk: Walk::Behind(None), overflows };
        }
    }

    fn take(&self) -> Vec<JobId> {
        let mut waiting = self.waiting();
        std::iter::from_fn(|| waiting.jobs.pop_first()).take(BATCH).collect()
    }

    /// Goes on with the walk; whether there was anywhere to go.
    async fn walk(&self, store: &Store) -> Result<bool, StoreError> {
        let (walk, overflows) = {
            let waiting = self.waiting();
            (waiting.walk, waiting.overflows)
        };
        let Walk::Behind(after) = walk else { return Ok(false) };
        let found = store.uncounted(after, STRIDE).await?;
        let mut waiting = self.waiting();
        // Otherwise it has begun anew meanwhile.
        if waiting.overflows == overflows {
            waiting.walk = found.next.map_or(Walk::Over, |last| Walk::Behind(Some(last)));
            waiting.jobs.extend(found.jobs);
        }
        Ok(true)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

/// Counts until the app stops.
pub async fn run(app: App) {
    while !app.stopping.is_cancelled() {
        if let Err(error) = settle(&app).await {
            tracing::warn!(cause = causes(&error), "what happened to jobs could not be counted; trying again");
        }
        tokio::select! {
            () = sleep(REST) => {}
            () = app.stopping.cancelled() => {}
        }
    }
}

/// Counts all that is known to have happened, or until the app stops.
pub async fn settle(app: &App) -> Result<(), StoreError> {
    while !app.stopping.is_cancelled() {
        let jobs = app.to_count.take();
        if jobs.is_empty() {
            if !app.to_count.walk(&app.store).await? {
                return Ok(());
            }
            sleep(BREATH).await;
            continue;
        }
        count(app, &jobs).await?;
        app.stats.forget();
    }
    Ok(())
}

/// Counts these jobs. One that cannot be counted keeps no other from it.
async fn count(app: &App, jobs: &[JobId]) -> Result<(), StoreError> {
    match app.store.count(jobs.to_vec()).await {
        Ok(left) => app.to_count.note(left),
        Err(error) if error.is_unavailable() => {
            app.to_count.note(jobs.iter().copied());
            return Err(error);
        }
        Err(error) if jobs.len() == 1 => {
            tracing::error!(cause = causes(&error), job = %jobs[0], "what happened to a job cannot be counted");
        }
        Err(_) => {
            for job in jobs {
                Box::pin(count(app, &[*job])).await?;
            }
        }
    }
    Ok(())
}
