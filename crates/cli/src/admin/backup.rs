//! `admin backup` and `admin restore`: one moment of an exchange on SQLite as a file, and back.
//!
//! The secret key is never in a backup. Whoever steals one reads the jobs' texts and results, names, addresses and
//! balances; not the variables of jobs and the kept answers, which are sealed, nor API keys, of which there are hashes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clawrk_domain::Timestamp;
use clawrk_server::config::Config;
use clawrk_server::open::{self, SecretFit};
use clawrk_store::Clock;
use clawrk_store::backup::{self, BackupError, Contents, Progress, Restore};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output::{Card, Output};
use crate::server_settings::SettingFlags;
use crate::{demo, format};

pub(super) const BACKUP_EXAMPLES: &str = "Examples:
  clawrk admin backup /var/backups/clawrk.db
  clawrk admin backup /var/backups/clawrk.db --force --data-dir /var/lib/clawrk

The file is one moment's, whole and checked, or it is not there. The secret_key is not in it: keep that elsewhere. \
Uploaded files are not in it either, only their names and digests: copy their folder (or bucket) after each backup, not \
before; no file that a job names ever changes or goes, so the copy has all that the backup needs.";

pub(super) const RESTORE_EXAMPLES: &str = "Examples:
  clawrk admin restore /var/backups/clawrk.db --data-dir /var/lib/clawrk
  clawrk admin restore /var/backups/clawrk.db --force

A backup ends with a digest: a file in which anything changed since it was written is refused. It is no signature: \
whoever may write the file may write the digest, too.

With --force the exchange that is there is replaced, and kept beside the new one. All is as it was at the backup's \
moment: what happened since then is gone, API keys that were revoked since then work again, an Idempotency-Key that \
was used since then is a new one, and timers that ran out meanwhile fire at the next start. Uploaded files are not in a \
backup: put their copy where upload_url says, before the server starts. Files that were uploaded after the backup's \
moment have no row in it, and an hour after they came the server deletes them.";

/// What is checked of every copy, for people and for programs.
const SOUND: &str = "whole, and the books balance";
const CHECKED: [&str; 2] = ["pages", "books"];

/// Shorter work needs no sign that it goes on.
const LONG: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

/// Flags of `admin backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to write
    file: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Flags of `admin restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Replace the exchange that is there, and keep it under another name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Copies the exchange to a file and shows what that holds.
pub(super) async fn back_up(args: &BackupArgs, out: &Output) -> Result<(), Failure> {
    let config = on_sqlite(
        &args.settings,
        "pg_dump --format=custom --exclude-table-data=feed --file=FILE postgres://USER@HOST/DATABASE",
    )?;
    let (dir, file, force) = (config.data_dir.clone(), args.file.clone(), args.force);
    let work = move |progress: &Arc<Progress>| backup::back_up(&dir, &file, force, &Clock::System, progress);
    let (moment, contents) = watched("Copying the exchange", out, work).await.map_err(|error| said(error, &config))?;
    let fit = open::secret_fit(&config, contents.seal.as_deref()).map_err(anyhow::Error::from)?;
    if out.is_json() {
        let mut document = document(&args.file, &contents);
        document["moment"] = json!(moment);
        document["checked"] = json!(CHECKED);
        document["secret_key_included"] = json!(false);
        document["uploads_included"] = json!(false);
        document["uploads_at"] = json!(config.upload_place.as_ref().map(ToString::to_string));
        document["secret_key_opens"] = json!(fit == SecretFit::Opens);
        out.document(&document);
        return Ok(());
    }
    let mut card = Card::new(&args.file.display().to_string());
    card.field("moment", format::exact(&moment.to_string()));
    fields(&mut card, &contents);
    card.field("checked", SOUND);
    out.card(&card);
    if let (Some(place), 1..) = (&config.upload_place, contents.uploads.0) {
        let files = format::count(contents.uploads.0, "uploaded file");
        let (size, are) =
            (format::size(contents.uploads.1.unsigned_abs()), if contents.uploads.0 == 1 { "is" } else { "are" });
        out.note(&format!(
            "{files} ({size}) {are} not in it: copy {place} now, after the backup. Whatever a job names stays there as it is."
        ));
    }
    if contents.seal.is_none() {
        out.note("No server was started on it yet, so there is no secret_key that it needs.");
        return Ok(());
    }
    let secret = match config.secret_key {
        Some(_) => "The secret_key that the server is given".to_owned(),
        None => config.data_dir.join("secret_key").display().to_string(),
    };
    if fit != SecretFit::Opens {
        let lack = if fit == SecretFit::Other { "does not open it" } else { "is gone" };
        out.note(&format!(
            "Careful: {secret} {lack}. Find the one that the exchange was set up with: without it no server opens the \
             backup, nor the exchange once its server has stopped."
        ));
        return Ok(());
    }
    out.note(&format!(
        "{secret} is not in it: keep a copy of it, in another place than the backup. Without it no server opens the \
         backup; whoever has both reads everything."
    ));
    Ok(())
}

/// Puts a backup in the data folder and shows what is there now.
pub(super) async fn restore(args: &RestoreArgs, out: &Output) -> Result<(), Failure> {
    let config = on_sqlite(
        &args.settings,
        "stop every server, then pg_restore --clean --if-exists --single-transaction \
         --dbname=postgres://USER@HOST/DATABASE FILE",
    )?;
    // Opening a pipe would wait for somebody who writes to it; what is no file is refused when the backup is read.
    let is_file = std::fs::metadata(&args.file).map(|found| found.is_file());
    if let Err(error) =
        is_file.and_then(|is_file| if is_file { std::fs::File::open(&args.file).map(drop) } else { Ok(()) })
    {
        return Err(Failure::failed("file", format!("Cannot read {}: {error}", args.file.display())));
    }
    let claim = open::claim(&config).map_err(|error| match error {
        open::OpenError::Claimed { path } => {
            let failure = Failure::failed("in_use", format!("A server has {path} open"));
            failure.hint("stop it first: what it acknowledges while a backup is put in place would be lost")
        }
        error => anyhow::Error::from(error).into(),
    })?;
    let restored = put_back(args, &config, out).await;
    // A refusal leaves nothing behind.
    if let (Err(_), Some(claim)) = (&restored, claim) {
        claim.undo();
    }
    restored
}

/// Does it in a data folder that is claimed.
async fn put_back(args: &RestoreArgs, config: &Config, out: &Output) -> Result<(), Failure> {
    let (dir, file, force) = (config.data_dir.clone(), args.file.clone(), args.force);
    let work = move |progress: &Arc<Progress>| Restore::prepare(&file, &dir, force, progress);
    let prepared = watched("Copying the backup", out, work).await.map_err(|error| said(error, config))?;
    let contents = prepared.contents().clone();
    let fit = open::secret_fit(config, contents.seal.as_deref()).map_err(anyhow::Error::from)?;
    if fit == SecretFit::Other {
        return Err(other_secret(&args.file, config));
    }
    let kept = prepared.finish(Clock::System.now()).map_err(|error| said(error, config))?;
    show_restored(args, config, &contents, kept.as_deref(), fit, out);
    Ok(())
}

fn show_restored(
    args: &RestoreArgs,
    config: &Config,
    contents: &Contents,
    kept: Option<&Path>,
    fit: SecretFit,
    out: &Output,
) {
    if out.is_json() {
        let mut document = document(&args.file, contents);
        let digest = contents.digest.is_some().then_some("digest");
        document["checked"] = CHECKED.into_iter().chain(digest).collect();
        document["data_dir"] = json!(config.data_dir);
        document["replaced"] = json!(kept);
        document["secret_key_missing"] = json!(fit == SecretFit::Missing);
        return out.document(&document);
    }
    let mut card = Card::new(&config.data_dir.display().to_string());
    card.field("from", args.file.display().to_string());
    fields(&mut card, contents);
    let unchanged = contents.digest.is_some();
    card.field("checked", if unchanged { format!("as it was written, {SOUND}") } else { SOUND.to_owned() });
    card.maybe("replaced", kept.map(|kept| kept.display().to_string()));
    out.card(&card);
    if kept.is_some() {
        out.note("What was there is kept under the name above; `clawrk admin restore` takes it, too.");
    }
    if !unchanged {
        out.note(
            "It carries no digest: an earlier clawrk wrote it, or it was replaced by a restore. Whether a text or a key \
             in it changed since could not be checked.",
        );
    }
    if let (Some(place), 1..) = (&config.upload_place, contents.uploads.0) {
        out.note(&format!(
            "Uploaded files are not in a backup: before the server starts, see that those of that moment are in {place}."
        ));
    }
    out.note(
        "All is as it was at the backup's moment: what happened since then is gone, API keys that were revoked since \
         then work again, and timers that ran out meanwhile fire at the next start.",
    );
    if fit == SecretFit::Missing {
        out.note(&format!(
            "There is no secret_key yet: put the one that was kept for this exchange into {} (mode 0600), or give it \
             with --secret-key-file. Without it the server does not start.",
            config.data_dir.join("secret_key").display()
        ));
    }
}

/// The settings of an exchange on SQLite; PostgreSQL has better tools of its own, of which this is an example.
fn on_sqlite(settings: &SettingFlags, example: &str) -> Result<Config, Failure> {
    let config = settings.config()?;
    if config.database_url.is_none() {
        return Ok(config);
    }
    let message = "This exchange is on PostgreSQL, which has its own tools for this: pg_dump and pg_restore for one \
                   moment, pg_basebackup with a WAL archive for every moment; keep the secret_key, too";
    Err(Failure::new(Exit::Usage, "on_postgresql", message).hint(example))
}

/// Works on a thread of its own, shows how far it is when it takes long, and ends it when that is asked for.
async fn watched<T: Send + 'static>(
    doing: &str,
    out: &Output,
    work: impl FnOnce(&Arc<Progress>) -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    let mut working = tokio::task::spawn_blocking(move || work(&seen));
    let mut live = None;
    let mut asked = std::pin::pin!(demo::asked_to_stop());
    let mut wait = LONG;
    let done = loop {
        tokio::select! {
            done = &mut working => break done,
            _ = &mut asked => {
                progress.stop();
                break working.await;
            }
            () = tokio::time::sleep(wait) => {
                wait = TICK;
                let live = live.get_or_insert_with(|| out.spinner());
                live.line(&match progress.percent() {
                    Some(percent) => format!("{doing}: {percent} %"),
                    None => format!("{doing}: 100 %, checking the copy"),
                });
            }
        }
    };
    if let Some(live) = live {
        live.clear();
    }
    done.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()))
}

fn document(file: &Path, contents: &Contents) -> Value {
    json!({
        "file": file,
        "users": contents.users,
        "jobs": contents.audit.escrows.0,
        "transfers": contents.audit.transfers,
        "uploads": contents.uploads.0,
        "uploads_bytes": contents.uploads.1,
        "changed_at": contents.changed_at,
        "bytes": contents.bytes,
        "sha256": contents.digest,
    })
}

fn fields(card: &mut Card, contents: &Contents) {
    let changed = contents.changed_at.map(|at: Timestamp| format::exact(&at.to_string()));
    card.field("last change", changed.unwrap_or_else(|| "never".to_owned()));
    card.field("users", contents.users.to_string());
    card.field("jobs", contents.audit.escrows.0.to_string());
    card.field("transfers", contents.audit.transfers.to_string());
    card.field("size", format::size(contents.bytes));
}

fn other_secret(file: &Path, config: &Config) -> Failure {
    let message = format!("{} was set up with another secret_key than this one", file.display());
    let given = match config.secret_key {
        Some(_) => "give the secret_key that was kept for this backup".to_owned(),
        None => format!(
            "put the secret_key that was kept for this backup into {}, or name another folder with --data-dir",
            config.data_dir.join("secret_key").display()
        ),
    };
    Failure::failed("other_secret", message).hint(given)
}

/// What went wrong, and what to do about it.
fn said(error: BackupError, config: &Config) -> Failure {
    let usage = |code, hint: &str| (Exit::Usage, code, Some(hint.to_owned()));
    let failed = |code, hint: Option<&str>| (Exit::Failed, code, hint.map(str::to_owned));
    let (exit, code, hint) = match &error {
        BackupError::NoExchange(folder) => return super::no_exchange(folder),
        BackupError::Exists(_) => usage("exists", "name another file, or replace this one with --force"),
        BackupError::Occupied(_) => usage("exists", "--force replaces it, and keeps it under another name"),
        BackupError::Own(_) => usage("usage", "name another file"),
        BackupError::NotAFile(_) => usage("usage", "name a file"),
        BackupError::UnderWay(_) => failed("under_way", Some("wait until that one is done")),
        BackupError::File { .. } | BackupError::Unwritable { .. } => failed("file", None),
        BackupError::Foreign { .. } => failed("not_ours", None),
        BackupError::Newer(_) => failed("newer", Some("install that version, then try again")),
        BackupError::Older(_) => failed(
            "older",
            Some("back it up with the version that serves it, or start this version's server on it first"),
        ),
        BackupError::Changed(_) => {
            failed("changed", Some("copy it anew from where it is kept, or restore another backup"))
        }
        BackupError::Damaged { .. } => {
            failed("damaged", Some("a backup from before may be whole: restore checks it first"))
        }
        BackupError::Broken { .. } => {
            failed("books_broken", Some("a backup from before may be sound: restore checks it first"))
        }
        BackupError::InUse(_) => failed("in_use", Some("let it end, then try again")),
        BackupError::Unopenable { .. } | BackupError::Leftover(_) => (Exit::Failed, "in_the_way", Some(aside(config))),
        BackupError::Stopped => failed("stopped", None),
        BackupError::Store(_) => failed("failed", None),
    };
    let told = Failure::from(anyhow::Error::from(error));
    Failure { code: code.into(), exit, hint, ..told }
}

/// Nothing is moved that is not understood.
fn aside(config: &Config) -> String {
    let folder = config.data_dir.display();
    format!(
        "move it out of the way with all that belongs to it, and try again: mkdir aside && mv {folder}/clawrk.db* aside/"
    )
}
