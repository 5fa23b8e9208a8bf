//! One command, start to finish, inside the caller's transaction.
//!
//! | Phase  | What happens                                                       | Writes |
//! |--------|--------------------------------------------------------------------|--------|
//! | replay | a known `Idempotency-Key`: the kept answer, and that is all         | no     |
//! | load   | lock and read what the command names: user, agent, job, wallet      | no     |
//! | decide | `clawrk_domain::decide`: a change or a refusal                      | no     |
//! | apply  | the change's writes, in order; the answer kept under the key        | yes    |
//!
//! Locks are taken in one order: key, agent, notice, payment, user, jobs by id, files by id, wallets by user; a pull's
//! candidates are never waited for.
//! `Err` means that the database failed; a refusal is an answer.

use std::collections::btree_map::Entry;

use clawrk_domain::{
    Action, Actor, AgentId, Answer, Facts, Job, JobId, Policy, State, Timestamp, UploadId, UserId, Write, decide,
};

use crate::hot::Known;
use crate::tx::{Lock, News, Step, Tx};
use crate::writes::{Statement, Wallet, Wallets, statements, wallets_of};
use crate::{Changed, Outcome, ReceiptRequest, Reply, Request, StoreError, payments, row, sql, tasks};

/// For how long an answer is kept.
const RECEIPT_SECONDS: i64 = 24 * 3600;

/// Answers kept before this time are forgotten.
pub(crate) const fn receipt_horizon(now: Timestamp) -> Timestamp {
    now.plus_seconds(-RECEIPT_SECONDS)
}

/// Carries out a request; the jobs that changed come with the outcome.
pub(crate) async fn submit(tx: &mut impl Tx, request: &Request, policy: &Policy) -> Result<Reply, StoreError> {
    if let Some(receipt) = &request.receipt
        && let Some(outcome) = replay(tx, receipt).await?
    {
        return Ok(Reply::Outcome(outcome, Changed::default()));
    }
    let (facts, mut wallets) = load(tx, request).await?;
    let now = facts.now.expect("load brings the time");
    let change = match decide(&request.command, policy, facts) {
        Ok(change) => change,
        Err(rejection) => return Ok(Reply::Outcome(Outcome::Rejected(rejection), Changed::default())),
    };
    for user in wallets_of(&change.writes) {
        if let Entry::Vacant(place) = wallets.entry(user)
            && let Some(wallet) = load_wallet(tx, user).await?
        {
            place.insert(wallet);
        }
    }
    let log = change.writes.iter().find_map(|write| match write {
        Write::Log(job, attempt, _) => Some((*job, *attempt)),
        _ => None,
    });
    let log_end = match log {
        Some((job, attempt)) => tasks::log_end(tx, job, attempt).await?,
        None => 0,
    };
    let mut writes = statements(&change.writes, wallets, log_end);
    if let Some(receipt) = &request.receipt {
        writes.push(keep(receipt, &change.answer, now));
    }
    let changed = Changed {
        jobs: change.writes.iter().filter_map(|write| write.job().cloned()).collect(),
        known: change.writes.iter().filter_map(Known::changed_by).collect(),
    };
    let news = changed
        .jobs
        .iter()
        .map(|job| News::Job(job.id, Some(job.version)))
        .chain(changed.known.iter().map(|known| News::Known(*known)));
    writes.extend(news.filter_map(|news| tx.tell(news)));
    tx.execute(writes).await?;
    Ok(Reply::Outcome(Outcome::Done(change.answer), changed))
}

async fn replay(tx: &mut impl Tx, receipt: &ReceiptRequest) -> Result<Option<Outcome>, StoreError> {
    if !tx.claim_key(receipt.user, &receipt.key).await? {
        return Ok(Some(Outcome::KeyInProgress));
    }
    let place = vec![receipt.user.into(), receipt.key.as_str().into()];
    let mut found = tx.look(vec![Step::Read(sql::RECEIPT, place)]).await?;
    let Some(kept) = found.row(0) else { return Ok(None) };
    if kept.time(2)? <= receipt_horizon(found.now) {
        return Ok(None);
    }
    if kept.bytes(0)? != receipt.fingerprint {
        return Ok(Some(Outcome::KeyReused));
    }
    Ok(Some(Outcome::Replayed(kept.bytes(1)?.to_owned())))
}

/// Keeps the answer; one that is older than a day may stand under the same key and is replaced.
fn keep(receipt: &ReceiptRequest, answer: &Answer, now: Timestamp) -> Statement {
    let values = vec![
        receipt.user.into(),
        receipt.key.as_str().into(),
        receipt.fingerprint.as_slice().into(),
        (receipt.keep)(answer).as_slice().into(),
        now.into(),
    ];
    Statement { sql: sql::KEEP_RECEIPT, values, one_row: true }
}

async fn load(tx: &mut impl Tx, request: &Request) -> Result<(Facts, Wallets), StoreError> {
    let action = &request.command.action;
    let (mut facts, mut wallets) = (Facts::default(), Wallets::new());
    let user = if let Actor::User(user) = request.command.actor { Some(user) } else { None };
    let mut now = None;
    if let (Some(user), Some(named)) = (user, action.agent()) {
        now = Some(load_agent(tx, user, named, action, &mut facts).await?);
    }
    // The time comes with the last lock: whoever waited decides by the time it waited to.
    facts.now = Some(match (action, now) {
        (Action::Pull { candidates, .. }, Some(now)) => {
            let agent = facts.agent.as_ref().map(|agent| agent.id);
            if let Some(agent) = agent.filter(|_| !facts.holding.as_ref().is_some_and(|job| still_holds(job, now))) {
                facts.job = first_open(tx, candidates, agent, now).await?;
            }
            now
        }
        _ => {
            payments::load(tx, user, action, &mut facts, &mut wallets).await?;
            load_named(tx, user, action, &mut facts, &mut wallets).await?
        }
    });
    Ok((facts, wallets))
}

async fn load_wallet(tx: &mut impl Tx, user: UserId) -> Result<Option<Wallet>, StoreError> {
    tx.look(vec![Step::Locked(&sql::WALLET, vec![user.into()])]).await?.row(0).as_ref().map(row::wallet).transpose()
}

/// The agent that acts or is acted on, what it has in hand, and the time.
async fn load_agent(
    tx: &mut impl Tx,
    user: UserId,
    named: Option<AgentId>,
    action: &Action,
    facts: &mut Facts,
) -> Result<Timestamp, StoreError> {
    let engaged = match action {
        Action::DeleteAgent(_) => Some(sql::ENGAGED),
        Action::Pull { .. } | Action::Claim { .. } => Some(sql::JOB_HELD_BY),
        _ => None,
    };
    let mut steps = vec![match named {
        Some(agent) => Step::Locked(&sql::AGENT, vec![agent.into()]),
        None => Step::Locked(&sql::DEFAULT_AGENT, vec![user.into()]),
    }];
    steps.extend(engaged.zip(named).map(|(sql, agent)| Step::Read(sql, vec![agent.into()])));
    let mut found = tx.look(steps).await?;
    facts.agent = found.row(0).as_ref().map(row::agent).transpose()?.filter(|agent| agent.owner == user);
    let (Some(sql), Some(agent)) = (engaged, facts.agent.as_ref().map(|agent| agent.id)) else { return Ok(found.now) };
    let in_hand = match named {
        Some(_) => found.row(1),
        None => tx.look(vec![Step::Read(sql, vec![agent.into()])]).await?.row(0),
    };
    let Some(in_hand) = in_hand else { return Ok(found.now) };
    if matches!(action, Action::DeleteAgent(_)) {
        facts.agent_engaged = true;
        return Ok(found.now);
    }
    let held: JobId = in_hand.parsed(0)?;
    // Two agents may each claim what the other one holds: jobs are locked by id, so that neither waits for ever.
    let first = action.job().filter(|claimed| *claimed < held).map(|claimed| Step::Lock(Lock::Job(claimed)));
    let mut steps: Vec<Step> = first.into_iter().collect();
    steps.extend(job_steps(held));
    let last = steps.len() - 1;
    let mut found = tx.look(steps).await?;
    let job = found.row(last).as_ref().map(row::job).transpose()?;
    facts.holding = job.filter(|job| matches!(&job.state, State::Held { by, .. } if by.agent == agent));
    Ok(found.now)
}

/// What else the action names, and the time.
async fn load_named(
    tx: &mut impl Tx,
    user: Option<UserId>,
    action: &Action,
    facts: &mut Facts,
    wallets: &mut Wallets,
) -> Result<Timestamp, StoreError> {
    let mut steps = Vec::new();
    let mut step = |step: Step| {
        steps.push(step);
        steps.len() - 1
    };
    let mut set = |of: Option<UserId>, sql| {
        of.map(|user| {
            step(Step::Lock(Lock::User(user)));
            step(Step::Read(sql, vec![user.into()]))
        })
    };
    let agents =
        set(user.filter(|_| matches!(action, Action::CreateAgent(_) | Action::UpdateAgent { .. })), sql::AGENTS);
    let keys = set(user.filter(|_| matches!(action, Action::CreateKey(_) | Action::RevokeKey(_))), sql::KEYS);
    let uploaded = set(user.filter(|_| matches!(action, Action::Upload(_))), sql::UPLOADED_BYTES);
    let email = match action {
        Action::CreateUser(new) => new.email.as_deref(),
        _ => None,
    };
    let email = email.map(|email| step(Step::Read(sql::EMAIL_TAKEN, vec![email.trim().to_lowercase().into()])));
    let job = action.job().map(|job| match user {
        Some(user) => known_job_steps(job, user).map(&mut step),
        None => job_steps(job).map(&mut step),
    });
    let lease = action.lease().map(|lease| {
        let place = vec![lease.task.kind.as_str().into(), lease.task.subject.into()];
        (lease, step(Step::Read(sql::LEASE, place)))
    });
    let uploads = user.map(|user| {
        let own = |file: UploadId| Step::Locked(&sql::OWN_UPLOAD, vec![file.into(), user.into()]);
        action.uploads().into_iter().map(|file| step(own(file))).collect::<Vec<_>>()
    });
    let upload_use = match action {
        Action::DeleteUpload(file) => Some(step(Step::Read(sql::UPLOAD_IN_USE, vec![(*file).into()]))),
        _ => None,
    };
    let purse = match action {
        Action::Grant { user, .. } => Some(*user),
        _ => user.filter(|_| action.spends()),
    };
    let purse = purse.map(|user| (user, step(Step::Locked(&sql::WALLET, vec![user.into()]))));

    let mut found = tx.look(steps).await?;
    if let Some(place) = agents {
        facts.agents = found.rows(place).iter().map(row::agent).collect::<Result<_, _>>()?;
    }
    if let Some(place) = keys {
        facts.keys = found.rows(place).iter().map(row::key).collect::<Result<_, _>>()?;
    }
    if let Some(sum) = uploaded.and_then(|place| found.row(place)) {
        facts.uploaded_bytes = sum.int(0)?.unsigned_abs();
    }
    let uploads: Vec<_> = uploads.into_iter().flatten().filter_map(|place| found.row(place)).collect();
    facts.uploads = uploads.iter().map(row::upload).collect::<Result<_, _>>()?;
    facts.upload_in_use = upload_use.is_some_and(|place| found.row(place).is_some());
    facts.email_taken = email.is_some_and(|place| !found.rows(place).is_empty());
    // What is not locked is not decided about, whatever it has become since.
    let job = job.filter(|[lock, _]| found.row(*lock).is_some());
    facts.job = job.and_then(|[_, read]| found.row(read)).as_ref().map(row::job).transpose()?;
    if let Some((lease, row)) = lease.and_then(|(lease, place)| found.row(place).map(|row| (lease, row))) {
        facts.lease_is_current = row.time(0)? == lease.task.due_at && row.int(1)? == lease.token;
    }
    if let Some((user, place)) = purse
        && let Some(wallet) = found.row(place).as_ref().map(row::wallet).transpose()?
    {
        facts.user_exists = true;
        facts.purse = wallet.purse();
        wallets.insert(user, wallet);
    }
    Ok(found.now)
}

fn still_holds(job: &Job, now: Timestamp) -> bool {
    matches!(job.state, State::Held { until, .. } if until > now)
}

/// The first candidate that nobody else has taken and that pull may hand to the agent.
async fn first_open(
    tx: &mut impl Tx,
    candidates: &[JobId],
    agent: AgentId,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let mut left = candidates;
    while let Some(first) = tx.lock_queued(left).await? {
        let read = vec![Step::Read(sql::JOB, vec![first.into()])];
        let job = tx.look(read).await?.row(0).as_ref().map(row::job).transpose()?;
        if job.as_ref().is_some_and(|job| job.is_open_to(agent, now)) {
            return Ok(job);
        }
        let place = left.iter().position(|candidate| *candidate == first).unwrap_or(left.len() - 1);
        left = &left[place + 1..];
    }
    Ok(None)
}

/// Locks a job, then reads it, for a user who may know of it: for anybody else it is as if there were none.
fn known_job_steps(job: JobId, user: UserId) -> [Step; 2] {
    let read = Step::Read(sql::JOB_KNOWN_TO, sql::known_to(job, user));
    [Step::Lock(Lock::JobKnownTo(job, user)), read]
}

/// Locks a job, then reads it.
fn job_steps(job: JobId) -> [Step; 2] {
    [Step::Lock(Lock::Job(job)), Step::Read(sql::JOB, vec![job.into()])]
}
