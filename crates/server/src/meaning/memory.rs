//! What texts were found to mean, lately: so many, and the one that was not asked for longest goes first.

use std::collections::{BTreeMap, HashMap};

use clawrk_domain::matching::Vector;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// A text, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// So many texts and what they mean.
pub(super) struct Memory {
    most: usize,
    known: HashMap<Key, Known>,
    /// When each was last asked for, the longest ago first.
    order: BTreeMap<u64, Key>,
    count: u64,
}

struct Known {
    /// Nothing where the model makes nothing of the text.
    meaning: Option<Vector>,
    until: Option<Instant>,
    asked: u64,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: HashMap::new(), order: BTreeMap::new(), count: 0 }
    }

    /// What a text means, if that is known.
    pub(super) fn known(&mut self, key: &Key, now: Instant) -> Option<Option<Vector>> {
        let known = self.known.get_mut(key)?;
        if known.until.is_some_and(|until| until <= now) {
            return None;
        }
        self.order.remove(&known.asked);
        self.count += 1;
        known.asked = self.count;
        self.order.insert(known.asked, *key);
        Some(known.meaning.clone())
    }

    /// Keeps what a text means, for good or until then.
    pub(super) fn keep(&mut self, key: Key, meaning: Option<Vector>, until: Option<Instant>) {
        self.count += 1;
        self.order.insert(self.count, key);
        if let Some(before) = self.known.insert(key, Known { meaning, until, asked: self.count }) {
            self.order.remove(&before.asked);
        }
        if self.known.len() > self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn vector(number: f32) -> Option<Vector> {
        Vector::new(&[1.0, number])
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let (mut memory, now) = (Memory::new(2), Instant::now());
        let [one, two, three] = ["one", "two", "three"].map(Key::of);
        memory.keep(one, vector(1.0), None);
        memory.keep(two, None, None);
        memory.keep(two, vector(2.0), None);
        assert_eq!(memory.known(&one, now), Some(vector(1.0)));
        memory.keep(three, None, None);
        let known = [one, two, three].map(|key| memory.known(&key, now));
        assert_eq!(known, [Some(vector(1.0)), None, Some(None)]);
        assert_eq!((memory.known.len(), memory.order.len()), (2, 2));
    }

    #[test]
    fn what_is_kept_for_a_time_is_known_for_that_time() {
        let (mut memory, key, now) = (Memory::new(2), Key::of("one"), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        memory.keep(key, None, Some(after(10)));
        assert_eq!((memory.known(&key, after(9)), memory.known(&key, after(10))), (Some(None), None));
        memory.keep(key, vector(1.0), None);
        assert_eq!(memory.known(&key, after(11)), Some(vector(1.0)));
    }
}
