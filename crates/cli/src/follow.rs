//! Following jobs until they are over: `wait`, `watch`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::account;
use crate::agents;
use crate::client::{Client, parse_id};
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::job::{Event, Job, is_over, read, sent_table, worked_table};
use crate::output::{Output, Tone};

const INTERVAL: Duration = Duration::from_secs(1);
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// A server in trouble is asked this often in a row before we give up.
const TROUBLES: u32 = 10;
/// How many jobs of each kind the live view shows.
const SHOWN: usize = 10;

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The job's id
    #[arg(value_parser = parse_id)]
    id: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<u64>,
}

/// Arguments of `watch`. With `--json` each event or change is a document in a line of its own.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Follow this job; all of yours without it
    #[arg(value_parser = parse_id)]
    id: Option<String>,
}

/// Bears a server that is in trouble for a while.
#[derive(Default)]
pub(crate) struct Patience {
    troubles: u32,
}

impl Patience {
    /// The answer; none after a trouble that may pass, which is told of once and has been waited for.
    pub(crate) async fn bear<T>(
        &mut self,
        answer: Result<T, Failure>,
        tell: impl FnOnce(&str),
    ) -> Result<Option<T>, Failure> {
        match answer {
            Ok(answer) => {
                self.troubles = 0;
                Ok(Some(answer))
            }
            Err(failure) if failure.transient && self.troubles < TROUBLES => {
                if self.troubles == 0 {
                    tell("The server does not answer; trying again.");
                }
                self.troubles += 1;
                sleep(Duration::from_secs(failure.retry_after_seconds.unwrap_or(1).clamp(1, 30))).await;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// `wait`: until the job is over; fails unless it was verified.
pub(crate) async fn wait(args: WaitArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let start = Instant::now();
    let end = args.timeout.map(|seconds| start + Duration::from_secs(seconds));
    // Whoever may not ask who they are can wait all the same.
    let me = account::user_id(client).await.ok();
    let spinner = out.spinner();
    let told = Cell::new(false);
    let trouble = |text: &str| spinner.line(text);
    let waited = poll(&args.id, client, end, trouble, |job| {
        let since = format::duration(i64::try_from(start.elapsed().as_secs()).unwrap_or(i64::MAX));
        let hint = match job.review_hint(me.as_deref()) {
            Some(hint) => {
                // Where no spinner is seen, once is enough.
                if !out.can_redraw() && !told.replace(true) {
                    out.note(&format!("It waits for your review: {hint}."));
                }
                format!("; it waits for your review: {hint}")
            }
            None if job.status == "pending_payment" => "; `clawrk pay` pays it".to_owned(),
            None => String::new(),
        };
        spinner.line(&format!("{}, waiting for {since}{hint}", job.status.replace('_', " ")));
    })
    .await;
    spinner.clear();
    let (answer, job) = waited?;
    if out.is_json() {
        out.document(&answer);
    } else {
        out.card(&job.card(now(), &agents::names(client).await.unwrap_or_default()));
    }
    match job.status.as_str() {
        "verified" => Ok(()),
        status if is_over(status) => Err(Failure::failed("job_not_verified", format!("The job is {status}."))),
        status => Err(Failure::failed("wait_timed_out", format!("The job is still {}.", status.replace('_', " ")))
            .hint(match job.review_hint(me.as_deref()) {
                Some(hint) => format!("it waits for your review: {hint}"),
                None if job.status == "pending_payment" => format!("it waits to be paid: `clawrk pay {}`", job.id),
                None => format!("it goes on without you; `clawrk wait {}` waits again", job.id),
            })),
    }
}

/// Asks for the job until it is over or the time is; the job as it is then.
async fn poll(
    id: &str,
    client: &Client,
    end: Option<Instant>,
    trouble: impl Fn(&str),
    show: impl Fn(&Job),
) -> Result<(Value, Job), Failure> {
    let mut patience = Patience::default();
    let path = ["api", "jobs", id];
    loop {
        if let Some(answer) = patience.bear(client.get(&path).await, &trouble).await? {
            let job: Job = read(client, &answer)?;
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if is_over(&job.status) || left == Some(Duration::ZERO) {
                return Ok((answer, job));
            }
            show(&job);
            sleep(left.map_or(INTERVAL, |left| left.min(INTERVAL))).await;
        } else if end.is_some_and(|end| end <= Instant::now()) {
            return Err(Failure::failed("wait_timed_out", format!("{} is in trouble.", client.settings().server))
                .hint(format!("`clawrk wait {id}` waits again")));
        }
    }
}

/// `watch`: one job until it is over, or all of one's jobs until Ctrl-C.
pub(crate) async fn watch(args: WatchArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let following = async {
        match &args.id {
            Some(id) => watch_job(id, client, out).await,
            None if out.can_redraw() => watch_live(client, out).await,
            None => watch_lines(client, out).await,
        }
    };
    tokio::select! {
        done = following => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Prints each event of a job as it happens, until the last.
async fn watch_job(id: &str, client: &Client, out: &Output) -> Result<(), Failure> {
    let (mut patience, mut seen) = (Patience::default(), 0);
    let path = ["api", "jobs", id, "events"];
    loop {
        let answer = patience.bear(client.get(&path).await, |text| out.note(text)).await?;
        for value in answer.as_ref().and_then(Value::as_array).into_iter().flatten() {
            let event: Event = read(client, value)?;
            if event.n <= seen {
                continue;
            }
            seen = event.n;
            if out.is_json() {
                out.json_line(value);
            } else {
                print_event(out, &event);
            }
            if event.is_last() {
                return Ok(());
            }
        }
        sleep(INTERVAL).await;
    }
}

fn print_event(out: &Output, event: &Event) {
    let (time, what, details) = (format::clock(event.at()), event.what(), event.details());
    let mut pieces = vec![(time.as_str(), Tone::Quiet), ("  ", Tone::Plain), (&what, event.tone())];
    if !details.is_empty() {
        pieces.extend([("  ", Tone::Plain), (details.as_str(), Tone::Quiet)]);
    }
    out.line(&pieces);
}

/// What one has a part in: the newest jobs one sent, and those one's agents work on.
struct View {
    sent: Vec<Value>,
    worked: Vec<Value>,
}

impl View {
    async fn load(client: &Client) -> Result<Self, Failure> {
        let sent = client.list(&["api", "jobs"], None, Some(SHOWN)).await?;
        let worked = client.list(&["api", "users", "status"], None, Some(SHOWN)).await?;
        Ok(Self { sent, worked })
    }
}

/// Shows all of one's jobs in place, again and again.
async fn watch_live(client: &Client, out: &Output) -> Result<(), Failure> {
    let names = agents::names(client).await?;
    let (mut patience, screen) = (Patience::default(), out.screen());
    // Whatever ends this, the last view stays on the terminal.
    let _leave = Leave(&screen);
    loop {
        if let Some(view) = patience.bear(View::load(client).await, |text| screen.line(text)).await? {
            let sent: Vec<Job> = read(client, &Value::Array(view.sent))?;
            let worked: Vec<Job> = read(client, &Value::Array(view.worked))?;
            let (sent_rows, worked_rows) = (sent_table(now(), &sent), worked_table(now(), &worked, &names));
            let parts = [
                ("Sent by you", (!sent.is_empty()).then_some(&sent_rows)),
                ("Worked on by your agents", (!worked.is_empty()).then_some(&worked_rows)),
            ];
            screen.tables(&parts, "Ctrl-C ends this view; the jobs go on.");
            sleep(WATCH_INTERVAL).await;
        }
    }
}

struct Leave<'a>(&'a crate::output::Live);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Prints a line whenever one of one's jobs has changed.
async fn watch_lines(client: &Client, out: &Output) -> Result<(), Failure> {
    let (mut patience, mut seen) = (Patience::default(), BTreeMap::new());
    loop {
        if let Some(view) = patience.bear(View::load(client).await, |text| out.note(text)).await? {
            for (side, jobs) in [("sender", view.sent), ("agent", view.worked)] {
                // Lists are newest first; what happened first is told first.
                for value in jobs.into_iter().rev() {
                    let job: Job = read(client, &value)?;
                    let version = (job.status.clone(), job.updated_at.clone());
                    if seen.insert((side, job.id.clone()), version.clone()) == Some(version) {
                        continue;
                    }
                    print_change(out, side, &job, value);
                }
            }
            sleep(WATCH_INTERVAL).await;
        }
    }
}

fn print_change(out: &Output, side: &str, job: &Job, value: Value) {
    if out.is_json() {
        out.json_line(&json!({ "as": side, "job": value }));
        return;
    }
    let time = job.updated_at.as_deref().or(job.created_at.as_deref()).map(format::clock).unwrap_or_default();
    let name = job.name();
    out.line(&[
        (&time, Tone::Quiet),
        ("  ", Tone::Plain),
        (&job.id, Tone::Plain),
        ("  ", Tone::Plain),
        (&job.status, crate::job::tone(&job.status)),
        ("  ", Tone::Plain),
        (&name, Tone::Plain),
        (&format!(" (as {side})"), Tone::Quiet),
    ]);
}
