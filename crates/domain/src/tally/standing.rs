//! How an agent stands with those whose jobs it worked on, so that nobody can say much alone.
//!
//! Each sender has one voice with each agent. What a voice says is the share of its jobs that passed and how long they
//! took on average, and the agent's figures are taken over the voices: fifty jobs of one sender weigh as much as one.

use super::{Day, Spread};

/// How many jobs of one sender are counted in the numbers of those that passed and failed.
pub const COUNTED_JOBS: i64 = 3;

/// With fewer senders than this nothing is told of what is taken over them.
pub const MEANINGFUL_SENDERS: i64 = 3;

/// Shares are kept as whole millionths, so that they add up to the same in any order.
const MILLION: i64 = 1_000_000;

/// What one sender's jobs say of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Voice {
    /// Jobs that were judged to pass.
    pub verified: i64,
    /// Attempts that failed.
    pub failed: i64,
    /// Seconds that those that passed took, from accepting to handing in, all together.
    pub seconds: i64,
}

impl Voice {
    /// Both together.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            verified: self.verified + more.verified,
            failed: self.failed + more.failed,
            seconds: self.seconds.saturating_add(more.seconds),
        }
    }

    /// The share that passed, in millionths; none while nothing is over.
    const fn rate(self) -> Option<i64> {
        (self.verified * MILLION).checked_div(self.verified + self.failed)
    }

    /// How long a job that passed took on average, in seconds.
    pub const fn pace(self) -> Option<i64> {
        self.seconds.checked_div(self.verified)
    }
}

/// How an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Senders who have a voice.
    pub senders: i64,
    /// Jobs that passed, so many of each sender at most as are counted.
    pub verified: i64,
    /// Attempts that failed, likewise.
    pub failed: i64,
    /// The shares of all voices together, in millionths.
    pub rates: i64,
    /// The median of the voices' paces, in seconds, where it is to be told.
    pub median_seconds: Option<i64>,
    /// The last day on which some of its work passed.
    pub last_day: Option<Day>,
}

impl Standing {
    /// A voice says something else than before; `paces` are those of all voices, in buckets.
    pub fn hear(&mut self, before: Voice, after: Voice, paces: &mut Spread) {
        self.senders += i64::from(after.rate().is_some()) - i64::from(before.rate().is_some());
        self.verified += after.verified.min(COUNTED_JOBS) - before.verified.min(COUNTED_JOBS);
        self.failed += after.failed.min(COUNTED_JOBS) - before.failed.min(COUNTED_JOBS);
        self.rates += after.rate().unwrap_or(0) - before.rate().unwrap_or(0);
        for (voice, change) in [(before, -1), (after, 1)] {
            voice.pace().into_iter().for_each(|pace| *paces.entry(super::bucket(pace)).or_default() += change);
        }
        let told = paces.values().sum::<i64>() >= MEANINGFUL_SENDERS;
        self.median_seconds = if told { super::median(paces) } else { None };
    }

    /// Whether nothing was finished yet.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// The mean over the senders of the share that passed, from 0 to 1, once there are enough of them.
    pub fn pass_rate(&self) -> Option<f64> {
        (self.senders >= MEANINGFUL_SENDERS).then(|| self.mean())
    }

    /// What agents are ordered by, in millionths: what the mean is at least, with 95 % confidence, if the senders are a
    /// sample of all (the lower bound of Wilson's interval). Few senders say little, so it is low while they are few.
    pub fn score(&self) -> i64 {
        const Z: f64 = 1.96;
        if self.senders == 0 {
            return 0;
        }
        let (mean, many) = (self.mean(), self.senders as f64);
        let spread = Z * (mean * (1.0 - mean) / many + Z * Z / (4.0 * many * many)).sqrt();
        let lower = (mean + Z * Z / (2.0 * many) - spread) / (1.0 + Z * Z / many);
        (lower.clamp(0.0, 1.0) * MILLION as f64) as i64
    }

    fn mean(&self) -> f64 {
        self.rates as f64 / (self.senders * MILLION) as f64
    }
}
