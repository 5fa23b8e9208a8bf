//! A job and its history as the API tells them, and how they are shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::checks;
use crate::client::Client;
use crate::failure::Failure;
use crate::format;
use crate::output::{Card, Cell, Output, Shape, Table, Tone, clean, left, right, wide};

/// A job. What the caller may not see is absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) sender: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) requirements: Option<String>,
    pub(crate) criteria: Option<Vec<String>>,
    pub(crate) checks: Option<Vec<Value>>,
    pub(crate) receiver_agent_id: Option<String>,
    pub(crate) held_by_agent_id: Option<String>,
    pub(crate) hold_expires_at: Option<String>,
    pub(crate) price_cents: i64,
    pub(crate) payout_cents: Option<i64>,
    pub(crate) time_limit_seconds: Option<i64>,
    pub(crate) deadline_at: Option<String>,
    pub(crate) attempt_count: Option<u32>,
    pub(crate) cancellation_requested: Option<bool>,
    pub(crate) output_text: Option<String>,
    pub(crate) env_vars: Option<BTreeMap<String, String>>,
    pub(crate) verification: Option<Verification>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
}

/// What was found about a submission.
#[derive(Debug, Deserialize)]
pub(crate) struct Verification {
    pub(crate) verdict: String,
    pub(crate) reasoning: Option<String>,
    criteria: Option<Vec<Judged>>,
    checks: Option<Vec<Checked>>,
}

/// A check and what came of it.
#[derive(Debug, Deserialize)]
struct Checked {
    #[serde(rename = "type")]
    kind: String,
    pass: bool,
    detail: Option<String>,
}

/// A criterion and what was found about it.
#[derive(Debug, Deserialize)]
pub(crate) struct Judged {
    text: String,
    pass: bool,
    reason: Option<String>,
}

/// A line of a job's history.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    /// Its place in the history, from 1.
    pub(crate) n: u64,
    #[serde(rename = "type")]
    kind: String,
    created_at: String,
    by: Option<String>,
    status: Option<String>,
    attempt: Option<u32>,
    reason: Option<String>,
    moved: Option<Vec<Moved>>,
}

/// Money that an event moved.
#[derive(Debug, Deserialize)]
struct Moved {
    from: String,
    to: String,
    cents: i64,
}

/// Reads an answer into what a command needs of it.
pub(crate) fn read<T: DeserializeOwned>(client: &Client, answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| client.unexpected(&error.to_string()))
}

/// How a status is set.
pub(crate) fn tone(status: &str) -> Tone {
    match status {
        "verified" => Tone::Good,
        "failed" => Tone::Bad,
        "cancelled" => Tone::Quiet,
        "pending_payment" | "held" | "accepted" | "submitted" => Tone::Busy,
        _ => Tone::Plain,
    }
}

/// Whether nothing more happens to a job in this status.
pub(crate) fn is_over(status: &str) -> bool {
    matches!(status, "verified" | "failed" | "cancelled")
}

impl Job {
    /// The title in one harmless line; the id when there is none.
    pub(crate) fn name(&self) -> String {
        clean(self.title.as_deref().unwrap_or(&self.id), Shape::Line)
    }

    /// What ends soonest: the hold or the deadline of the attempt under way.
    pub(crate) fn ends(&self, now: Timestamp) -> Option<String> {
        match (self.status.as_str(), &self.hold_expires_at, &self.deadline_at) {
            ("held", Some(until), _) => Some(format!("hold {}", format::ends(now, until))),
            ("accepted", _, Some(until)) => Some(format!("time {}", format::ends(now, until))),
            _ => None,
        }
    }

    /// How its sender, if that is this user, decides the submission that waits for it.
    pub(crate) fn review_hint(&self, user: Option<&str>) -> Option<String> {
        let waits = self.verification.as_ref().is_some_and(|found| found.verdict == "needs_review");
        (waits && self.status == "submitted" && self.sender.as_deref() == user && user.is_some()).then(|| {
            format!(
                "`clawrk review {0} --pass` pays the agent, `clawrk review {0} --fail --reason TEXT` does not",
                self.id
            )
        })
    }

    /// The job, shown whole; the agents by id are those whose names are known.
    pub(crate) fn card(&self, now: Timestamp, agents: &BTreeMap<String, String>) -> Card {
        let agent = |id| agents.get(id).unwrap_or(id);
        let mut card = Card::new(self.title.as_deref().unwrap_or(&self.id)).tag(&self.status, tone(&self.status));
        card.field("id", &self.id);
        let payout = self.payout_cents.map(|cents| format!(" (the agent gets {})", format::money(cents)));
        card.field("price", format!("{}{}", format::money(self.price_cents), payout.unwrap_or_default()));
        card.maybe("time limit", self.time_limit_seconds.map(format::duration));
        match (self.status.as_str(), &self.hold_expires_at, &self.deadline_at) {
            ("held", Some(until), _) => card.toned("hold", ending(now, until), Tone::Busy),
            ("accepted", _, Some(until)) => card.toned("deadline", ending(now, until), Tone::Busy),
            _ => {}
        }
        card.maybe("attempts", self.attempt_count.filter(|count| *count > 0).map(|count| count.to_string()));
        card.maybe("held by agent", self.held_by_agent_id.as_ref().map(agent));
        card.maybe("agent", self.receiver_agent_id.as_ref().map(agent));
        if self.cancellation_requested == Some(true) && !is_over(&self.status) {
            card.toned("cancellation", "requested: it is cancelled when the current attempt fails", Tone::Busy);
        }
        card.maybe("created", self.created_at.as_deref().map(format::exact));
        card.maybe("updated", self.updated_at.as_deref().map(format::exact));
        let variables: Vec<&str> = self.env_vars.iter().flatten().map(|(name, _)| name.as_str()).collect();
        if !variables.is_empty() {
            // Until it accepts, an agent sees their names alone.
            let seen = self.env_vars.iter().flatten().any(|(_, value)| !value.is_empty());
            card.field("variables", format!("{}{}", variables.join(", "), if seen { " (values: --json)" } else { "" }));
        }
        if self.description.as_deref().map(str::trim) != self.prompt.as_deref().map(str::trim) {
            card.text("Description", self.description.as_deref());
        }
        card.text("Requirements", self.requirements.as_deref());
        card.text("Prompt", self.prompt.as_deref());
        let checks: Vec<String> = self.checks.iter().flatten().map(checks::shown).collect();
        card.list("Checks", &checks);
        card.list("Criteria", self.criteria.as_deref().unwrap_or_default());
        card.text("Output", self.output_text.as_deref());
        if let Some(verification) = &self.verification {
            card.text("Verification", Some(&verification.text()));
        }
        card
    }
}

/// When something ends, seen from now and by the clock.
fn ending(now: Timestamp, until: &str) -> String {
    format!("{} ({})", format::ends(now, until), format::exact(until))
}

impl Verification {
    fn text(&self) -> String {
        let reasoning = self.reasoning.as_deref().unwrap_or_default();
        let mut text = format!("{}: {reasoning}", self.verdict.replace('_', " "));
        let checks = self.checks.iter().flatten().map(|check| (check.pass, &check.kind, &check.detail));
        let criteria = self.criteria.iter().flatten().map(|judged| (judged.pass, &judged.text, &judged.reason));
        for (pass, what, why) in checks.chain(criteria) {
            text.push_str(&format!("\n- {}: {}", if pass { "pass" } else { "fail" }, clean(what, Shape::Line)));
            if let Some(why) = why.as_deref().filter(|why| !why.is_empty()) {
                text.push_str(&format!(" ({})", clean(why, Shape::Line)));
            }
        }
        text
    }

    /// Shows the verdict and what it rests on.
    pub(crate) fn show(&self, out: &Output) {
        let text = self.text();
        let (verdict, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        let tone = match self.verdict.as_str() {
            "pass" => Tone::Good,
            "fail" => Tone::Bad,
            _ => Tone::Busy,
        };
        let mut lines = rest.lines();
        out.line(&[(verdict, tone), (lines.next().unwrap_or_default(), Tone::Plain)]);
        lines.for_each(|line| out.line(&[(line, Tone::Plain)]));
    }
}

/// Jobs as a sender sees them.
pub(crate) fn sent_table(now: Timestamp, jobs: &[Job]) -> Table {
    let mut table = Table::new(&[left("ID"), left("STATUS"), right("PRICE"), wide("TITLE"), left("CREATED")]);
    for job in jobs {
        table.row([
            Cell::new(&job.id),
            Cell::toned(&job.status, tone(&job.status)),
            Cell::new(format::money(job.price_cents)),
            Cell::new(job.name()),
            Cell::toned(seen(now, job.created_at.as_deref()), Tone::Quiet),
        ]);
    }
    table
}

/// Jobs as those who work on them see them.
pub(crate) fn worked_table(now: Timestamp, jobs: &[Job], agents: &BTreeMap<String, String>) -> Table {
    let columns = [left("ID"), left("STATUS"), wide("AGENT"), right("PAYOUT"), wide("TITLE"), left("UPDATED")];
    let mut table = Table::new(&columns);
    for job in jobs {
        let agent = job.held_by_agent_id.as_ref().or(job.receiver_agent_id.as_ref());
        let agent = agent.map_or("", |id| agents.get(id).unwrap_or(id));
        let updated = job.ends(now).unwrap_or_else(|| seen(now, job.updated_at.as_deref()));
        table.row([
            Cell::new(&job.id),
            Cell::toned(&job.status, tone(&job.status)),
            Cell::new(agent),
            Cell::new(job.payout_cents.map(format::money).unwrap_or_default()),
            Cell::new(job.name()),
            Cell::toned(updated, Tone::Quiet),
        ]);
    }
    table
}

fn seen(now: Timestamp, time: Option<&str>) -> String {
    time.map(|time| format::relative(now, time)).unwrap_or_default()
}

impl Event {
    /// When it happened, as the server tells it.
    pub(crate) fn at(&self) -> &str {
        &self.created_at
    }

    /// Whether nothing more happens to the job.
    pub(crate) fn is_last(&self) -> bool {
        self.status.as_deref().is_some_and(is_over)
    }

    /// How what happened is set.
    pub(crate) fn tone(&self) -> Tone {
        match self.kind.as_str() {
            "verification_failed" | "deadline_passed" | "gave_up" => Tone::Bad,
            _ if self.is_last() => self.status.as_deref().map(tone).unwrap_or_default(),
            _ => Tone::Plain,
        }
    }

    /// What happened, in words.
    pub(crate) fn what(&self) -> String {
        let what = match self.kind.as_str() {
            "pulled" => "offered to an agent".to_owned(),
            "claimed" => "claimed by an agent".to_owned(),
            "hold_expired" => "hold ran out".to_owned(),
            "gave_up" => "agent gave up".to_owned(),
            kind => kind.replace('_', " "),
        };
        match self.attempt {
            Some(attempt) => format!("{what}, attempt {attempt}"),
            None => what,
        }
    }

    /// What it moved and why, in one line; empty when there is nothing to say.
    pub(crate) fn details(&self) -> String {
        let moved = self.moved.iter().flatten();
        let mut details: Vec<String> =
            moved.map(|moved| format!("{} {} → {}", format::money(moved.cents), moved.from, moved.to)).collect();
        details.extend(self.reason.clone().filter(|reason| !reason.is_empty()));
        if self.status.as_deref() == Some("queued") && !matches!(self.kind.as_str(), "posted" | "paid") {
            details.push("queued again".to_owned());
        }
        if self.is_last() && !matches!(self.kind.as_str(), "verified" | "cancelled") {
            details.push(
                if self.status.as_deref() == Some("failed") { "failed for good" } else { "cancelled" }.to_owned(),
            );
        }
        details.join("; ")
    }
}

/// A job's history.
pub(crate) fn history_table(events: &[Event]) -> Table {
    let mut table = Table::new(&[left("TIME"), left("WHAT"), left("BY"), wide("DETAILS")]);
    for event in events {
        table.row([
            Cell::toned(format::exact(event.at()), Tone::Quiet),
            Cell::toned(event.what(), event.tone()),
            Cell::new(event.by.as_deref().unwrap_or_default()),
            Cell::new(event.details()),
        ]);
    }
    table
}
