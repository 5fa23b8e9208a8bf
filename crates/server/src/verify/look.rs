//! One look at a submission, from the lease to the report.
//!
//! | Phase  | What happens                                                                                    |
//! |--------|-------------------------------------------------------------------------------------------------|
//! | read   | the job; a lease that is about something else by now is handed to the store, which clears it away |
//! | look   | with what the look takes; meanwhile the lease is kept and the log is written down as it grows     |
//! | report | once, and again until the store has taken it or another verifier has the task                    |
//!
//! Whoever loses the lease stops: the sandbox is ended, the model's answer is not waited for, nothing is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use clawrk_domain::verification::{Found, Looking, Looks, Stage};
use clawrk_domain::{Job, JobId, Lease, State, Submission};
use clawrk_store::StoreError;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::log::Log;
use super::scrub::Scrubber;
use super::subject::Subject;
use crate::App;
use crate::error::causes;
use crate::tasks::lease::{LEASE_SECONDS, while_leased};

/// How often the log is written down while the look goes on.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Before a report is made again that the store did not take.
const REPORT_AGAIN: Duration = Duration::from_millis(500);

/// Looks at the submission that a lease is about, and reports what was found.
pub(crate) async fn look(app: &App, lease: Lease) -> Result<(), StoreError> {
    let Some(about) = lease.task.job() else { return app.exchange.run(lease).await };
    let job = app.store.job(about).await?;
    let Some((job, submission, looking)) = job.as_ref().and_then(|job| current(job, lease)) else {
        return app.exchange.run(lease).await;
    };
    let variables = app.vault.open_env(job.brief.sealed_env.as_deref());
    let log = Log::new(variables.as_ref().map(Scrubber::new).unwrap_or_default(), app.store.clock().clone());
    let look = async {
        match &variables {
            Ok(variables) => find(app, job, submission, looking, variables, &log).await,
            Err(error) => Found::Trouble { problem: error.to_string(), pause_seconds: None },
        }
    };
    let Some(found) = kept(app, lease, (about, job.attempt_count), &log, look).await else { return Ok(()) };
    report(app, lease, found, &log).await;
    [Looks::Checks, Looks::Commands, Looks::Criteria].into_iter().for_each(|at| app.verifiers.nudge(at));
    app.verifiers.followers.tell(job.id);
    Ok(())
}

/// What the lease is about, if it still is.
fn current(job: &Job, lease: Lease) -> Option<(&Job, &Submission, &Looking)> {
    match &job.state {
        State::Submitted(_, submission, Stage::Looking(looking)) if job.timer() == Some(lease.task) => {
            Some((job, submission, looking))
        }
        _ => None,
    }
}

/// What is found about a job's submission.
async fn find(
    app: &App,
    job: &Job,
    submission: &Submission,
    looking: &Looking,
    variables: &BTreeMap<String, String>,
    log: &Log,
) -> Found {
    if looking.tries > 0 {
        log.status(&format!("Looked at again: try {}", looking.tries + 1));
    }
    let brief = &*job.brief;
    let subject = Subject {
        asked: Some(brief),
        checks: &brief.checks,
        criteria: &brief.criteria,
        submission,
        attachments: &brief.attachments,
        variables,
        price_cents: job.price.0,
    };
    match looking.at {
        Looks::Checks | Looks::Commands => subject.checked(app, log).await,
        Looks::Criteria => subject.judged(app, log).await,
    }
}

/// What comes of a look while the lease is one's own; none once it is not, or when the server stops.
async fn kept(
    app: &App,
    lease: Lease,
    (job, attempt): (JobId, u32),
    log: &Log,
    look: impl Future<Output = Found>,
) -> Option<Found> {
    let told = async {
        let mut look = std::pin::pin!(look);
        let mut tell = interval(TELL_EVERY);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is now.
        tell.reset();
        loop {
            tokio::select! {
                found = &mut look => return Some(found),
                _ = tell.tick() => {
                    let lines = log.take();
                    // What is not written down for want of a database is not worth stopping for.
                    if !lines.is_empty() && app.store.log(lease, attempt, lines).await.is_ok_and(|is_mine| !is_mine) {
                        return None;
                    }
                    app.verifiers.followers.tell(job);
                }
            }
        }
    };
    tokio::select! {
        found = while_leased(app, lease, told) => found.flatten(),
        () = app.stopping.cancelled() => {
            // Another node may have it at once.
            if let Err(error) = app.store.renew(lease, 0).await {
                tracing::warn!(cause = causes(&error), "a verification's lease was not given back");
            }
            None
        }
    }
}

/// Reports what was found, until the store has taken it.
async fn report(app: &App, lease: Lease, found: Found, log: &Log) {
    let lines = log.take();
    loop {
        match app.exchange.report(lease, found.clone(), lines.clone()).await {
            Ok(()) => return,
            Err(error) if error.is_unavailable() => {
                tracing::warn!(cause = causes(&error), job = %lease.task.subject, "a finding could not be reported; trying again");
            }
            Err(error) => {
                tracing::error!(cause = causes(&error), job = %lease.task.subject, "a finding cannot be reported");
                return;
            }
        }
        tokio::select! {
            () = sleep(REPORT_AGAIN) => {}
            () = app.stopping.cancelled() => return,
        }
        // The lease may have run out meanwhile, and nobody else may have come.
        let _ = app.store.renew(lease, LEASE_SECONDS).await;
    }
}
