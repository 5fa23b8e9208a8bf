//! The verifiers: lease submissions that are to be looked at, and look at them, on every node.
//!
//! What is quick never waits for what is slow: checks, commands and criteria have seats of their own. A node takes no
//! more than it has seats for; the rest waits in the database, where it costs nothing.

use std::sync::Arc;
use std::time::Duration;

use clawrk_domain::Lease;
use clawrk_domain::verification::Looks;
use clawrk_store::{Due, StoreError};
use futures_util::StreamExt;
use futures_util::future::join3;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::error::causes;
use crate::tasks::lease::LEASE_SECONDS;
use crate::verify::{One, Verifiers, look};
use crate::{App, telemetry};

/// How often a node that was not told looks for itself: for what others left, and what is due again.
const REST: Duration = Duration::from_millis(500);

/// How long a node that cannot look at something leaves it to those that can, before it says so.
const LEAVE_TO_OTHERS_SECONDS: i64 = 60;

/// Looks until the app stops.
pub async fn run(app: App) {
    join3(seated(&app, Looks::Checks), seated(&app, Looks::Commands), seated(&app, Looks::Criteria)).await;
}

async fn seated(app: &App, at: Looks) {
    let mut in_hand = FuturesUnordered::new();
    while !app.stopping.is_cancelled() {
        let taken = match take(app, at).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(cause = causes(&error), "submissions could not be taken; trying again");
                Vec::new()
            }
        };
        let took = !taken.is_empty();
        in_hand.extend(taken);
        tokio::select! {
            Some(()) = in_hand.next() => {}
            () = app.verifiers.nudged(at) => {}
            () = sleep(REST), if !took => {}
            () = app.stopping.cancelled() => {}
        }
    }
    while in_hand.next().await.is_some() {}
}

/// Leases as many as there are seats for; each is looked at when it is polled.
async fn take(app: &App, at: Looks) -> Result<Vec<impl Future<Output = ()> + use<'_>>, StoreError> {
    let mut looks = Vec::new();
    loop {
        // Where seats are shared, whose the next one may be follows from whose the last one was.
        let at_once = if Verifiers::are_shared(at) { 1 } else { usize::MAX };
        let free = std::iter::from_fn(|| Arc::clone(app.verifiers.seats(at)).try_acquire_owned().ok());
        let seats: Vec<_> = free.take(at_once).collect();
        if seats.is_empty() {
            return Ok(looks);
        }
        let leases = match leased(app, at, seats.len()).await {
            Ok(leases) => leases,
            Err(error) if looks.is_empty() => return Err(error),
            // What was taken is not left for it.
            Err(_) => return Ok(looks),
        };
        let enough = leases.len() < seats.len() || !Verifiers::are_shared(at);
        looks
            .extend(leases.into_iter().zip(seats).map(async move |((lease, _one), _seat)| match look(app, lease).await {
            Ok(()) => telemetry::task(lease.task.kind.as_str()),
            Err(error) => {
                tracing::error!(cause = causes(&error), job = %lease.task.subject, "a submission was not looked at");
            }
        }));
        if enough {
            return Ok(looks);
        }
    }
}

/// What is due, at most so many; each in its sender's share where there is one.
async fn leased(app: &App, at: Looks, limit: usize) -> Result<Vec<(Lease, Option<One>)>, StoreError> {
    let (is_shared, but_of) = (Verifiers::are_shared(at), app.verifiers.have_their_share(at));
    let due = Due::Looks { at, overdue_seconds: leaves_to_others_seconds(app, at), but_of };
    let leases = app.store.take_due_tasks(due, limit as u32, LEASE_SECONDS).await?;
    let mut shares = Vec::with_capacity(leases.len());
    for lease in leases {
        let job = match lease.task.job() {
            Some(job) if is_shared => app.store.job(job).await?,
            _ => None,
        };
        shares.push((lease, job.map(|job| app.verifiers.look_for(job.sender, at))));
    }
    Ok(shares)
}

/// For how long a look must be overdue before this node takes it: without what it takes, another one may have it.
fn leaves_to_others_seconds(app: &App, at: Looks) -> i64 {
    let can = match at {
        Looks::Checks => true,
        Looks::Commands => app.commands.are_sound(),
        Looks::Criteria => app.policy.has_judge,
    };
    if can { 0 } else { LEAVE_TO_OTHERS_SECONDS }
}

/// Looks at everything that is due now, how many there were.
pub async fn settle(app: &App) -> Result<usize, StoreError> {
    let mut count = 0;
    loop {
        let before = count;
        for at in [Looks::Checks, Looks::Commands, Looks::Criteria] {
            for looked in take(app, at).await? {
                looked.await;
                count += 1;
            }
        }
        if count == before {
            return Ok(count);
        }
    }
}
