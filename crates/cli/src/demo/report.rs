//! What the demo shows: the story's lines, the table of jobs, the wallets, the proof, and calls to try.

use clawrk_domain::Cents;
use clawrk_server::App;
use serde_json::{Value, json};

use super::person::Person;
use super::{Cast, Posted, text};
use crate::admin;
use crate::environment::program;
use crate::failure::Failure;
use crate::output::{Cell, Output, Table, Tone, left, right, wide};

/// How it all ended.
pub(super) struct Report {
    server: String,
    jobs: Vec<(Value, String, String)>,
    wallets: Vec<(String, i64, i64)>,
    audit: admin::Report,
}

/// A new part of the story.
pub(super) fn chapter(out: &Output, title: &str) {
    if !out.is_json() {
        out.line(&[]);
        out.line(&[(title, Tone::Strong)]);
    }
}

/// Something happened.
pub(super) fn line(out: &Output, what: &str) {
    if !out.is_json() {
        out.paragraph(("   ", Tone::Plain), "   ", what);
    }
}

/// Somebody's own words.
pub(super) fn quote(out: &Output, words: &str) {
    if !out.is_json() {
        words.trim().lines().for_each(|line| out.paragraph(("   │ ", Tone::Quiet), "   │ ", line));
    }
}

/// Work was judged.
pub(super) fn verdict(out: &Output, pass: bool, what: &str) {
    let mark = if pass { ("   ✓ ", Tone::Good) } else { ("   ✗ ", Tone::Bad) };
    if !out.is_json() {
        out.paragraph(mark, "     ", what);
    }
}

impl Report {
    /// Asks the exchange how everything stands.
    pub(super) async fn of(app: &App, cast: &Cast, posted: &[Posted]) -> Result<Self, Failure> {
        let mut jobs = Vec::new();
        for job in posted {
            let sender = &cast.senders[job.sender];
            let shown = sender.get(&["api", "jobs", &job.id]).await?;
            let agent = cast.agents.iter().find(|(_, _, id)| shown["receiver_agent_id"] == **id);
            jobs.push((shown, sender.name.clone(), agent.map_or(String::new(), |(skill, ..)| skill.name().to_owned())));
        }
        let mut wallets = Vec::new();
        for person in cast.everybody() {
            let wallet = person.get(&["api", "wallet", "balance"]).await?;
            let lines = wallet["ledger"].as_array().map_or(0, Vec::len) as i64;
            wallets.push((person.name.clone(), wallet["balance_cents"].as_i64().unwrap_or_default(), lines));
        }
        let audit = admin::audited(&app.store.audit().await.map_err(anyhow::Error::from)?);
        Ok(Self { server: cast.server.clone(), jobs, wallets, audit })
    }

    /// Whether the books balance.
    pub(super) fn is_clean(&self) -> bool {
        self.audit.well
    }

    /// Shows it all.
    pub(super) fn show(&self, cast: &Cast, out: &Output) {
        if out.is_json() {
            let jobs: Vec<&Value> = self.jobs.iter().map(|(job, ..)| job).collect();
            let wallet = |((name, cents, _), person): (&(String, i64, i64), &Person)| json!({"name": name, "balance_cents": cents, "api_key": person.key});
            let wallets: Vec<Value> = self.wallets.iter().zip(cast.everybody()).map(wallet).collect();
            let audit = &self.audit.document;
            out.document(&json!({"server": self.server, "jobs": jobs, "wallets": wallets, "audit": audit}));
            return;
        }
        chapter(out, "The jobs");
        let mut table = Table::new(&[
            left("ID"),
            wide("TITLE"),
            left("SENDER"),
            left("STATUS"),
            left("AGENT"),
            right("TRIES"),
            right("PRICE"),
            right("PAID OUT"),
        ]);
        for (job, sender, agent) in &self.jobs {
            let status = text(&job["status"]);
            let tone = match status.as_str() {
                "verified" => Tone::Good,
                "failed" | "cancelled" => Tone::Bad,
                _ => Tone::Plain,
            };
            let paid = if status == "verified" { cents(&job["payout_cents"]) } else { "-".to_owned() };
            table.row([
                Cell::new(text(&job["id"])),
                Cell::new(text(&job["title"])),
                Cell::new(sender),
                Cell::toned(&status, tone),
                Cell::new(agent),
                Cell::new(job["attempt_count"].to_string()),
                Cell::new(cents(&job["price_cents"])),
                Cell::new(paid),
            ]);
        }
        out.table(&table);
        chapter(out, "The wallets");
        let mut table = Table::new(&[left("WHO"), right("BALANCE"), right("LEDGER LINES")]);
        for (name, balance, lines) in &self.wallets {
            table.row([Cell::new(name), Cell::new(Cents(*balance).to_string()), Cell::new(lines.to_string())]);
        }
        out.table(&table);
        chapter(out, "The proof of the books (clawrk admin audit)");
        out.text(&self.audit.text);
    }

    /// Calls to try while it stays up: the sender's side, and the agent's.
    pub(super) fn invite(&self, cast: &Cast, out: &Output) {
        let (mara, job, clawrk) = (&cast.senders[0], text(&self.jobs[0].0["id"]), program());
        let (skill, owner, _) = &cast.agents[0];
        let become_one = |key: &str| format!("export CLAWRK_API_URL={} CLAWRK_API_KEY={key}", self.server);
        chapter(out, &format!("It is still running: be {}, who sends work", mara.name));
        for call in [
            become_one(&mara.key),
            format!("{clawrk} jobs"),
            format!("{clawrk} show {job}"),
            format!("{clawrk} balance"),
            format!("{clawrk} run \"List the first ten prime numbers.\" --price 300 -y"),
            format!("curl -s {}/api/board", self.server),
            format!("curl -s -H \"Authorization: Bearer $CLAWRK_API_KEY\" {}/api/jobs/{job}/events", self.server),
        ] {
            call_to_try(out, &call);
        }
        chapter(out, &format!("In another terminal: be {}, who works", skill.name()));
        for call in [
            become_one(&owner.key),
            format!("{clawrk} use {}", skill.name()),
            format!("{clawrk} pull --wait 30"),
            format!("{clawrk} accept"),
            format!("{clawrk} submit -t \"2 3 5 7 11 13 17 19 23 29\""),
        ] {
            call_to_try(out, &call);
        }
        out.line(&[]);
        out.note(&format!(
            "Then {} looks at it: `{clawrk} jobs`, `{clawrk} review ID --pass`. Ctrl-C ends the demo; its folder is removed.",
            mara.name
        ));
    }
}

/// Never broken: it is there to be copied.
fn call_to_try(out: &Output, call: &str) {
    out.line(&[("   ", Tone::Plain), (call, Tone::Plain)]);
}

fn cents(value: &Value) -> String {
    Cents(value.as_i64().unwrap_or_default()).to_string()
}
