//! Who waits for what comes next in the log of a job: told here and now, without asking the store again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use clawrk_domain::JobId;
use tokio::sync::Notify;

/// Those that follow jobs.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<HashMap<JobId, Weak<Notify>>>);

impl Followers {
    /// Follows a job: whoever is told of it between two looks is told at the next one.
    pub(crate) fn follow(&self, job: JobId) -> Arc<Notify> {
        let mut followed = self.followed();
        if let Some(notify) = followed.get(&job).and_then(Weak::upgrade) {
            return notify;
        }
        // Those that nobody follows any more go when somebody comes.
        followed.retain(|_, notify| notify.strong_count() > 0);
        let notify = Arc::new(Notify::new());
        followed.insert(job, Arc::downgrade(&notify));
        notify
    }

    /// There is something new about a job.
    pub(crate) fn tell(&self, job: JobId) {
        let follower = self.followed().get(&job).and_then(Weak::upgrade);
        if let Some(notify) = follower {
            notify.notify_waiters();
        }
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<JobId, Weak<Notify>>> {
        self.0.lock().expect("nothing panics while it is held")
    }
}
