//! `admin payments`: what nobody knows the outcome of, and how the operator says it.

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use clawrk_domain::payment::Step;
use clawrk_domain::{Cents, Payment, PaymentId, PaymentKind, PaymentState, UserId, limits};
use clawrk_server::exchange::{Operator, OperatorError};
use clawrk_server::payments::{Desk, back, pay};
use clawrk_store::{ParkedNotice, Store};
use serde_json::{Value, json};

use super::open;
use crate::client::parse_id;
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::output::{Cell, Output, Table, Tone, left, right, wide};
use crate::server_settings::SettingFlags;
use crate::text;

/// Parked payments that are read together.
const PAGE: i64 = 500;
/// Parked notices that are shown, the newest.
const NOTICES: i64 = 200;

/// Arguments of `admin payments`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct PaymentsArgs {
    #[command(subcommand)]
    command: Option<PaymentsCommand>,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, Subcommand)]
enum PaymentsCommand {
    /// Say what became of a parked payment, after you have looked at Stripe's pages
    Resolve(ResolveArgs),
    /// Take a payout back from the account that it went to, into the wallet that it came from
    Reverse(ReverseArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("outcome").required(true).args(["paid", "not_paid"]))]
struct ResolveArgs {
    /// The payment's id
    #[arg(value_parser = parse_id)]
    id: String,
    /// It happened, and this is Stripe's name for it: tr_… of a withdrawal, pi_… of a charge
    #[arg(long, value_name = "REFERENCE")]
    paid: Option<String>,
    /// It did not happen, and will not
    #[arg(long)]
    not_paid: bool,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, Args)]
struct ReverseArgs {
    /// The withdrawal's id
    #[arg(value_parser = parse_id)]
    id: String,
    /// How much of it is to be reversed all in all, such as 5.00 [default: all of it]
    #[arg(long, value_name = "DOLLARS", value_parser = parse_amount)]
    total: Option<Cents>,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

fn parse_amount(text: &str) -> Result<Cents, String> {
    format::parse_dollars(text, &(1..=*limits::PAYMENT_CENTS.end())).map(Cents)
}

/// Runs an `admin payments` command.
pub(super) async fn run(args: &PaymentsArgs, out: &Output) -> Result<(), Failure> {
    match &args.command {
        None => list(&open(&args.settings, None).await?, out).await,
        Some(PaymentsCommand::Resolve(args)) => resolve(args, out).await,
        Some(PaymentsCommand::Reverse(args)) => reverse(args, out).await,
    }
}

/// The way to Stripe that the settings describe.
pub(super) fn desk(settings: &SettingFlags) -> Result<Desk, Failure> {
    let config = settings.config()?;
    let Some(setting) = &config.stripe else {
        let failure = Failure::failed("stripe_not_configured", "There is no key for Stripe in these settings");
        return Err(failure.hint("run it with the server's settings: stripe_secret_key and stripe_webhook_secret"));
    };
    Ok(Desk::open(setting).map_err(anyhow::Error::from)?)
}

async fn list(store: &Store, out: &Output) -> Result<(), Failure> {
    let mut payments: Vec<(Payment, String)> = Vec::new();
    loop {
        let behind = payments.last().map(|(payment, _)| payment.id);
        let page = store.payments_parked(behind, PAGE).await.context("the payments cannot be read")?;
        if page.is_empty() {
            break;
        }
        for payment in page {
            let name = name_of(store, payment.user).await?;
            payments.push((payment, name));
        }
    }
    let notices = store.notices_parked(NOTICES).await.context("the notices cannot be read")?;
    if out.is_json() {
        let payments: Vec<Value> = payments.iter().map(|(payment, user)| document(payment, user)).collect();
        let notices: Vec<Value> = notices.iter().map(notice_document).collect();
        out.document(&json!({ "payments": payments, "notices": notices }));
        return Ok(());
    }
    if payments.is_empty() && notices.is_empty() {
        out.note("Nothing is parked.");
        return Ok(());
    }
    if !payments.is_empty() {
        show_payments(&payments, out);
        out.note("\nLook each up at Stripe, then say what became of it: `clawrk admin payments resolve --help`.");
    }
    if !notices.is_empty() {
        if !payments.is_empty() {
            out.own("\n");
        }
        show_notices(&notices, out);
        out.note("\nThese notices say what cannot be, and moved nothing: docs/payments.md says what to do.");
    }
    Ok(())
}

fn show_payments(payments: &[(Payment, String)], out: &Output) {
    let columns =
        [left("ID"), left("KIND"), wide("USER"), right("AMOUNT"), left("SINCE"), right("TRIES"), wide("PROBLEM")];
    let mut table = Table::new(&columns);
    for (payment, user) in payments {
        table.row([
            Cell::new(payment.id.to_string()),
            Cell::new(payment.kind.as_str()),
            Cell::new(user),
            Cell::new(payment.amount.to_string()),
            Cell::toned(format::relative(now(), &since(payment)), Tone::Quiet),
            Cell::new(payment.tries.to_string()),
            Cell::new(payment.problem.as_deref().unwrap_or_default()),
        ]);
    }
    out.table(&table);
}

fn show_notices(notices: &[ParkedNotice], out: &Output) {
    let mut table = Table::new(&[left("NOTICE"), left("KIND"), left("CAME"), wide("PROBLEM")]);
    for notice in notices {
        table.row([
            Cell::new(&notice.event),
            Cell::new(&notice.kind),
            Cell::toned(format::relative(now(), &notice.received_at.to_string()), Tone::Quiet),
            Cell::new(&notice.problem),
        ]);
    }
    out.table(&table);
}

/// Since when nobody knows: it may have happened from its first sending on.
fn since(payment: &Payment) -> String {
    payment.sent_at.unwrap_or(payment.created_at).to_string()
}

fn document(payment: &Payment, user: &str) -> Value {
    json!({
        "id": payment.id,
        "kind": payment.kind.as_str(),
        "status": payment.state.as_str(),
        "user_id": payment.user,
        "user": user,
        "amount_cents": payment.amount,
        "since": since(payment),
        "tries": payment.tries,
        "problem": payment.problem,
        "reference": payment.reference,
        "counterparty": payment.counterparty,
    })
}

fn notice_document(notice: &ParkedNotice) -> Value {
    json!({
        "event": notice.event,
        "kind": notice.kind,
        "received_at": notice.received_at,
        "problem": notice.problem,
    })
}

async fn name_of(store: &Store, user: UserId) -> Result<String, Failure> {
    let found = store.user(user).await.context("a user cannot be read")?;
    Ok(found.map_or_else(|| user.to_string(), |(user, _)| user.name))
}

async fn resolve(args: &ResolveArgs, out: &Output) -> Result<(), Failure> {
    let store = open(&args.settings, None).await?;
    let payment = payment_of(&store, &args.id).await?;
    if let Some(reference) = &args.paid {
        let (name, prefix) = reference_of(payment.kind);
        if !reference.starts_with(prefix) || reference.len() == prefix.len() {
            let failure = Failure::usage(format!("{reference:?} is not {name}"));
            return Err(failure.hint(format!("Stripe's pages show it: it begins with {prefix}")));
        }
        let named = store.payment_named(reference).await.context("the payments cannot be read")?;
        if let Some(other) = named.filter(|other| other.id != payment.id) {
            let failure = Failure::failed("taken", format!("{reference} is payment {} already", other.id));
            return Err(failure.hint("look for the one whose metadata or transfer group is this payment's id"));
        }
    }
    if !args.yes {
        text::must_ask(out)?;
    }
    at_stripe(&payment, args).await?;
    let user = name_of(&store, payment.user).await?;
    if !args.yes {
        out.note(&consequences(&payment, &user, args.paid.as_deref()));
        text::confirm(out, false, "Is that what Stripe's pages show?")?;
    }
    let resolved = Operator(store).resolve(payment.id, args.paid.clone()).await.map_err(|error| match error {
        OperatorError::Rejected(rejection) => Failure::failed(rejection.code().0, rejection.to_string()),
        error => anyhow::Error::from(error).into(),
    })?;
    if out.is_json() {
        out.document(&document(&resolved, &user));
    } else {
        out.text(&done(&resolved, &user));
    }
    Ok(())
}

/// What Stripe itself says against it. Without a key in the settings it is not asked.
async fn at_stripe(payment: &Payment, args: &ResolveArgs) -> Result<(), Failure> {
    if args.settings.config()?.stripe.is_none() {
        return Ok(());
    }
    let desk = desk(&args.settings)?;
    let found = pay::find(&desk, payment).await.context("Stripe could not be asked about it")?;
    match (&args.paid, found) {
        (None, Some(Step::Done(reference))) => {
            let failure = Failure::failed("was_paid", format!("Stripe has it: {reference}"));
            Err(failure.hint(format!("`clawrk admin payments resolve {} --paid {reference}`", payment.id)))
        }
        (Some(said), None) => {
            let failure = Failure::failed("not_found", format!("Stripe has nothing for {}, and no {said}", payment.id));
            Err(failure.hint("look for the one whose transfer group or metadata is this payment's id"))
        }
        (Some(said), Some(Step::Done(reference))) if *said != reference => {
            Err(Failure::failed("not_found", format!("Stripe has {reference} for it, and no {said}")))
        }
        _ => Ok(()),
    }
}

async fn payment_of(store: &Store, id: &str) -> Result<Payment, Failure> {
    let no_such = || {
        Failure::failed("not_found", format!("There is no payment {id}"))
            .hint("`clawrk admin payments` lists those that are parked")
    };
    let id: PaymentId = id.parse().map_err(|_| no_such())?;
    store.payment(id).await.context("the payment cannot be read")?.ok_or_else(no_such)
}

async fn reverse(args: &ReverseArgs, out: &Output) -> Result<(), Failure> {
    let (store, desk) = (open(&args.settings, None).await?, desk(&args.settings)?);
    let payment = payment_of(&store, &args.id).await?;
    if payment.kind != PaymentKind::Withdrawal || payment.state != PaymentState::Paid {
        let (kind, state) = (payment.kind.as_str(), payment.state.as_str());
        let failure = Failure::failed("not_paid_out", format!("Only a payout can be reversed: this {kind} is {state}"));
        return Err(failure.hint("what was paid in is refunded on Stripe's pages"));
    }
    let total = args.total.unwrap_or(payment.amount);
    if total > payment.amount {
        return Err(Failure::usage(format!("--total is more than was paid out, which is {}", payment.amount)));
    }
    let asked = back::payout(&desk, &payment).await.context("the payout could not be looked up")?;
    let Some(payout) = asked else {
        let failure = Failure::failed("not_found", format!("Stripe has no such payout for {}", payment.id));
        return Err(failure.hint("look at Stripe's pages: its transfer group is the payment's id"));
    };
    let (user, reversed) = (name_of(&store, payment.user).await?, Cents(payout.amount_reversed));
    if total > reversed && !args.yes {
        text::must_ask(out)?;
        let more = total - reversed;
        out.note(&format!("{more} is taken from {user}'s account at Stripe, by a reversal of {}.", payout.id));
        text::confirm(out, false, "Take it back?")?;
    }
    let more = back::reverse(&desk, &payout, total).await.context("the payout could not be reversed")?;
    if out.is_json() {
        out.document(&json!({
            "id": payment.id, "transfer": payout.id, "reversed_cents": reversed + more, "amount_cents": payment.amount,
        }));
    } else if more == Cents::ZERO {
        out.text(&format!("{reversed} of {} was reversed before: nothing is left to do.", payout.id));
    } else {
        out.text(&format!("{more} of {} is reversed. {user}'s wallet has it when Stripe tells of it.", payout.id));
    }
    Ok(())
}

/// What Stripe's name for such a payment is, and how it begins.
const fn reference_of(kind: PaymentKind) -> (&'static str, &'static str) {
    match kind {
        PaymentKind::Withdrawal => ("the name of a transfer", "tr_"),
        PaymentKind::AutoTopUp => ("the name of a payment intent", "pi_"),
        PaymentKind::TopUp => ("the name of a checkout session", "cs_"),
    }
}

/// What it does, and what is lost if it is wrong.
fn consequences(payment: &Payment, user: &str, reference: Option<&str>) -> String {
    let amount = payment.amount;
    match (payment.kind, reference) {
        (PaymentKind::Withdrawal, Some(reference)) => format!(
            "The withdrawal of {amount} by {user} is closed as paid, by {reference}.\n\
             If Stripe did not pay it, {user} has lost {amount}."
        ),
        (PaymentKind::Withdrawal, None) => format!(
            "The withdrawal of {amount} by {user} is closed as failed: {amount} goes back into the wallet.\n\
             If Stripe did pay it, {user} has it twice."
        ),
        (_, Some(reference)) => format!(
            "The wallet of {user} has {amount} more, by {reference}.\n\
             If nothing was charged, that is a gift of yours."
        ),
        (_, None) => format!(
            "The charge of {amount} is closed as failed: the wallet of {user} stays as it is.\n\
             If the card was charged, {user} has paid for nothing."
        ),
    }
}

fn done(payment: &Payment, user: &str) -> String {
    let (kind, state, amount) = (payment.kind.as_str(), payment.state.as_str(), payment.amount);
    format!("The {kind} of {amount} by {user} is {state}.")
}

#[cfg(test)]
mod tests {
    use clawrk_domain::Timestamp;

    use super::*;

    const ID: &str = "01970000-0000-7000-8000-000000000000";

    #[test]
    fn what_resolving_does_is_said_for_every_kind_and_either_way() {
        let at = Timestamp::from_micros(0);
        let mut told = std::collections::BTreeSet::new();
        for kind in [PaymentKind::TopUp, PaymentKind::AutoTopUp, PaymentKind::Withdrawal] {
            let payment = Payment {
                id: ID.parse().unwrap(),
                user: ID.parse().unwrap(),
                kind,
                amount: Cents(2000),
                state: PaymentState::Parked,
                reference: None,
                intent: None,
                counterparty: None,
                sent_at: Some(at),
                tries: 3,
                problem: None,
                back: Cents::ZERO,
                disputes: Vec::new(),
                moved_back: Cents::ZERO,
                due_at: Some(at),
                created_at: at,
                updated_at: at,
                version: 1,
            };
            for reference in [Some("tr_1"), None] {
                let text = consequences(&payment, "Ada", reference);
                assert!(text.contains("$20.00") && text.contains("Ada") && text.contains("\nIf "), "{text}");
                assert_eq!(text.contains("tr_1"), reference.is_some(), "{text}");
                told.insert(text);
            }
        }
        assert_eq!(told.len(), 4, "a charge is a charge, whoever began it");
    }
}
