//! Who is on the database: servers and commands together, or a change of the secret alone.
//!
//! Every connection holds one advisory lock, shared, from its beginning to its end; the one connection by which a change
//! of the secret writes holds it alone. So nobody seals under the old secret meanwhile, not even a node that is stuck. A
//! node whose connections were all cut while the secret changed finds another seal than the one it started under, and
//! gets no connection ever again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, HookError};
use tokio_postgres::Client;

use crate::sql;

/// The advisory lock: "clawkey" in ASCII.
const PRESENCE: i64 = 0x63_6c_61_77_6b_65_79;
/// How often it is asked for: whoever ended a moment ago may not be gone yet.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Who else has it.
const OTHERS: &str = "SELECT coalesce(string_agg(DISTINCT a.application_name, ', '), '')
     FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.pid <> pg_backend_pid()
       AND (l.classid::bigint << 32 | l.objid::bigint) = $1 AND a.datname = current_database()";

/// How a connection is on the database.
#[derive(Clone)]
pub(super) enum Presence {
    /// Beside others, as long as the seal is the one that the node started under, once it has.
    Beside(Arc<OnceLock<Vec<u8>>>),
    /// Beside nobody.
    Alone,
    /// It only reads, for one that is alone.
    Reading,
}

impl Presence {
    /// Lets a new connection in, or says why not.
    pub(super) async fn enter(&self, client: &ClientWrapper) -> Result<(), HookError> {
        match self {
            Self::Reading => Ok(()),
            Self::Alone => {
                if has(client, "SELECT pg_try_advisory_lock($1)").await? {
                    return Ok(());
                }
                let row = client.query_one(OTHERS, &[&PRESENCE]).await.map_err(HookError::Backend)?;
                let names: String = row.try_get(0).map_err(HookError::Backend)?;
                Err(HookError::message(format!(
                    "servers or commands are on the database (by the names of their connections: {names}), and would \
                     go on sealing with the old secret_key: stop every one of them first"
                )))
            }
            Self::Beside(seal) => {
                if !has(client, "SELECT pg_try_advisory_lock_shared($1)").await? {
                    return Err(HookError::message(
                        "the secret_key is being changed by `clawrk admin rotate-secret`: wait until that is done",
                    ));
                }
                let Some(seal) = seal.get() else { return Ok(()) };
                // By a statement of its own, which sees all that was done before the lock.
                let row = client.query_opt(sql::SEAL, &[]).await.map_err(HookError::Backend)?;
                let kept = row.map(|row| row.try_get::<_, Vec<u8>>(0)).transpose().map_err(HookError::Backend)?;
                if kept.as_ref() == Some(seal) {
                    return Ok(());
                }
                Err(HookError::message(
                    "the secret_key was changed since this server started: restart it with the new one",
                ))
            }
        }
    }
}

/// Asks for the lock, for a while.
async fn has(client: &Client, ask: &str) -> Result<bool, HookError> {
    for tried in 0..TRIES {
        if tried > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let row = client.query_one(ask, &[&PRESENCE]).await.map_err(HookError::Backend)?;
        if row.try_get(0).map_err(HookError::Backend)? {
            return Ok(true);
        }
    }
    Ok(false)
}
