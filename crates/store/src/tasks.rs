//! What is written besides commands: leases of tasks, budgets, the seal, and the end of what is no longer needed.

use clawrk_domain::verification::LogLine;
use clawrk_domain::{JobId, Lease, TaskKind, Timestamp, UserId};

use crate::submit::receipt_horizon;
use crate::tx::{Lock, Step, Tx};
use crate::writes::{Statement, log_lines};
use crate::{Due, Reply, StoreError, row, sql};

/// Leases tasks that are due. A task may be leased again when its lease ran out; the token tells whose it is.
pub(crate) async fn take_due(tx: &mut impl Tx, due: Due, limit: u32, lease_seconds: i64) -> Result<Reply, StoreError> {
    let now = tx.look(Vec::new()).await?.now;
    let until = now.plus_seconds(lease_seconds);
    let read = match due {
        Due::Timers => Step::Read(sql::DUE_TIMERS, vec![now.into(), limit.into()]),
        Due::AtStripe => Step::Read(sql::DUE_AT_STRIPE, vec![now.into(), limit.into()]),
        Due::Looks { at, overdue_seconds, but_of: [one, other] } => {
            let (kind, before) = (TaskKind::Verify(at).as_str(), now.plus_seconds(-overdue_seconds));
            let mut values = vec![kind.into(), before.into(), now.into()];
            if (one, other) == (None, None) {
                values.push(limit.into());
                Step::Read(sql::DUE_LOOKS, values)
            } else {
                values.extend([one.into(), other.into(), limit.into()]);
                Step::Read(sql::DUE_LOOKS_OF_OTHERS, values)
            }
        }
    };
    let due = tx.look(vec![read]).await?.rows(0);
    let due = due.iter().map(row::task).collect::<Result<Vec<_>, _>>()?;
    // Whoever has a task in hand is not waited for.
    let tries = due.iter().flat_map(|(task, _)| {
        let place = vec![task.kind.as_str().into(), task.subject.into()];
        [Step::Lock(Lock::Task(task.kind, task.subject)), Step::Read(sql::LEASE, place)]
    });
    let mut found = tx.look(tries.collect()).await?;
    let mut leases = Vec::new();
    for (at, (task, token)) in due.into_iter().enumerate() {
        let locked = found.row(2 * at).is_some();
        let is_current = found.row(2 * at + 1).is_some_and(|row| row.int(1).is_ok_and(|now| now == token));
        if !(locked && is_current) {
            continue;
        }
        let values = vec![until.into(), task.kind.as_str().into(), task.subject.into(), token.into()];
        tx.execute(vec![Statement { sql: sql::LEASE_TASK, values, one_row: true }]).await?;
        leases.push(Lease { task, token: token + 1 });
    }
    Ok(Reply::Leases(leases))
}

/// Ends all leases: whoever had one is gone.
pub(crate) async fn end_leases(tx: &mut impl Tx) -> Result<Reply, StoreError> {
    tx.execute(vec![Statement { sql: sql::END_LEASES, values: Vec::new(), one_row: false }]).await?;
    Ok(Reply::Done)
}

/// Keeps a task that is one's own for so many seconds from now on.
pub(crate) async fn renew(tx: &mut impl Tx, lease: &Lease, seconds: i64) -> Result<Reply, StoreError> {
    let Lease { task, token } = *lease;
    let (now, is_current) = is_current(tx, lease).await?;
    if is_current {
        let place = [task.kind.as_str().into(), task.subject.into(), task.due_at.into(), token.into()];
        let values = [now.plus_seconds(seconds).into()].into_iter().chain(place).collect();
        // Whoever takes it in this very moment gives it another token.
        tx.execute(vec![Statement { sql: sql::RENEW_LEASE, values, one_row: false }]).await?;
    }
    Ok(Reply::IsCurrent(is_current))
}

/// Goes on with a log, if the task is still one's own.
pub(crate) async fn log(tx: &mut impl Tx, lease: &Lease, attempt: u32, lines: &[LogLine]) -> Result<Reply, StoreError> {
    let (_, is_current) = is_current(tx, lease).await?;
    if let (true, Some(job)) = (is_current, lease.task.job()) {
        let last = log_end(tx, job, attempt).await?;
        tx.execute(log_lines(job, attempt, last, lines).collect()).await?;
    }
    Ok(Reply::IsCurrent(is_current))
}

/// The last line of a log; 0 where there is none.
pub(crate) async fn log_end(tx: &mut impl Tx, job: JobId, attempt: u32) -> Result<i64, StoreError> {
    let mut found = tx.look(vec![Step::Read(sql::LOG_END, vec![job.into(), attempt.into()])]).await?;
    found.row(0).map_or(Ok(0), |row| row.int(0))
}

/// The time, and whether a lease is its task's current one.
async fn is_current(tx: &mut impl Tx, lease: &Lease) -> Result<(Timestamp, bool), StoreError> {
    let Lease { task, token } = *lease;
    let place = vec![task.kind.as_str().into(), task.subject.into()];
    let mut found = tx.look(vec![Step::Read(sql::LEASE, place)]).await?;
    let current = found.row(0).map(|row| Ok::<_, StoreError>((row.time(0)?, row.int(1)?))).transpose()?;
    Ok((found.now, current == Some((task.due_at, token))))
}

/// Takes one of what a user may have of something on this day, if there is one left.
pub(crate) async fn spend(tx: &mut impl Tx, user: UserId, what: &str, limit: u32) -> Result<Reply, StoreError> {
    let day = day(tx.look(Vec::new()).await?.now);
    let budget = vec![user.into(), day.into(), what.into()];
    // Written first: whoever else takes one waits for the row, and what is read then is one's own place in the line.
    let values = budget.iter().cloned().chain([limit.into()]).collect();
    tx.execute(vec![Statement { sql: sql::SPEND, values, one_row: true }]).await?;
    let spent = tx.look(vec![Step::Read(sql::SPENT, budget)]).await?.row(0);
    let spent = spent.ok_or_else(|| StoreError::Corrupt("no budget".to_owned()))?.int(0)?;
    Ok(Reply::Spent(spent <= i64::from(limit)))
}

/// Days since 1970-01-01, UTC.
const fn day(now: Timestamp) -> i64 {
    now.micros().div_euclid(86_400_000_000)
}

/// Forgets answers that were kept for longer than a day, and budgets of days that are over.
pub(crate) async fn drop_old_receipts(tx: &mut impl Tx) -> Result<Reply, StoreError> {
    let now = tx.look(Vec::new()).await?.now;
    let drop = |sql, before| Statement { sql, values: vec![before], one_row: false };
    let receipts = drop(sql::DROP_RECEIPTS, receipt_horizon(now).into());
    tx.execute(vec![receipts, drop(sql::DROP_BUDGETS, day(now).into())]).await?;
    Ok(Reply::Done)
}

/// Drops files from before a time that no job names; which they were.
pub(crate) async fn drop_unused_uploads(
    tx: &mut impl Tx,
    older_than_seconds: i64,
    limit: u32,
) -> Result<Reply, StoreError> {
    let before = tx.look(Vec::new()).await?.now.plus_seconds(-older_than_seconds);
    let read = Step::Read(sql::UNUSED_UPLOADS, vec![before.into(), limit.into()]);
    let unused = tx.look(vec![read]).await?.rows(0);
    let unused = unused.iter().map(|row| Ok((row.upload(0)?, row.user(1)?))).collect::<Result<Vec<_>, StoreError>>()?;
    // Somebody may just be naming one in a job: with its lock it is asked again.
    let looks = unused.iter().flat_map(|(file, owner)| {
        let own = Step::Locked(&sql::OWN_UPLOAD, vec![(*file).into(), (*owner).into()]);
        [own, Step::Read(sql::UPLOAD_IN_USE, vec![(*file).into()])]
    });
    let mut found = tx.look(looks.collect()).await?;
    let mut dropped = Vec::new();
    for (at, (file, _)) in unused.into_iter().enumerate() {
        if found.row(2 * at).is_some() && found.row(2 * at + 1).is_none() {
            tx.execute(vec![Statement { sql: sql::DELETE_UPLOAD, values: vec![file.into()], one_row: true }]).await?;
            dropped.push(file);
        }
    }
    Ok(Reply::Uploads(dropped))
}

/// Keeps the seal if there is none yet; the one that is kept.
pub(crate) async fn seal(tx: &mut impl Tx, fresh: &[u8]) -> Result<Reply, StoreError> {
    tx.execute(vec![Statement { sql: sql::KEEP_SEAL, values: vec![fresh.into()], one_row: false }]).await?;
    let kept = tx.look(vec![Step::Read(sql::SEAL, Vec::new())]).await?.row(0);
    let kept = kept.ok_or_else(|| StoreError::Corrupt("no seal".to_owned()))?;
    Ok(Reply::Seal(kept.bytes(0)?.to_owned()))
}
