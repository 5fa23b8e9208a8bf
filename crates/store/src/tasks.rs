//! Leasing tasks, and forgetting what is no longer needed.

use clawrk_domain::Lease;

use crate::submit::receipt_horizon;
use crate::tx::{Lock, Tx};
use crate::value::id;
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
        let place = vec![task.kind.as_str().into(), id(task.job)];
        let still = tx.query(sql::LEASE, place).await?;
        if !still.first().is_some_and(|row| row.int(1).is_ok_and(|now| now == token)) {
            continue;
        }
        let values = vec![until.into(), task.kind.as_str().into(), id(task.job), token.into()];
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
