//! Points in time, as the exchange keeps and prints them.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: microseconds since 1970-01-01 UTC, printed as RFC 3339 UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time so many microseconds after 1970-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970-01-01 UTC, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// To the minute, for people: `2025-01-01 12:00 UTC`.
    pub fn to_the_minute(self) -> String {
        let time = self.to_string();
        time.get(..16).map_or_else(|| time.clone(), |minute| format!("{} UTC", minute.replace('T', " ")))
    }

    /// This time and so many seconds more.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }
}

impl Add<std::time::Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub for Timestamp {
    type Output = std::time::Duration;

    /// The time from `rhs` to `self`, zero when `rhs` is the later one.
    fn sub(self, rhs: Self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0.saturating_sub(rhs.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.millis().saturating_mul(1000);
        let beyond = if whole < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let shown = jiff::Timestamp::from_microsecond(whole).unwrap_or(beyond);
        write!(f, "{shown:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads RFC 3339 with any offset.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("must be a time such as 2025-01-01T00:00:00.000Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_utc_with_milliseconds() {
        let time: Timestamp = "2025-01-01T02:00:00.0019999+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2025-01-01T00:00:00.001Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn prints_to_the_minute_for_people() {
        let time: Timestamp = "2025-01-01T12:34:56.789Z".parse().unwrap();
        assert_eq!(time.to_the_minute(), "2025-01-01 12:34 UTC");
    }

    #[test]
    fn keeps_its_microseconds_and_prints_in_order_beyond_the_years_that_have_names() {
        for micros in [i64::MIN, -2, 0, 7, i64::MAX] {
            assert_eq!(Timestamp::from_micros(micros).micros(), micros);
        }
        assert!(Timestamp::from_micros(i64::MIN).to_string().starts_with("-009999-"));
        assert!(Timestamp::from_micros(i64::MAX).to_string().starts_with("9999-"));
        assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn differences_never_go_below_zero() {
        let early = Timestamp::from_micros(1);
        assert_eq!(early - early.plus_seconds(1), std::time::Duration::ZERO);
        assert_eq!((early.plus_seconds(2) - early).as_secs(), 2);
    }
}
