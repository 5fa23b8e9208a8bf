//! The checks of answers about time. They keep their own calendar: a day is its number since 1970-01-01.

use super::{Asked, Outcome, Rows, csv_cells, ensure, labeled, shown};

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A date that exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    year: i64,
    month: i64,
    day: i64,
}

impl Day {
    /// Reads YYYY-MM-DD, ten characters, nothing else.
    fn read(text: &str) -> Option<Self> {
        let shape = text.len() == 10 && text.bytes().enumerate().all(|(i, b)| (i == 4 || i == 7) == (b == b'-'));
        let mut parts = text.split('-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        (shape && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day)).then_some(Self {
            year,
            month,
            day,
        })
    }

    /// Days since 1970-01-01, counting years from March so that the leap day comes last.
    fn number(self) -> i64 {
        let shifted = self.month < 3;
        let (year, month) = if shifted { (self.year - 1, self.month + 9) } else { (self.year, self.month - 3) };
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        year * 365 + leap_days + (month * 153 + 2) / 5 + self.day - 1 - 719_468
    }

    /// The number that its digits make, 20260901.
    fn digits(self) -> i64 {
        self.year * 10_000 + self.month * 100 + self.day
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0 for Monday to 6 for Sunday; 1970-01-01 was a Thursday.
fn weekday(day_number: i64) -> usize {
    usize::try_from((day_number + 3).rem_euclid(7)).unwrap_or(0)
}

/// Counts the working days between receipt and each deadline.
pub(super) fn deadlines(asked: &Asked<'_>, output: &str) -> Outcome {
    let (_, after) = asked.text.split_once("public holidays this").ok_or("My prompt lists no holidays.")?;
    let before_data = after.split("```").next().unwrap_or_default();
    let holidays: Vec<i64> = before_data
        .split(|c: char| !(c.is_ascii_digit() || c == '-'))
        .filter_map(|word| Day::read(word).map(Day::number))
        .collect();
    let works = |day: i64| weekday(day) < 5 && !holidays.contains(&day);
    let cases = Rows::read(asked.block(0)?, ',');
    let mut lines = output.lines();
    ensure(lines.next() == Some("case,due,weekday"), || "The header is not the one I asked for.".to_owned())?;
    for row in 0..cases.rows.len() {
        let case = cases.cell(row, "case");
        let line = lines.next().ok_or_else(|| format!("Case {case} is missing."))?;
        let cells = csv_cells(line, ',');
        let [said_case, due, day_name] = cells.as_slice() else {
            return Err(format!("{} hasn't three fields.", shown(line)));
        };
        ensure(said_case == case, || format!("Case {case} is wanted here, not {}.", shown(said_case)))?;
        let due = Day::read(due).ok_or_else(|| format!("{} is not a date.", shown(due)))?.number();
        let received = Day::read(cases.cell(row, "received")).ok_or("A date of mine can't be read.")?.number();
        ensure(works(due), || format!("The deadline of {case} is not a working day."))?;
        ensure((received..received + 100_000).contains(&due), || format!("The deadline of {case} is out of reach."))?;
        let worked = (received + 1..=due).filter(|day| works(*day)).count();
        ensure(worked.to_string() == cases.cell(row, "working_days"), || {
            format!("{case} would have {worked} working days until then.")
        })?;
        ensure(day_name == WEEKDAYS[weekday(due)], || format!("{case} is not due on a {}.", shown(day_name)))?;
    }
    ensure(lines.next().is_none(), || "There are lines after the last case.".to_owned())?;
    Ok(format!("All {} deadlines are working days with exactly the days allowed.", cases.rows.len()))
}

/// The cells of a Markdown table, below the header asked for.
fn markdown_rows<'a>(lines: &[&'a str], header: &[&str]) -> Result<Vec<Vec<&'a str>>, String> {
    let mut rows = Vec::new();
    for line in lines {
        let inside = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
        let inside = inside.ok_or_else(|| format!("{} is not a row of a Markdown table.", shown(line)))?;
        let cells: Vec<&str> = inside.split('|').map(str::trim).collect();
        ensure(cells.len() == header.len(), || format!("{} hasn't {} columns.", shown(line), header.len()))?;
        rows.push(cells);
    }
    let is_rule = |cells: &Vec<&str>| cells.iter().all(|cell| cell.len() > 2 && cell.chars().all(|c| "-:".contains(c)));
    ensure(rows.first().is_some_and(|cells| cells == header), || {
        "The columns are not the ones I asked for.".to_owned()
    })?;
    ensure(rows.get(1).is_some_and(is_rule), || "The line under the table's header is missing.".to_owned())?;
    Ok(rows.split_off(2))
}

/// Checks age, birthday and week of each member.
pub(super) fn birthdays(asked: &Asked<'_>, output: &str) -> Outcome {
    let today = spelled_out(&asked.text).ok_or("My prompt names no day.")?;
    let members = Rows::read(asked.block(0)?, ',');
    let lines: Vec<&str> = output.lines().collect();
    let rows = markdown_rows(&lines, &["name", "age", "next birthday", "ISO week"])?;
    ensure(rows.len() == members.rows.len(), || {
        format!("{} members wanted, {} listed.", members.rows.len(), rows.len())
    })?;
    let mut last = today;
    for cells in &rows {
        let name = cells[0];
        let row = (0..members.rows.len()).find(|row| members.cell(*row, "name") == name);
        let row = row.ok_or_else(|| format!("{} is not a member.", shown(name)))?;
        ensure(rows.iter().filter(|other| other[0] == name).count() == 1, || {
            format!("{} is there twice.", shown(name))
        })?;
        let born = Day::read(members.cell(row, "born")).ok_or("A date of mine can't be read.")?;
        let next = Day::read(cells[2]).ok_or_else(|| format!("{} is not a date.", shown(cells[2])))?;
        // Written as one number, two dates differ by ten thousand for every full year between them.
        let age = (today.digits() - born.digits()) / 10_000;
        ensure(cells[1] == age.to_string(), || format!("{name} is {age} on that day, not {}.", shown(cells[1])))?;
        let leaps_over = (born.month, born.day) == (2, 29) && !is_leap(next.year);
        let due = if leaps_over { (3, 1) } else { (born.month, born.day) };
        ensure((next.month, next.day) == due, || format!("{} is not the birthday of {name}.", shown(cells[2])))?;
        let within_a_year = next >= today && next.digits() < today.digits() + 10_000;
        ensure(within_a_year, || format!("{} is not the next birthday of {name}.", shown(cells[2])))?;
        ensure(next >= last, || format!("{name} is listed out of order."))?;
        ensure(cells[3] == iso_week(next), || {
            format!("The week of {name} is {}, not {}.", iso_week(next), shown(cells[3]))
        })?;
        last = next;
    }
    Ok(format!("All {} members, with the right age, birthday and week, soonest first.", rows.len()))
}

/// The ISO week: the one its Thursday belongs to, counted in that Thursday's year.
fn iso_week(day: Day) -> String {
    let number = day.number();
    let from_monday = i64::try_from(weekday(number)).unwrap_or(0);
    let thursday = number - from_monday + 3;
    let new_year = |year| Day { year, month: 1, day: 1 }.number();
    let year = (day.year - 1..=day.year + 1).rev().find(|year| new_year(*year) <= thursday).unwrap_or(day.year);
    format!("{year}-W{:02}", (thursday - new_year(year)) / 7 + 1)
}

/// The first date written as "1 september 2026".
fn spelled_out(text: &str) -> Option<Day> {
    let words: Vec<&str> = text.split(' ').collect();
    words.windows(3).find_map(|window| {
        let month = MONTHS.iter().position(|month| *month == window[1])?;
        let year = window[2].trim_matches(|c: char| !c.is_ascii_digit());
        Day::read(&format!("{year:0>4}-{:02}-{:0>2}", month + 1, window[0]))
    })
}

/// Recounts the log by the beginnings of its lines.
pub(super) fn log_summary(asked: &Asked<'_>, output: &str) -> Outcome {
    let log: Vec<&str> = asked.block(0)?.lines().collect();
    let (table, notes) = output.split_once("\n\n").ok_or("The empty line after the table is missing.")?;
    let table: Vec<&str> = table.lines().collect();
    let rows = markdown_rows(&table, &["hour", "lines", "errors"])?;
    let mut counted = 0;
    let mut hours = Vec::new();
    for cells in &rows {
        let (day, hour) = cells[0].split_once(' ').unwrap_or_default();
        let hour = hour.strip_suffix(":00").filter(|hour| hour.len() == 2).unwrap_or_default();
        let number = Day::read(day).zip(hour.parse::<i64>().ok()).map(|(day, hour)| day.number() * 24 + hour);
        hours.push(number.ok_or_else(|| format!("{} is not an hour as I write it.", shown(cells[0])))?);
        let start = format!("{day}T{hour}:");
        let lines: Vec<&&str> = log.iter().filter(|line| line.starts_with(&start)).collect();
        let errors = lines.iter().filter(|line| line.contains(" ERROR ")).count();
        ensure(cells[1] == lines.len().to_string() && cells[2] == errors.to_string(), || {
            format!("At {} I count {} lines and {errors} errors.", shown(cells[0]), lines.len())
        })?;
        counted += lines.len();
    }
    ensure(hours.windows(2).all(|pair| pair[0] + 1 == pair[1]), || "The hours are not in a row.".to_owned())?;
    let starts_and_ends = [rows.first(), rows.last()].iter().all(|row| row.is_some_and(|cells| cells[1] != "0"));
    ensure(counted == log.len() && starts_and_ends, || {
        "The table leaves out hours or goes beyond the log.".to_owned()
    })?;
    let mut notes = notes.lines();
    error_rate(&log, labeled(notes.next(), "error rate: ")?)?;
    slowest(&log, labeled(notes.next(), "slowest: ")?)?;
    ensure(notes.next().is_none(), || "There is text after the last line.".to_owned())?;
    Ok(format!("{} hours, all {counted} lines accounted for; rate and slowest request are right.", rows.len()))
}

fn error_rate(log: &[&str], said: &str) -> Result<(), String> {
    let wrong = || format!("The error rate {} is wrong.", shown(said));
    let percent = said.strip_suffix(" %").ok_or_else(wrong)?;
    let (whole, tenth) = percent.split_once('.').ok_or_else(wrong)?;
    ensure(whole.len() < 4 && tenth.len() == 1, wrong)?;
    let per_mille: usize = format!("{whole}{tenth}").parse().map_err(|_| wrong())?;
    let errors = log.iter().filter(|line| line.contains(" ERROR ")).count();
    // Right when the true rate lies from half a tenth below to just under half a tenth above.
    let (low, high) = ((per_mille * 2).saturating_sub(1) * log.len(), (per_mille * 2 + 1) * log.len());
    ensure((low..high).contains(&(errors * 2000)), wrong)
}

fn slowest(log: &[&str], said: &str) -> Result<(), String> {
    let wrong = || format!("The slowest request is not {}.", shown(said));
    let (duration, at) = said.split_once(" ms at ").ok_or_else(wrong)?;
    let longest: u64 = duration.parse().map_err(|_| wrong())?;
    let is_there =
        log.iter().any(|line| line.starts_with(&format!("{at} ")) && line.ends_with(&format!(" {duration}ms")));
    let durations = log.iter().filter_map(|line| line.rsplit(' ').next()?.strip_suffix("ms")?.parse::<u64>().ok());
    ensure(is_there && durations.max() == Some(longest), wrong)
}
