//! What is sealed at rest, piece by piece, for when the key changes.
//!
//! A piece is replaced only while it is what was read, so this may go on beside servers, and be cut off and begun again
//! at any moment.

use clawrk_domain::{JobId, UserId};
use uuid::Uuid;

use crate::tx::Tx;
use crate::value::Value;
use crate::writes::Statement;
use crate::{Order, Reply, Store, StoreError, sql};

/// Where a sealed piece stands. They are gone through in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The seal of the database.
    Seal,
    /// A job's variables.
    Env(JobId),
    /// The answer that was kept for a user under a key.
    Answer(UserId, String),
}

/// A sealed piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where it stands.
    pub place: Place,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Store {
    /// The next sealed variables of jobs, behind this job's.
    pub async fn sealed_env(&self, after: Option<JobId>, limit: u32) -> Result<Vec<Sealed>, StoreError> {
        let after = after.map_or_else(|| Value::from(""), Value::from);
        let rows = self.backend.query(sql::SEALED_ENV, vec![after, limit.into()]).await?;
        let read =
            rows.iter().map(|row| Ok(Sealed { place: Place::Env(row.parsed(0)?), bytes: row.bytes(1)?.to_owned() }));
        read.collect()
    }

    /// The next kept answers, behind this user's under this key.
    pub async fn sealed_answers(&self, after: Option<(UserId, String)>, limit: u32) -> Result<Vec<Sealed>, StoreError> {
        let (user, key) =
            after.map_or_else(|| (Value::Uuid(Uuid::nil()), String::new()), |(user, key)| (user.into(), key));
        let rows = self.backend.query(sql::SEALED_ANSWERS, vec![user, key.into(), limit.into()]).await?;
        let read = rows.iter().map(|row| {
            let place = Place::Answer(row.user(0)?, row.str(1)?.to_owned());
            Ok(Sealed { place, bytes: row.bytes(2)?.to_owned() })
        });
        read.collect()
    }

    /// Replaces pieces by these bytes in one transaction, those that are still what was read.
    pub async fn reseal(&self, list: Vec<(Sealed, Vec<u8>)>) -> Result<(), StoreError> {
        self.backend.write(Order::Reseal(list)).await.map(|_| ())
    }

    /// Leaves nothing in the database's files of what was replaced: they are written anew. An error leaves all as it was.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.backend.sweep().await
    }
}

/// Replaces pieces.
pub(crate) async fn reseal(tx: &mut impl Tx, list: &[(Sealed, Vec<u8>)]) -> Result<Reply, StoreError> {
    let statement = |(old, new): &(Sealed, Vec<u8>)| {
        let (new, was) = (Value::from(new.as_slice()), Value::from(old.bytes.as_slice()));
        let (sql, values) = match &old.place {
            Place::Seal => (sql::RESEAL, vec![new, was]),
            Place::Env(job) => (sql::RESEAL_ENV, vec![new, (*job).into(), was]),
            Place::Answer(user, key) => (sql::RESEAL_ANSWER, vec![new, (*user).into(), key.as_str().into(), was]),
        };
        Statement { sql, values, one_row: false }
    };
    tx.execute(list.iter().map(statement).collect()).await?;
    Ok(Reply::Done)
}
