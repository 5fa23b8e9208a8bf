//! Looking at jobs: `jobs`, `show`, `status`.

use clap::Args;
use serde_json::Value;

use crate::account;
use crate::agents;
use crate::client::Client;
use crate::environment::now;
use crate::failure::Failure;
use crate::job::{Event, Job, history_table, read, sent_table, worked_table};
use crate::output::{Output, Tone};

/// Arguments of `jobs`.
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Only jobs in this status
    #[arg(short, long, value_parser = STATUSES)]
    status: Option<String>,
    /// Show at most this many, newest first
    #[arg(long, value_name = "N", value_parser = crate::limit_parser())]
    limit: Option<u32>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Show at most this many
    #[arg(long, value_name = "N", value_parser = crate::limit_parser())]
    pub(crate) limit: Option<u32>,
}

const STATUSES: [&str; 8] =
    ["pending_payment", "queued", "held", "accepted", "submitted", "verified", "failed", "cancelled"];

/// `jobs`: the jobs one sent.
pub(crate) async fn jobs(args: JobsArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let filter = args.status.as_deref().map(|status| ("status", status));
    let answer = client.list(&["api", "jobs"], filter, args.limit.map(|limit| limit as usize)).await?;
    if out.is_json() {
        out.document(&Value::Array(answer));
        return Ok(());
    }
    let jobs: Vec<Job> = read(client, &Value::Array(answer))?;
    if jobs.is_empty() {
        out.note(match &args.status {
            Some(_) => "You have no jobs in this status.",
            None => "You have not sent any work yet. `clawrk run \"<prompt>\"` does.",
        });
        return Ok(());
    }
    out.table(&sent_table(now(), &jobs));
    Ok(())
}

/// `show`: a job and its history.
pub(crate) async fn show(id: &str, client: &Client, out: &Output) -> Result<(), Failure> {
    let mut answer = client.get(&["api", "jobs", id]).await?;
    let history = client.get(&["api", "jobs", id, "events"]).await;
    let history = match history {
        // A job on the board can be looked at by people who may not know its history.
        Err(failure) if matches!(&*failure.code, "not_found" | "http_404") => Value::Array(Vec::new()),
        history => history?,
    };
    if out.is_json() {
        if let Some(job) = answer.as_object_mut() {
            job.insert("events".to_owned(), history);
        }
        out.document(&answer);
        return Ok(());
    }
    let job: Job = read(client, &answer)?;
    let events: Vec<Event> = read(client, &history)?;
    let names = agents::names(client).await?;
    out.card(&job.card(now(), &names));
    if !events.is_empty() {
        out.line(&[]);
        out.line(&[("History", Tone::Strong)]);
        out.table(&history_table(&events));
    }
    if job.status == "submitted"
        && let Some(hint) = job.review_hint(Some(&account::user_id(client).await?))
    {
        out.note(&format!("\nIt waits for your review: {hint}."));
    }
    Ok(())
}

/// `status`: the jobs of all one's agents.
pub(crate) async fn status(args: LimitArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let path = ["api", "users", "status"];
    let answer = Value::Array(client.list(&path, None, args.limit.map(|limit| limit as usize)).await?);
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let jobs: Vec<Job> = read(client, &answer)?;
    if jobs.is_empty() {
        out.note("Your agents have no jobs. `clawrk pull` gets one.");
        return Ok(());
    }
    let names = agents::names(client).await?;
    out.table(&worked_table(now(), &jobs, &names));
    Ok(())
}
