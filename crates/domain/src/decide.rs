//! What follows from a command, given the facts: the rules' table of contents.

use std::sync::Arc;

use crate::action::{AgentFields, NewUser};
use crate::job::moves::{self, Moment};
use crate::key::NewKey;
use crate::limits;
use crate::payment::{self, AutoTopUp, StripeIds};
use crate::purse::topped_up;
use crate::{
    Account, Action, Actor, Agent, AgentId, Answer, ApiKey, Cents, Change, Command, EventKind, Ids, Job, Lease,
    Payment, Policy, Purse, Reason, Rejection, State, Subject, Timestamp, Transfer, Upload, User, UserId, Write,
};

/// What the store knows about the things a command names; what it does not name is left empty.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The time, by the one clock that all nodes share.
    pub now: Option<Timestamp>,
    /// The job that the action names, or the first candidate of a pull that is open to the agent.
    pub job: Option<Job>,
    /// The agent that the action names, or the actor's default one; living agents only.
    pub agent: Option<Agent>,
    /// The living agents of the actor.
    pub agents: Vec<Agent>,
    /// The job that the agent holds.
    pub holding: Option<Job>,
    /// The agent has a job in held, accepted or submitted.
    pub agent_engaged: bool,
    /// The actor's wallet, or that of the user or of the payment that the action is about.
    pub purse: Purse,
    /// The payment that the action names.
    pub payment: Option<Payment>,
    /// What is known of the dealings with Stripe of the actor, or of the user that the action is about.
    pub stripe: StripeIds,
    /// When that user's wallet is topped up by itself.
    pub auto_top_up: AutoTopUp,
    /// Whether that user's card is being charged, and how often it was begun to be within a day.
    pub charges: (bool, u32),
    /// When the notice that the action names came; none while it has not.
    pub notice_at: Option<Timestamp>,
    /// The user that the action names exists.
    pub user_exists: bool,
    /// Another user has that e-mail address.
    pub email_taken: bool,
    /// The living keys of the actor.
    pub keys: Vec<ApiKey>,
    /// The files that the action names and that are the actor's.
    pub uploads: Vec<Upload>,
    /// A job names a file that the action is about.
    pub upload_in_use: bool,
    /// What the actor's files have together, in bytes.
    pub uploaded_bytes: u64,
    /// The lease that the action carries is the task's current one.
    pub lease_is_current: bool,
}

/// What follows from a command: a change, or a refusal that writes nothing.
pub fn decide(command: &Command, policy: &Policy, facts: Facts) -> Result<Change, Rejection> {
    command.action.check()?;
    let now = facts.now.expect("the store always brings the time");
    let mut ids = Ids::new(command.seed, now);
    match (command.actor, &command.action) {
        (Actor::Operator, action) => as_operator(action, facts, Moment { now, policy, ids: &mut ids }),
        (Actor::Exchange, action) => as_exchange(action, facts, Moment { now, policy, ids: &mut ids }),
        (Actor::User(user), action) => as_user(user, action, facts, Moment { now, policy, ids: &mut ids }),
    }
}

fn as_user(user: UserId, action: &Action, facts: Facts, mut at: Moment<'_>) -> Result<Change, Rejection> {
    match action {
        Action::CreateAgent(fields) => create_agent(user, fields, &facts, at.ids.agent(), at.now),
        Action::UpdateAgent { name, personality, avatar_url, .. } => {
            let mut agent = own_agent(user, facts.agent)?;
            if let Some(name) = name {
                agent.name.clone_from(name);
            }
            if let Some(personality) = personality {
                agent.personality.clone_from(personality);
            }
            if let Some(avatar_url) = avatar_url {
                agent.avatar_url.clone_from(avatar_url);
            }
            let agent = agent.told_apart(&facts.agents)?;
            Ok(Change::none(Answer::Agent(agent.clone())).and(Write::UpdateAgent(agent)))
        }
        Action::DeleteAgent(_) => delete_agent(own_agent(user, facts.agent)?, facts.agent_engaged, at.now),
        Action::CreateKey(new) => create_key(user, new, &facts.keys, at.now),
        Action::RevokeKey(id) if facts.keys.iter().any(|key| key.id == *id) => {
            Ok(Change::none(Answer::Nothing).and(Write::RevokeKey(*id, at.now)))
        }
        Action::RevokeKey(_) => Err(Rejection::NotFound("API key")),
        Action::Post(posting) => {
            let (purse, now, policy) = (facts.purse, at.now, at.policy);
            let posted = purse.spend(user, now, at.ids, |available, ids| {
                moves::post(user, posting, &facts.uploads, available, &mut Moment { now, policy, ids })
            })?;
            Ok(topped_up(posted, user, purse, now))
        }
        Action::Pay(_) => {
            let (job, purse, now, policy) = (named(facts.job)?, facts.purse, at.now, at.policy);
            let paid = purse.spend(user, now, at.ids, |available, ids| {
                job.pay(user, available, &mut Moment { now, policy, ids })
            })?;
            Ok(topped_up(paid, user, purse, now))
        }
        Action::TopUp(amount) => payment::begin_top_up(user, *amount, &mut at),
        Action::Withdraw(amount) => {
            let (purse, now, policy) = (facts.purse, at.now, at.policy);
            let out = purse.spend(user, now, at.ids, |available, ids| {
                payment::withdraw(user, *amount, available, &facts.stripe, &mut Moment { now, policy, ids })
            })?;
            Ok(topped_up(out, user, purse, now))
        }
        Action::SetAutoTopUp(wanted) => payment::set_auto_top_up(user, wanted, facts.purse, &facts.stripe, at.now),
        Action::Cancel(_) => named(facts.job)?.cancel(user, &mut at),
        Action::Pull { .. } => pull(&own_agent(user, facts.agent)?, facts.holding, facts.job, &at),
        Action::Claim { .. } => claim(&own_agent(user, facts.agent)?, facts.holding, named(facts.job)?, &at),
        Action::Accept(_) => named(facts.job)?.accept(user, &at),
        Action::Reject(_) => named(facts.job)?.reject(user, &at),
        Action::Submit { output_text, files, .. } => {
            let job = named(facts.job)?;
            job.submit(user, output_text.as_deref(), (files, &facts.uploads), &at)
        }
        Action::Upload(new) => upload(new.kept(user, at.now), facts.uploaded_bytes, at.policy),
        Action::DeleteUpload(_) => delete_upload(user, &facts),
        Action::Fail { reason, .. } => named(facts.job)?.fail(user, reason.as_deref(), &mut at),
        Action::Review { review, .. } => named(facts.job)?.review(user, review, &mut at),
        Action::CreateUser(_)
        | Action::Grant { .. }
        | Action::TouchKeys(_)
        | Action::Run(_)
        | Action::Report { .. }
        | Action::PageOpened { .. }
        | Action::Step { .. }
        | Action::Notice(_)
        | Action::Heed { .. }
        | Action::Stripe(..)
        | Action::Resolve { .. } => {
            unreachable!("users cannot ask for this: no route leads here")
        }
    }
}

fn as_operator(action: &Action, facts: Facts, mut at: Moment<'_>) -> Result<Change, Rejection> {
    match action {
        Action::CreateUser(new) => create_user(new, facts.email_taken, at.now, at.ids),
        Action::Grant { .. } if !facts.user_exists => Err(Rejection::NotFound("user")),
        Action::Grant { user, amount } => {
            let granted = Write::Transfer(grant(*user, *amount, at.now, at.ids)?);
            let mut purse = Purse { balance: facts.purse.balance + *amount, ..facts.purse };
            let settled = purse.settle(*user, at.now, at.ids);
            let mut change = Change::none(Answer::Nothing).and(granted);
            change.writes.extend(settled);
            Ok(change)
        }
        Action::Resolve { reference, .. } => {
            let payment = facts.payment.ok_or(Rejection::NotFound("payment"))?;
            payment::resolve(payment, reference.as_deref(), facts.purse, &mut at)
        }
        _ => unreachable!("the operator acts on users and payments only"),
    }
}

fn as_exchange(action: &Action, facts: Facts, mut at: Moment<'_>) -> Result<Change, Rejection> {
    match action {
        action if action.lease().is_some() && !facts.lease_is_current => Err(Rejection::LeaseLost),
        Action::Run(Lease { task, .. }) if let Subject::User(user) = task.subject => {
            let known = (facts.purse, &facts.auto_top_up, &facts.stripe);
            Ok(payment::charge_if_low(*task, user, known, facts.charges, &mut at))
        }
        Action::Run(lease) => Ok(named(facts.job)?.run(lease.task, &mut at)),
        Action::PageOpened { session, .. } => {
            let payment = facts.payment.ok_or(Rejection::NotFound("payment"))?;
            Ok(payment.opened(session, at.now))
        }
        Action::Step { lease, step } => {
            let payment = facts.payment.ok_or(Rejection::NotFound("payment"))?;
            payment::step(lease.task, payment, step, facts.purse, &facts.auto_top_up, &mut at)
        }
        Action::Notice(notice) => Ok(payment::take(notice, facts.notice_at.is_some(), at.now)),
        Action::Heed { lease, happened } => {
            let received_at = facts.notice_at.ok_or(Rejection::NotFound("notice"))?;
            let Subject::Notice(notice) = lease.task.subject else { return Err(Rejection::LeaseLost) };
            let (payment, purse) = (facts.payment, facts.purse);
            let known = payment::Known { payment, purse, stripe: &facts.stripe, received_at };
            Ok(payment::heed(lease.task, notice, happened, known, &mut at))
        }
        Action::Stripe(user, news) => {
            let next = facts.stripe.with(news).map(|next| Write::Stripe(*user, next));
            Ok(Change { answer: Answer::Nothing, writes: next.into_iter().collect() })
        }
        Action::Report { lease, found, log } => named(facts.job)?.report(lease.task, found, log, &mut at),
        Action::TouchKeys(used) => {
            // In one order, so that two nodes that noted the same keys do not wait for each other.
            let mut used = used.clone();
            used.sort_unstable();
            let writes = used.into_iter().map(|(key, time)| Write::TouchKey(key, time)).collect();
            Ok(Change { answer: Answer::Nothing, writes })
        }
        _ => unreachable!("the exchange itself runs tasks, deals with Stripe and notes the use of keys"),
    }
}

fn create_user(new: &NewUser, email_taken: bool, now: Timestamp, ids: &mut Ids) -> Result<Change, Rejection> {
    let name = limits::name("name", &new.name)?;
    let email = new.email.as_deref().map(|email| limits::email("email", email)).transpose()?;
    if email_taken {
        return Err(Rejection::EmailTaken);
    }
    let user = User {
        id: ids.user(),
        name,
        email,
        avatar_url: None,
        is_admin: new.is_admin,
        stripe_customer_id: None,
        stripe_account_id: None,
        stripe_account_status: None,
        created_at: now,
    };
    let agent = Agent::default_of(user.id, ids.agent(), now);
    let mut change =
        Change::none(Answer::User(user.clone())).and(Write::CreateUser(user.clone())).and(Write::CreateAgent(agent));
    if let Some(amount) = new.grant {
        change = change.and(Write::Transfer(grant(user.id, amount, now, ids)?));
    }
    if let Some(key) = &new.key {
        change = change.and(Write::CreateKey(kept(user.id, key, now)?));
    }
    Ok(change)
}

fn grant(user: UserId, amount: Cents, now: Timestamp, ids: &mut Ids) -> Result<Transfer, Rejection> {
    limits::within("amount_cents", amount.0, &limits::GRANT_CENTS)?;
    let id = ids.transfer();
    let (from, to) = (Account::Outside, Account::Wallet(user));
    Ok(Transfer { id, at: now, from, to, amount, reason: Reason::Grant(id) })
}

fn create_agent(
    owner: UserId,
    fields: &AgentFields,
    facts: &Facts,
    id: AgentId,
    now: Timestamp,
) -> Result<Change, Rejection> {
    let AgentFields { name, personality, avatar_url } = fields.clone();
    let agent = Agent { id, owner, name, personality, avatar_url, is_default: false, created_at: now };
    let agent = agent.told_apart(&facts.agents)?;
    if facts.agents.len() >= limits::AGENTS {
        return Err(Rejection::TooManyAgents);
    }
    Ok(Change::none(Answer::Agent(agent.clone())).and(Write::CreateAgent(agent)))
}

fn delete_agent(agent: Agent, engaged: bool, now: Timestamp) -> Result<Change, Rejection> {
    if agent.is_default {
        return Err(Rejection::DefaultAgent);
    }
    if engaged {
        return Err(Rejection::AgentEngaged);
    }
    Ok(Change::none(Answer::Nothing).and(Write::DeleteAgent(agent, now)))
}

fn create_key(user: UserId, new: &NewKey, keys: &[ApiKey], now: Timestamp) -> Result<Change, Rejection> {
    if keys.len() >= limits::KEYS {
        return Err(Rejection::TooManyKeys);
    }
    let key = kept(user, new, now)?;
    Ok(Change::none(Answer::Key(key.clone())).and(Write::CreateKey(key)))
}

/// What is kept of a new key.
fn kept(user: UserId, new: &NewKey, now: Timestamp) -> Result<ApiKey, Rejection> {
    if new.scopes.is_empty() {
        return Err(Rejection::invalid("scopes", "must name at least one scope"));
    }
    if new.expires_at.is_some_and(|time| time <= now) {
        return Err(Rejection::invalid("expires_at", "must be in the future"));
    }
    let name = limits::name("name", &new.name)?;
    let NewKey { id, hash, scopes, expires_at, .. } = *new;
    Ok(ApiKey { id, user, name, hash, scopes, created_at: now, expires_at, last_used_at: None })
}

fn upload(file: Upload, uploaded_bytes: u64, policy: &Policy) -> Result<Change, Rejection> {
    let quota = policy.upload_quota_bytes;
    if uploaded_bytes.saturating_add(file.size_bytes) > quota {
        return Err(Rejection::UploadQuota(quota));
    }
    Ok(Change::none(Answer::Upload(file.clone())).and(Write::CreateUpload(file)))
}

fn delete_upload(user: UserId, facts: &Facts) -> Result<Change, Rejection> {
    let file = facts.uploads.first().filter(|file| file.owner == user).ok_or(Rejection::NotFound("upload"))?;
    if facts.upload_in_use {
        return Err(Rejection::UploadInUse);
    }
    Ok(Change::none(Answer::Nothing).and(Write::DeleteUpload(file.id)))
}

/// The job that the agent holds already, or the candidate, or nothing.
fn pull(agent: &Agent, holding: Option<Job>, open: Option<Job>, at: &Moment<'_>) -> Result<Change, Rejection> {
    let over = match holding {
        Some(job) if holds_now(&job, at.now) => return Ok(Change::none(Answer::Job(Arc::new(job)))),
        Some(job) => job.expire_hold(at),
        None => Change::none(Answer::Nothing),
    };
    let Some(job) = open else {
        return Ok(Change::none(Answer::Nothing).after(over));
    };
    Ok(job.hold(agent, EventKind::Pulled, at)?.after(over))
}

fn claim(agent: &Agent, holding: Option<Job>, job: Job, at: &Moment<'_>) -> Result<Change, Rejection> {
    let over = match holding {
        Some(held) if held.id == job.id && holds_now(&held, at.now) => return job.hold(agent, EventKind::Claimed, at),
        Some(held) if holds_now(&held, at.now) => return Err(Rejection::HoldsAnother),
        // The task that expires this very hold has not run yet: the agent may take it up again at once.
        Some(held) if held.id == job.id => {
            let over = held.expire_hold(at);
            let Answer::Job(queued) = &over.answer else { return Err(Rejection::HoldExpired) };
            return Ok(Job::clone(queued).hold(agent, EventKind::Claimed, at)?.after(over));
        }
        Some(held) => held.expire_hold(at),
        None => Change::none(Answer::Nothing),
    };
    Ok(job.hold(agent, EventKind::Claimed, at)?.after(over))
}

fn holds_now(job: &Job, now: Timestamp) -> bool {
    matches!(job.state, State::Held { until, .. } if until > now)
}

fn own_agent(user: UserId, agent: Option<Agent>) -> Result<Agent, Rejection> {
    agent.filter(|agent| agent.owner == user).ok_or(Rejection::NotFound("agent"))
}

fn named(job: Option<Job>) -> Result<Job, Rejection> {
    job.ok_or(Rejection::NotFound("job"))
}
