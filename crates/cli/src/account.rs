//! Who one is and what one has: `whoami`, `balance`, and the lines of `wallet ledger`.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, nothing};
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Card, Cell, Output, Table, Tone, left, right, wide};
use crate::state::State;

/// Arguments of `balance` and of `wallet ledger`.
#[derive(Debug, Args)]
pub(crate) struct BalanceArgs {
    /// Show at most this many lines of the ledger
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = crate::limit_parser())]
    limit: u32,
}

#[derive(Deserialize)]
struct Whoami {
    user: WhoamiUser,
}

#[derive(Deserialize)]
struct WhoamiUser {
    id: String,
    balance_cents: i64,
}

#[derive(Deserialize)]
struct User {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Balance {
    balance_cents: i64,
    ledger: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    delta: i64,
    reason: String,
    created_at: String,
}

/// The id of the user whose key it is.
pub(crate) async fn user_id(client: &Client) -> Result<String, Failure> {
    Ok(read::<Whoami>(client, &ask(client).await?)?.user.id)
}

async fn ask(client: &Client) -> Result<Value, Failure> {
    client.post(&["api", "whoami"], &nothing(), std::time::Duration::ZERO).await
}

/// `whoami`: the user, the balance, the server and the current agent.
pub(crate) async fn whoami(client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = ask(client).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let Whoami { user } = read(client, &answer)?;
    let named: User = read(client, &client.get(&["api", "users", &user.id]).await?)?;
    let state = State::load(client.settings())?;
    let agent = state.agent(client.settings(), &user.id).map_or("the default agent", |agent| &agent.name);
    let mut card = Card::new(named.name.as_deref().unwrap_or(&user.id));
    card.field("id", &user.id);
    card.field("balance", format::money(user.balance_cents));
    card.field("agent", agent);
    card.field("server", client.settings().server.as_str());
    out.card(&card);
    Ok(())
}

/// `balance`: what the wallet holds, and the newest lines of its ledger.
pub(crate) async fn balance(args: BalanceArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let (answer, more) = whole_balance(client, args.limit as usize).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let Balance { balance_cents, ledger } = read(client, &answer)?;
    out.line(&[("Balance  ", Tone::Quiet), (&format::money(balance_cents), Tone::Strong)]);
    if !ledger.is_empty() {
        out.own("\n");
    }
    show_lines(&ledger, more, out);
    Ok(())
}

/// `wallet ledger`: what moved the balance, and nothing else.
pub(crate) async fn ledger(args: BalanceArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let (mut answer, more) = whole_balance(client, args.limit as usize).await?;
    if out.is_json() {
        out.document(&answer["ledger"].take());
        return Ok(());
    }
    let Balance { ledger, .. } = read(client, &answer)?;
    show_lines(&ledger, more, out);
    Ok(())
}

/// The lines of a ledger, the newest first.
fn show_lines(ledger: &[Entry], more: bool, out: &Output) {
    if ledger.is_empty() {
        out.note("No money has moved yet.");
        return;
    }
    let mut table = Table::new(&[left("WHEN"), right("AMOUNT"), wide("REASON")]);
    for entry in ledger {
        let tone = if entry.delta > 0 { Tone::Good } else { Tone::Plain };
        table.row([
            Cell::toned(format::relative(now(), &entry.created_at), Tone::Quiet),
            Cell::toned(format::change(entry.delta), tone),
            Cell::new(&entry.reason),
        ]);
    }
    out.table(&table);
    if more {
        out.note(&format!("\nThese are the newest {}; --limit shows more.", format::count(ledger.len(), "line")));
    }
}

/// The balance with up to `limit` lines of the ledger, and whether there are more.
async fn whole_balance(client: &Client, limit: usize) -> Result<(Value, bool), Failure> {
    let path = ["api", "wallet", "balance"];
    let first = client.page(&path, None, limit, None).await?;
    let (mut answer, mut next) = (first.body, first.next);
    let ledger = answer.get_mut("ledger").and_then(Value::as_array_mut);
    let ledger = ledger.ok_or_else(|| client.unexpected("it has no ledger"))?;
    while let Some(after) = next.take_if(|_| ledger.len() < limit) {
        let mut page = client.page(&path, None, limit - ledger.len(), Some(&after)).await?;
        if let Some(lines) = page.body.get_mut("ledger").and_then(Value::as_array_mut).filter(|lines| !lines.is_empty())
        {
            ledger.append(lines);
            next = page.next;
        }
    }
    Ok((answer, next.is_some()))
}
