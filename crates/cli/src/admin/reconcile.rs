//! `admin reconcile`: the ledger beside what Stripe remembers, for a span of time.

use anyhow::Context;
use clap::Args;
use clawrk_domain::{Cents, Timestamp};
use clawrk_server::payments::compare::{Comparison, compare};
use serde_json::json;

use super::open;
use super::payments::desk;
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::output::Output;
use crate::server_settings::SettingFlags;

pub(super) const EXAMPLES: &str = "Examples:
  clawrk admin reconcile
  clawrk admin reconcile --since 2026-11-01 --until 2026-11-08
  clawrk admin reconcile --since 2026-11-01T06:00:00Z --json

It compares the payments that were begun in that span; what is under way at its end is not settled yet, and is told of. \
Run it with the settings of the server, beside it or without it.";

/// For how long Stripe remembers what it told, in seconds.
const REMEMBERED_SECONDS: i64 = 30 * 24 * 3600;
const DAY_SECONDS: i64 = 24 * 3600;

/// Arguments of `admin reconcile`.
#[derive(Debug, Args)]
pub(super) struct ReconcileArgs {
    /// From this day or moment on (UTC) [default: a day before --until]
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Until before this day or moment (UTC) [default: now]
    #[arg(long, value_name = "DATE", value_parser = parse_time)]
    until: Option<Timestamp>,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Reads a day such as `2026-11-01`, or a moment such as `2026-11-01T06:00:00Z`.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let moment = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    let moment: jiff::Timestamp = moment.map_err(|_| format!("{text:?} is not a day like 2026-11-01"))?;
    Ok(Timestamp::from_micros(moment.as_microsecond()))
}

/// The span of time that is meant.
fn span(since: Option<Timestamp>, until: Option<Timestamp>, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
    let until = until.unwrap_or(now);
    let since = since.unwrap_or_else(|| until.plus_seconds(-DAY_SECONDS));
    if since >= until {
        return Err(Failure::usage("--since is not before --until"));
    }
    if since < now.plus_seconds(-REMEMBERED_SECONDS) {
        let failure = Failure::usage("Stripe tells of the last 30 days only: what is older would seem to differ");
        return Err(failure.hint("choose a later --since"));
    }
    Ok((since, until))
}

/// Compares, and tells what it found.
pub(super) async fn run(args: &ReconcileArgs, out: &Output) -> Result<(), Failure> {
    let span = span(args.since, args.until, Timestamp::from_micros(now().as_microsecond()))?;
    let store = open(&args.settings, None).await?;
    let desk = desk(&args.settings)?;
    let found = compare(&store, &desk, span).await.context("the ledger could not be compared")?;
    if out.is_json() {
        out.document(&json!({
            "ok": found.differences.is_empty(),
            "since": span.0,
            "until": span.1,
            "notices": found.events,
            "missed": found.missed,
            "paid_in_cents": { "ledger": found.paid_in.0, "stripe": found.paid_in.1 },
            "paid_out_cents": { "ledger": found.paid_out.0, "stripe": found.paid_out.1 },
            "parked": found.parked,
            "balance_cents": { "available": found.balance.0, "pending": found.balance.1 },
            "differences": found.differences,
        }));
    } else {
        out.text(&told(&found, span));
    }
    if found.differences.is_empty() {
        return Ok(());
    }
    let failure = Failure::failed("books_differ", "The ledger and Stripe differ.");
    Err(failure.hint("docs/payments.md says what to do; what was under way may have settled: run it again"))
}

fn told(found: &Comparison, (since, until): (Timestamp, Timestamp)) -> String {
    let beside = |name: &str, (ours, theirs): (Cents, Cents)| {
        format!("{name:<24}{:>14}{:>14}\n", ours.to_string(), theirs.to_string())
    };
    let mut text = format!("{} to {}\n", format::exact(&since.to_string()), format::exact(&until.to_string()));
    text.push_str(&format!("{:<24}{:>14}{:>14}\n", "", "ledger", "Stripe"));
    text.push_str(&beside("paid in", found.paid_in));
    text.push_str(&beside("paid out", found.paid_out));
    text.push_str(&format!("On Stripe's account: {} available, {} pending.\n", found.balance.0, found.balance.1));
    text.push_str(&format!("{} of Stripe's looked at", format::count(found.events, "notice")));
    if found.missed.is_empty() {
        text.push_str(".\n");
    } else {
        text.push_str(&format!("; these had not come, and are taken up now:\n  {}\n", found.missed.join("\n  ")));
    }
    if found.parked > 0 {
        let parked = format::count(found.parked, "payment");
        text.push_str(&format!("{parked} parked: `clawrk admin payments` lists what nobody knows the outcome of.\n"));
    }
    if found.differences.is_empty() {
        text.push_str("The ledger and Stripe say the same.");
    } else {
        text.push_str(&format!("They differ:\n  {}", found.differences.join("\n  ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        parse_time(text).unwrap()
    }

    #[test]
    fn a_span_is_the_last_day_or_what_was_asked_for() {
        let now = at("2026-11-26T12:00:00Z");
        assert_eq!(span(None, None, now).unwrap(), (at("2026-11-25T12:00:00Z"), now));
        let (since, until) = (at("2026-11-01"), at("2026-11-08"));
        assert_eq!((since, until), (at("2026-11-01T00:00:00Z"), at("2026-11-08T00:00:00Z")));
        assert_eq!(span(Some(since), Some(until), now).unwrap(), (since, until));
        assert_eq!(span(None, Some(until), now).unwrap(), (at("2026-11-07"), until));
        for (since, until) in [("2026-11-08", "2026-11-08"), ("2026-11-09", "2026-11-08"), ("2026-10-27", "2026-11-08")]
        {
            assert!(span(Some(at(since)), Some(at(until)), now).is_err(), "{since} {until}");
        }
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-01 06:00"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
