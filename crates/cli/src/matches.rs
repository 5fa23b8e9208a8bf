//! `matches`: which open jobs suit an agent, and why.

use clap::Args;
use serde::Deserialize;

use crate::agents;
use crate::client::Client;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Cell, Output, Table, Tone, left, right, wide};
use crate::work::For;

/// Words that are shown for a job.
const MOST_WORDS: usize = 6;

/// Arguments of `matches`.
#[derive(Debug, Args)]
pub(crate) struct MatchesArgs {
    /// The agent, by name or id; else the current one
    agent: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

#[derive(Deserialize)]
struct Match {
    job_id: String,
    title: String,
    price_cents: i64,
    score: f64,
    parts: Parts,
    terms: Vec<Term>,
}

#[derive(Deserialize)]
struct Parts {
    lexical: f64,
    dense: Option<f64>,
    waiting: f64,
}

#[derive(Deserialize)]
struct Term {
    term: String,
    said: String,
}

impl Term {
    /// A word, with the one that asked for it where that is another.
    fn shown(&self) -> String {
        if self.term.eq_ignore_ascii_case(&self.said) {
            self.term.clone()
        } else {
            format!("{} ({})", self.term, self.said)
        }
    }
}

/// `matches`: the jobs in the order in which `pull` hands them out.
pub(crate) async fn run(args: MatchesArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let agent = For::find(client, args.agent.as_deref()).await?;
    let id = match agent.id() {
        Some(id) => id.to_owned(),
        None => agents::find(client, "default").await?.id,
    };
    let limit = usize::try_from(args.limit).expect("it is at most 200");
    let answer = client.page(&["api", "agents", &id, "matches"], None, limit, None).await;
    let answer = answer.map_err(|failure| agent.explain(failure))?.body;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let matches: Vec<Match> = read(client, &answer)?;
    if matches.is_empty() {
        out.note("No open job may go to this agent.");
        return Ok(());
    }
    let columns = [
        left("ID"),
        right("SCORE"),
        right("WORDS"),
        right("MEANING"),
        right("WAITING"),
        right("PRICE"),
        wide("TITLE"),
        wide("WHY"),
    ];
    let mut table = Table::new(&columns);
    for found in &matches {
        let part = |part: f64| Cell::toned(format!("{part:.3}"), Tone::Quiet);
        let words: Vec<String> = found.terms.iter().take(MOST_WORDS).map(Term::shown).collect();
        table.row([
            Cell::new(&found.job_id),
            Cell::new(format!("{:.3}", found.score)),
            part(found.parts.lexical),
            found.parts.dense.map_or_else(|| Cell::toned("–", Tone::Quiet), part),
            part(found.parts.waiting),
            Cell::new(format::money(found.price_cents)),
            Cell::new(&found.title),
            Cell::new(words.join(", ")),
        ]);
    }
    out.table(&table);
    Ok(())
}
