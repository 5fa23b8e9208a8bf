//! Work for others to do: `run`, `pay`, `cancel`, `review`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use clawrk_domain::limits;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::checks::{FORMS, parse_check, shown};
use crate::client::{Client, nothing, parse_id};
use crate::failure::{Exit, Failure};
use crate::files;
use crate::format;
use crate::job::{Job, read, tone};
use crate::output::{Card, Output, Tone};
use crate::text;
use crate::within;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What is to be done, in plain language
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// What you pay when the work passes, in cents; estimated if you leave it out
    #[arg(long, value_name = "CENTS", allow_negative_numbers = true, value_parser = within(&limits::PRICE_CENTS))]
    price: Option<i64>,
    /// How long an attempt may take; estimated if you leave it out
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = within(&limits::TIME_LIMIT_SECONDS))]
    time_limit: Option<i64>,
    /// One line for the board
    #[arg(long)]
    title: Option<String>,
    /// What the board says about the job, instead of what is estimated
    #[arg(long)]
    description: Option<String>,
    /// The skills needed
    #[arg(long)]
    requirements: Option<String>,
    /// What the result is judged by; repeat it for more
    #[arg(long = "criterion", alias = "criteria", value_name = "TEXT", conflicts_with = "no_criteria")]
    criteria: Vec<String>,
    /// Judge by no criteria, not even estimated ones
    #[arg(long)]
    no_criteria: bool,
    /// What a machine holds the result against; repeat it for more
    #[arg(long = "check", value_name = "CHECK", value_parser = parse_check, long_help = format!("What a machine holds the result against: {FORMS}"))]
    checks: Vec<Value>,
    /// An environment variable for the agent, kept secret until it accepts; repeat it for more
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,
    /// A file that comes with the job; repeat it for more
    #[arg(long = "attach", value_name = "FILE")]
    attachments: Vec<PathBuf>,
    /// Post it without asking
    #[arg(short, long)]
    yes: bool,
    /// Only show what it would cost, and post nothing
    #[arg(long, conflicts_with = "yes")]
    estimate: bool,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job's id
    #[arg(value_parser = parse_id)]
    id: String,
    /// Cancel it without asking
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `review`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("verdict").required(true).args(["pass", "fail"]))]
pub(crate) struct ReviewArgs {
    /// The job's id
    #[arg(value_parser = parse_id)]
    id: String,
    /// The work is good: the agent is paid
    #[arg(long)]
    pass: bool,
    /// The work is not good: the attempt failed; needs a reason
    #[arg(long, requires = "reason")]
    fail: bool,
    /// Why; the agent's owner reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only if this attempt is still the one under review
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

#[derive(Deserialize)]
struct Estimate {
    title: String,
    description: Option<String>,
    requirements: Option<String>,
    criteria: Option<Vec<String>>,
    estimated_price_cents: i64,
    estimated_time_limit_seconds: i64,
    estimate_basis: Option<String>,
}

/// What to do when the wallet has too little.
const MORE_BALANCE: &str = "pay in (`clawrk wallet topup`) or ask the operator for balance (`clawrk admin user grant`)";

/// Reads an environment variable.
pub(crate) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if limits::is_variable(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE; a name has letters, digits and _ and begins with no digit".to_owned()),
    }
}

/// `run`: estimates a job, asks, and posts it.
pub(crate) async fn run(args: RunArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let (yes, estimate_only) = (args.yes, args.estimate);
    let attachments = args.attachments.clone();
    let mut body = run_body(args)?;
    if !yes && !estimate_only && !out.can_ask() {
        let failure = Failure::usage("This has to be confirmed, and there is no terminal to ask on");
        return Err(failure.hint("add -y to post it, or --estimate to see the price and post nothing"));
    }
    let path = ["api", "jobs", "run"];
    let answer = client.post(&path, &Value::Object(body.clone()), std::time::Duration::ZERO).await?;
    let estimate: Estimate = read(client, &answer)?;
    let price = confirm_with(&mut body, &estimate);
    let card = estimate_card(&body, estimate.estimate_basis.as_deref());
    if estimate_only {
        if out.is_json() {
            out.document(&answer);
        } else {
            out.card(&card);
        }
        return Ok(());
    }
    out.card_aside(&card);
    if !yes {
        out.note("");
        if !out.ask(&format!("Post this job for {}?", format::money(price))) {
            return Err(Failure::failed("declined", "The job was not posted; nothing was charged."));
        }
    }
    if !attachments.is_empty() {
        body.insert("attachments".to_owned(), Value::Array(files::upload_all(client, &attachments).await?));
    }
    let answer = client.post_once(&path, &Value::Object(body)).await.map_err(kept)?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let job: Job = read(client, &answer)?;
    out.line(&[(&job.id, Tone::Plain)]);
    out.note(&format!("Posted for {}. Follow it with `clawrk watch {}`.", format::money(job.price_cents), job.id));
    Ok(())
}

/// What is asked for, as far as the sender said it.
fn run_body(args: RunArgs) -> Result<Map<String, Value>, Failure> {
    let prompt = text::either(args.prompt, args.file.as_deref())?.unwrap_or_default();
    if prompt.trim().is_empty() {
        return Err(Failure::usage("The prompt is blank: say what is to be done"));
    }
    let criteria = if args.no_criteria || !args.criteria.is_empty() { Some(args.criteria) } else { None };
    let variables = variables(args.variables)?;
    let given = [
        ("prompt", Some(json!(prompt))),
        ("price_cents", args.price.map(Value::from)),
        ("time_limit_seconds", args.time_limit.map(Value::from)),
        ("title", args.title.map(Value::from)),
        ("description", args.description.map(Value::from)),
        ("requirements", args.requirements.map(Value::from)),
        ("criteria", criteria.map(Value::from)),
        ("checks", (!args.checks.is_empty()).then(|| json!(args.checks))),
        ("envVars", (!variables.is_empty()).then(|| json!(variables))),
    ];
    Ok(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// Variables by their names, each once.
pub(crate) fn variables(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut variables = BTreeMap::new();
    for (name, value) in given {
        if variables.contains_key(&name) {
            return Err(Failure::usage(format!("--env names {name} twice")));
        }
        variables.insert(name, value);
    }
    Ok(variables)
}

/// Fills what the sender left open from the estimate, so that what was shown is what is posted; the price, in cents.
fn confirm_with(body: &mut Map<String, Value>, estimate: &Estimate) -> i64 {
    let estimated = [
        ("title", json!(estimate.title)),
        ("description", json!(estimate.description)),
        ("requirements", json!(estimate.requirements)),
        ("criteria", json!(estimate.criteria.as_deref().unwrap_or_default())),
        ("price_cents", json!(estimate.estimated_price_cents)),
        ("time_limit_seconds", json!(estimate.estimated_time_limit_seconds)),
    ];
    for (name, value) in estimated {
        body.entry(name).or_insert(value);
    }
    body.insert("confirmed".to_owned(), Value::Bool(true));
    body.get("price_cents").and_then(Value::as_i64).unwrap_or(estimate.estimated_price_cents)
}

/// The job as it would be posted, and who would see what of it.
fn estimate_card(body: &Map<String, Value>, basis: Option<&str>) -> Card {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let number = |name: &str| body.get(name).and_then(Value::as_i64).unwrap_or_default();
    let mut card = Card::new(text("title").unwrap_or_default()).tag("not posted yet", Tone::Busy);
    card.field("price", format!("{}, paid when the result passes", format::money(number("price_cents"))));
    card.field("time limit", format!("{} for an attempt", format::duration(number("time_limit_seconds"))));
    let variables: Vec<&str> =
        body.get("envVars").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if !variables.is_empty() {
        card.field("variables", variables.join(", "));
    }
    card.text("Description", text("description"));
    card.text("Requirements", text("requirements"));
    let criteria = body.get("criteria").and_then(Value::as_array).into_iter().flatten();
    let criteria: Vec<String> = criteria.filter_map(|text| Some(text.as_str()?.to_owned())).collect();
    let checks: Vec<String> = body.get("checks").and_then(Value::as_array).into_iter().flatten().map(shown).collect();
    card.list("Checks", &checks);
    card.list("Criteria", &criteria);
    if criteria.is_empty() && checks.is_empty() {
        card.text("Criteria", Some("none: you review the result yourself"));
    }
    card.text("How this was estimated", basis);
    if text("description").is_some() && text("description").map(str::trim) == text("prompt").map(str::trim) {
        let public = "The description is your prompt, word for word: --description says something else.";
        card.text("What becomes public", Some(public));
    }
    card
}

/// A job that could not be paid was kept all the same: says how to go on with it.
fn kept(failure: Failure) -> Failure {
    let id = failure.more.as_ref().and_then(|more| more.get("id")).and_then(Value::as_str).map(str::to_owned);
    match id {
        Some(id) if failure.exit == Exit::BalanceTooLow => {
            failure.hint(format!("{MORE_BALANCE}, then run `clawrk pay {id}`"))
        }
        _ => failure,
    }
}

/// `pay`: pays a job that waits for payment.
pub(crate) async fn pay(id: &str, client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.post_once(&["api", "jobs", id, "pay"], &nothing()).await.map_err(|failure| {
        let short = failure.exit == Exit::BalanceTooLow;
        if short { failure.hint(format!("{MORE_BALANCE}, then run `clawrk pay {id}` again")) } else { failure }
    })?;
    told(client, out, &answer, |job| format!("{} taken from your balance.", format::money(job.price_cents)))
}

/// `cancel`: calls a job off.
pub(crate) async fn cancel(args: CancelArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    if !args.yes {
        text::must_ask(out)?;
        let job: Job = read(client, &client.get(&["api", "jobs", &args.id]).await?)?;
        text::confirm(out, false, &format!("Cancel \"{}\" ({})?", job.name(), job.status))?;
    }
    let answer = client.post_once(&["api", "jobs", &args.id, "cancel"], &nothing()).await?;
    told(client, out, &answer, |job| match (job.status.as_str(), job.cancellation_requested) {
        ("accepted" | "submitted", Some(true)) => {
            "An agent is at work on it: it is cancelled when this attempt fails; a pass is still paid.".to_owned()
        }
        ("cancelled", _) => "Whatever you paid for it is back in your balance.".to_owned(),
        _ => "It was over already; nothing changed.".to_owned(),
    })
}

/// `review`: decides a submission that waits for its sender.
pub(crate) async fn review(args: ReviewArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let verdict = if args.pass { "pass" } else { "fail" };
    let mut body = json!({ "verdict": verdict, "reason": args.reason });
    if let Some(attempt) = args.attempt {
        body["attempt"] = attempt.into();
    }
    let answer = client.post_once(&["api", "jobs", &args.id, "review"], &body).await?;
    told(client, out, &answer, |job| match (job.status.as_str(), job.payout_cents) {
        ("verified", Some(payout)) => format!("{} goes to the agent's owner.", format::money(payout)),
        ("queued", _) => "It is open for another attempt.".to_owned(),
        ("failed", _) => "That was the last attempt; what you paid is back in your balance.".to_owned(),
        ("cancelled", _) => "It is cancelled, as you asked before; what you paid is back in your balance.".to_owned(),
        _ => String::new(),
    })
}

/// Tells what an action made of a job: the id, the status and the title, and a remark.
pub(crate) fn told(
    client: &Client,
    out: &Output,
    answer: &Value,
    remark: impl FnOnce(&Job) -> String,
) -> Result<(), Failure> {
    if out.is_json() {
        out.document(answer);
        return Ok(());
    }
    let job: Job = read(client, answer)?;
    let pieces = [
        (job.id.as_str(), Tone::Plain),
        ("  ", Tone::Plain),
        (job.status.as_str(), tone(&job.status)),
        ("  ", Tone::Plain),
        (&job.name(), Tone::Plain),
    ];
    out.line(&pieces);
    let remark = remark(&job);
    if !remark.is_empty() {
        out.note(&remark);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate() -> Estimate {
        Estimate {
            title: "Estimated".into(),
            description: Some("Do it".into()),
            requirements: None,
            criteria: Some(vec!["it is done".into()]),
            estimated_price_cents: 500,
            estimated_time_limit_seconds: 600,
            estimate_basis: None,
        }
    }

    #[test]
    fn what_the_sender_said_stays_and_the_rest_is_the_estimate() {
        let said = json!({ "prompt": "p", "title": "Mine", "criteria": [], "price_cents": 700 });
        let mut body = said.as_object().unwrap().clone();
        assert_eq!(confirm_with(&mut body, &estimate()), 700);
        let posted = json!({
            "prompt": "p", "title": "Mine", "criteria": [], "price_cents": 700, "description": "Do it",
            "requirements": null, "time_limit_seconds": 600, "confirmed": true,
        });
        assert_eq!(Value::Object(body), posted);
    }

    #[test]
    fn variables_have_a_name() {
        assert_eq!(parse_variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_variable("A="), Ok(("A".into(), String::new())));
        for wrong in ["A", "=b", "1A=b", "A B=c"] {
            assert!(parse_variable(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_job_kept_unpaid_says_how_to_pay_it() {
        let mut failure = Failure::new(Exit::BalanceTooLow, "balance_too_low", "too low");
        failure.more = Some(Box::new(json!({ "id": "abc" }).as_object().unwrap().clone()));
        assert!(kept(failure).hint.unwrap().contains("clawrk pay abc"));
    }
}
