//! Money in and out: `wallet topup|withdraw|auto-topup|card|connect|ledger|payments`.

mod auto;
mod page;
mod payment;

use clap::{Args, Subcommand};
use clawrk_domain::limits;
use serde_json::{Value, json};

use crate::account::{self, BalanceArgs};
use crate::client::{Client, nothing, parse_id};
use crate::failure::Failure;
use crate::format;
use crate::output::{Output, Tone};
use crate::text;
use page::Page;
use payment::{Ends, Payment};

/// What `wallet` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Pay in, on a page of Stripe's
    Topup(TopupArgs),
    /// Be paid out, to the account that `wallet connect` set up
    Withdraw(WithdrawArgs),
    /// Show, or set, when your saved card is charged by itself
    AutoTopup {
        #[command(subcommand)]
        command: Option<auto::AutoTopupCommand>,
    },
    /// Save a card that may be charged by itself, on a page of Stripe's
    Card(PageArgs),
    /// Set up where you are paid out to, on pages of Stripe's
    Connect(ConnectArgs),
    /// Show what moved your balance
    Ledger(BalanceArgs),
    /// List your payments in and out, or show one
    Payments(PaymentsArgs),
}

/// What is done about a page of Stripe's.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PageArgs {
    /// Print where the page is, and do not wait for what comes of it
    #[arg(long)]
    no_wait: bool,
    /// Open no browser
    #[arg(long)]
    no_browser: bool,
}

/// Arguments of `wallet topup`.
#[derive(Debug, Args)]
pub(crate) struct TopupArgs {
    /// How much, in dollars: 20.00 or $20
    #[arg(value_name = "DOLLARS", allow_negative_numbers = true, value_parser = parse_amount)]
    amount: i64,
    #[command(flatten)]
    page: PageArgs,
}

/// Arguments of `wallet withdraw`.
#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    /// How much, in dollars: 20.00 or $20
    #[arg(value_name = "DOLLARS", allow_negative_numbers = true, value_parser = parse_amount)]
    amount: i64,
    /// Withdraw it without asking
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `wallet connect`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConnectArgs {
    #[command(subcommand)]
    command: Option<ConnectCommand>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, Subcommand)]
enum ConnectCommand {
    /// Show whether you can be paid out
    Status,
}

/// Arguments of `wallet payments`.
#[derive(Debug, Args)]
pub(crate) struct PaymentsArgs {
    /// Show this one
    #[arg(value_parser = parse_id)]
    id: Option<String>,
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = crate::limit_parser())]
    limit: u32,
}

/// Reads how much is paid in or out.
fn parse_amount(text: &str) -> Result<i64, String> {
    format::parse_dollars(text, &limits::PAYMENT_CENTS)
}

/// Runs a `wallet` command.
pub(crate) async fn run(command: WalletCommand, client: &Client, out: &Output) -> Result<(), Failure> {
    match command {
        WalletCommand::Topup(args) => topup(&args, client, out).await,
        WalletCommand::Withdraw(args) => withdraw(&args, client, out).await,
        WalletCommand::AutoTopup { command } => auto::run(command, client, out).await,
        WalletCommand::Card(args) => auto::save_card(args, client, out).await,
        WalletCommand::Connect(ConnectArgs { command: Some(ConnectCommand::Status), .. }) => {
            show_status(client, out).await
        }
        WalletCommand::Connect(args) => connect(args.page, client, out).await,
        WalletCommand::Ledger(args) => account::ledger(args, client, out).await,
        WalletCommand::Payments(args) => payment::show(args.id.as_deref(), args.limit, client, out).await,
    }
}

/// `topup`: the page to pay on, and what came of it.
async fn topup(args: &TopupArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.post_once(&["api", "wallet", "topup"], &json!({ "amount_cents": args.amount })).await?;
    let page = Page::read(client, &answer)?;
    let Some(id) = page.payment.clone() else { return Err(client.unexpected("it names no payment")) };
    if out.is_json() {
        // Whoever reads it has to have the page before anything can come of it.
        out.document(&answer);
        return Ok(());
    }
    page.show(args.page, &format!("Pay {} on this page:", format::money(args.amount)), out);
    if args.page.no_wait {
        out.note(&format!("`clawrk wallet payments {id}` shows whether it was paid."));
        return Ok(());
    }
    let ended = payment::wait(&id, None, client, out);
    match page::or_interrupted(ended).await {
        Some(ended) => told(&ended?.1, out),
        None => Err(Failure::failed("interrupted", "Not waited for any longer; the payment goes on.")
            .hint(format!("pay on the page; `clawrk wallet payments {id}` shows what came of it"))),
    }
}

/// `withdraw`: out of the wallet at once, and on its way.
async fn withdraw(args: &WithdrawArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    text::confirm(out, args.yes, &format!("Withdraw {} to your own account?", format::money(args.amount)))?;
    let answer = client.post_once(&["api", "wallet", "withdraw"], &json!({ "amount_cents": args.amount })).await?;
    let begun: Payment = crate::job::read(client, &answer)?;
    let ended = payment::wait(&begun.id, Some(payment::PATIENCE), client, out);
    let (answer, payment) = match page::or_interrupted(ended).await {
        Some(ended) => ended?,
        None => (answer, begun),
    };
    if out.is_json() {
        out.document(&answer);
        return if payment.ends() == Ends::Failed { Err(payment.failure()) } else { Ok(()) };
    }
    told(&payment, out)
}

/// What became of a payment.
fn told(payment: &Payment, out: &Output) -> Result<(), Failure> {
    let amount = format::money(payment.amount_cents);
    match payment.ends() {
        Ends::Paid if payment.is_out() => {
            out.line(&[(&format!("{amount} paid out."), Tone::Good)]);
            out.note("Stripe pays it to your bank from your account there.");
        }
        Ends::Paid => out.line(&[(&format!("{amount} paid in."), Tone::Good)]),
        Ends::Failed => return Err(payment.failure()),
        Ends::NotYet => {
            out.line(&[(&format!("{amount} is under way."), Tone::Busy)]);
            out.note(&format!(
                "It has left your balance, and comes back if it fails: `clawrk wallet payments {}`.",
                payment.id
            ));
        }
    }
    Ok(())
}

/// `connect`: the pages to fill in, and whether that was enough.
async fn connect(args: PageArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.post_once(&["api", "stripe", "connect"], &nothing()).await?;
    let page = Page::read(client, &answer)?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    page.show(args, "Say on this page where you are paid out to:", out);
    if args.no_wait {
        out.note("`clawrk wallet connect status` shows whether that was enough.");
        return Ok(());
    }
    let active = page::until("waiting until Stripe has what it needs", out, || async {
        Ok((status(client).await?.1 == "active").then_some(()))
    });
    match page::or_interrupted(active).await {
        Some(active) => {
            active?;
            out.line(&[("You can be paid out: ", Tone::Good), ("clawrk wallet withdraw AMOUNT", Tone::Plain)]);
            Ok(())
        }
        None => Err(Failure::failed("interrupted", "Not waited for any longer; what you filled in is kept.")
            .hint("`clawrk wallet connect status` shows whether it was enough, `clawrk wallet connect` goes on")),
    }
}

/// `connect status`.
async fn show_status(client: &Client, out: &Output) -> Result<(), Failure> {
    let (answer, status) = status(client).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let (tone, remark) = match status.as_str() {
        "active" => (Tone::Good, "You can be paid out: `clawrk wallet withdraw AMOUNT`."),
        "pending" => (Tone::Busy, "Stripe needs or checks something: `clawrk wallet connect` goes on."),
        _ => (Tone::Plain, "`clawrk wallet connect` sets up where you are paid out to."),
    };
    out.line(&[(&status.replace('_', " "), tone)]);
    out.note(remark);
    Ok(())
}

async fn status(client: &Client) -> Result<(Value, String), Failure> {
    let answer = client.get(&["api", "stripe", "connect", "status"]).await?;
    let status = answer["status"].as_str().map(str::to_owned);
    Ok((answer, status.ok_or_else(|| client.unexpected("it has no status"))?))
}
