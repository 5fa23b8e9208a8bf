//! What happened to jobs, summed up: the figures of the market and of each agent.
//!
//! A [`Happening`] is one event of a job with what it takes to count it, a [`Tally`] is what many of them change. Sums
//! do not depend on the order of the jobs, so that the same history always gives the same figures, whenever and in
//! whichever pieces it is counted.
//!
//! Work on one's own job is counted among the jobs by status and as posted and cancelled, and nowhere else. What moves
//! a median or the volume is taken from jobs that were paid out, since anything less costs nothing to make up.

mod spread;
mod standing;

use std::collections::BTreeMap;
use std::fmt;

pub use spread::{Spread, bucket, median, middle};
pub use standing::{COUNTED_JOBS, MEANINGFUL_SENDERS, Standing, Voice};

use crate::{AgentId, Cents, EventKind, Status, Timestamp, UserId, Worker};

/// A day by UTC: how many days after 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    const MICROS: i64 = 24 * 3600 * 1_000_000;

    /// The day of a moment.
    pub const fn of(time: Timestamp) -> Self {
        Self(time.micros().div_euclid(Self::MICROS))
    }

    /// So many days before this one.
    #[must_use]
    pub const fn minus(self, days: i64) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = Timestamp::from_micros(self.0.saturating_mul(Self::MICROS)).to_string();
        f.write_str(midnight.split_once('T').map_or(&*midnight, |(day, _)| day))
    }
}

/// What medians are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// The price in cents of a job that was paid out.
    Price,
    /// Seconds from when such a job first waited for an agent until the first one accepted it.
    Accept,
    /// Seconds from the submission to the verdict that it passed.
    Verify,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Price, Self::Accept, Self::Verify];

    /// The measure as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Accept => "accept",
            Self::Verify => "verify",
        }
    }
}

/// One event of a job, and what it takes to count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The job's status before; none when it was made.
    pub before: Option<Status>,
    /// The job's status from then on.
    pub after: Status,
    /// Whose job it is.
    pub sender: UserId,
    /// The agent it concerns.
    pub worker: Option<Worker>,
    /// What the job pays.
    pub price: Cents,
    /// When the job first waited for an agent.
    pub queued_at: Option<Timestamp>,
    /// When the first attempt at it began.
    pub first_accepted_at: Option<Timestamp>,
    /// When the attempt that this concerns began.
    pub accepted_at: Option<Timestamp>,
    /// When that attempt handed something in.
    pub submitted_at: Option<Timestamp>,
    /// Whether it passed because nobody looked at it in time.
    pub by_silence: bool,
}

/// What is counted of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayCounts {
    /// Jobs posted.
    pub posted: i64,
    /// Attempts begun.
    pub accepted: i64,
    /// Jobs paid out.
    pub verified: i64,
    /// Jobs over after their last attempt.
    pub failed: i64,
    /// Jobs called off.
    pub cancelled: i64,
    /// Submissions that were judged to pass.
    pub passed: i64,
    /// Submissions that were judged not to pass.
    pub not_passed: i64,
    /// The prices of the jobs paid out.
    pub volume: Cents,
    /// Agents whose work last passed on this day.
    pub last_active: i64,
}

/// What many happenings change, to be added to what was counted before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many jobs more or fewer are in each status.
    pub statuses: BTreeMap<Status, i64>,
    /// What each day has more.
    pub days: BTreeMap<Day, DayCounts>,
    /// How many values more each bucket has.
    pub spreads: BTreeMap<(Day, Measure, u32), i64>,
    /// What each sender's work adds to what they say of an agent.
    pub voices: BTreeMap<(AgentId, UserId), Voice>,
    /// The agents that finished work, and the last day on which some of it passed.
    pub finished: BTreeMap<AgentId, Option<Day>>,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, happened: &Happening) {
        let day = Day::of(happened.at);
        if happened.before != Some(happened.after) {
            happened.before.into_iter().for_each(|before| *self.statuses.entry(before).or_default() -= 1);
            *self.statuses.entry(happened.after).or_default() += 1;
        }
        let counts = self.days.entry(day).or_default();
        counts.posted += i64::from(happened.kind == EventKind::Posted);
        counts.cancelled += i64::from(happened.becomes(Status::Cancelled));
        if let Some(worker) = happened.worker.filter(|worker| worker.user != happened.sender) {
            counts.accepted += i64::from(happened.kind == EventKind::Accepted);
            counts.failed += i64::from(happened.becomes(Status::Failed));
            counts.not_passed += i64::from(happened.kind == EventKind::VerificationFailed);
            self.end_of_attempt(happened, worker.agent, day);
        }
    }

    fn end_of_attempt(&mut self, happened: &Happening, agent: AgentId, day: Day) {
        let said = match happened.kind {
            EventKind::Verified => {
                self.paid_out(happened, day);
                let last = self.finished.entry(agent).or_default();
                *last = (*last).max(Some(day));
                if happened.by_silence {
                    // Nobody looked at it, so nobody says anything of it.
                    return;
                }
                Voice { verified: 1, failed: 0, seconds: seconds(happened.accepted_at, happened.submitted_at) }
            }
            // Who gives up what the sender no longer wants has not failed.
            EventKind::GaveUp | EventKind::DeadlinePassed | EventKind::VerificationFailed
                if happened.after != Status::Cancelled =>
            {
                self.finished.entry(agent).or_default();
                Voice { verified: 0, failed: 1, seconds: 0 }
            }
            _ => return,
        };
        let voice = self.voices.entry((agent, happened.sender)).or_default();
        *voice = voice.and(said);
    }

    fn paid_out(&mut self, happened: &Happening, day: Day) {
        let counts = self.days.entry(day).or_default();
        counts.verified += 1;
        counts.volume = counts.volume + happened.price;
        let mut value = |measure, value| *self.spreads.entry((day, measure, bucket(value))).or_default() += 1;
        value(Measure::Price, happened.price.0);
        value(Measure::Accept, seconds(happened.queued_at, happened.first_accepted_at));
        if !happened.by_silence {
            counts.passed += 1;
            value(Measure::Verify, seconds(happened.submitted_at, Some(happened.at)));
        }
    }
}

impl Happening {
    fn becomes(&self, status: Status) -> bool {
        self.after == status && self.before != Some(status)
    }
}

/// Whole seconds from one moment to another, none when the clock went back or a moment is not known.
fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> i64 {
    let passed = from.zip(to).map_or(0, |(from, to)| (to - from).as_secs());
    i64::try_from(passed).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
