//! `admin`: what whoever runs the exchange does, at its own machine, also beside a running server.

mod backup;
mod payments;
mod reconcile;

use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use clawrk_domain::action::NewUser;
use clawrk_domain::key::NewKey;
use clawrk_domain::limits;
use clawrk_domain::{Cents, Scopes, User, UserId};
use clawrk_server::apikey::FreshKey;
use clawrk_server::exchange::Operator;
use clawrk_server::open::{OpenError, claim, open_store};
use clawrk_server::rotation::rotate;
use clawrk_store::{Audit, Store, StoreError};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::format;
use crate::output::Output;
use crate::server_settings::SettingFlags;
use crate::within;

/// Flags of `admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

/// What the operator can do.
#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Make users, and give them balance
    #[command(subcommand)]
    User(UserCommand),
    /// Prove that the books balance and no job in hand is stuck, or name the first offender (exit 1)
    Audit {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// List the payments whose outcome nobody knows, or say what became of one
    Payments(payments::PaymentsArgs),
    /// Hold the ledger beside what Stripe remembers, and take up what it told and nobody heard (exit 1 if they differ)
    #[command(after_help = reconcile::EXAMPLES)]
    Reconcile(reconcile::ReconcileArgs),
    /// Copy the exchange to a file, beside its running server
    #[command(after_help = backup::BACKUP_EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Put a backup in place; the server has to be stopped
    #[command(after_help = backup::RESTORE_EXAMPLES)]
    Restore(backup::RestoreArgs),
    /// Change the secret_key, and seal all that is sealed under the new one; every server has to be stopped
    #[command(after_help = ROTATE_EXAMPLES)]
    RotateSecret {
        #[command(flatten)]
        settings: SettingFlags,
    },
}

const ROTATE_EXAMPLES: &str = "Examples:
  clawrk admin rotate-secret --data-dir /var/lib/clawrk
  CLAWRK_SECRET_KEY_FILE=new CLAWRK_SECRET_KEY_PREVIOUS_FILE=old clawrk admin rotate-secret

The first is for a key that is a file in the data folder: a new one takes its place, and the old one is kept as \
secret_key.replaced-MOMENT beside it. The second is for a key that is given as a setting, as with PostgreSQL: make a \
new one (openssl rand -hex 32), stop every server, run this with both, and start every server with the new one alone.

It may be cut off at any moment: run it again. Backups from before are opened by the old key alone: keep it as long \
as you keep them, or delete both.";

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make a user with a default agent and an API key, which is shown this once
    Create {
        /// What people call them
        #[arg(long)]
        name: String,
        /// Where mail reaches them
        #[arg(long)]
        email: Option<String>,
        /// Balance to begin with, in cents
        #[arg(long, value_name = "CENTS", allow_negative_numbers = true, value_parser = within(&(0..=*limits::GRANT_CENTS.end())))]
        grant_cents: Option<i64>,
        /// May run the exchange: the key has the scope `admin` too
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Give a user balance
    Grant {
        /// The user's id, name or e-mail address
        user: String,
        /// How much, in cents
        #[arg(value_name = "CENTS", allow_negative_numbers = true, value_parser = within(&limits::GRANT_CENTS))]
        amount_cents: i64,
        #[command(flatten)]
        settings: SettingFlags,
    },
}

/// What a command found: a document for programs, lines for people, and whether all is well.
pub(crate) struct Report {
    /// For programs.
    pub(crate) document: Value,
    /// For people.
    pub(crate) text: String,
    /// False ends the command with exit code 1.
    pub(crate) well: bool,
}

/// Carries out the operator's command and shows what it found.
pub(crate) async fn run(args: &AdminArgs, out: &Output) -> Result<(), Failure> {
    let report = match &args.command {
        AdminCommand::Backup(args) => return backup::back_up(args, out).await,
        AdminCommand::Restore(args) => return backup::restore(args, out).await,
        AdminCommand::Payments(args) => return payments::run(args, out).await,
        AdminCommand::Reconcile(args) => return reconcile::run(args, out).await,
        AdminCommand::RotateSecret { settings } => rotate_secret(settings).await?,
        AdminCommand::User(command) => user(command, out).await?,
        AdminCommand::Audit { settings } => {
            let audit = open(settings, None).await?.audit().await;
            audited(&audit.context("the audit could not be made")?)
        }
    };
    if out.is_json() {
        out.document(&report.document);
    } else {
        out.text(&report.text);
    }
    if report.well { Ok(()) } else { Err(Failure::failed("books_broken", "The books are not in order.")) }
}

/// Changes the secret of an exchange that no server has open.
async fn rotate_secret(settings: &SettingFlags) -> Result<Report, Failure> {
    let config = settings.config()?;
    if config.database_url.is_none() && !config.data_dir.join("clawrk.db").exists() {
        return Err(no_exchange(&config.data_dir));
    }
    let is_set = config.secret_key.is_some() || config.database_url.is_some();
    if is_set && (config.previous_secrets.is_empty() || config.secret_key.is_none()) {
        let failure = Failure::usage("A new secret_key and the old one, as secret_key_previous, must be given");
        return Err(failure.hint("`clawrk admin rotate-secret --help` shows how"));
    }
    let in_use = |message: String| {
        Failure::failed("in_use", message).hint("stop it first: it would go on sealing with the old secret_key")
    };
    let _claim = claim(&config).map_err(|error| match error {
        OpenError::Claimed { path } => in_use(format!("A server has {path} open")),
        error => anyhow::Error::from(error).into(),
    })?;
    let rotated = rotate(&config).await.map_err(|error| match error {
        OpenError::Store(StoreError::KeptOut(why)) => Failure::failed("in_use", format!("Not now: {why}")),
        error => anyhow::Error::from(error).into(),
    })?;
    let kept = rotated.kept.as_ref().map(|path| path.display().to_string());
    if !rotated.unopened.is_empty() {
        let list = rotated.unopened.join("\n  ");
        let message = format!("All else is sealed under the new secret_key, but no key opens these:\n  {list}");
        let failure = Failure::failed("unopened", message);
        return Err(failure.hint(
            "if there is a still older key, give it as secret_key_previous and run this again; otherwise they are lost",
        ));
    }
    let old = kept.as_deref().unwrap_or("the old secret_key");
    let text = format!(
        "{} sealed anew: everything is sealed under the new secret_key.\n\
         Keep {old} as long as there are backups from before, which it alone opens, and a copy of the new one where \
         you had a copy of the old.",
        format::count(rotated.resealed, "value"),
    );
    Ok(Report { document: json!({ "resealed": rotated.resealed, "old_secret_key": kept }), text, well: true })
}

async fn user(command: &UserCommand, out: &Output) -> Result<Report, Failure> {
    Ok(match command {
        UserCommand::Create { name, email, grant_cents, admin, settings } => {
            let store = open(settings, Some(out)).await?;
            create(store, name, email.as_deref(), *grant_cents, *admin).await?
        }
        UserCommand::Grant { user, amount_cents, settings } => {
            let store = open(settings, None).await?;
            grant(store, user, Cents(*amount_cents)).await?
        }
    })
}

/// Opens the store. Only the first user may make a new one, which is then told of.
async fn open(settings: &SettingFlags, new: Option<&Output>) -> Result<Store, Failure> {
    let config = settings.config()?;
    let folder = &config.data_dir;
    if config.database_url.is_none() && !folder.join("clawrk.db").exists() {
        let Some(out) = new else {
            return Err(no_exchange(folder));
        };
        out.note(&format!("A new exchange begins in {}.", folder.display()));
    }
    Ok(open_store(&config).await.context("the database cannot be opened")?)
}

/// There is nothing to work on.
fn no_exchange(folder: &Path) -> Failure {
    let failure = Failure::usage(format!("There is no exchange in {}", folder.display()));
    failure.hint("name its folder with --data-dir, or its PostgreSQL with --database-url")
}

async fn create(
    store: Store,
    name: &str,
    email: Option<&str>,
    grant_cents: Option<i64>,
    is_admin: bool,
) -> anyhow::Result<Report> {
    let fresh = FreshKey::new();
    let scopes = if is_admin { Scopes::ALL } else { Scopes::USER };
    let key = NewKey { id: fresh.id, hash: fresh.hash, name: "first key".to_owned(), scopes, expires_at: None };
    let user = Operator(store)
        .create_user(NewUser {
            name: name.to_owned(),
            email: email.map(str::to_owned),
            is_admin,
            grant: grant_cents.filter(|cents| *cents != 0).map(Cents),
            key: Some(key),
        })
        .await?;
    let document = json!({"id": user.id, "api_key": fresh.text});
    let text = format!("{} is user {}\nAPI key, shown this once: {}", user.name, user.id, fresh.text);
    Ok(Report { document, text, well: true })
}

async fn grant(store: Store, named: &str, amount: Cents) -> anyhow::Result<Report> {
    let user = find(&store, named).await?;
    let operator = Operator(store.clone());
    operator.grant(user.id, amount).await?;
    let (_, balance) = store.user(user.id).await?.context("the user was there a moment ago")?;
    let document = json!({"id": user.id, "granted_cents": amount, "balance_cents": balance});
    let text = format!("{amount} granted: {} has {balance}", user.name);
    Ok(Report { document, text, well: true })
}

/// The user of this id, or the only one of this name or e-mail address.
async fn find(store: &Store, named: &str) -> anyhow::Result<User> {
    if let Ok(id) = named.parse::<UserId>() {
        let found = store.user(id).await?;
        return found.map(|(user, _)| user).with_context(|| format!("there is no user {named}"));
    }
    let mut found = store.users_named(named).await?;
    match found.len() {
        0 => bail!("there is no user with the id, name or e-mail address {named:?}"),
        1 => Ok(found.remove(0).0),
        _ => {
            let ids: Vec<String> = found.iter().map(|(user, _)| user.id.to_string()).collect();
            bail!("several users are named {named:?}: name one by id, of {}", ids.join(", "))
        }
    }
}

/// An audit as it is shown.
pub(crate) fn audited(audit: &Audit) -> Report {
    let offence = audit.offence.as_ref();
    let document = json!({
        "ok": offence.is_none(),
        "transfers": audit.transfers,
        "wallets": {"count": audit.wallets.0, "balance_cents": audit.wallets.1},
        "escrows": {"count": audit.escrows.0, "balance_cents": audit.escrows.1},
        "platform_cents": audit.platform,
        "outside_cents": audit.outside,
        "in_transit_cents": audit.in_transit,
        "losses_cents": audit.losses,
        "sum_cents": audit.sum(),
        "offence": offence.map(|offence| json!({"rule": offence.rule, "detail": offence.detail})),
    });
    let lines = [
        (format::count(audit.wallets.0, "wallet"), audit.wallets.1),
        (format::count(audit.escrows.0, "escrow"), audit.escrows.1),
        ("platform (fees earned)".to_owned(), audit.platform),
        ("payouts in transit".to_owned(), audit.in_transit),
        ("losses".to_owned(), audit.losses),
        ("outside world".to_owned(), audit.outside),
        (format!("sum over {}", format::count(audit.transfers, "transfer")), audit.sum()),
    ];
    let mut text: String =
        lines.iter().map(|(name, amount)| format!("{name:<28}{:>14}\n", amount.to_string())).collect();
    match offence {
        None => text.push_str(
            "The books balance: every balance equals its transfers, every open job is funded, none is paid twice.\n\
             Every job in hand has its timer.",
        ),
        Some(offence) => text.push_str(&format!("BROKEN: {}\n{}", offence.rule, offence.detail)),
    }
    Report { document, text, well: offence.is_none() }
}
