//! How much of what is done at once is whose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use clawrk_domain::UserId;

/// How much each user has in hand.
#[derive(Debug, Default)]
pub(super) struct InHand(Arc<Mutex<HashMap<UserId, usize>>>);

/// One of what a user has in hand, until it is dropped.
#[derive(Debug)]
pub(crate) struct One {
    user: UserId,
    all: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl InHand {
    /// One more.
    pub(super) fn add(&self, user: UserId) -> One {
        *lock(&self.0).entry(user).or_default() += 1;
        One { user, all: Arc::clone(&self.0) }
    }

    /// One more, if the user has fewer than `most`.
    pub(super) fn add_below(&self, user: UserId, most: usize) -> Option<One> {
        let mut all = lock(&self.0);
        let count = all.entry(user).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(One { user, all: Arc::clone(&self.0) })
    }

    /// The users who have at least so many.
    pub(super) fn with(&self, least: usize) -> Vec<UserId> {
        lock(&self.0).iter().filter(|(_, count)| **count >= least).map(|(user, _)| *user).collect()
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(count) = all.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.user);
            }
        }
    }
}

fn lock(all: &Mutex<HashMap<UserId, usize>>) -> MutexGuard<'_, HashMap<UserId, usize>> {
    all.lock().expect("nothing panics while it is held")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_had_again_and_nobody_is_remembered() {
        let [ada, bob] = [1, 2].map(|n| UserId(uuid::Uuid::from_u128(n)));
        let all = InHand::default();
        let (one, two) = (all.add_below(ada, 2).unwrap(), all.add(ada));
        assert!(all.add_below(ada, 2).is_none());
        let other = all.add_below(bob, 2).unwrap();
        assert_eq!(all.with(2), [ada]);
        drop(one);
        assert_eq!(all.with(2), []);
        let again = all.add_below(ada, 2).unwrap();
        drop((two, other, again));
        assert!(lock(&all.0).is_empty());
    }
}
