//! Verification seen from outside: `verify` holds something against checks and criteria, `logs` tells what a job's
//! verification does.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Duration, sleep};

use crate::checks::{FORMS, parse_check};
use crate::client::{Client, parse_id};
use crate::events::{Event, Reader};
use crate::failure::Failure;
use crate::files::upload_all;
use crate::follow::Patience;
use crate::format;
use crate::job::{Verification, read};
use crate::output::{Output, Tone};
use crate::send::{parse_variable, variables};
use crate::text;

/// Before a stream that has ended too soon is opened again.
const AGAIN: Duration = Duration::from_millis(500);

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["text", "file", "attach"]).multiple(true))]
pub(crate) struct VerifyArgs {
    /// The text to verify
    #[arg(short, long, conflicts_with = "file")]
    text: Option<String>,
    /// Read the text from a file; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// A file to verify; repeat it for more
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// What a model judges it by; repeat it for more
    #[arg(long = "criteria", alias = "criterion", value_name = "TEXT")]
    criteria: Vec<String>,
    /// What a machine holds it against; repeat it for more
    #[arg(long = "check", value_name = "CHECK", value_parser = parse_check, long_help = format!("What a machine holds it against: {FORMS}"))]
    checks: Vec<Value>,
    /// An environment variable for commands that ask for it; repeat it for more
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,
}

/// Arguments of `logs`. With `--json` each line is a document.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The job's id
    #[arg(value_parser = parse_id)]
    id: String,
}

/// `verify`: tells the log as it grows, and then the verdict; fails unless it is a pass.
pub(crate) async fn verify(args: VerifyArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    if args.criteria.is_empty() && args.checks.is_empty() {
        return Err(Failure::usage("There is nothing to verify by").hint("add --check CHECK or --criteria TEXT"));
    }
    let output_text = text::either(args.text, args.file.as_deref())?;
    let files = upload_all(client, &args.attach).await?;
    let given = [
        ("output_text", output_text.map(Value::from)),
        ("attachments", Some(Value::from(files))),
        ("criteria", Some(json!(args.criteria))),
        ("checks", Some(json!(args.checks))),
        ("envVars", Some(json!(variables(args.variables)?))),
    ];
    let body: Map<String, Value> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let mut stream = client.post_and_follow(&["api", "verify"], &Value::Object(body)).await?;
    let (mut reader, mut verdict) = (Reader::default(), None);
    while let Some(bytes) = stream.next().await? {
        for event in reader.read(&bytes)? {
            match told(&event, client)? {
                Told::Line(line) => out.note(&line.shown()),
                Told::Verdict(found) => verdict = Some(found),
                Told::Error(error) => {
                    let message = error.get("error").and_then(Value::as_str).unwrap_or("There is no verdict");
                    let code = error.get("code").and_then(Value::as_str).unwrap_or("no_verdict");
                    return Err(Failure { transient: true, ..Failure::failed(code, message.to_owned()) });
                }
                Told::End | Told::Other => {}
            }
        }
    }
    let Some(verdict) = verdict else {
        return Err(Failure {
            transient: true,
            ..Failure::failed("no_verdict", "The server broke off before the verdict")
        });
    };
    let found: Verification = read(client, &verdict)?;
    if out.is_json() {
        out.document(&verdict);
    } else {
        found.show(out);
    }
    match found.verdict.as_str() {
        "pass" => Ok(()),
        _ => Err(Failure::failed("not_passed", "It does not pass.")),
    }
}

/// `logs`: the log of a job's verification until it is over; of the last one afterwards.
pub(crate) async fn logs(args: LogsArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let (mut patience, mut last_id, mut said) = (Patience::default(), None::<String>, false);
    let path = ["api", "jobs", &args.id, "logs"];
    loop {
        let opened = client.follow(&path, last_id.as_deref()).await;
        let Some(mut stream) = patience.bear(opened, |text| out.note(text)).await? else { continue };
        let mut reader = Reader::after(last_id);
        while let Some(Some(bytes)) = patience.bear(stream.next().await, |text| out.note(text)).await? {
            for event in reader.read(&bytes)? {
                let told = told(&event, client)?;
                if let Told::End = told {
                    if !said && !out.is_json() {
                        out.note("Nothing has been verified yet.");
                    }
                    return Ok(());
                }
                said = true;
                if out.is_json() {
                    let data: Value =
                        serde_json::from_str(&event.data).map_err(|_| client.unexpected("it is not JSON"))?;
                    out.json_line(&json!({ "event": event.name, "data": data }));
                    continue;
                }
                match told {
                    Told::Line(line) => {
                        let tone = if line.is_status { Tone::Plain } else { Tone::Quiet };
                        out.line(&[(&format::clock(&line.at), Tone::Quiet), ("  ", Tone::Plain), (&line.text, tone)]);
                    }
                    Told::Verdict(found) => read::<Verification>(client, &found)?.show(out),
                    _ => {}
                }
            }
        }
        last_id = reader.last_id;
        sleep(AGAIN).await;
    }
}

/// What an event tells.
enum Told {
    Line(Line),
    Verdict(Value),
    Error(Value),
    End,
    Other,
}

#[derive(Deserialize)]
struct Line {
    at: String,
    text: String,
    #[serde(skip)]
    is_status: bool,
}

impl Line {
    fn shown(&self) -> String {
        format!("{}  {}", format::clock(&self.at), self.text)
    }
}

fn told(event: &Event, client: &Client) -> Result<Told, Failure> {
    let data: Value = serde_json::from_str(&event.data).map_err(|_| client.unexpected("it is not JSON"))?;
    Ok(match event.name.as_str() {
        "status" | "log" => Told::Line(Line { is_status: event.name == "status", ..read(client, &data)? }),
        "verdict" => Told::Verdict(data),
        "error" => Told::Error(data),
        "end" => Told::End,
        _ => Told::Other,
    })
}
