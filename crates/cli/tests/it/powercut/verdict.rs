//! Whether what a power cut left is what it has to be.

use std::collections::BTreeMap;
use std::path::Path;

use clawrk_server::config::{Config, Settings, Sources};
use rusqlite::Connection;

use super::load::{Fact, GRANT, Journal, PAYOUT, PRICE, Status, receipt};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The exchange does not open.
    Unreadable(String),
    /// SQLite finds the database broken.
    Broken(String),
    /// The audit finds the books broken, or somebody has not the money that follows from the jobs.
    Books(String),
    /// Something was acknowledged and is not there.
    Lost(String),
    /// Something is there that nobody had asked for, or twice.
    Invented(String),
}

impl Wrong {
    /// In a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Broken(_) => "broken",
            Self::Books(_) => "books",
            Self::Lost(_) => "lost",
            Self::Invented(_) => "invented",
        }
    }
}

/// The part of a log that is over when the power goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Whatever was acknowledged by this length of the log has to be there.
    pub(super) over: u64,
    /// Whatever was asked for after this length cannot be.
    pub(super) begun: u64,
}

/// Opens the data folder that the power cut left, as a server would, and compares it with the journal.
pub(super) async fn judge(data: &Path, journal: &Journal, moment: Moment) -> Result<(), Wrong> {
    let app = clawrk_server::open(&config(data)).await.map_err(|error| Wrong::Unreadable(format!("{error:?}")))?;
    let audit = app.store.audit().await.map_err(|error| Wrong::Unreadable(format!("{error:?}")))?;
    if let Some(offence) = audit.offence {
        return Err(Wrong::Books(format!("{offence:?}")));
    }
    let kept = Kept::read(&data.join("clawrk.db")).map_err(|error| Wrong::Unreadable(format!("{error:?}")))?;
    if kept.integrity != "ok" {
        return Err(Wrong::Broken(kept.integrity));
    }
    kept.compare(journal, moment)
}

/// The settings of a server on this data folder.
pub(super) fn config(data: &Path) -> Config {
    let folder = ("data_dir".to_owned(), data.display().to_string());
    let sources = Sources { flags: vec![folder], variables: Vec::new(), file: None };
    Settings::read(&sources).unwrap().config().unwrap()
}

/// What a database holds.
struct Kept {
    integrity: String,
    /// By name: the balance, and what it should be by the jobs.
    users: Vec<(String, i64, i64)>,
    /// Titles and statuses.
    jobs: Vec<(String, Status)>,
    receipts: Vec<String>,
}

impl Kept {
    fn read(database: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(database)?;
        let jobs = "SELECT b.title, j.status FROM jobs j JOIN briefs b ON b.job_id = j.id";
        let users = "SELECT u.name, w.balance_cents,
                (SELECT COUNT(*) FROM jobs WHERE sender_id = u.id AND status <> 'cancelled'),
                (SELECT COUNT(*) FROM jobs WHERE worker_user_id = u.id AND status = 'verified')
           FROM users u JOIN wallets w ON w.user_id = u.id";
        let user = |row: &rusqlite::Row<'_>| {
            let (name, sent, done): (String, i64, i64) = (row.get(0)?, row.get(2)?, row.get(3)?);
            let granted = if name.starts_with("sender") { GRANT } else { 0 };
            Ok((name, row.get(1)?, granted - PRICE * sent + PAYOUT * done))
        };
        Ok(Self {
            integrity: connection.query_row("PRAGMA integrity_check", (), |row| row.get(0))?,
            users: connection.prepare(users)?.query_map((), user)?.collect::<Result<_, _>>()?,
            jobs: connection
                .prepare(jobs)?
                .query_map((), |row| Ok((row.get(0)?, status(&row.get::<_, String>(1)?))))?
                .collect::<Result<_, _>>()?,
            receipts: connection
                .prepare("SELECT key FROM receipts")?
                .query_map((), |row| row.get(0))?
                .collect::<Result<_, _>>()?,
        })
    }

    fn compare(&self, journal: &Journal, moment: Moment) -> Result<(), Wrong> {
        let asked = known(&journal.asked, moment.begun);
        let acknowledged = known(&journal.acknowledged, moment.over);
        let kept = self.facts()?;
        for (what, status) in &acknowledged {
            if kept.get(what).is_none_or(|found| found < status) {
                return Err(Wrong::Lost(format!("{what} {status:?}, found {:?}", kept.get(what))));
            }
        }
        for (what, status) in &kept {
            if asked.get(what).is_none_or(|asked| asked < status) {
                return Err(Wrong::Invented(format!("{what} {status:?}, asked for {:?}", asked.get(what))));
            }
        }
        match self.users.iter().find(|(_, balance, due)| balance != due) {
            Some((name, balance, due)) => Err(Wrong::Books(format!("{name} has {balance} and should have {due}"))),
            None => Ok(()),
        }
    }

    /// What is there, none of it twice.
    fn facts(&self) -> Result<BTreeMap<String, Status>, Wrong> {
        let users = self.users.iter().map(|(name, ..)| (user_named(name), Status::Queued));
        let jobs = self.jobs.iter().map(|(title, status)| (job_titled(title), *status));
        let receipts = self.receipts.iter().map(|key| (receipt_of(key), Status::Queued));
        let mut facts = BTreeMap::new();
        for (what, status) in users.chain(jobs).chain(receipts) {
            if facts.insert(what.clone(), status).is_some() {
                return Err(Wrong::Invented(format!("{what}, twice")));
            }
        }
        Ok(facts)
    }
}

/// How far each thing had got by this length of the log; users and receipts are there or not.
fn known(said: &[(u64, Fact)], by: u64) -> BTreeMap<String, Status> {
    let mut known = BTreeMap::new();
    for (_, fact) in said.iter().filter(|(at, _)| *at <= by) {
        match fact {
            Fact::User(name) => drop(known.insert(user_named(name), Status::Queued)),
            Fact::Job(title, status) => {
                known.insert(receipt_of(&receipt(title, *status)), Status::Queued);
                let known = known.entry(job_titled(title)).or_insert(*status);
                *known = (*known).max(*status);
            }
        }
    }
    known
}

fn user_named(name: &str) -> String {
    format!("user {name}")
}

fn job_titled(title: &str) -> String {
    format!("job {title}")
}

fn receipt_of(key: &str) -> String {
    format!("receipt {key}")
}

fn status(name: &str) -> Status {
    match name {
        "queued" => Status::Queued,
        "held" => Status::Held,
        "accepted" => Status::Accepted,
        "submitted" => Status::Submitted,
        "verified" => Status::Verified,
        "cancelled" => Status::Cancelled,
        other => panic!("no job of this load becomes {other}"),
    }
}
