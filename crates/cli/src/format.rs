//! Money, times and durations as people read them. Pure: the time comes in as an argument.

use std::fmt::Display;
use std::ops::RangeInclusive;

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Cents as dollars: `$12.34`, `-$0.07`.
pub(crate) fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}${}.{:02}", cents / 100, cents % 100)
}

/// A change of a balance: `+$3.50`, `-$5.00`.
pub(crate) fn change(cents: i64) -> String {
    let sign = if cents > 0 { "+" } else { "" };
    format!("{sign}{}", money(cents))
}

/// Reads an amount in dollars, such as `20.50` or `$20`, within these bounds of cents; in cents. A bare `20` could be
/// meant as cents, in which prices are given, and is refused.
pub(crate) fn parse_dollars(text: &str, bounds: &RangeInclusive<i64>) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not an amount of dollars: write it like 20.50 or $20");
    let number = text.strip_prefix('$').unwrap_or(text);
    let (whole, cents) = number.split_once('.').unwrap_or((number, "00"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(cents) || cents.len() != 2 {
        return Err(wrong());
    }
    if !text.contains(['$', '.']) {
        return Err(format!("{text} could be dollars or cents: write {text}.00 for dollars"));
    }
    // What is too long to be counted is too much.
    let amount = format!("{whole}{cents}").parse().unwrap_or(i64::MAX);
    if bounds.contains(&amount) {
        return Ok(amount);
    }
    Err(format!("it must be {} to {}", money(*bounds.start()), money(*bounds.end())))
}

/// Seconds in the two largest units that say something: `45 s`, `1 min 30 s`, `2 h`, `3 d 4 h`.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")];
    let at = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, name) = units[at];
    let whole = format!("{} {name}", seconds / size);
    match units.get(at + 1) {
        Some((next, name)) if seconds % size >= *next => format!("{whole} {} {name}", seconds % size / next),
        _ => whole,
    }
}

/// A time of the server, seen from now: `3 min ago`, `in 21 s`; a date when it is longer than 30 days.
pub(crate) fn relative(now: Timestamp, text: &str) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    let past = now.as_second() - time.as_second();
    match past {
        0..5 => "just now".to_owned(),
        _ if past.abs() > 30 * DAY => time.strftime("%Y-%m-%d").to_string(),
        _ if past > 0 => format!("{} ago", coarse(past)),
        // A few seconds are nothing in a minute: what was set to 30 days does not end in 29 at once.
        _ if past <= -MINUTE => format!("in {}", coarse(-past + 4)),
        _ => format!("in {}", coarse(-past)),
    }
}

/// Seconds in one unit.
fn coarse(seconds: i64) -> String {
    let (size, name) = match seconds {
        DAY.. => (DAY, "d"),
        HOUR.. => (HOUR, "h"),
        MINUTE.. => (MINUTE, "min"),
        _ => (1, "s"),
    };
    format!("{} {name}", seconds / size)
}

/// A time of the server to the second: `2025-01-01 12:00:00 UTC`.
pub(crate) fn exact(text: &str) -> String {
    text.parse::<Timestamp>()
        .map_or_else(|_| text.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// The time of day, UTC: `12:00:00`.
pub(crate) fn clock(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

/// Seconds from now until a time of the server; negative when it is over.
pub(crate) fn seconds_left(now: Timestamp, text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    // Rounded up, so that the last second is not shown as none.
    Some((time.as_millisecond() - now.as_millisecond() + 999).div_euclid(1000))
}

/// When something ends: `ends in 21 s`, `is over`.
pub(crate) fn ends(now: Timestamp, text: &str) -> String {
    match seconds_left(now, text) {
        Some(seconds) if seconds > 0 => format!("ends in {}", duration(seconds)),
        Some(_) => "is over".to_owned(),
        None => format!("ends at {text}"),
    }
}

/// Reads a duration such as `90s`, `15m`, `12h`, `30d` or `2w`, in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration: write a number and a unit, such as 12h or 30d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let size = match unit {
        's' => 1,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - unit.len_utf8()];
    let count: u32 = number.parse().map_err(|_| wrong())?;
    if count == 0 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok(i64::from(count) * size)
}

/// Bytes in the largest unit of which there is one: `900 bytes`, `12.5 kB`, `3.2 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, name)) => format!("{}.{} {name}", bytes / size, bytes % size * 10 / size),
        None => count(bytes, "byte"),
    }
}

/// `1 job`, `2 jobs`.
pub(crate) fn count<N: Display + From<u8> + PartialEq>(number: N, noun: &str) -> String {
    if number == N::from(1) { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn money_is_dollars_and_cents() {
        let cases = [(0, "$0.00"), (5, "$0.05"), (500, "$5.00"), (123_456, "$1234.56"), (-7, "-$0.07")];
        for (cents, text) in cases {
            assert_eq!(money(cents), text);
        }
        assert_eq!(money(i64::MIN), "-$92233720368547758.08");
        assert_eq!((change(350), change(-500), change(0)), ("+$3.50".into(), "-$5.00".into(), "$0.00".into()));
    }

    #[test]
    fn amounts_are_read_as_dollars() {
        let bounds = 500..=1_000_000;
        for (text, cents) in [("20.00", 2000), ("$20", 2000), ("20.50", 2050), ("$5", 500), ("10000.00", 1_000_000)] {
            assert_eq!(parse_dollars(text, &bounds), Ok(cents), "{text}");
        }
        for text in ["4.99", "$0", "10000.01", "$99999999999999999999"] {
            assert_eq!(parse_dollars(text, &bounds).unwrap_err(), "it must be $5.00 to $10000.00", "{text}");
        }
        assert_eq!(parse_dollars("20", &bounds).unwrap_err(), "20 could be dollars or cents: write 20.00 for dollars");
        for wrong in ["", "$", ".50", "20.", "20.5", "20.505", "-20", "+20", "20,50", "1,000", "2e1", "20 ", "€20"] {
            assert!(parse_dollars(wrong, &bounds).unwrap_err().contains("write it like 20.50 or $20"), "{wrong}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (-3, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (90, "1 min 30 s"),
            (3600, "1 h"),
            (3601, "1 h"),
            (5400, "1 h 30 min"),
            (86400, "1 d"),
            (100_000, "1 d 3 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        let cases =
            [(1, "1 byte"), (999, "999 bytes"), (1_000, "1.0 kB"), (1_999_999, "1.9 MB"), (7_250_000_000, "7.2 GB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_are_seen_from_now() {
        let now = at("2025-01-31T12:00:00Z");
        let cases = [
            ("2025-01-31T11:59:58.500Z", "just now"),
            ("2025-01-31T11:59:48Z", "12 s ago"),
            ("2025-01-31T11:57:00.000Z", "3 min ago"),
            ("2025-01-31T09:59:00Z", "2 h ago"),
            ("2025-01-26T12:00:00Z", "5 d ago"),
            ("2024-12-01T12:00:00Z", "2024-12-01"),
            ("2025-01-31T12:00:21Z", "in 21 s"),
            ("2025-02-02T00:00:00Z", "in 1 d"),
            ("2025-02-14T11:59:58Z", "in 14 d"),
            ("soon", "soon"),
        ];
        for (time, text) in cases {
            assert_eq!(relative(now, time), text);
        }
        assert_eq!(exact("2025-01-01T00:00:00.000Z"), "2025-01-01 00:00:00 UTC");
        assert_eq!(exact("never"), "never");
    }

    #[test]
    fn what_ends_says_when() {
        let now = at("2025-01-31T12:00:00.400Z");
        assert_eq!(ends(now, "2025-01-31T12:00:21Z"), "ends in 21 s");
        assert_eq!(ends(now, "2025-01-31T12:00:00.500Z"), "ends in 1 s");
        assert_eq!(ends(now, "2025-01-31T12:00:00.400Z"), "is over");
        assert_eq!(ends(now, "?"), "ends at ?");
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("30d"), Ok(30 * DAY));
        assert_eq!(parse_duration("90s"), Ok(90));
        assert_eq!(parse_duration("2w"), Ok(14 * DAY));
        for wrong in ["", "d", "30", "-1d", "+1d", "0h", "1y", "1.5h", "3é"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
