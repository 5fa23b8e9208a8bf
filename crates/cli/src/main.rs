//! The `clawrk` binary: the tree of its commands, and what runs for each.
//!
//! Every command prints its data on stdout and everything else on stderr, and ends with 0 (done),
//! 1 (failed), 2 (wrong use), 3 (not signed in) or 4 (balance too low).

mod account;
mod admin;
mod agents;
mod board;
mod checks;
mod client;
mod config;
mod demo;
mod doctor;
mod environment;
mod eval;
mod events;
mod failure;
mod files;
mod follow;
mod form;
mod format;
mod job;
mod jobs;
mod keys;
mod market;
mod matches;
mod output;
mod overview;
mod scratch;
mod send;
mod serve;
mod server_settings;
mod settings;
mod state;
mod text;
mod verify;
mod wallet;
mod work;

use std::process::ExitCode;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use client::{Client, parse_id};
use environment::Environment;
use failure::Failure;
use output::Output;
use settings::Settings;

/// Requests are many small pieces of memory, made on one thread and freed on another: this allocator is good at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "clawrk", version, about = "Hand work to AI agents, and pay only for verified results")]
struct Cli {
    /// The server to work with [default: $CLAWRK_API_URL, the credentials file, http://127.0.0.1:3000]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Print one JSON document for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Every command.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Exchange(ExchangeCommand),
    /// Run an exchange, on SQLite in a folder or on PostgreSQL
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(serve::ServeArgs),
    /// See the whole story in a throwaway folder: jobs, agents, a refund, the proof of the books
    Demo(demo::DemoArgs),
    /// Make users, give balance, see to payments, prove the books, back up and restore
    Admin(admin::AdminArgs),
    /// Print every setting of the server, its value, where that is from, and what it means
    Config(config::ConfigArgs),
    /// Check the server, your key and the way there
    Doctor {
        /// Try the sandbox of this machine instead: one line for everything that a command check must not be able to do
        #[arg(long)]
        sandbox: bool,
    },
    /// Measure how well jobs are matched and criteria judged, on data of your own
    Eval {
        #[command(subcommand)]
        command: eval::EvalCommand,
    },
    /// Print a completion script for your shell
    #[command(after_help = "Example:\n  clawrk completions bash > ~/.local/share/bash-completion/completions/clawrk")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The commands that talk to an exchange.
#[derive(Debug, Subcommand)]
enum ExchangeCommand {
    /// Post a job: estimate it, ask, then pay for it
    #[command(after_help = send_examples())]
    Run(send::RunArgs),
    /// List the jobs you sent
    Jobs(jobs::JobsArgs),
    /// Show a job and its history
    Show {
        /// The job's id
        #[arg(value_parser = parse_id)]
        id: String,
    },
    /// Watch one job, or all of yours, as things happen; with --json a document per line
    Watch(follow::WatchArgs),
    /// Wait until a job is over; fails unless it was verified
    Wait(follow::WaitArgs),
    /// Tell what a job's verification does, as it goes on; with --json a document per line
    Logs(verify::LogsArgs),
    /// Hold a text against checks and criteria, outside of any job
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Pay a job that waits for payment
    Pay {
        /// The job's id
        #[arg(value_parser = parse_id)]
        id: String,
    },
    /// Cancel a job
    Cancel(send::CancelArgs),
    /// Decide a result that waits for your review
    Review(send::ReviewArgs),
    /// Create and change your agents
    Agents {
        #[command(subcommand)]
        command: Option<agents::AgentsCommand>,
    },
    /// Choose the current agent, for pull and claim
    Use {
        /// The agent's name or id; `default` for the default one
        agent: String,
    },
    /// See what the market pays, how fast it is, and what each day brought
    Stats(market::StatsArgs),
    /// Find agents by what they can do and how well they did it
    #[command(after_help = DIRECTORY_EXAMPLES)]
    Directory(market::DirectoryArgs),
    /// See the jobs that wait for an agent, and watch them come
    #[command(after_help = BOARD_EXAMPLES)]
    Board(board::BoardArgs),
    /// See the open jobs in the order in which your agent gets them, and why
    Matches(matches::MatchesArgs),
    /// Get the best job for your agent
    #[command(after_help = PULL_EXAMPLES)]
    Pull(work::PullArgs),
    /// Take a certain job from the board
    Claim(work::ClaimArgs),
    /// Take on the job that your agent holds
    Accept(work::CurrentArgs),
    /// Hand back the job that your agent holds
    Reject(work::CurrentArgs),
    /// Hand in the result
    #[command(after_help = SUBMIT_EXAMPLES)]
    Submit(work::SubmitArgs),
    /// Give up on an accepted job
    Fail(work::FailArgs),
    /// Get a file of a job
    Download(files::DownloadArgs),
    /// List the jobs of all your agents
    Status(jobs::LimitArgs),
    /// Show who you are
    Whoami,
    /// Show your balance and what moved it
    Balance(account::BalanceArgs),
    /// Pay in and out, and see what moved
    #[command(after_help = WALLET_EXAMPLES)]
    Wallet {
        #[command(subcommand)]
        command: wallet::WalletCommand,
    },
    /// The same as `wallet connect`
    #[command(hide = true)]
    Connect(wallet::ConnectArgs),
    /// Manage your API keys
    Keys {
        #[command(subcommand)]
        command: Option<keys::KeysCommand>,
    },
}

const fn send_examples() -> &'static str {
    "Examples:
  clawrk run \"Count the vowels in 'exchange'\"
  clawrk run -f task.md --price 800 --time-limit 1800
  clawrk run \"Sum up this page\" --criterion \"has at most 100 words\" --env TOKEN=abc -y
  git diff | clawrk run -f - --title \"Review a change\" -y"
}

const SERVE_EXAMPLES: &str = "Examples:
  clawrk serve
  clawrk serve --listen 0.0.0.0:3000 --data-dir /var/lib/clawrk
  clawrk serve --database-url postgres://clawrk@db/clawrk --secret-key-file /etc/clawrk/key";

const DIRECTORY_EXAMPLES: &str = "Examples:
  clawrk directory
  clawrk directory translate french --limit 10";
const BOARD_EXAMPLES: &str = "Examples:
  clawrk board -q \"translate letter\" --min-price 500
  clawrk board --sort price --limit 10
  clawrk board --watch --json | jq -r 'select(.event == \"job\") | .job.title'";

const WALLET_EXAMPLES: &str = "Examples:
  clawrk wallet topup 20.00
  clawrk wallet auto-topup on --amount 20.00 --below 5.00
  clawrk wallet connect
  clawrk wallet withdraw 12.50

Amounts are in dollars.";

const PULL_EXAMPLES: &str = "Examples:
  clawrk pull
  clawrk pull --agent poet --wait 30
  clawrk pull --json | jq -r .prompt";

const VERIFY_EXAMPLES: &str = "Examples:
  clawrk verify -f report.md --check min_words:300 --criteria \"names its sources\"
  clawrk verify -t '{\"total\": 3}' --check 'json_schema:{\"required\": [\"total\"]}'
  clawrk verify -f solve.py --check 'command:python3 /submission/output.txt | grep -qx 42'";

const SUBMIT_EXAMPLES: &str = "Examples:
  clawrk submit -t \"There are 3 vowels.\"
  clawrk submit -f result.md
  ./solve | clawrk submit -f -";

/// Reads a whole number within these bounds.
pub(crate) fn within(bounds: &std::ops::RangeInclusive<i64>) -> RangedI64ValueParser<i64> {
    RangedI64ValueParser::new().range(bounds.clone())
}

/// Reads a `--limit`: at least 1.
pub(crate) fn limit_parser() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match read_arguments() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let out = Output::new(cli.json);
    match run(cli, &out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The command tree with the grouped overview as its help.
fn tree() -> clap::Command {
    let tree = Cli::command();
    let help = overview::text(&tree);
    tree.override_help(help)
}

/// Parses the command line; help, version and wrong use are answered here.
fn read_arguments() -> Result<Cli, ExitCode> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let parsed = tree().try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked {
            Output::new(false).own(&error.render().ansi().to_string());
            return ExitCode::SUCCESS;
        }
        let json = arguments.iter().any(|argument| argument == "--json");
        let out = Output::new(json);
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ");
        if json {
            // What is wrong is the first paragraph; how it would be right follows.
            let problem = text.split("\n\n").next().unwrap_or_default();
            out.failure(&Failure::usage(problem.split_whitespace().collect::<Vec<_>>().join(" ")));
        } else {
            // A group of commands without one of them: its help is the answer, and no error.
            let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if help { out.note(text.trim_end()) } else { out.wrong_use(text) }
        }
        ExitCode::from(failure::Exit::Usage as u8)
    })
}

async fn run(cli: Cli, out: &Output) -> Result<(), Failure> {
    let Some(command) = cli.command else {
        if out.is_json() {
            return Err(Failure::usage("No command was given").hint("`clawrk --help` lists them"));
        }
        out.own(&overview::text(&Cli::command()).ansi().to_string());
        return Ok(());
    };
    match command {
        Command::Completions { shell } => completions(shell, out),
        Command::Serve(args) => serve::run(&args).await,
        Command::Demo(args) => demo::run(&args, out).await,
        Command::Admin(args) => admin::run(&args, out).await,
        Command::Config(args) => config::run(&args, out),
        Command::Eval { command } => eval::run(&command, out).await,
        Command::Doctor { sandbox: true } => doctor::sandbox(out).await,
        Command::Doctor { sandbox: false } => doctor::run(cli.server.as_deref(), &Environment::read()?, out).await,
        Command::Exchange(command) => {
            let settings = Settings::discover(cli.server.as_deref(), &Environment::read()?)?;
            run_at_exchange(command, &Client::new(settings)?, out).await
        }
    }
}

async fn run_at_exchange(command: ExchangeCommand, client: &Client, out: &Output) -> Result<(), Failure> {
    match command {
        ExchangeCommand::Run(args) => send::run(args, client, out).await,
        ExchangeCommand::Jobs(args) => jobs::jobs(args, client, out).await,
        ExchangeCommand::Show { id } => jobs::show(&id, client, out).await,
        ExchangeCommand::Watch(args) => follow::watch(args, client, out).await,
        ExchangeCommand::Wait(args) => follow::wait(args, client, out).await,
        ExchangeCommand::Logs(args) => verify::logs(args, client, out).await,
        ExchangeCommand::Verify(args) => verify::verify(args, client, out).await,
        ExchangeCommand::Pay { id } => send::pay(&id, client, out).await,
        ExchangeCommand::Cancel(args) => send::cancel(args, client, out).await,
        ExchangeCommand::Review(args) => send::review(args, client, out).await,
        ExchangeCommand::Agents { command } => {
            agents::run(command.unwrap_or(agents::AgentsCommand::List), client, out).await
        }
        ExchangeCommand::Use { agent } => agents::choose_agent(&agent, client, out).await,
        ExchangeCommand::Stats(args) => market::stats(args, client, out).await,
        ExchangeCommand::Directory(args) => market::directory(args, client, out).await,
        ExchangeCommand::Board(args) => board::run(args, client, out).await,
        ExchangeCommand::Matches(args) => matches::run(args, client, out).await,
        ExchangeCommand::Pull(args) => work::pull(args, client, out).await,
        ExchangeCommand::Claim(args) => work::claim(args, client, out).await,
        ExchangeCommand::Accept(args) => work::accept(args, client, out).await,
        ExchangeCommand::Reject(args) => work::reject(args, client, out).await,
        ExchangeCommand::Submit(args) => work::submit(args, client, out).await,
        ExchangeCommand::Fail(args) => work::fail(args, client, out).await,
        ExchangeCommand::Download(args) => files::download(args, client, out).await,
        ExchangeCommand::Status(args) => jobs::status(args, client, out).await,
        ExchangeCommand::Whoami => account::whoami(client, out).await,
        ExchangeCommand::Balance(args) => account::balance(args, client, out).await,
        ExchangeCommand::Wallet { command } => wallet::run(command, client, out).await,
        ExchangeCommand::Connect(args) => wallet::run(wallet::WalletCommand::Connect(args), client, out).await,
        ExchangeCommand::Keys { command } => keys::run(command.unwrap_or(keys::KeysCommand::List), client, out).await,
    }
}

fn completions(shell: clap_complete::Shell, out: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clawrk", &mut script);
    let script = String::from_utf8_lossy(&script);
    if out.is_json() {
        out.document(&serde_json::json!({ "shell": shell.to_string(), "script": script }));
    } else {
        out.own(&script);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_well_formed() {
        tree().debug_assert();
    }

    #[test]
    fn the_known_forms_are_understood() {
        let lines: &[&[&str]] = &[
            &["run", "do it", "--price", "500", "--time-limit", "600", "-y"],
            &["jobs", "-s", "queued"],
            &["board", "-q", "sort numbers", "--min-price", "500", "--sort", "price", "--limit", "5"],
            &["board", "--watch", "-q", "sort", "--json"],
            &["agents", "create", "poet", "--personality", "writes poems"],
            &["use", "poet"],
            &["submit", "-t", "done"],
            &["submit", "abc", "-f", "-"],
            &["submit", "--attach", "a.txt", "--attach", "b.txt"],
            &["download", "abc", "-o", "x"],
            &["wait", "abc"],
            &["accept"],
            &["review", "abc", "--pass"],
            &["keys", "create", "ci", "--scope", "read", "--scope", "work", "--expires-in", "30d"],
            &["balance", "--json", "--server", "http://127.0.0.1:1"],
            &["stats", "--days", "7"],
            &["wallet", "topup", "20.50", "--no-wait", "--no-browser"],
            &["wallet", "withdraw", "$20", "-y"],
            &["wallet", "auto-topup"],
            &["wallet", "auto-topup", "on", "--amount", "20.00", "--below", "$5"],
            &["wallet", "auto-topup", "off"],
            &["wallet", "connect", "status"],
            &["connect", "status"],
            &["wallet", "ledger", "--limit", "5"],
            &["admin", "payments", "--data-dir", "x"],
            &["admin", "payments", "resolve", "0197", "--not-paid"],
            &["admin", "reconcile", "--since", "2026-11-01"],
            &["directory", "translate", "french"],
        ];
        for line in lines {
            let parsed = tree().try_get_matches_from(["clawrk"].iter().chain(*line));
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn wrong_use_is_refused() {
        let lines: &[&[&str]] = &[
            &["run"],
            &["run", "a", "-f", "b"],
            &["run", "a", "--criterion", "x", "--no-criteria"],
            &["submit"],
            &["submit", "-t", "a", "-f", "b"],
            &["review", "abc"],
            &["review", "abc", "--pass", "--fail"],
            &["review", "abc", "--fail"],
            &["jobs", "-s", "lost"],
            &["jobs", "--limit", "0"],
            &["stats", "--days", "366"],
            &["wallet", "topup"],
            &["wallet", "topup", "4.99"],
            &["wallet", "withdraw", "ten"],
            &["wallet", "withdraw", "20"],
            &["wallet", "auto-topup", "on", "--amount", "$20"],
            &["admin", "payments", "resolve", "0197"],
            &["admin", "payments", "resolve", "0197", "--paid", "tr_1", "--not-paid"],
            &["board", "--sort", "relevance"],
            &["board", "--min-price", "-1"],
            &["board", "--watch", "--sort", "price"],
            &["show", ".."],
        ];
        for line in lines {
            assert!(tree().try_get_matches_from(["clawrk"].iter().chain(*line)).is_err(), "{line:?}");
        }
    }
}
