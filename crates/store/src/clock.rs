//! The clock that every decision is made by; one that tests move by hand stands beside the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clawrk_domain::Timestamp;

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The database's time where nodes share one, else this machine's.
    System,
    /// A time that stands still until it is moved.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands still at the given time.
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.micros())))
    }

    /// The time by this machine, or by hand.
    pub fn now(&self) -> Timestamp {
        self.by_hand().unwrap_or_else(system_time)
    }

    /// The time, if it is moved by hand.
    pub fn by_hand(&self) -> Option<Timestamp> {
        match self {
            Self::System => None,
            Self::Manual(micros) => Some(Timestamp::from_micros(micros.load(Ordering::SeqCst))),
        }
    }

    /// Moves a manual clock forward by so many seconds; the system's clock is left alone.
    pub fn advance(&self, seconds: i64) {
        if let Self::Manual(micros) = self {
            micros.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the exchange reads the clock")]
fn system_time() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}
