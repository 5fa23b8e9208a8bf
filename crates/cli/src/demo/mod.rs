//! `demo`: the whole story in a throwaway folder, told by real requests to a real exchange.
//!
//! Two people post jobs, three agents with honest little programs work them, one job fails thrice
//! and is refunded, one is cancelled, one hold runs out. At the end: the jobs, the wallets, and the
//! proof of the books.

mod checks;
mod person;
mod programs;
mod prompts;
mod report;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clawrk_domain::Policy;
use clawrk_server::app::Outside;
use clawrk_server::edge::Limits;
use clawrk_server::exchange::Operator;
use clawrk_server::vault::Vault;
use clawrk_server::{App, random, serve};
use clawrk_store::{Clock, Store};
use futures_util::future::select_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::output::Output;
use crate::scratch;
use person::Person;
use programs::Skill;
use report::Report;

/// The demo's holds are short, so that one can be seen running out.
const HOLD_SECONDS: i64 = 2;

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End after the story instead of staying up
    #[arg(long)]
    exit: bool,
    /// Address and port to listen on; any free port by default
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Everybody in the story.
struct Cast {
    server: String,
    senders: Vec<Person>,
    agents: Vec<(Skill, Person, String)>,
}

impl Cast {
    /// The senders, then the agents' owners.
    fn everybody(&self) -> impl Iterator<Item = &Person> {
        self.senders.iter().chain(self.agents.iter().map(|(_, owner, _)| owner))
    }
}

/// Tells the story; without `--exit` it stays up until it is asked to stop.
pub(crate) async fn run(args: &DemoArgs, out: &Output) -> Result<(), Failure> {
    let folder = scratch::make().context("a throwaway folder cannot be made")?;
    let told = Cell::new(false);
    let ended = tokio::select! {
        ended = play(args, &folder, &told, out) => ended,
        asked = asked_to_stop() => asked.and_then(|()| match told.get() {
            true => Ok(()),
            false => Err(Failure::failed("interrupted", "The demo was stopped before its end.")),
        }),
    };
    scratch::remove();
    ended
}

/// The story with short holds; then, for people to play with, the same exchange with those of every day.
async fn play(args: &DemoArgs, folder: &Path, told: &Cell<bool>, out: &Output) -> Result<(), Failure> {
    let secret = format!("{:032x}", random::seed());
    let brief = Policy { hold_seconds: HOLD_SECONDS, ..Policy::default() };
    // The story is told as fast as it can be.
    let unhurried = Limits { requests_per_minute: 0, ..Limits::default() };
    let app = open(folder, &secret, brief, unhurried).await?;
    let listener = listen(args.listen).await?;
    let address = listener.local_addr().context("a listener has an address")?;
    let (report, cast) = on_stage(&app, listener, tell(&app, &format!("http://{address}"), out)).await?;
    report.show(&cast, out);
    told.set(true);
    if args.exit {
        return Ok(());
    }
    drop(app);
    let app = open(folder, &secret, Policy::default(), Limits::default()).await?;
    let stay = async {
        if !out.is_json() {
            report.invite(&cast, out);
        }
        std::future::pending().await
    };
    on_stage(&app, listen(address).await?, stay).await
}

/// Serves for as long as the play takes.
async fn on_stage<T>(
    app: &App,
    listener: TcpListener,
    play: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let stopping = app.stopping.clone();
    let server = serve::serve(app.clone(), listener, async move { stopping.cancelled().await });
    let end = async {
        let ended = play.await;
        app.stopping.cancel();
        ended
    };
    let (served, ended) = tokio::join!(server, end);
    served.context("the demo's server failed")?;
    ended
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await;
    Ok(listener.with_context(|| format!("{address} cannot be listened on: choose another with --listen"))?)
}

/// Ctrl-C, a polite kill, or the terminal that was closed.
pub(crate) async fn asked_to_stop() -> Result<(), Failure> {
    let listen = |kind| signal(kind).context("signals cannot be waited for");
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let mut signals = kinds.into_iter().map(listen).collect::<Result<Vec<_>, _>>()?;
    select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    Ok(())
}

async fn open(folder: &Path, secret: &str, policy: Policy, limits: Limits) -> anyhow::Result<App> {
    let store = Store::sqlite(folder, policy.clone(), Clock::System)?;
    let app = App::new(store, Vault::new(secret), policy, Outside::default(), limits);
    serve::fill(&app).await?;
    Ok(app)
}

async fn tell(app: &App, server: &str, out: &Output) -> Result<(Report, Cast), Failure> {
    let cast = introduce(app, server, out).await?;
    let mut jobs = post_all(&cast, out).await?;
    let twin = cancel_a_twin(&cast, &jobs, out).await?;
    let_a_hold_run_out(&cast, &jobs, out).await?;
    work_all(&cast, &jobs, out).await?;
    fail_thrice(&cast, &jobs, out).await?;
    jobs.push(twin);
    let report = Report::of(app, &cast, &jobs).await?;
    if !report.is_clean() {
        return Err(Failure::failed("audit_failed", "The books do not balance."));
    }
    Ok((report, cast))
}

/// A job of the story: who posted it, which prompt it is, its id.
struct Posted {
    sender: usize,
    prompt: &'static str,
    id: String,
}

async fn introduce(app: &App, server: &str, out: &Output) -> Result<Cast, Failure> {
    report::chapter(out, "1. People and agents");
    let operator = Operator(app.store.clone());
    let mut senders = Vec::new();
    for (name, cents) in [("Mara", 60_00), ("Jonas", 45_00)] {
        senders.push(Person::join(&operator, server, name, cents).await?);
        report::line(out, &format!("{name} has {} to spend.", clawrk_domain::Cents(cents)));
    }
    let mut agents = Vec::new();
    for skill in Skill::ALL {
        let owner = Person::join(&operator, server, &format!("owner of {}", skill.name()), 0).await?;
        let body = json!({"name": skill.name(), "personality": skill.personality()});
        let agent = owner.post(&["api", "agents"], &body).await?;
        let first = skill.personality().split('.').next().unwrap_or_default();
        report::line(out, &format!("{}, an agent: \"{first}…\"", skill.name()));
        agents.push((skill, owner, text(&agent["id"])));
    }
    report::line(out, "That is their personality: by it, jobs are matched. Their owners' wallets are empty.");
    Ok(Cast { server: server.to_owned(), senders, agents })
}

/// Every prompt: estimated first, then confirmed with what the estimate said.
async fn post_all(cast: &Cast, out: &Output) -> Result<Vec<Posted>, Failure> {
    report::chapter(out, "2. Jobs are posted: estimated, confirmed, paid into escrow");
    let mut jobs = Vec::new();
    for (at, (_, prompt)) in prompts::prompts().into_iter().enumerate() {
        let sender = at % cast.senders.len();
        let id = post(&cast.senders[sender], prompt, out).await?;
        jobs.push(Posted { sender, prompt, id });
    }
    let poem = jobs.iter().find(|job| job.prompt.contains("acrostic")).context("the poem is among the prompts")?;
    report::line(out, &format!("One of them, {}, as {} wrote it:", poem.id, cast.senders[poem.sender].name));
    report::quote(out, poem.prompt);
    Ok(jobs)
}

async fn post(sender: &Person, prompt: &str, out: &Output) -> Result<String, Failure> {
    let mut body = sender.post(&["api", "jobs", "run"], &json!({ "prompt": prompt })).await?;
    body["prompt"] = json!(prompt);
    body["confirmed"] = json!(true);
    let job = sender.post(&["api", "jobs", "run"], &body).await?;
    let price = clawrk_domain::Cents(job["price_cents"].as_i64().unwrap_or_default());
    report::line(out, &format!("{} posts {}, {price}: {}", sender.name, text(&job["id"]), text(&job["title"])));
    Ok(text(&job["id"]))
}

/// A job posted by mistake, and called off before anybody took it.
async fn cancel_a_twin(cast: &Cast, jobs: &[Posted], out: &Output) -> Result<Posted, Failure> {
    report::chapter(out, "3. One is posted twice by mistake, and cancelled");
    let first = &jobs[0];
    let sender = &cast.senders[first.sender];
    let id = post(sender, first.prompt, out).await?;
    sender.post(&["api", "jobs", &id, "cancel"], &json!({})).await?;
    report::line(out, &format!("{} cancels {id}: the price is back in the wallet.", sender.name));
    Ok(Posted { sender: first.sender, prompt: first.prompt, id })
}

/// An agent takes a hold and falls asleep: nothing is lost but a moment.
async fn let_a_hold_run_out(cast: &Cast, jobs: &[Posted], out: &Output) -> Result<(), Failure> {
    report::chapter(out, "4. A hold runs out");
    let (skill, owner, agent) = &cast.agents[2];
    let id = &jobs[jobs.len() / 2].id;
    owner.post(&["api", "jobs", id, "claim"], &json!({ "agent_id": agent })).await?;
    report::line(out, &format!("{} takes a hold of {id} and does nothing.", skill.name()));
    for _ in 0..100 {
        if owner.get(&["api", "jobs", id]).await?["status"] == "queued" {
            report::line(
                out,
                &format!("After {HOLD_SECONDS} s (30 s outside of this demo) the job is back in the queue."),
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failure::failed("hold_stuck", "The hold did not run out."))
}

/// Every agent pulls what fits it best until nothing is left for it.
async fn work_all(cast: &Cast, jobs: &[Posted], out: &Output) -> Result<(), Failure> {
    report::chapter(out, "5. Agents pull the job that fits them best, and work; senders review");
    report::line(out, "A pass pays the agent's owner the price less a fee of 20 % and $0.50: of $2.00, $1.10.");
    let (mut busy, mut shown) = (true, false);
    while busy {
        busy = false;
        for (skill, owner, agent) in &cast.agents {
            let job = owner.post(&["api", "jobs", "pull"], &json!({ "agent_id": agent })).await?;
            if job.is_null() {
                continue;
            }
            busy = true;
            let id = text(&job["id"]);
            let Some(result) = job["prompt"].as_str().and_then(|prompt| skill.work(prompt)) else {
                owner.post(&["api", "jobs", &id, "reject"], &json!({})).await?;
                report::line(out, &format!("{} rejects {id}: not its kind of work.", skill.name()));
                continue;
            };
            owner.post(&["api", "jobs", &id, "accept"], &json!({})).await?;
            hand_in(cast, jobs, (*skill, owner), &id, &result, out).await?;
            if !std::mem::replace(&mut shown, true) {
                report::line(out, "  This is what it handed in:");
                report::quote(out, &result);
            }
        }
    }
    Ok(())
}

/// The poem that no program here can write: all three try, all three fail, the sender has the money back.
async fn fail_thrice(cast: &Cast, jobs: &[Posted], out: &Output) -> Result<(), Failure> {
    report::chapter(out, "6. One job is beyond them: three attempts, then the money goes back");
    report::line(out, "Nobody wanted the poem. They claim it from the board all the same, and do what a program can.");
    for posted in jobs {
        for (skill, owner, agent) in &cast.agents {
            if cast.senders[posted.sender].get(&["api", "jobs", &posted.id]).await?["status"] != "queued" {
                break;
            }
            owner.post(&["api", "jobs", &posted.id, "claim"], &json!({ "agent_id": agent })).await?;
            owner.post(&["api", "jobs", &posted.id, "accept"], &json!({})).await?;
            let result = skill.attempt_anyway(posted.prompt);
            hand_in(cast, jobs, (*skill, owner), &posted.id, &result, out).await?;
        }
    }
    Ok(())
}

/// Submits, and lets the sender check it by other means than the program's.
async fn hand_in(
    cast: &Cast,
    jobs: &[Posted],
    (skill, owner): (Skill, &Person),
    id: &str,
    result: &str,
    out: &Output,
) -> Result<(), Failure> {
    owner.post(&["api", "jobs", id, "submit"], &json!({ "output_text": result })).await?;
    let posted = jobs.iter().find(|job| job.id == id).context("every job of the story is known")?;
    let sender = &cast.senders[posted.sender];
    let (verdict, reason) = match checks::review(posted.prompt, result) {
        Ok(reason) => ("pass", reason),
        Err(reason) => ("fail", reason),
    };
    let job = sender.post(&["api", "jobs", id, "review"], &json!({"verdict": verdict, "reason": reason})).await?;
    let outcome = match job["status"].as_str() {
        Some("verified") => format!("paid {}", clawrk_domain::Cents(job["payout_cents"].as_i64().unwrap_or_default())),
        Some("failed") => format!("failed for good, {} refunded", sender.name),
        _ => "back to the queue".to_owned(),
    };
    report::verdict(out, verdict == "pass", &format!("{} works {id}: {outcome}. {}", skill.name(), reason));
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
