//! What is written besides commands: leases of tasks, the seal, and the end of what is no longer needed.

use clawrk_domain::Lease;

use crate::submit::receipt_horizon;
use crate::tx::{Lock, Tx};
use crate::writes::Statement;
use crate::{Reply, StoreError, row, sql};

/// Leases tasks that are due. A task may be leased again when its lease ran out; the token tells whose it is.
pub(crate) async fn take_due(tx: &mut impl Tx, limit: u32, lease_seconds: i64) -> Result<Reply, StoreError> {
    let now = tx.now().await?;
    let until = now.plus_seconds(lease_seconds);
    let mut leases = Vec::new();
    for due in tx.query(sql::DUE_TASKS, vec![now.into(), limit.into()]).await? {
        let (task, token) = row::task(&due)?;
        if !tx.lock(Lock::Task(task.kind, task.job)).await? {
            continue;
        }
        let place = vec![task.kind.as_str().into(), task.job.into()];
        let still = tx.query(sql::LEASE, place).await?;
        if !still.first().is_some_and(|row| row.int(1).is_ok_and(|now| now == token)) {
            continue;
        }
        let values = vec![until.into(), task.kind.as_str().into(), task.job.into(), token.into()];
        tx.execute(vec![Statement { sql: sql::LEASE_TASK, values, rows: Some(1) }]).await?;
        leases.push(Lease { task, token: token + 1 });
    }
    Ok(Reply::Leases(leases))
}

/// Forgets answers that were kept for longer than a day.
pub(crate) async fn drop_old_receipts(tx: &mut impl Tx) -> Result<Reply, StoreError> {
    let horizon = receipt_horizon(tx.now().await?);
    tx.execute(vec![Statement { sql: sql::DROP_RECEIPTS, values: vec![horizon.into()], rows: None }]).await?;
    Ok(Reply::Done)
}

/// Keeps the seal if there is none yet; the one that is kept.
pub(crate) async fn seal(tx: &mut impl Tx, fresh: &[u8]) -> Result<Reply, StoreError> {
    tx.execute(vec![Statement { sql: sql::KEEP_SEAL, values: vec![fresh.into()], rows: None }]).await?;
    let kept = tx.query(sql::SEAL, Vec::new()).await?;
    let kept = kept.first().ok_or_else(|| StoreError::Corrupt("no seal".to_owned()))?;
    Ok(Reply::Seal(kept.bytes(0)?.to_owned()))
}
