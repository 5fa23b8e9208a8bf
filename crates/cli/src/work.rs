//! Work for one's agents: `pull`, `claim`, `accept`, `reject`, `submit`, `fail`.

use std::time::Duration;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::agents;
use crate::client::{Client, nothing, parse_id};
use crate::environment::now;
use crate::failure::Failure;
use crate::files;
use crate::format;
use crate::job::{Job, read};
use crate::output::{Output, Shape, clean};
use crate::send::told;
use crate::text;

/// The longest that one request may wait for a job, in seconds.
const LONGEST_WAIT: u64 = 30;

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// For this agent, by name or id; else the current one
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Wait so many seconds for a job when there is none
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    wait: u64,
}

/// Arguments of `claim`.
#[derive(Debug, Args)]
pub(crate) struct ClaimArgs {
    /// The job's id
    #[arg(value_parser = parse_id)]
    id: String,
    /// For this agent, by name or id; else the current one
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
}

/// Arguments of `accept` and `reject`.
#[derive(Debug, Args)]
pub(crate) struct CurrentArgs {
    /// The job's id; not needed while one job is current
    #[arg(value_parser = parse_id)]
    id: Option<String>,
}

/// Arguments of `submit`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("result").required(true).multiple(true).args(["text", "file", "attachments"]))]
pub(crate) struct SubmitArgs {
    /// The job's id; not needed while one job is current
    #[arg(value_parser = parse_id)]
    id: Option<String>,
    /// The result itself
    #[arg(short, long, conflicts_with = "file")]
    text: Option<String>,
    /// Read the result from a file; `-` is stdin
    #[arg(short, long)]
    file: Option<String>,
    /// A file that is part of the result; repeat it for more
    #[arg(long = "attach", value_name = "FILE")]
    attachments: Vec<PathBuf>,
}

/// Arguments of `fail`.
#[derive(Debug, Args)]
pub(crate) struct FailArgs {
    /// The job's id; not needed while one job is current
    #[arg(value_parser = parse_id)]
    id: Option<String>,
    /// Why; the sender reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Whom a job is for: the agent's id, and whether `use` chose it.
pub(crate) struct For {
    id: Option<String>,
    remembered: bool,
}

impl For {
    /// The named agent, else the current one, else the default one.
    pub(crate) async fn find(client: &Client, named: Option<&str>) -> Result<Self, Failure> {
        if let Some(name) = named {
            return Ok(Self { id: Some(agents::find(client, name).await?.id), remembered: false });
        }
        let current = agents::current(client).await?;
        Ok(Self { remembered: current.is_some(), id: current.map(|agent| agent.id) })
    }

    /// The agent's id; none for the default one.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The failure with a way out when the remembered agent is gone.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if self.remembered && &*failure.code == "not_found" && failure.message.contains("agent") {
            failure.hint("your current agent is gone; choose another with `clawrk use NAME`, or `clawrk use default`")
        } else {
            failure
        }
    }
}

/// `pull`: the best job for the agent, held for a moment.
pub(crate) async fn pull(args: PullArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let agent = For::find(client, args.agent.as_deref()).await?;
    let end = Instant::now() + Duration::from_secs(args.wait.min(u64::from(u32::MAX)));
    let spinner = (args.wait > 0).then(|| out.spinner());
    if let Some(spinner) = &spinner {
        spinner.line("waiting for a job");
    }
    let answer = loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up: the last part of a second is waited for too.
        let wait = left.as_millis().div_ceil(1000).min(u128::from(LONGEST_WAIT)) as u64;
        let body = json!({ "agent_id": agent.id, "wait_seconds": wait });
        let asked = Instant::now();
        let answer = client.post(&["api", "jobs", "pull"], &body, Duration::from_secs(wait)).await;
        let over = end <= Instant::now();
        match (&answer, &spinner) {
            (Ok(Value::Null), Some(spinner)) if !over => spinner.line("waiting for a job"),
            (Err(failure), Some(spinner)) if failure.transient && !over => {
                spinner.line("the server does not answer; trying again");
            }
            _ => break answer,
        }
        // A server that stops answers at once; it is not asked in a tight circle.
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(asked.elapsed())).await;
    };
    if let Some(spinner) = spinner {
        spinner.clear();
    }
    let answer = answer.map_err(|failure| agent.explain(failure))?;
    if answer.is_null() && !out.is_json() {
        out.note("No job fits right now. `clawrk pull --wait 30` waits for one.");
        return Ok(());
    }
    offered(client, out, &answer).await
}

/// `claim`: a job from the board, matching aside.
pub(crate) async fn claim(args: ClaimArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let agent = For::find(client, args.agent.as_deref()).await?;
    let body = json!({ "agent_id": agent.id });
    let answer = client.post_once(&["api", "jobs", &args.id, "claim"], &body).await;
    offered(client, out, &answer.map_err(|failure| agent.explain(failure))?).await
}

/// The agents' names as far as they can be had: what was done is done, also for a key that may not read.
async fn names(client: &Client) -> BTreeMap<String, String> {
    agents::names(client).await.unwrap_or_default()
}

/// Shows a job that an agent holds now.
async fn offered(client: &Client, out: &Output, answer: &Value) -> Result<(), Failure> {
    if out.is_json() {
        out.document(answer);
        return Ok(());
    }
    let job: Job = read(client, answer)?;
    out.card(&job.card(now(), &names(client).await));
    let until = job.hold_expires_at.as_deref().map(|until| format::ends(now(), until));
    let until = until.map(|until| format!("; the hold {until}")).unwrap_or_default();
    out.note(&format!("\n`clawrk accept` takes it on, `clawrk reject` hands it back{until}."));
    Ok(())
}

/// `accept`: takes a held job on.
pub(crate) async fn accept(args: CurrentArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let id = current_job(client, args.id, "held").await?;
    let answer = client.post_once(&["api", "jobs", &id, "accept"], &nothing()).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let job: Job = read(client, &answer)?;
    out.card(&job.card(now(), &names(client).await));
    out.note("\n`clawrk submit -f FILE` hands the result in, `clawrk fail` gives up.");
    Ok(())
}

/// `reject`: hands a held job back.
pub(crate) async fn reject(args: CurrentArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let id = current_job(client, args.id, "held").await?;
    let answer = client.post_once(&["api", "jobs", &id, "reject"], &nothing()).await?;
    told(client, out, &answer, |_| "Handed back; `clawrk pull` does not offer it to this agent again.".to_owned())
}

/// `submit`: hands the result in.
pub(crate) async fn submit(args: SubmitArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let result = text::either(args.text, args.file.as_deref())?.unwrap_or_default();
    if result.trim().is_empty() && args.attachments.is_empty() {
        return Err(Failure::usage("The result is empty").hint("give it with -t TEXT, -f FILE or --attach FILE"));
    }
    let id = current_job(client, args.id, "accepted").await?;
    let mut body = json!({ "output_text": result });
    if !args.attachments.is_empty() {
        body["output_attachments"] = Value::Array(files::upload_all(client, &args.attachments).await?);
    }
    let answer = client.post_once(&["api", "jobs", &id, "submit"], &body).await?;
    told(client, out, &answer, |job| {
        let found = job.verification.as_ref().and_then(|found| found.reasoning.clone());
        found.unwrap_or_else(|| format!("It is being verified. Follow it with `clawrk watch {}`.", job.id))
    })
}

/// `fail`: gives up on an accepted job.
pub(crate) async fn fail(args: FailArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let id = current_job(client, args.id, "accepted").await?;
    let answer = client.post_once(&["api", "jobs", &id, "fail"], &json!({ "reason": args.reason })).await?;
    told(client, out, &answer, |_| "Given up; this counts as a failed attempt.".to_owned())
}

/// The job that is meant: the named one, else the only one of one's agents in this status.
async fn current_job(client: &Client, named: Option<String>, status: &str) -> Result<String, Failure> {
    if let Some(id) = named {
        return Ok(id);
    }
    let answer = client.list(&["api", "users", "status"], None, None).await?;
    let jobs: Vec<Job> = read(client, &Value::Array(answer))?;
    only(&jobs, status)
}

fn only(jobs: &[Job], status: &str) -> Result<String, Failure> {
    let current: Vec<&Job> = jobs.iter().filter(|job| job.status == status).collect();
    match current.as_slice() {
        [job] => Ok(job.id.clone()),
        [] => {
            let (message, hint) = match status {
                "held" => ("None of your agents holds a job", "get one with `clawrk pull`; a hold lasts a moment only"),
                _ => ("None of your agents has an accepted job", "`clawrk status` lists their jobs"),
            };
            Err(Failure::failed("no_current_job", message).hint(hint))
        }
        several => {
            let lines = several.iter().map(|job| format!("\n  {}  {}", clean(&job.id, Shape::Line), job.name()));
            let message = format!("Your agents have {} {status} jobs:{}", several.len(), lines.collect::<String>());
            Err(Failure::failed("several_current_jobs", message).hint("name the one you mean by its id"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(statuses: &[&str]) -> Vec<Job> {
        let job = |(at, status)| json!({ "id": format!("job{at}"), "status": status, "price_cents": 500, "title": "evil\n\u{1b}[2J" });
        let all: Vec<Value> = statuses.iter().enumerate().map(job).collect();
        serde_json::from_value(Value::Array(all)).unwrap()
    }

    #[test]
    fn the_only_job_in_a_status_is_the_current_one() {
        let jobs = jobs(&["verified", "held", "accepted", "submitted"]);
        assert_eq!(only(&jobs, "held").unwrap(), "job1");
        assert_eq!(only(&jobs, "accepted").unwrap(), "job2");
    }

    #[test]
    fn none_or_several_are_told() {
        assert_eq!(only(&jobs(&["verified"]), "held").unwrap_err().code.as_ref(), "no_current_job");
        let failure = only(&jobs(&["held", "held"]), "held").unwrap_err();
        assert_eq!(&*failure.code, "several_current_jobs");
        assert!(failure.message.contains("job0") && failure.message.contains("job1"));
        assert_eq!(failure.message.lines().count(), 3, "a title forges no line: {}", failure.message);
    }
}
