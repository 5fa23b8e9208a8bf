//! One's API keys: `keys list|create|revoke`.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Client, parse_id};
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Cell, Output, Table, Tone, left, wide};
use crate::text;

/// What `keys` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List your keys
    List,
    /// Create a key; it is shown this once
    Create(CreateArgs),
    /// Revoke a key: nobody can use it any more
    Revoke {
        /// The key's id
        #[arg(value_parser = parse_id)]
        id: String,
        /// Revoke it without asking
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments of `keys create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What the key is for
    name: String,
    /// What it may do; repeat it for more. Without it: read, work and spend
    #[arg(long = "scope", value_name = "SCOPE", value_parser = ["read", "work", "spend", "admin"])]
    scopes: Vec<String>,
    /// When it stops working, such as 12h or 30d; never if you leave it out
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration)]
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct ApiKey {
    id: String,
    name: String,
    scopes: Vec<String>,
    key: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

/// Runs a `keys` command.
pub(crate) async fn run(command: KeysCommand, client: &Client, out: &Output) -> Result<(), Failure> {
    match command {
        KeysCommand::List => list(client, out).await,
        KeysCommand::Create(args) => create(args, client, out).await,
        KeysCommand::Revoke { id, yes } => revoke(&id, yes, client, out).await,
    }
}

async fn list(client: &Client, out: &Output) -> Result<(), Failure> {
    let answer = client.get(&["api", "keys"]).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let keys: Vec<ApiKey> = read(client, &answer)?;
    if keys.is_empty() {
        out.note("You have no API keys.");
        return Ok(());
    }
    let columns = [left("ID"), wide("NAME"), wide("SCOPES"), left("CREATED"), left("LAST USED"), left("EXPIRES")];
    let mut table = Table::new(&columns);
    let seen = |time: &Option<String>| time.as_deref().map_or("never".to_owned(), |time| format::relative(now(), time));
    for key in &keys {
        table.row([
            Cell::new(&key.id),
            Cell::new(&key.name),
            Cell::new(key.scopes.join(" ")),
            Cell::toned(format::relative(now(), &key.created_at), Tone::Quiet),
            Cell::toned(seen(&key.last_used_at), Tone::Quiet),
            Cell::toned(if expired(key) { "expired".to_owned() } else { seen(&key.expires_at) }, Tone::Quiet),
        ]);
    }
    out.table(&table);
    Ok(())
}

fn expired(key: &ApiKey) -> bool {
    key.expires_at.as_deref().and_then(|end| format::seconds_left(now(), end)).is_some_and(|left| left <= 0)
}

async fn create(args: CreateArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(args.name));
    if !args.scopes.is_empty() {
        body.insert("scopes".to_owned(), json!(args.scopes));
    }
    if let Some(seconds) = args.expires_in {
        let end = now()
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .map_err(|_| Failure::usage("That is longer than time is counted").hint("choose a shorter --expires-in"))?;
        body.insert("expires_at".to_owned(), json!(end.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()));
    }
    let answer = client.post_once(&["api", "keys"], &Value::Object(body)).await?;
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let made: ApiKey = read(client, &answer)?;
    let key = made.key.ok_or_else(|| client.unexpected("it has no key"))?;
    out.line(&[(&key, Tone::Plain)]);
    let end = made
        .expires_at
        .as_deref()
        .map_or("does not expire".to_owned(), |end| format!("expires {}", format::exact(end)));
    out.note(&format!("Keep it now, it is not shown again. It may {} and {end}.", made.scopes.join(", ")));
    Ok(())
}

async fn revoke(id: &str, yes: bool, client: &Client, out: &Output) -> Result<(), Failure> {
    // Without a terminal a script means it: revoking a key is the safe direction, and the id is exact.
    if !yes && out.can_ask() {
        text::confirm(out, false, &format!("Revoke key {id}? Whatever uses it stops working."))?;
    }
    let answer = client.delete(&["api", "keys", id]).await?;
    if out.is_json() {
        out.document(&answer);
    } else {
        out.line(&[(&format!("Revoked key {id}."), Tone::Plain)]);
    }
    Ok(())
}
