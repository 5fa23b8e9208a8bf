//! The board: `board`, and `board --watch` as jobs come and leave.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{Client, PAGE, Page};
use crate::environment::now;
use crate::events::{Event, Reader};
use crate::failure::Failure;
use crate::follow::Patience;
use crate::format;
use crate::job::read;
use crate::output::{Cell, Output, Table, Tone, left, right, wide};

/// Jobs that are shown when nobody says how many.
const SHOWN: usize = 50;

/// A board of this many short pages is looked at no further.
const MOST_PAGES: usize = 500;

/// For how long a stream that ended is left alone: its server stops, and another is there or comes.
const AGAIN: Duration = Duration::from_secs(1);

const PATH: [&str; 2] = ["api", "board"];
const STREAM: [&str; 3] = ["api", "board", "stream"];

/// Arguments of `board`.
#[derive(Debug, Args)]
pub(crate) struct BoardArgs {
    /// Only jobs that have all of these words in title, description or requirements
    #[arg(short, long, value_name = "WORDS")]
    query: Option<String>,
    /// Only jobs with at least this price, in cents
    #[arg(long, value_name = "CENTS", value_parser = crate::within(&(0..=i64::MAX)), allow_negative_numbers = true)]
    min_price: Option<i64>,
    /// In this order; newest first without it
    #[arg(long, value_parser = ["newest", "oldest", "price"], conflicts_with = "watch")]
    sort: Option<String>,
    /// Show at most this many [default: 50]
    #[arg(long, value_name = "N", value_parser = crate::limit_parser())]
    limit: Option<u32>,
    /// Then a line for each job that comes, until Ctrl-C; with --json a document a line, also for jobs that leave
    #[arg(short, long)]
    watch: bool,
}

impl BoardArgs {
    /// What the server is asked for.
    fn filters(&self) -> Vec<(&'static str, String)> {
        let query = self.query.as_ref().map(|words| ("q", words.clone()));
        let price = self.min_price.map(|cents| ("min_price", cents.to_string()));
        let sort = self.sort.as_ref().map(|sort| ("sort", sort.clone()));
        [query, price, sort].into_iter().flatten().collect()
    }

    fn limit(&self) -> usize {
        self.limit.map_or(SHOWN, |limit| limit as usize)
    }
}

#[derive(Deserialize)]
struct OpenJob {
    id: String,
    title: String,
    requirements: Option<String>,
    payout_cents: Option<i64>,
    price_cents: i64,
    time_limit_seconds: i64,
    created_at: String,
}

impl OpenJob {
    /// What whoever does it gets.
    fn payout(&self) -> String {
        format::money(self.payout_cents.unwrap_or(self.price_cents))
    }
}

/// `board`: the jobs that wait for an agent, for everybody to see.
pub(crate) async fn run(args: BoardArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    if args.watch {
        return tokio::select! {
            done = watch(&args, client, out) => done,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
    }
    let answer = Value::Array(list(&args, client).await?);
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let jobs: Vec<OpenJob> = read(client, &answer)?;
    if jobs.is_empty() {
        let filtered = args.query.is_some() || args.min_price.is_some();
        out.note(if filtered {
            "No job on the board is like that."
        } else {
            "The board is empty: no job waits for an agent."
        });
        return Ok(());
    }
    let columns =
        [left("ID"), right("PAYOUT"), right("TIME LIMIT"), wide("TITLE"), wide("REQUIREMENTS"), left("POSTED")];
    let mut table = Table::new(&columns);
    for job in &jobs {
        table.row([
            Cell::new(&job.id),
            Cell::new(job.payout()),
            Cell::new(format::duration(job.time_limit_seconds)),
            Cell::new(&job.title),
            Cell::new(job.requirements.as_deref().unwrap_or_default()),
            Cell::toned(format::relative(now(), &job.created_at), Tone::Quiet),
        ]);
    }
    out.table(&table);
    Ok(())
}

/// The first jobs, page by page: one may be short, even empty, and not the last.
async fn list(args: &BoardArgs, client: &Client) -> Result<Vec<Value>, Failure> {
    let (filters, wanted) = (args.filters(), args.limit());
    let (mut jobs, mut after) = (Vec::new(), None::<String>);
    for _ in 0..MOST_PAGES {
        let limit = (wanted - jobs.len()).min(PAGE).to_string();
        let mut query: Vec<(&str, &str)> = filters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        query.push(("limit", &limit));
        query.extend(after.as_deref().map(|cursor| ("after", cursor)));
        let Page { body, next } = client.public_page(&PATH, &query).await?;
        let Value::Array(mut found) = body else { return Err(client.unexpected("it is not a list")) };
        jobs.append(&mut found);
        jobs.truncate(wanted);
        if next.is_none() || jobs.len() == wanted {
            break;
        }
        after = next;
    }
    Ok(jobs)
}

/// Prints what is there and then what comes, over all connections that it takes.
async fn watch(args: &BoardArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let filters = args.filters();
    let query: Vec<(&str, &str)> = filters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (mut patience, mut board) = (Patience::default(), Board { client, out, limit: args.limit(), known: None });
    let mut last_id = None::<String>;
    loop {
        let opened = client.follow_public(&STREAM, &query, last_id.as_deref()).await;
        let Some(mut stream) = patience.bear(opened, |text| out.note(text)).await? else { continue };
        let mut reader = Reader::after(last_id);
        while let Some(read) = patience.bear(stream.next().await, |text| out.note(text)).await? {
            let Some(bytes) = read else {
                sleep(AGAIN).await;
                break;
            };
            for event in reader.read(&bytes)? {
                board.tell(&event)?;
            }
        }
        last_id = reader.last_id;
    }
}

/// The board as far as it is known.
struct Board<'a> {
    client: &'a Client,
    out: &'a Output,
    /// How many are shown of those that were there before.
    limit: usize,
    /// The jobs on it; none before the server has told.
    known: Option<HashSet<String>>,
}

impl Board<'_> {
    fn tell(&mut self, event: &Event) -> Result<(), Failure> {
        let data: Value = serde_json::from_str(&event.data).map_err(|_| self.client.unexpected("it is not JSON"))?;
        match event.name.as_str() {
            "reset" => self.begin(&data),
            "job" => {
                let job: OpenJob = read(self.client, &data)?;
                self.known.get_or_insert_default().insert(job.id.clone());
                self.came(&job, &data);
                Ok(())
            }
            "gone" => {
                if let (Some(known), Some(id)) = (&mut self.known, data["id"].as_str()) {
                    known.remove(id);
                }
                if self.out.is_json() {
                    self.out.json_line(&json!({ "event": "gone", "id": data["id"] }));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Begins anew: at first with the newest so many, later with those that nobody has told of.
    fn begin(&mut self, data: &Value) -> Result<(), Failure> {
        let values = data["jobs"].as_array().ok_or_else(|| self.client.unexpected("it has no jobs"))?;
        let jobs: Vec<OpenJob> = read(self.client, &data["jobs"])?;
        let before = self.known.replace(jobs.iter().map(|job| job.id.clone()).collect());
        if self.out.is_json() {
            self.out.json_line(&json!({ "event": "reset", "more": data["more"] }));
        } else if before.is_none() && jobs.is_empty() {
            self.out.note("No such job waits for an agent yet. A line comes with each; Ctrl-C ends this.");
        }
        let shown = if before.is_none() { self.limit.min(jobs.len()) } else { jobs.len() };
        // The newest stand first, and what came first is told first.
        for (job, value) in jobs.iter().zip(values).take(shown).rev() {
            if self.out.is_json() || before.as_ref().is_none_or(|before| !before.contains(&job.id)) {
                self.came(job, value);
            }
        }
        Ok(())
    }

    fn came(&self, job: &OpenJob, value: &Value) {
        if self.out.is_json() {
            self.out.json_line(&json!({ "event": "job", "job": value }));
            return;
        }
        self.out.line(&[
            (&format::clock(&job.created_at), Tone::Quiet),
            ("  ", Tone::Plain),
            (&job.id, Tone::Plain),
            ("  ", Tone::Plain),
            (&job.payout(), Tone::Good),
            ("  ", Tone::Plain),
            (&job.title, Tone::Plain),
        ]);
    }
}
