//! One command, start to finish, inside the caller's transaction.
//!
//! | Phase  | What happens                                                       | Writes |
//! |--------|--------------------------------------------------------------------|--------|
//! | replay | a known `Idempotency-Key`: the kept answer, and that is all         | no     |
//! | load   | lock and read what the command names: user, agent, job, wallet      | no     |
//! | decide | `clawrk_domain::decide`: a change or a refusal                      | no     |
//! | apply  | the change's writes, in order; the answer kept under the key        | yes    |
//!
//! Locks are taken in one order: key, user, agent, jobs by id, wallets by user; a pull's candidates are never waited for.
//! `Err` means that the database failed; a refusal is an answer.

use std::collections::btree_map::Entry;

use clawrk_domain::{
    Action, Actor, Agent, AgentId, Answer, Facts, Job, JobId, Lease, Policy, Timestamp, UserId, decide,
};

use crate::hot::Known;
use crate::tx::{Lock, News, Tx};
use crate::writes::{Statement, Wallet, Wallets, statements, wallets_of};
use crate::{Changed, Outcome, ReceiptRequest, Reply, Request, StoreError, row, sql};

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
    let mut writes = statements(&change.writes, wallets);
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
    let horizon = receipt_horizon(tx.now().await?);
    let place = || vec![receipt.user.into(), receipt.key.as_str().into(), horizon.into()];
    let rows = tx.query(sql::RECEIPT, place()).await?;
    let Some(kept) = rows.first() else { return Ok(None) };
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
    Statement { sql: sql::KEEP_RECEIPT, values, rows: Some(1) }
}

async fn load(tx: &mut impl Tx, request: &Request) -> Result<(Facts, Wallets), StoreError> {
    let action = &request.command.action;
    let (mut facts, mut wallets) = (Facts::default(), Wallets::new());
    if let Actor::User(user) = request.command.actor {
        load_actor(tx, user, action, &mut facts).await?;
    }
    match action {
        Action::CreateUser(new) => {
            let email = new.email.as_deref().map(|email| email.trim().to_lowercase());
            facts.email_taken = match email {
                Some(email) => !tx.query(sql::EMAIL_TAKEN, vec![email.into()]).await?.is_empty(),
                None => false,
            };
        }
        Action::Grant { user, .. } => {
            wallets.extend(load_wallet(tx, *user).await?.map(|wallet| (*user, wallet)));
            facts.user_exists = !wallets.is_empty();
        }
        _ => {}
    }
    // The time is asked for once all locks are held: whoever waited decides by the time it waited to.
    if let Action::Pull { candidates, .. } = action {
        let now = tx.now().await?;
        facts.now = Some(now);
        if let Some(agent) = facts.agent.as_ref().map(|agent| agent.id)
            && !facts.holding.as_ref().is_some_and(|job| still_holds(job, now))
        {
            facts.job = first_open(tx, candidates, agent, now).await?;
        }
    } else {
        if let Some(job) = action.job() {
            tx.lock(Lock::Job(job)).await?;
            facts.job = load_job(tx, job).await?;
        }
        if let Action::Run(lease) = action {
            facts.lease_is_current = lease_is_current(tx, lease).await?;
        }
        if let (true, Actor::User(user)) = (action.spends(), request.command.actor) {
            let wallet = load_wallet(tx, user).await?.unwrap_or_default();
            facts.wallet = wallet.balance;
            wallets.insert(user, wallet);
        }
        facts.now = Some(tx.now().await?);
    }
    Ok((facts, wallets))
}

async fn load_wallet(tx: &mut impl Tx, user: UserId) -> Result<Option<Wallet>, StoreError> {
    tx.locked(&sql::WALLET, vec![user.into()]).await?.as_ref().map(row::wallet).transpose()
}

/// What is known of the one who asks: agents, keys, and what the agent has in hand.
async fn load_actor(tx: &mut impl Tx, user: UserId, action: &Action, facts: &mut Facts) -> Result<(), StoreError> {
    if matches!(action, Action::CreateAgent(_) | Action::UpdateAgent { .. }) {
        tx.lock(Lock::User(user)).await?;
        let rows = tx.query(sql::AGENTS, vec![user.into()]).await?;
        facts.agents = rows.iter().map(row::agent).collect::<Result<_, _>>()?;
    }
    if matches!(action, Action::CreateKey(_) | Action::RevokeKey(_)) {
        tx.lock(Lock::User(user)).await?;
        let rows = tx.query(sql::KEYS, vec![user.into()]).await?;
        facts.keys = rows.iter().map(row::key).collect::<Result<_, _>>()?;
    }
    let Some(named) = action.agent() else { return Ok(()) };
    facts.agent = load_agent(tx, user, named).await?;
    let Some(agent) = facts.agent.as_ref().map(|agent| agent.id) else { return Ok(()) };
    match action {
        Action::DeleteAgent(_) => {
            facts.agent_engaged = !tx.query(sql::ENGAGED, vec![agent.into()]).await?.is_empty();
        }
        Action::Pull { .. } | Action::Claim { .. } => facts.holding = load_holding(tx, agent, action.job()).await?,
        _ => {}
    }
    Ok(())
}

async fn load_agent(tx: &mut impl Tx, user: UserId, named: Option<AgentId>) -> Result<Option<Agent>, StoreError> {
    let (query, of) = named.map_or((sql::DEFAULT_AGENT, user.into()), |agent| (sql::AGENT, agent.into()));
    let agent = tx.locked(&query, vec![of]).await?.as_ref().map(row::agent).transpose()?;
    Ok(agent.filter(|agent| agent.owner == user))
}

/// The job that the agent holds, locked; and before it the one that it claims, where that comes first.
async fn load_holding(tx: &mut impl Tx, agent: AgentId, claimed: Option<JobId>) -> Result<Option<Job>, StoreError> {
    let held: Option<JobId> =
        tx.query(sql::JOB_HELD_BY, vec![agent.into()]).await?.first().map(|row| row.parsed(0)).transpose()?;
    let Some(held) = held else { return Ok(None) };
    // Two agents may each claim what the other one holds: jobs are locked by id, so that neither waits for ever.
    for job in claimed.into_iter().filter(|claimed| *claimed < held).chain([held]) {
        tx.lock(Lock::Job(job)).await?;
    }
    let job = load_job(tx, held).await?;
    Ok(job.filter(|job| matches!(&job.state, clawrk_domain::State::Held { by, .. } if by.agent == agent)))
}

fn still_holds(job: &Job, now: Timestamp) -> bool {
    matches!(job.state, clawrk_domain::State::Held { until, .. } if until > now)
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
        let job = load_job(tx, first).await?;
        if job.as_ref().is_some_and(|job| job.is_open_to(agent, now)) {
            return Ok(job);
        }
        let place = left.iter().position(|candidate| *candidate == first).unwrap_or(left.len() - 1);
        left = &left[place + 1..];
    }
    Ok(None)
}

async fn load_job(tx: &mut impl Tx, job: JobId) -> Result<Option<Job>, StoreError> {
    let found = tx.query(sql::JOB, vec![job.into()]).await?;
    found.first().map(row::job).transpose()
}

async fn lease_is_current(tx: &mut impl Tx, lease: &Lease) -> Result<bool, StoreError> {
    let task = lease.task;
    let rows = tx.query(sql::LEASE, vec![task.kind.as_str().into(), task.job.into()]).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    Ok(row.time(0)? == task.due_at && row.int(1)? == lease.token)
}
