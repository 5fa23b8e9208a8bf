//! Who a command runs as, and how many run at once.
//!
//! Never as root: a server that is root gives each command a user of its own, which nothing else on the machine is, the
//! commands of another server among it: the kernel counts processes by their user, and a command that starts many would
//! keep those of the other server from starting. A server that is an ordinary user can only give its own, and the
//! namespaces keep the commands apart.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, OFlags, flock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits;

/// The users of servers that are root begin here; the first is one more.
const FIRST_UID: u32 = 60_000;
/// The last one that is surely nobody's.
const LAST_UID: u32 = 65_533;
/// What the locks of blocks of users begin with.
const PREFIX: &str = "clawrk-sandbox-users.";

/// The turns there are.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    turns: Arc<Semaphore>,
    free: Arc<Mutex<Vec<u32>>>,
    count: usize,
    users: Option<Arc<Users>>,
}

/// A block of users that is this server's as long as it lives.
#[derive(Debug)]
struct Users {
    first: u32,
    _lock: File,
}

impl Users {
    /// The first block that no other server has; `parent` is the same for all servers of a machine.
    fn claim(parent: &Path) -> io::Result<Self> {
        let block = limits::SLOTS as u32;
        for first in (FIRST_UID + 1..=LAST_UID - block).step_by(limits::SLOTS) {
            let path = parent.join(format!("{PREFIX}{first}"));
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let lock = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path);
            // What somebody else has put there is left alone.
            let Ok(lock) = lock else { continue };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { first, _lock: lock });
            }
        }
        Err(io::Error::other("other servers have all users that commands may run as"))
    }
}

impl Slots {
    /// So many turns, at most eight, of a server that gives each a user of its own if it is root; `parent` is the same for
    /// all servers of a machine.
    pub(super) fn of_users(count: usize, parent: &Path) -> io::Result<Self> {
        let users = if rustix::process::geteuid().is_root() { Some(Arc::new(Users::claim(parent)?)) } else { None };
        Ok(Self { users, ..Self::of_one_user(count) })
    }

    /// So many turns, whose user somebody else chooses.
    pub(super) fn of_one_user(count: usize) -> Self {
        let free = Arc::new(Mutex::new((0..).take(count).collect()));
        Self { turns: Arc::new(Semaphore::new(count)), free, count, users: None }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> Slot {
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let number = number.expect("there are as many numbers as turns");
        Slot { number, uid: self.users.as_ref().map(|users| users.first + number), slots: self.clone(), _turn: turn }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_have_no_user_in_common_and_what_one_leaves_is_had_again() {
        let parent = tempfile::tempdir().unwrap();
        let one = Users::claim(parent.path()).unwrap();
        let other = Users::claim(parent.path()).unwrap();
        assert_eq!((one.first, other.first), (60_001, 60_009));
        drop(one);
        assert_eq!(Users::claim(parent.path()).unwrap().first, 60_001);
        std::os::unix::fs::symlink("/nowhere", parent.path().join("clawrk-sandbox-users.60017")).unwrap();
        let _again = Users::claim(parent.path()).unwrap();
        assert_eq!(Users::claim(parent.path()).unwrap().first, 60_025, "what is a link is left alone");
    }
}
