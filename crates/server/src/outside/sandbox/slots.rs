//! Who a command runs as, and how many run at once.
//!
//! Never as root: a server that is root gives each command a user of its own, which nothing else on the machine is. A
//! server that is an ordinary user can only give its own, and the namespaces keep the commands apart.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The users of a server that is root begin here; the first is one more.
const FIRST_UID: u32 = 60_000;

/// The turns there are.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    turns: Arc<Semaphore>,
    free: Arc<Mutex<Vec<u32>>>,
    count: usize,
    root: bool,
}

impl Slots {
    /// `root`: each has a user of its own, which only root can give it.
    pub(super) fn new(count: usize, root: bool) -> Self {
        let numbers = (1..).take(count).collect();
        Self { turns: Arc::new(Semaphore::new(count)), free: Arc::new(Mutex::new(numbers)), count, root }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> Slot {
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let number = number.expect("there are as many numbers as turns");
        Slot { number, uid: self.root.then_some(FIRST_UID + number), slots: self.clone(), _turn: turn }
    }
}

/// A turn; dropped, it is given back.
#[derive(Debug)]
pub(super) struct Slot {
    number: u32,
    uid: Option<u32>,
    slots: Slots,
    _turn: OwnedSemaphorePermit,
}

impl Slot {
    /// The user to become; none to stay who we are, which is not root.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// The user a command runs as.
    pub(super) fn user(&self) -> u32 {
        self.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Fields are dropped after this: the number is back before its turn is.
        self.slots.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}
