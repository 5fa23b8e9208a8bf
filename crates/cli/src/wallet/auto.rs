//! A card that is charged by itself: `wallet auto-topup` and `wallet card`.

use clap::Subcommand;
use clawrk_domain::limits;
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{self, Page};
use super::{PageArgs, parse_amount};
use crate::client::Client;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Output, Tone};

const PATH: [&str; 3] = ["api", "wallet", "auto-topup"];

/// What `wallet auto-topup` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum AutoTopupCommand {
    /// Charge your saved card whenever too little is left
    On {
        /// By how much, in dollars
        #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true, value_parser = parse_amount)]
        amount: i64,
        /// When less than this is left, in dollars
        #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true, value_parser = parse_threshold)]
        below: i64,
    },
    /// Charge it no more
    Off,
}

#[derive(Deserialize)]
struct AutoTopup {
    enabled: bool,
    amount_cents: i64,
    threshold_cents: i64,
    off_because: Option<String>,
    has_card: bool,
}

fn parse_threshold(text: &str) -> Result<i64, String> {
    format::parse_dollars(text, &limits::THRESHOLD_CENTS)
}

/// Shows it, or sets it.
pub(super) async fn run(command: Option<AutoTopupCommand>, client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = match command {
        None => client.get(&PATH).await?,
        Some(AutoTopupCommand::On { amount, below }) => {
            let wanted = json!({ "enabled": true, "amount_cents": amount, "threshold_cents": below });
            turn_on(&wanted, client, out).await?
        }
        Some(AutoTopupCommand::Off) => {
            let known: AutoTopup = read(client, &client.get(&PATH).await?)?;
            let (amount, threshold) = (known.amount_cents, known.threshold_cents);
            let wanted = json!({ "enabled": false, "amount_cents": amount, "threshold_cents": threshold });
            client.post_once(&PATH, &wanted).await?
        }
    };
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let auto: AutoTopup = read(client, &answer)?;
    if auto.enabled {
        let (amount, below) = (format::money(auto.amount_cents), format::money(auto.threshold_cents));
        out.line(&[("on", Tone::Good), (&format!("  {amount} whenever less than {below} is left"), Tone::Plain)]);
    } else {
        out.line(&[("off", Tone::Plain)]);
    }
    if let Some(why) = &auto.off_because {
        out.note(&format!("It was switched off: {why}."));
    }
    if !auto.has_card {
        out.note("You have no card saved that could be charged: `clawrk wallet card` saves one.");
    }
    Ok(())
}

/// Switches it on; where there is no card to charge, the page to save one is offered.
async fn turn_on(wanted: &Value, client: &Client, out: &Output) -> Result<Value, Failure> {
    let refused = match client.post_once(&PATH, wanted).await {
        Err(refused) if &*refused.code == "no_card" && !out.is_json() && out.can_ask() => refused,
        answer => return answer,
    };
    if !out.ask("You have no card saved that could be charged. Save one now?") {
        return Err(refused);
    }
    save_card(PageArgs { no_wait: false, no_browser: false }, client, out).await?;
    client.post_once(&PATH, wanted).await
}

/// `card`: the page to save one on, and whether it was saved.
pub(super) async fn save_card(args: PageArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let had_one = has_card(client).await?;
    let path = ["api", "wallet", "setup-payment-method"];
    let answer = client.post_once(&path, &json!({ "page": true })).await?;
    let page = Page::read(client, &answer)?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    page.show(args, "Save your card on this page:", out);
    if had_one {
        // Which one it is does not show: there is nothing to wait for.
        out.note("It takes the place of the card that you saved before.");
        return Ok(());
    }
    if args.no_wait {
        out.note("`clawrk wallet auto-topup` shows whether it was saved.");
        return Ok(());
    }
    let saved =
        page::until("waiting until the card is saved", out, || async { Ok(has_card(client).await?.then_some(())) });
    match page::or_interrupted(saved).await {
        Some(saved) => {
            saved?;
            out.line(&[("Your card is saved.", Tone::Good)]);
            Ok(())
        }
        None => Err(Failure::failed("interrupted", "Not waited for any longer; the page can still be used.")
            .hint("`clawrk wallet auto-topup` shows whether the card was saved")),
    }
}

async fn has_card(client: &Client) -> Result<bool, Failure> {
    Ok(read::<AutoTopup>(client, &client.get(&PATH).await?)?.has_card)
}
