//! A lease on what takes a while: kept as long as somebody works on it, so that another node takes over soon after the
//! death of this one.

use std::time::Duration;

use clawrk_domain::Lease;
use tokio::time::{MissedTickBehavior, interval};

use crate::App;

/// How long a lease lasts: another node takes over so long after the death of this one.
pub(crate) const LEASE_SECONDS: i64 = 10;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// What comes of something while the lease is one's own; none once it is not.
pub(crate) async fn while_leased<T>(app: &App, lease: Lease, doing: impl Future<Output = T>) -> Option<T> {
    let mut doing = std::pin::pin!(doing);
    let mut renew = interval(RENEW_EVERY);
    renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is now.
    renew.reset();
    loop {
        tokio::select! {
            done = &mut doing => return Some(done),
            _ = renew.tick() => {
                if app.store.renew(lease, LEASE_SECONDS).await.is_ok_and(|is_mine| !is_mine) {
                    return None;
                }
            }
        }
    }
}
