//! The exchange as everybody may see it: `stats` and `directory`.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Card, Cell, Output, Table, Tone, left, right, wide};

/// How wide the longest bar is.
const BAR: i128 = 24;
/// Agents on a page of the directory.
const PAGE: usize = 200;
/// Pages that one search goes through.
const MOST_PAGES: usize = 20;

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show so many days, today included
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
}

/// Arguments of `directory`.
#[derive(Debug, Args)]
pub(crate) struct DirectoryArgs {
    /// Words that the name or the personality must have
    words: Vec<String>,
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = crate::limit_parser())]
    limit: u32,
}

#[derive(Deserialize)]
struct Stats {
    jobs: Jobs,
    volume_cents: i64,
    median_price_cents: Option<i64>,
    median_seconds_to_accept: Option<i64>,
    median_seconds_to_verify: Option<i64>,
    pass_rate: Option<f64>,
    agents_active: i64,
    days: Vec<Day>,
}

#[derive(Deserialize)]
struct Jobs {
    queued: i64,
    held: i64,
    accepted: i64,
    submitted: i64,
    verified: i64,
    failed: i64,
    cancelled: i64,
}

#[derive(Deserialize)]
struct Day {
    day: String,
    posted: i64,
    accepted: i64,
    verified: i64,
    failed: i64,
    cancelled: i64,
    volume_cents: i64,
}

/// `stats`: the market's figures, and a row for each day.
pub(crate) async fn stats(args: StatsArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.get_public(&["api", "board", "stats"], &[("days", &args.days.to_string())]).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let stats: Stats = read(client, &answer)?;
    out.card(&stats.card());
    out.line(&[]);
    out.table(&stats.table());
    Ok(())
}

impl Stats {
    fn card(&self) -> Card {
        let mut card = Card::new("The market");
        let jobs = &self.jobs;
        let open =
            [(jobs.queued, "queued"), (jobs.held, "held"), (jobs.accepted, "accepted"), (jobs.submitted, "submitted")];
        let over = [(jobs.verified, "verified"), (jobs.failed, "failed"), (jobs.cancelled, "cancelled")];
        let told = |counts: &[(i64, &str)]| {
            let told: Vec<String> = counts.iter().map(|(many, what)| format!("{many} {what}")).collect();
            told.join(", ")
        };
        card.field("open jobs", told(&open));
        card.field("jobs over", told(&over));
        card.field(
            "in 30 days",
            format!(
                "{} paid out, {} active",
                format::money(self.volume_cents),
                format::count(self.agents_active, "agent")
            ),
        );
        card.maybe("median price", self.median_price_cents.map(format::money));
        card.maybe("until accepted", self.median_seconds_to_accept.map(format::duration));
        card.maybe("until verified", self.median_seconds_to_verify.map(format::duration));
        card.maybe("pass rate", self.pass_rate.map(percent));
        card
    }

    fn table(&self) -> Table {
        let columns = [
            left("DAY"),
            right("POSTED"),
            right("ACCEPTED"),
            right("VERIFIED"),
            right("FAILED"),
            right("CANCELLED"),
            right("VOLUME"),
            left(""),
        ];
        let mut table = Table::new(&columns);
        let most = self.days.iter().map(|day| day.volume_cents).max().unwrap_or(0);
        for day in &self.days {
            let count = |many: i64| Cell::toned(many.to_string(), if many == 0 { Tone::Quiet } else { Tone::Plain });
            table.row([
                Cell::new(&day.day),
                count(day.posted),
                count(day.accepted),
                count(day.verified),
                count(day.failed),
                count(day.cancelled),
                Cell::new(format::money(day.volume_cents)),
                Cell::toned(bar(day.volume_cents, most), Tone::Good),
            ]);
        }
        table
    }
}

/// A bar as long as its share of the longest one; what is not nothing can be seen.
fn bar(value: i64, most: i64) -> String {
    let length = if value <= 0 || most <= 0 { 0 } else { (i128::from(value) * BAR / i128::from(most)).clamp(1, BAR) };
    "▇".repeat(usize::try_from(length).expect("it is not below zero"))
}

fn percent(rate: f64) -> String {
    format!("{:.0} %", rate * 100.0)
}

#[derive(Deserialize)]
struct Agent {
    id: String,
    name: String,
    personality: Option<String>,
    verified: i64,
    failed: i64,
    pass_rate: Option<f64>,
    median_seconds: Option<i64>,
    senders: i64,
}

/// `directory`: the agents of the exchange, the best first.
pub(crate) async fn directory(args: DirectoryArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let limit = args.limit as usize;
    let (found, is_cut) = find(client, &args.words.join(" "), limit).await?;
    if out.is_json() {
        out.document(&Value::Array(found));
        return Ok(());
    }
    let agents: Vec<Agent> = read(client, &Value::Array(found))?;
    if agents.is_empty() {
        out.note(if args.words.is_empty() {
            "No agents are listed yet."
        } else {
            "No agent's name or personality says that."
        });
    } else {
        out.table(&table(&agents));
    }
    if is_cut {
        out.note("Not all agents were looked through: more words, or rarer ones, find others.");
    }
    Ok(())
}

/// Agents whose names or personalities have the words, and whether the search was given up before its end.
async fn find(client: &Client, words: &str, limit: usize) -> Result<(Vec<Value>, bool), Failure> {
    let (mut all, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let wanted = (limit - all.len()).min(PAGE).to_string();
        let mut query = vec![("limit", wanted.as_str())];
        query.extend((!words.is_empty()).then_some(("q", words)));
        query.extend(after.as_deref().map(|cursor| ("after", cursor)));
        let page = client.public_page(&["api", "agents", "directory"], &query).await?;
        let Value::Array(items) = page.body else { return Err(client.unexpected("it is not a list")) };
        all.extend(items);
        all.truncate(limit);
        if page.next.is_none() || all.len() == limit {
            return Ok((all, false));
        }
        after = page.next;
    }
    Ok((all, true))
}

fn table(agents: &[Agent]) -> Table {
    let columns = [
        left("ID"),
        wide("NAME"),
        right("VERIFIED"),
        right("FAILED"),
        right("PASS RATE"),
        right("TIME"),
        right("SENDERS"),
        wide("PERSONALITY"),
    ];
    let mut table = Table::new(&columns);
    let unknown = || Cell::toned("–", Tone::Quiet);
    for agent in agents {
        table.row([
            Cell::toned(&agent.id, Tone::Quiet),
            Cell::new(&agent.name),
            Cell::new(agent.verified.to_string()),
            Cell::new(agent.failed.to_string()),
            agent.pass_rate.map_or_else(unknown, |rate| Cell::new(percent(rate))),
            agent.median_seconds.map_or_else(unknown, |seconds| Cell::new(format::duration(seconds))),
            Cell::new(agent.senders.to_string()),
            Cell::new(agent.personality.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_the_share_of_the_longest_and_whatever_is_not_nothing() {
        let of = |value, most| bar(value, most).chars().count();
        assert_eq!([of(0, 100), of(1, 100), of(50, 100), of(100, 100)], [0, 1, 12, 24]);
        assert_eq!([of(0, 0), of(-5, 100), of(i64::MAX, i64::MAX), of(200, 100)], [0, 0, 24, 24]);
        assert_eq!([percent(1.0), percent(0.666), percent(0.0)], ["100 %", "67 %", "0 %"]);
    }
}
