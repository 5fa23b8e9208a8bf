//! The checks of answers about figures: totals, joined files, regrouped stock, a converted recipe.

use std::collections::BTreeMap;

use super::{Asked, Outcome, Rows, csv_cells, ensure, labeled, shown};

/// How a list of totals has to look.
struct Form {
    separator: char,
    decimal: char,
    unit: &'static str,
    group: &'static str,
    amount: &'static str,
    total_label: &'static str,
}

impl Form {
    /// An amount written exactly in this form, in cents.
    fn cents(&self, text: &str) -> Result<i64, String> {
        let wrong = || format!("{} is not an amount in the form I asked for.", shown(text));
        let number = text.strip_suffix(self.unit).ok_or_else(wrong)?;
        let digits = number.strip_prefix('-').unwrap_or(number);
        let (whole, cents) = digits.split_once(self.decimal).ok_or_else(wrong)?;
        let all_digits = |part: &str| !part.is_empty() && part.len() < 13 && part.bytes().all(|b| b.is_ascii_digit());
        ensure(all_digits(whole) && all_digits(cents) && cents.len() == 2, wrong)?;
        number.replace(self.decimal, "").parse().map_err(|_| wrong())
    }
}

/// The lines of an answer up to its total, and what follows the total.
struct Totals<'a> {
    groups: Vec<(&'a str, i64)>,
    total: i64,
    after: Vec<&'a str>,
}

/// Takes every row of the data off the totals: nothing may be left over, and the total must be their sum.
fn totals<'a>(form: &Form, rows: &Rows, counts: impl Fn(usize) -> bool, output: &'a str) -> Result<Totals<'a>, String> {
    let mut groups = Vec::new();
    let mut total = None;
    let mut after = Vec::new();
    for line in output.lines() {
        let (name, amount) = line.rsplit_once(": ").ok_or_else(|| format!("{} has no amount.", shown(line)))?;
        match total {
            Some(_) => after.push(line),
            None if name == form.total_label => total = Some(form.cents(amount)?),
            None => groups.push((name, form.cents(amount)?)),
        }
    }
    let total = total.ok_or_else(|| format!("The line {} is missing.", shown(form.total_label)))?;
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, amount) in &groups {
        ensure(left.insert(name, *amount).is_none(), || format!("{} is there twice.", shown(name)))?;
    }
    let mut seen = Vec::new();
    let unit_free = Form { unit: "", ..*form };
    for row in (0..rows.rows.len()).filter(|row| counts(*row)) {
        let name = rows.cell(row, form.group);
        let rest = left.get_mut(name).ok_or_else(|| format!("{} is missing.", shown(name)))?;
        *rest -= unit_free.cents(rows.cell(row, form.amount))?;
        seen.push(name);
    }
    for (name, rest) in &left {
        ensure(seen.contains(name), || format!("{} doesn't belong in the list.", shown(name)))?;
        ensure(*rest == 0, || format!("The amount of {} is off by {} cents.", shown(name), rest.abs()))?;
    }
    let sum: i64 = groups.iter().map(|(_, amount)| amount).sum();
    ensure(sum == total, || "The total is not the sum of the lines above it.".to_owned())?;
    Ok(Totals { groups, total, after })
}

/// Checks what each customer owes, the order and the total.
pub(super) fn open_invoices(asked: &Asked<'_>, output: &str) -> Outcome {
    let form =
        Form { separator: ',', decimal: '.', unit: "", group: "customer", amount: "amount", total_label: "TOTAL" };
    let rows = Rows::read(asked.block(0)?, form.separator);
    let found = totals(&form, &rows, |row| rows.cell(row, "status") == "open", output)?;
    let descending = found.groups.windows(2).all(|pair| pair[0].1 >= pair[1].1);
    ensure(descending, || "The largest total should come first.".to_owned())?;
    ensure(found.after.is_empty(), || "The total should be the last line.".to_owned())?;
    Ok(format!("{} customers, every open invoice counted once, and the total adds up.", found.groups.len()))
}

/// Checks the sums by category, the total and what is left of the budget.
pub(super) fn household_budget(asked: &Asked<'_>, output: &str) -> Outcome {
    let form =
        Form {
            separator: ';', decimal: ',', unit: " €", group: "Kategorie", amount: "Betrag", total_label: "Gesamt"
        };
    let rows = Rows::read(asked.block(0)?, form.separator);
    let found = totals(&form, &rows, |_| true, output)?;
    let sorted = found.groups.windows(2).all(|pair| pair[0].0 < pair[1].0);
    ensure(sorted, || "Die Kategorien stehen nicht alphabetisch.".to_owned())?;
    let (_, budget) = asked.text.split_once("budget von ").ok_or("In meinem Auftrag fehlt das Budget.")?;
    let budget = budget.split_once('€').map_or(budget, |(amount, _)| amount);
    let budget = Form { unit: "", ..form }.cents(budget.trim())?;
    let [rest] = found.after.as_slice() else {
        return Err("Nach „Gesamt“ gehört genau die Zeile „Rest“.".to_owned());
    };
    let rest = form.cents(labeled(Some(rest), "Rest: ")?)?;
    ensure(rest + found.total == budget, || "Gesamt und Rest ergeben nicht das Budget.".to_owned())?;
    Ok(format!("{} Kategorien, alle Beträge gezählt, und der Rest stimmt.", found.groups.len()))
}

/// Looks up every order's customer, cell by cell.
pub(super) fn joined_orders(asked: &Asked<'_>, output: &str) -> Outcome {
    let orders = Rows::read(asked.block(0)?, ',');
    let customers = Rows::read(asked.block(1)?, ',');
    let mut lines = output.lines();
    ensure(lines.next() == Some("order_id,name,city,total"), || "The header is not the one I asked for.".to_owned())?;
    for row in 0..orders.rows.len() {
        let id = orders.cell(row, "order_id");
        let line = lines.next().ok_or_else(|| format!("Order {id} is missing."))?;
        let key = orders.cell(row, "customer_id");
        let customer = (0..customers.rows.len()).find(|customer| customers.cell(*customer, "customer_id") == key);
        let of_customer = |column| customer.map_or("", |customer| customers.cell(customer, column));
        let wanted = [id, of_customer("name"), of_customer("city"), orders.cell(row, "total")];
        ensure(csv_cells(line, ',') == wanted, || format!("The line of order {id} is wrong: {}.", shown(line)))?;
        // Quotes are due only around a cell with a comma or a quote, and there they stand for two plus the doubled ones.
        let quotes = |cell: &str| match (cell.contains(','), cell.matches('"').count()) {
            (false, 0) => 0,
            (_, inner) => 2 + 2 * inner,
        };
        let due: usize = wanted.iter().map(|cell| quotes(cell)).sum();
        ensure(line.matches('"').count() == due, || {
            format!("The quotes in {} are not as CSV needs them.", shown(line))
        })?;
    }
    ensure(lines.next().is_none(), || "There are lines after the last order.".to_owned())?;
    Ok(format!("All {} orders in their order, each with the right customer.", orders.rows.len()))
}

/// Takes every record's quantity off the regrouped object: zero must be left everywhere.
pub(super) fn stock(asked: &Asked<'_>, output: &str) -> Outcome {
    let mut left: BTreeMap<String, BTreeMap<String, i64>> = serde_json::from_str::<serde_json::Value>(output)
        .ok()
        .and_then(two_levels)
        .ok_or("The answer is not a JSON object of objects of whole numbers.")?;
    let places: usize = left.values().map(BTreeMap::len).sum();
    let keys: Vec<&str> = output.split('"').skip(1).step_by(2).collect();
    let sorted: Vec<&str> =
        left.iter().flat_map(|(outer, inner)| std::iter::once(outer).chain(inner.keys())).map(String::as_str).collect();
    ensure(keys == sorted, || "The keys are not sorted, or one is there twice.".to_owned())?;
    let records: Vec<serde_json::Value> =
        serde_json::from_str(asked.block(0)?).map_err(|_| "My own JSON can't be read.".to_owned())?;
    let mut seen = Vec::new();
    for record in &records {
        let field = |name: &str| record.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let (warehouse, sku) = (field("warehouse"), field("sku"));
        let quantity = left.get_mut(warehouse).and_then(|group| group.get_mut(sku));
        let quantity = quantity.ok_or_else(|| format!("{} in {} is missing.", shown(sku), shown(warehouse)))?;
        *quantity = quantity.saturating_sub(record.get("qty").and_then(serde_json::Value::as_i64).unwrap_or(0));
        seen.push((warehouse, sku));
    }
    for (warehouse, group) in &left {
        for (sku, rest) in group {
            let known = seen.contains(&(warehouse.as_str(), sku.as_str()));
            ensure(known, || format!("There is no {} in {}.", shown(sku), shown(warehouse)))?;
            ensure(*rest == 0, || format!("The quantity of {} in {} is wrong.", shown(sku), shown(warehouse)))?;
        }
    }
    Ok(format!("Valid JSON, {} warehouses with {places} places of stock, every quantity adds up.", left.len()))
}

fn two_levels(value: serde_json::Value) -> Option<BTreeMap<String, BTreeMap<String, i64>>> {
    let serde_json::Value::Object(outer) = value else {
        return None;
    };
    outer
        .into_iter()
        .map(|(name, group)| {
            let serde_json::Value::Object(group) = group else {
                return None;
            };
            let group: Option<BTreeMap<String, i64>> = group.into_iter().map(|(k, v)| Some((k, v.as_i64()?))).collect();
            Some((name, group?))
        })
        .collect()
}

/// Converts every line once more in floating point and compares.
pub(super) fn recipe(asked: &Asked<'_>, output: &str) -> Outcome {
    let people: Vec<f64> = asked
        .text
        .split(" people")
        .filter_map(|before| before.rsplit(' ').next()?.parse().ok())
        .filter(|people| *people > 0.0)
        .collect();
    let [from, to] = people.as_slice() else {
        return Err("My prompt doesn't say for how many people.".to_owned());
    };
    let source: Vec<&str> = asked.block(0)?.lines().map(|line| line.trim_start_matches("- ")).collect();
    let answer: Vec<&str> = output.lines().collect();
    ensure(source.len() == answer.len(), || format!("{} lines wanted, {} given.", source.len(), answer.len()))?;
    for (line, said) in source.iter().zip(&answer) {
        let wanted = match line.strip_prefix("Oven: ").and_then(|rest| rest.strip_suffix(" °F")) {
            Some(degrees) => {
                let fahrenheit: f64 = degrees.parse().map_err(|_| "My oven temperature is no number.".to_owned())?;
                format!("Oven: {} °C", ((fahrenheit - 32.0) / 1.8).round())
            }
            None => metric(&asked.text, line, to / from),
        };
        ensure(*said == wanted, || format!("{} should be {}.", shown(said), shown(&wanted)))?;
    }
    Ok(format!("All {} lines converted and scaled right.", answer.len()))
}

fn metric(table: &str, line: &str, scale: f64) -> String {
    let start = line.find(|c: char| c.is_alphabetic()).unwrap_or(line.len());
    let (quantity, rest) = line.split_at(start);
    let amount: f64 = quantity
        .split_whitespace()
        .map(|part| match part.split_once('/') {
            Some((top, bottom)) => top.parse().unwrap_or(0.0) / bottom.parse().unwrap_or(1.0),
            None => part.parse().unwrap_or(0.0),
        })
        .sum::<f64>()
        * scale;
    // The small addition keeps a half a half, whatever floating point has made of it.
    let round = |value: f64| (value + 0.5 + 1e-9).floor();
    let (unit, name) = rest.split_once(' ').unwrap_or((rest, ""));
    let known = table.split_once(&format!(" 1 {} = ", unit.trim_end_matches('s'))).map(|(_, after)| after);
    match known.and_then(|after| after.split_once(' ')) {
        Some((factor, after)) => {
            let to = after.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            format!("{} {to} {name}", round(amount * factor.parse().unwrap_or(0.0)))
        }
        None => format!("{} {rest}", round(amount)),
    }
}
