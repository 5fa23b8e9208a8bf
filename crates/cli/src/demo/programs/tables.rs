//! The Bookkeeper's programs for tables: adding up by group, joining two CSV files, regrouping a JSON array.

use std::collections::BTreeMap;

use super::fences::{Fence, fences, prose, prose_as_typed, says_all};

/// A CSV file in memory; every row has as many cells as the header.
pub(super) struct Table {
    /// The column names, trimmed.
    pub(super) header: Vec<String>,
    /// The rows below the header.
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads CSV, separated by commas or, if the header has them, semicolons; `None` when it isn't a proper table with rows.
    pub(super) fn read(csv_text: &str) -> Option<Self> {
        let delimiter = if csv_text.lines().next()?.contains(';') { b';' } else { b',' };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(csv_text.as_bytes());
        let header: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
        let rows: Vec<Vec<String>> =
            reader.records().map(|row| Some(row.ok()?.iter().map(str::to_owned).collect())).collect::<Option<_>>()?;
        (header.len() > 1 && !rows.is_empty()).then_some(Self { header, rows })
    }

    /// The position of a column, ignoring case.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.header.iter().position(|h| h.to_lowercase() == name)
    }
}

/// How amounts and labels are written in the language of the prompt.
struct Wording {
    per: &'static [&'static str],
    decimal: char,
    unit: &'static str,
    total: &'static str,
    budget: &'static str,
    rest: &'static str,
}

const ENGLISH: Wording =
    Wording { per: &["per", "by"], decimal: '.', unit: "", total: "TOTAL", budget: "budget of ", rest: "LEFT" };
const GERMAN: Wording =
    Wording { per: &["je", "pro"], decimal: ',', unit: " €", total: "Gesamt", budget: "budget von ", rest: "Rest" };

impl Wording {
    /// An amount in cents; `None` when the text is no amount with two decimals.
    fn cents(&self, text: &str) -> Option<i64> {
        let (whole, cents) = text.trim().rsplit_once(self.decimal)?;
        let negative = whole.starts_with('-');
        let digits: String = whole.chars().filter(char::is_ascii_digit).chain(cents.chars()).collect();
        let well_formed = whole.trim_start_matches('-').chars().all(|c| c.is_ascii_digit() || ".,' ".contains(c));
        if !well_formed || cents.len() != 2 || digits.len() > 14 {
            return None;
        }
        let amount: i64 = digits.parse().ok()?;
        Some(if negative { -amount } else { amount })
    }

    fn amount(&self, cents: i64) -> String {
        let sign = if cents < 0 { "-" } else { "" };
        let cents = cents.unsigned_abs();
        format!("{sign}{}{}{:02}{}", cents / 100, self.decimal, cents % 100, self.unit)
    }
}

/// Adds up a column of amounts for each value of another: per customer in English, je Kategorie auf Deutsch.
pub(super) fn total_by_group(prompt: &str) -> Option<String> {
    let ask = prose(prompt);
    let wording = if says_all(&ask, &["add up", "total"]) {
        ENGLISH
    } else if says_all(&ask, &["summe", "gesamt"]) {
        GERMAN
    } else {
        return None;
    };
    let [block] = fences(prompt).try_into().ok()?;
    let Fence { body, .. } = block;
    let table = Table::read(&body)?;
    let group = grouping_column(&table, &ask, wording.per)?;
    let amounts = amount_column(&table, &ask, &wording)?;
    let filter = row_filter(&table, &ask);
    let mut totals: BTreeMap<String, i64> = BTreeMap::new();
    for row in &table.rows {
        if filter.as_ref().is_none_or(|(column, wanted)| row[*column].to_lowercase() == *wanted) {
            let total = totals.entry(row[group].clone()).or_default();
            *total = total.checked_add(wording.cents(&row[amounts])?)?;
        }
    }
    let sum = totals.values().try_fold(0_i64, |sum, total| sum.checked_add(*total))?;
    let mut totals: Vec<(String, i64)> = totals.into_iter().collect();
    if ask.contains("largest total first") {
        totals.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
    } else {
        totals.sort_by_key(|(name, _)| alphabetical(name));
    }
    let mut lines: Vec<String> =
        totals.iter().map(|(name, total)| format!("{name}: {}", wording.amount(*total))).collect();
    lines.push(format!("{}: {}", wording.total, wording.amount(sum)));
    if let Some((_, after)) = ask.split_once(wording.budget) {
        let budget = wording.cents(after.split_whitespace().next()?)?;
        lines.push(format!("{}: {}", wording.rest, wording.amount(budget.checked_sub(sum)?)));
    }
    Some(lines.join("\n"))
}

/// The column named right after "per".
fn grouping_column(table: &Table, ask: &str, per: &[&str]) -> Option<usize> {
    let words: Vec<&str> = ask.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
    words.windows(2).filter(|pair| per.contains(&pair[0])).find_map(|pair| table.column(pair[1]))
}

/// The column that holds amounts in every row; where several do, the one the prompt names.
fn amount_column(table: &Table, ask: &str, wording: &Wording) -> Option<usize> {
    let holds_amounts = |column: &usize| table.rows.iter().all(|row| wording.cents(&row[*column]).is_some());
    let candidates: Vec<usize> = (0..table.header.len()).filter(holds_amounts).collect();
    match candidates.as_slice() {
        [only] => Some(*only),
        several => several.iter().copied().find(|c| ask.contains(&table.header[*c].to_lowercase())),
    }
}

/// The condition "whose status is open", as a column and the value wanted there.
fn row_filter(table: &Table, ask: &str) -> Option<(usize, String)> {
    table.header.iter().enumerate().find_map(|(column, name)| {
        let (_, after) = ask.split_once(&format!("whose {} is ", name.to_lowercase()))?;
        let wanted = after.split_whitespace().next()?.trim_matches(|c: char| !c.is_alphanumeric());
        Some((column, wanted.to_owned()))
    })
}

/// A key that sorts umlauts with their base letters.
fn alphabetical(name: &str) -> String {
    name.to_lowercase().replace('ä', "a").replace('ö', "o").replace('ü', "u").replace('ß', "ss")
}

/// Joins two CSV files on the column they share and answers with the columns asked for, in the order of the first file.
pub(super) fn join_on_key(prompt: &str) -> Option<String> {
    let ask = prose_as_typed(prompt);
    if !ask.to_lowercase().contains("join the ") {
        return None;
    }
    let [left, right] = fences(prompt).try_into().ok()?;
    let (left, right) = (Table::read(&left.body)?, Table::read(&right.body)?);
    let (left_key, right_key) = left.header.iter().enumerate().find_map(|(i, name)| Some((i, right.column(name)?)))?;
    let wanted: Vec<&str> = ask.split('`').skip(1).step_by(2).find(|code| code.contains(','))?.split(',').collect();
    let by_key: BTreeMap<&str, &Vec<String>> = right.rows.iter().map(|row| (row[right_key].as_str(), row)).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&wanted).ok()?;
    for row in &left.rows {
        let partner = by_key.get(row[left_key].as_str());
        let cells: Option<Vec<&str>> = wanted
            .iter()
            .map(|name| match (left.column(name), right.column(name)) {
                (Some(column), _) => Some(row[column].as_str()),
                (None, Some(column)) => Some(partner.map_or("", |partner| partner[column].as_str())),
                (None, None) => None,
            })
            .collect();
        writer.write_record(cells?).ok()?;
    }
    let csv_text = String::from_utf8(writer.into_inner().ok()?).ok()?;
    Some(csv_text.trim_end().to_owned())
}

/// Regroups a JSON array of records into an object of objects of sums, as in "warehouse → sku → total qty".
pub(super) fn regroup_json(prompt: &str) -> Option<String> {
    let ask = prose_as_typed(prompt);
    if !says_all(&ask.to_lowercase(), &["json", "object", "→"]) {
        return None;
    }
    let steps: Vec<&str> = ask.split('→').collect();
    let [before, inner, after] = steps.as_slice() else {
        return None;
    };
    let outer = before.split_whitespace().last()?;
    let inner = inner.trim();
    let value = after.split(['.', ',', ';']).next()?.split_whitespace().last()?;
    let [block] = fences(prompt).try_into().ok()?;
    let records: Vec<serde_json::Value> = serde_json::from_str(&block.body).ok()?;
    let mut grouped: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for record in &records {
        let group = grouped.entry(record.get(outer)?.as_str()?).or_default();
        let sum = group.entry(record.get(inner)?.as_str()?).or_default();
        *sum = sum.checked_add(record.get(value)?.as_i64()?)?;
    }
    serde_json::to_string_pretty(&grouped).ok()
}
