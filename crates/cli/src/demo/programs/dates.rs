//! The Timekeeper's programs: deadlines in working days, birthdays, and logs by the hour.
//! The only dates they know are the prompt's own.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::{Span, ToSpan};

use super::fences::{between, fences, prose, says_all};
use super::tables::Table;

/// More rows or days than this are no honest answer to a prompt that fits in 32,000 characters.
const AT_MOST: usize = 20_000;

/// Finds the last working day of each term, stepping over weekends and the holidays the sender lists.
pub(super) fn working_day_deadlines(prompt: &str) -> Option<String> {
    let ask = prose(prompt);
    if !says_all(&ask, &["working days", "public holidays", "`case,due,weekday`"]) {
        return None;
    }
    let holidays = dates_in(&ask);
    let [block] = fences(prompt).try_into().ok()?;
    let table = Table::read(&block.body)?;
    let case = table.column("case")?;
    let received = table.column("received")?;
    let term = table.column("working_days")?;
    let mut lines = vec!["case,due,weekday".to_owned()];
    for row in &table.rows {
        let days: usize = row[term].parse().ok().filter(|days| (1..=AT_MOST).contains(days))?;
        let due = after_working_days(row[received].parse().ok()?, days, &holidays)?;
        if row[case].contains([',', '"']) {
            return None;
        }
        lines.push(format!("{},{due},{}", row[case], due.strftime("%A")));
    }
    Some(lines.join("\n"))
}

/// The dates written as YYYY-MM-DD.
fn dates_in(text: &str) -> BTreeSet<Date> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '-')).filter_map(|word| word.parse().ok()).collect()
}

fn after_working_days(start: Date, days: usize, holidays: &BTreeSet<Date>) -> Option<Date> {
    let mut day = start;
    let mut left = days;
    while left > 0 {
        day = day.tomorrow().ok()?;
        let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        if !weekend && !holidays.contains(&day) {
            left -= 1;
        }
    }
    Some(day)
}

/// Lists ages on a given day, and the next birthday of each person with its ISO week, soonest first.
pub(super) fn next_birthdays(prompt: &str) -> Option<String> {
    let ask = prose(prompt);
    if !says_all(&ask, &["how old", "next birthday", "iso week", "markdown table"]) {
        return None;
    }
    let today = long_date(&ask)?;
    let [block] = fences(prompt).try_into().ok()?;
    let table = Table::read(&block.body)?;
    let (name, born) = (table.column("name")?, table.column("born")?);
    let mut members = Vec::new();
    for row in &table.rows {
        let birth: Date = row[born].parse().ok()?;
        if birth > today {
            return None;
        }
        let this_year = birthday_in(birth, today.year());
        let next = if this_year >= today { this_year } else { birthday_in(birth, today.year().checked_add(1)?) };
        let age = today.year() - birth.year() - i16::from(this_year > today);
        members.push((next, row[name].replace('|', "\\|"), age));
    }
    members.sort();
    let mut lines = vec!["| name | age | next birthday | ISO week |".to_owned(), "|---|---|---|---|".to_owned()];
    for (next, name, age) in members {
        let week = next.iso_week_date();
        lines.push(format!("| {name} | {age} | {next} | {}-W{:02} |", week.year(), week.week()));
    }
    Some(lines.join("\n"))
}

/// The birthday in that year; 29 February becomes 1 March where there is none.
fn birthday_in(birth: Date, year: i16) -> Date {
    Date::new(year, birth.month(), birth.day()).unwrap_or_else(|_| date(year.clamp(1, 9998), 3, 1))
}

/// The first date written like "1 September 2026".
fn long_date(text: &str) -> Option<Date> {
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    // The years 1 to 9000 leave room for the next birthday and its ISO week.
    words
        .windows(3)
        .filter_map(|window| Date::strptime("%d %B %Y", window.join(" ")).ok())
        .find(|found| (1..9000).contains(&found.year()))
}

/// One line of an access log.
struct Entry<'a> {
    at: &'a str,
    hour: DateTime,
    is_error: bool,
    duration_ms: u64,
}

impl<'a> Entry<'a> {
    /// Reads "2026-03-02T08:14:07Z LEVEL … 912ms".
    fn read(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (at, level, duration) = (words.first()?, words.get(1)?, words.last()?);
        let moment: DateTime = at.strip_suffix('Z')?.parse().ok()?;
        Some(Self {
            at,
            hour: moment.date().at(moment.hour(), 0, 0, 0),
            is_error: *level == "ERROR",
            duration_ms: duration.strip_suffix("ms")?.parse().ok()?,
        })
    }
}

/// Counts a log's lines and errors by the hour, and finds the error rate and the slowest request.
pub(super) fn summarize_log(prompt: &str) -> Option<String> {
    let ask = prose(prompt);
    if !says_all(&ask, &["log", "one row per hour", "error rate:", "slowest:"])
        || between(&ask, "`hour`", "`errors`").is_none()
    {
        return None;
    }
    let [block] = fences(prompt).try_into().ok()?;
    let entries: Vec<Entry<'_>> =
        block.body.lines().filter(|line| !line.trim().is_empty()).map(Entry::read).collect::<Option<_>>()?;
    let last = entries.iter().map(|entry| entry.hour).max()?;
    let mut hour = entries.iter().map(|entry| entry.hour).min()?;
    let one_hour: Span = 1.hour();
    let mut lines = vec!["| hour | lines | errors |".to_owned(), "|---|---|---|".to_owned()];
    while hour <= last {
        if lines.len() > AT_MOST {
            return None;
        }
        let in_hour = entries.iter().filter(|entry| entry.hour == hour);
        let errors = in_hour.clone().filter(|entry| entry.is_error).count();
        lines.push(format!("| {} | {} | {errors} |", hour.strftime("%Y-%m-%d %H:%M"), in_hour.count()));
        hour = hour.checked_add(one_hour).ok()?;
    }
    let errors = entries.iter().filter(|entry| entry.is_error).count();
    let per_mille = (errors * 2000 + entries.len()) / (entries.len() * 2);
    // The first of several equally slow ones.
    let slowest =
        entries.iter().reduce(|best, entry| if entry.duration_ms > best.duration_ms { entry } else { best })?;
    lines.push(String::new());
    lines.push(format!("error rate: {}.{} %", per_mille / 10, per_mille % 10));
    lines.push(format!("slowest: {} ms at {}", slowest.duration_ms, slowest.at));
    Some(lines.join("\n"))
}
