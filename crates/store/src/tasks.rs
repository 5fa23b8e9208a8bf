//! What is written besides commands: leases of tasks, the seal, and the end of what is no longer needed.

use clawrk_domain::Lease;

use crate::submit::receipt_horizon;
use crate::tx::{Lock, Step, Tx};
use crate::writes::Statement;
use crate::{Reply, StoreError, row, sql};

/// Leases tasks that are due. A task may be leased again when its lease ran out; the token tells whose it is.
pub(crate) async fn take_due(tx: &mut impl Tx, limit: u32, lease_seconds: i64) -> Result<Reply, StoreError> {
    let now = tx.look(Vec::new()).await?.now;
    let until = now.plus_seconds(lease_seconds);
    let due = tx.look(vec![Step::Read(sql::DUE_TASKS, vec![now.into(), limit.into()])]).await?.rows(0);
    let due = due.iter().map(row::task).collect::<Result<Vec<_>, _>>()?;
    // Whoever has a task in hand is not waited for.
    let tries = due.iter().flat_map(|(task, _)| {
        let place = vec![task.kind.as_str().into(), task.job.into()];
        [Step::Lock(Lock::Task(task.kind, task.job)), Step::Read(sql::LEASE, place)]
    });
    let mut found = tx.look(tries.collect()).await?;
    let mut leases = Vec::new();
    for (at, (task, token)) in due.into_iter().enumerate() {
        let locked = found.row(2 * at).is_some();
        let is_current = found.row(2 * at + 1).is_some_and(|row| row.int(1).is_ok_and(|now| now == token));
        if !(locked && is_current) {
            continue;
        }
        let values = vec![until.into(), task.kind.as_str().into(), task.job.into(), token.into()];
        tx.execute(vec![Statement { sql: sql::LEASE_TASK, values, one_row: true }]).await?;
        leases.push(Lease { task, token: token + 1 });
    }
    Ok(Reply::Leases(leases))
}

/// Forgets answers that were kept for longer than a day.
pub(crate) async fn drop_old_receipts(tx: &mut impl Tx) -> Result<Reply, StoreError> {
    let horizon = receipt_horizon(tx.look(Vec::new()).await?.now);
    tx.execute(vec![Statement { sql: sql::DROP_RECEIPTS, values: vec![horizon.into()], one_row: false }]).await?;
    Ok(Reply::Done)
}

/// Keeps the seal if there is none yet; the one that is kept.
pub(crate) async fn seal(tx: &mut impl Tx, fresh: &[u8]) -> Result<Reply, StoreError> {
    tx.execute(vec![Statement { sql: sql::KEEP_SEAL, values: vec![fresh.into()], one_row: false }]).await?;
    let kept = tx.look(vec![Step::Read(sql::SEAL, Vec::new())]).await?.row(0);
    let kept = kept.ok_or_else(|| StoreError::Corrupt("no seal".to_owned()))?;
    Ok(Reply::Seal(kept.bytes(0)?.to_owned()))
}
