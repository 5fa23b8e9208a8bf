//! How fast the exchange is, beside anchors that are measured in the same run: `just bench`.
//!
//! The real binary serves from its own process; this one makes the load. Both share the machine, as the anchors do, so
//! only the ratios mean something elsewhere.

#![expect(clippy::disallowed_methods, reason = "a load generator reads the clock and starts its clients itself")]

mod anchor;
mod growth;
mod load;
mod matching;
mod place;
mod rows;
mod timing;

use std::io::IsTerminal;

use comfy_table::{CellAlignment, presets};

/// As in the binary, so that the engine's rows and the anchors have what the product has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What was measured for one row of the table.
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    /// Operations per second.
    pub(crate) ours: f64,
    /// 99 of 100 operations took no longer, in milliseconds.
    pub(crate) p99_ms: f64,
    /// What it is compared with, and how many operations per second that does.
    pub(crate) anchor: (&'static str, f64),
    /// The ratio that is aimed for.
    pub(crate) aim: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("the machine has threads");
    if let Some("--serve-anchor") = arguments.first().map(String::as_str) {
        return runtime.block_on(anchor::serve());
    }
    // A name stands for its row, or for all rows that begin with it.
    let wanted =
        |row: &str| arguments.is_empty() || arguments.iter().any(|argument| row.starts_with(argument.as_str()));
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING).set_header(["what", "ours/s", "p99 ms", "anchor", "anchor/s", "ratio", "aim"]);
    let progress = |text: &str| {
        if std::io::stderr().is_terminal() {
            eprintln!("{text} …");
        }
    };
    for (name, row) in rows::ALL {
        if !wanted(name) {
            continue;
        }
        progress(name);
        let found = match runtime.block_on(row()) {
            Ok(found) => found,
            Err(why) => {
                println!("{name} is {why}");
                continue;
            }
        };
        let (anchor, anchors) = found.anchor;
        table.add_row([
            found.what.to_owned(),
            format!("{:.0}", found.ours),
            format!("{:.1}", found.p99_ms),
            anchor.to_owned(),
            format!("{anchors:.0}"),
            format!("{:.2}", found.ours / anchors),
            format!("≥ {:.2}", found.aim),
        ]);
    }
    for column in [1, 2, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if !table.is_empty() {
        println!("{table}");
    }
    if wanted("timing") {
        progress("timing");
        println!("\n{}", runtime.block_on(timing::table()));
    }
    if wanted("matching-engine") {
        progress("matching-engine");
        println!("\n{}", matching::engine());
    }
    if wanted("matching-pulls") {
        progress("matching-pulls");
        println!("\n{}", runtime.block_on(matching::pulls()));
    }
    if wanted("growth") {
        progress("growth");
        println!("\n{}", runtime.block_on(growth::table()));
    }
    if wanted("open-jobs") {
        progress("open-jobs");
        println!("\n{}", runtime.block_on(growth::open_jobs()));
    }
}
