//! What every request asks for, answered from memory: keys, and users' agents. Balances and jobs never are.
//!
//! An entry is filled by a read of the database and forgotten by whoever hears of a change: this process's own changes
//! after their commit and before their answer; on SQLite another process's within a tenth of a second; on PostgreSQL
//! another node's when the feed tells of it, and when the feed was not heard for a second, nothing here is believed.
//! A read that began before a change was heard of fills nothing, so an old answer never comes to stay.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use clawrk_domain::{Agent, ApiKey, KeyId, UserId, Write};

use crate::StoreError;

/// Entries of one kind, at most; beyond it all are forgotten.
const MOST: usize = 200_000;

/// Something that is remembered, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Known {
    /// A key.
    Key(KeyId),
    /// A user's living agents.
    Agents(UserId),
}

impl Known {
    /// What a write makes untrue.
    pub(crate) fn changed_by(write: &Write) -> Option<Self> {
        match write {
            Write::RevokeKey(key, _) => Some(Self::Key(*key)),
            Write::CreateAgent(agent) | Write::UpdateAgent(agent) | Write::DeleteAgent(agent, _) => {
                Some(Self::Agents(agent.owner))
            }
            _ => None,
        }
    }
}

/// What is remembered.
#[derive(Default)]
pub(crate) struct Hot {
    keys: Shelf<KeyId, ApiKey>,
    agents: Shelf<UserId, [Agent]>,
}

impl Hot {
    /// A key that was not revoked; its last use may be an older one.
    pub(crate) async fn key<F>(&self, key: KeyId, read: F) -> Result<Option<Arc<ApiKey>>, StoreError>
    where
        F: Future<Output = Result<Option<ApiKey>, StoreError>>,
    {
        self.keys.get(key, async { Ok(read.await?.map(Arc::new)) }).await
    }

    /// A user's living agents, the default one first.
    pub(crate) async fn agents<F>(&self, owner: UserId, read: F) -> Result<Arc<[Agent]>, StoreError>
    where
        F: Future<Output = Result<Vec<Agent>, StoreError>>,
    {
        // Everybody has an agent: who has none is not there, and nobody can fill the memory with such.
        let read = async { Ok(Some(read.await?).filter(|agents| !agents.is_empty()).map(Arc::from)) };
        Ok(self.agents.get(owner, read).await?.unwrap_or_else(|| Arc::from([])))
    }

    /// Something changed.
    pub(crate) fn forget(&self, known: Known) {
        match known {
            Known::Key(key) => self.keys.forget(&key),
            Known::Agents(owner) => self.agents.forget(&owner),
        }
    }

    /// Anything may have changed.
    pub(crate) fn forget_all(&self) {
        self.keys.forget_all();
        self.agents.forget_all();
    }
}

/// Entries of one kind.
struct Shelf<K, V: ?Sized> {
    entries: RwLock<HashMap<K, Arc<V>>>,
    /// How often anything was forgotten.
    forgotten: AtomicU64,
}

impl<K, V: ?Sized> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { entries: RwLock::default(), forgotten: AtomicU64::new(0) }
    }
}

impl<K: Eq + Hash, V: ?Sized> Shelf<K, V> {
    async fn get<F>(&self, name: K, read: F) -> Result<Option<Arc<V>>, StoreError>
    where
        F: Future<Output = Result<Option<Arc<V>>, StoreError>>,
    {
        if let Some(value) = self.entries.read().expect("nothing panics while it is held").get(&name) {
            return Ok(Some(Arc::clone(value)));
        }
        let before = self.forgotten.load(Ordering::SeqCst);
        let Some(value) = read.await? else { return Ok(None) };
        let mut entries = self.entries.write().expect("nothing panics while it is held");
        // Under the lock that forgetting takes too, so that nothing is forgotten between the look and the entry.
        if self.forgotten.load(Ordering::SeqCst) == before {
            if entries.len() >= MOST {
                entries.clear();
            }
            entries.insert(name, Arc::clone(&value));
        }
        Ok(Some(value))
    }

    fn forget(&self, name: &K) {
        let mut entries = self.entries.write().expect("nothing panics while it is held");
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        entries.remove(name);
    }

    fn forget_all(&self) {
        let mut entries = self.entries.write().expect("nothing panics while it is held");
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use clawrk_domain::{Ids, Scopes, Timestamp};
    use futures_util::FutureExt;

    use super::*;

    fn key() -> ApiKey {
        let created_at = Timestamp::from_micros(0);
        let user = Ids::new(1, created_at).user();
        let id = "000000000001".parse().unwrap();
        ApiKey {
            id,
            user,
            name: "x".into(),
            hash: [0; 32],
            scopes: Scopes::USER,
            created_at,
            expires_at: None,
            last_used_at: None,
        }
    }

    #[test]
    fn what_was_read_is_remembered_until_it_is_forgotten() {
        let (hot, reads) = (Hot::default(), Cell::new(0));
        let ask = || {
            let read = async {
                reads.set(reads.get() + 1);
                Ok(Some(key()))
            };
            hot.key(key().id, read).now_or_never().unwrap().unwrap().unwrap()
        };
        ask();
        ask();
        assert_eq!(reads.get(), 1);
        hot.forget(Known::Key(key().id));
        ask();
        assert_eq!(reads.get(), 2);
        hot.forget_all();
        ask();
        assert_eq!(reads.get(), 3);
    }

    #[test]
    fn a_read_that_began_before_a_change_fills_nothing() {
        let hot = Hot::default();
        let slow = async {
            hot.forget(Known::Key(key().id));
            Ok(Some(key()))
        };
        hot.key(key().id, slow).now_or_never().unwrap().unwrap();
        let gone = hot.key(key().id, async { Ok(None) }).now_or_never().unwrap().unwrap();
        assert_eq!(gone, None, "the key that was revoked meanwhile is asked for again");
    }
}
