//! What a change writes, as statements; the same on both databases.

use clawrk_domain::change::AttemptRecord;
use clawrk_domain::{
    Account, Agent, ApiKey, Event, Job, JobId, Offer, State, Timestamp, Transfer, User, Worker, Write,
};

use crate::value::{Value, id};

/// A statement and its values. It must change exactly `rows` rows, if that is given.
pub(crate) struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
    pub(crate) rows: Option<u64>,
}

fn one(sql: &'static str, values: Vec<Value>) -> Statement {
    Statement { sql, values, rows: Some(1) }
}

/// The statements that write it down, in order.
pub(crate) fn statements(write: &Write) -> Vec<Statement> {
    match write {
        Write::CreateUser(user) => create_user(user),
        Write::CreateAgent(agent) => vec![create_agent(agent)],
        Write::UpdateAgent(agent) => vec![update_agent(agent)],
        Write::DeleteAgent(agent, at) => {
            vec![one("UPDATE agents SET deleted_at = $1 WHERE id = $2", vec![(*at).into(), id(agent.id)])]
        }
        Write::CreateKey(key) => vec![create_key(key)],
        Write::RevokeKey(key, at) => {
            vec![one("UPDATE api_keys SET revoked_at = $1 WHERE id = $2", vec![(*at).into(), id(key)])]
        }
        Write::TouchKey(key, at) => vec![Statement {
            sql: "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $1)",
            values: vec![(*at).into(), id(key)],
            rows: None,
        }],
        Write::CreateJob(job) => vec![create_job(job), create_brief(job)],
        Write::UpdateJob(job) => vec![update_job(job)],
        Write::Attempt(record) => vec![attempt(record)],
        Write::Offer(job, of, at) => vec![offer(*job, of, *at)],
        Write::Transfer(moved) => transfer(moved),
        Write::Event(happened) => vec![event(happened)],
        Write::Schedule(task) => vec![one(
            "INSERT INTO tasks (kind, job_id, due_at, token, leased_until) VALUES ($1, $2, $3, 0, 0)
             ON CONFLICT (kind, job_id) DO UPDATE SET due_at = excluded.due_at, token = tasks.token + 1, leased_until = 0",
            vec![task.kind.as_str().into(), id(task.job), task.due_at.into()],
        )],
        Write::Unschedule(task) => vec![Statement {
            sql: "DELETE FROM tasks WHERE kind = $1 AND job_id = $2 AND due_at = $3",
            values: vec![task.kind.as_str().into(), id(task.job), task.due_at.into()],
            rows: None,
        }],
    }
}

fn create_user(user: &User) -> Vec<Statement> {
    vec![
        one(
            "INSERT INTO users (id, name, email, avatar_url, is_admin, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
            vec![
                id(user.id),
                user.name.as_str().into(),
                user.email.as_deref().into(),
                user.avatar_url.as_deref().into(),
                user.is_admin.into(),
                user.created_at.into(),
            ],
        ),
        one("INSERT INTO wallets (user_id, balance_cents) VALUES ($1, 0)", vec![id(user.id)]),
    ]
}

fn create_agent(agent: &Agent) -> Statement {
    one(
        "INSERT INTO agents (id, owner_id, name, personality, avatar_url, is_default, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            id(agent.id),
            id(agent.owner),
            agent.name.as_str().into(),
            agent.personality.as_deref().into(),
            agent.avatar_url.as_deref().into(),
            agent.is_default.into(),
            agent.created_at.into(),
        ],
    )
}

fn update_agent(agent: &Agent) -> Statement {
    one(
        "UPDATE agents SET name = $1, personality = $2, avatar_url = $3 WHERE id = $4",
        vec![
            agent.name.as_str().into(),
            agent.personality.as_deref().into(),
            agent.avatar_url.as_deref().into(),
            id(agent.id),
        ],
    )
}

fn create_key(key: &ApiKey) -> Statement {
    one(
        "INSERT INTO api_keys (id, user_id, name, hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            id(key.id),
            id(key.user),
            key.name.as_str().into(),
            key.hash.as_slice().into(),
            i64::from(key.scopes.bits()).into(),
            key.created_at.into(),
            key.expires_at.into(),
        ],
    )
}

fn create_job(job: &Job) -> Statement {
    one(
        "INSERT INTO jobs (id, sender_id, status, price_cents, fee_cents, escrow_cents, time_limit_seconds,
                           attempt_count, cancellation_requested, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, 0, $6, 0, 0, $7, $8, $8)",
        vec![
            id(job.id),
            id(job.sender),
            job.status().as_str().into(),
            job.price.into(),
            job.fee.into(),
            job.time_limit_seconds.into(),
            job.version.into(),
            job.created_at.into(),
        ],
    )
}

fn create_brief(job: &Job) -> Statement {
    let brief = &job.brief;
    one(
        "INSERT INTO briefs (job_id, prompt, title, description, requirements, criteria, sealed_env)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            id(job.id),
            brief.prompt.as_str().into(),
            brief.title.as_str().into(),
            brief.description.as_deref().into(),
            brief.requirements.as_deref().into(),
            json(&brief.criteria),
            brief.sealed_env.as_deref().into(),
        ],
    )
}

/// The version before is part of the condition: a job that someone else changed meanwhile is never overwritten.
fn update_job(job: &Job) -> Statement {
    let (worker, until): (Option<Worker>, Option<Timestamp>) = match &job.state {
        State::Held { by, until } => (Some(*by), Some(*until)),
        _ => (job.receiver(), None),
    };
    one(
        "UPDATE jobs SET status = $1, worker_agent_id = $2, worker_user_id = $3, hold_expires_at = $4,
                         attempt_count = $5, cancellation_requested = $6, version = $7, updated_at = $8
          WHERE id = $9 AND version = $10",
        vec![
            job.status().as_str().into(),
            worker.map(|worker| worker.agent.to_string()).into(),
            worker.map(|worker| worker.user.to_string()).into(),
            until.into(),
            job.attempt_count.into(),
            job.cancellation_requested.into(),
            job.version.into(),
            job.updated_at.into(),
            id(job.id),
            (job.version - 1).into(),
        ],
    )
}

fn attempt(record: &AttemptRecord) -> Statement {
    let submission = record.submission.as_ref();
    one(
        "INSERT INTO attempts (job_id, number, agent_id, user_id, accepted_at, deadline_at,
                               submitted_at, review_until, output_text, verification, outcome, ended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (job_id, number) DO UPDATE SET
                submitted_at = excluded.submitted_at, review_until = excluded.review_until,
                output_text = excluded.output_text, verification = excluded.verification,
                outcome = excluded.outcome, ended_at = excluded.ended_at",
        vec![
            id(record.job),
            record.attempt.number.into(),
            id(record.attempt.worker.agent),
            id(record.attempt.worker.user),
            record.attempt.accepted_at.into(),
            record.attempt.deadline_at.into(),
            submission.map(|submission| submission.submitted_at).into(),
            submission.map(|submission| submission.review_until).into(),
            submission.and_then(|submission| submission.output_text.as_deref()).into(),
            record.verification.as_ref().map(json_text).into(),
            record.outcome.map(clawrk_domain::change::Outcome::as_str).into(),
            record.ended_at.into(),
        ],
    )
}

fn offer(job: JobId, offer: &Offer, at: Timestamp) -> Statement {
    one(
        "INSERT INTO offers (job_id, agent_id, user_id, barred, not_before, first_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (job_id, agent_id) DO UPDATE SET barred = excluded.barred, not_before = excluded.not_before",
        vec![
            id(job),
            id(offer.worker.agent),
            id(offer.worker.user),
            offer.barred.into(),
            offer.not_before.into(),
            at.into(),
        ],
    )
}

/// The transfer, and the balances it changes.
fn transfer(transfer: &Transfer) -> Vec<Statement> {
    let (wallet, escrow) = (transfer.wallet(), transfer.escrow());
    let mut statements = Vec::with_capacity(3);
    if let Some((user, delta)) = wallet {
        let sql = "UPDATE wallets SET balance_cents = balance_cents + $1 WHERE user_id = $2";
        statements.push(one(sql, vec![delta.into(), id(user)]));
    }
    if let Some((job, delta)) = escrow {
        let sql = "UPDATE jobs SET escrow_cents = escrow_cents + $1 WHERE id = $2";
        statements.push(one(sql, vec![delta.into(), id(job)]));
    }
    statements.push(one(
        "INSERT INTO transfers (id, at, from_kind, to_kind, user_id, job_id, cents, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        vec![
            id(transfer.id),
            transfer.at.into(),
            Account::kind(transfer.from).into(),
            Account::kind(transfer.to).into(),
            wallet.map(|(user, _)| user.to_string()).into(),
            escrow.map(|(job, _)| job.to_string()).into(),
            transfer.amount.into(),
            id(transfer.reason),
        ],
    ));
    statements
}

fn event(event: &Event) -> Statement {
    one(
        "INSERT INTO events (job_id, n, at, kind, by_whom, status, agent_id, user_id, attempt, reason, moved)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        vec![
            id(event.job),
            event.n.into(),
            event.at.into(),
            word(&event.kind),
            word(&event.by),
            event.status.as_str().into(),
            event.worker.map(|worker| worker.agent.to_string()).into(),
            event.worker.map(|worker| worker.user.to_string()).into(),
            event.attempt.into(),
            event.reason.as_deref().into(),
            if event.moved.is_empty() { Value::Null } else { json(&event.moved) },
        ],
    )
}

fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own values have no maps with odd keys")
}

fn json(value: &impl serde::Serialize) -> Value {
    Value::Text(json_text(value))
}

/// The snake_case word that serde has for a value of a plain enum.
fn word(value: &impl serde::Serialize) -> Value {
    Value::Text(json_text(value).trim_matches('"').to_owned())
}
