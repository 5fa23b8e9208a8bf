//! What a change writes, as statements; the same on both databases.

use std::collections::{BTreeMap, BTreeSet};

use clawrk_domain::change::AttemptRecord;
use clawrk_domain::verification::LogLine;
use clawrk_domain::{
    Account, Agent, ApiKey, Cents, Event, Job, JobId, KeyId, Purse, State, Task, Timestamp, Transfer, TransferId,
    Upload, User, UserId, Worker, Write,
};

use crate::value::Value;
use crate::{payments, sql, stage};

/// A statement and its values.
pub(crate) struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
    /// Whether it must change exactly one row, rather than any number.
    pub(crate) one_row: bool,
}

pub(crate) fn one(sql: &'static str, values: Vec<Value>) -> Statement {
    Statement { sql, values, one_row: true }
}

/// The one row that is written at nearly every command of a user.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wallet {
    pub(crate) balance: Cents,
    pub(crate) last_transfer: Option<TransferId>,
    pub(crate) last_job: Option<JobId>,
    pub(crate) owed: Cents,
    pub(crate) tops_up_below: Option<Cents>,
}

impl Wallet {
    pub(crate) const fn purse(&self) -> Purse {
        Purse { balance: self.balance, owed: self.owed, tops_up_below: self.tops_up_below }
    }
}

/// The wallets that a change touches, as they were before, and each is new that is not among them.
pub(crate) type Wallets = BTreeMap<UserId, Wallet>;

/// Whose wallets a change touches: for a transfer, or as the place where the list of their jobs begins.
pub(crate) fn wallets_of(writes: &[Write]) -> BTreeSet<UserId> {
    let user = |write: &Write| match write {
        Write::CreateJob(job) => Some(job.sender),
        Write::Owe(user, _) => Some(*user),
        write => write.wallet().map(|(user, _)| user),
    };
    writes.iter().filter_map(user).collect()
}

/// The statements that write a change down, in order; each wallet that it touches is written once, at the end. A log goes
/// on behind its last line.
pub(crate) fn statements(writes: &[Write], mut wallets: Wallets, log_end: i64) -> Vec<Statement> {
    // What each has more, and what each owes more.
    let mut moved: BTreeMap<UserId, [Cents; 2]> = BTreeMap::new();
    let mut statements = Vec::with_capacity(writes.len() + 2);
    for write in writes {
        match write {
            Write::CreateJob(job) => {
                moved.entry(job.sender).or_default();
                let previous = wallets.entry(job.sender).or_default().last_job.replace(job.id);
                statements.extend([create_job(job, previous), create_brief(job)]);
            }
            Write::Transfer(transfer) => {
                let previous = transfer.wallet().and_then(|(user, delta)| {
                    let [sum, _] = moved.entry(user).or_default();
                    *sum = *sum + delta;
                    wallets.entry(user).or_default().last_transfer.replace(transfer.id)
                });
                statements.push(create_transfer(transfer, previous));
            }
            Write::CreateUser(user) => statements.extend(create_user(user)),
            Write::CreateAgent(agent) => statements.push(create_agent(agent)),
            Write::UpdateAgent(agent) => statements.push(update_agent(agent)),
            Write::DeleteAgent(agent, at) => statements
                .push(one("UPDATE agents SET deleted_at = $1 WHERE id = $2", vec![(*at).into(), agent.id.into()])),
            Write::CreateKey(key) => statements.push(create_key(key)),
            Write::RevokeKey(key, at) => statements
                .push(one("UPDATE api_keys SET revoked_at = $1 WHERE id = $2", vec![(*at).into(), (*key).into()])),
            Write::TouchKey(key, at) => statements.push(touch_key(*key, *at)),
            Write::UpdateJob(job) => statements.push(update_job(job)),
            Write::Attempt(record) => statements.push(attempt(record)),
            Write::Event(happened) => statements.push(event(happened)),
            Write::Schedule(task) => statements.push(schedule(task)),
            Write::Unschedule(task) => statements.push(unschedule(task)),
            Write::CreateUpload(file) => statements.push(create_upload(file)),
            Write::DeleteUpload(file) => statements.push(one(sql::DELETE_UPLOAD, vec![(*file).into()])),
            Write::UseUpload(file, job, attempt) => statements.push(one(
                "INSERT INTO upload_uses (upload_id, job_id, attempt) VALUES ($1, $2, $3)",
                vec![(*file).into(), (*job).into(), (*attempt).into()],
            )),
            Write::Log(job, attempt, lines) => {
                statements.extend(log_lines(*job, *attempt, log_end, lines));
            }
            Write::CreatePayment(payment) => statements.push(payments::create(payment)),
            Write::UpdatePayment(payment) => statements.push(payments::update(payment)),
            Write::Owe(user, more) => {
                wallets.entry(*user).or_default();
                let [_, owed] = moved.entry(*user).or_default();
                *owed = *owed + *more;
            }
            Write::Stripe(user, ids) => statements.push(payments::stripe_ids(*user, ids)),
            Write::AutoTopUp(user, auto) => statements.extend(payments::auto_top_up(*user, auto)),
            Write::CreateNotice(notice, at) => statements.push(payments::create_notice(notice, *at)),
            Write::EndNotice(notice, end, at) => statements.push(payments::end_notice(*notice, end, *at)),
        }
    }
    statements.extend(moved.into_iter().map(|(user, delta)| update_wallet(user, delta, &wallets[&user])));
    statements
}

fn touch_key(key: KeyId, at: Timestamp) -> Statement {
    Statement {
        sql: "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $1)",
        values: vec![at.into(), key.into()],
        one_row: false,
    }
}

fn schedule(task: &Task) -> Statement {
    one(
        "INSERT INTO tasks (kind, subject, due_at, token, leased_until) VALUES ($1, $2, $3, 0, 0)
         ON CONFLICT (kind, subject) DO UPDATE SET due_at = excluded.due_at, token = tasks.token + 1, leased_until = 0",
        vec![task.kind.as_str().into(), task.subject.into(), task.due_at.into()],
    )
}

fn unschedule(task: &Task) -> Statement {
    Statement {
        sql: "DELETE FROM tasks WHERE kind = $1 AND subject = $2 AND due_at = $3",
        values: vec![task.kind.as_str().into(), task.subject.into(), task.due_at.into()],
        one_row: false,
    }
}

fn create_user(user: &User) -> Vec<Statement> {
    vec![
        one(
            "INSERT INTO users (id, name, email, avatar_url, is_admin, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
            vec![
                user.id.into(),
                user.name.as_str().into(),
                user.email.as_deref().into(),
                user.avatar_url.as_deref().into(),
                user.is_admin.into(),
                user.created_at.into(),
            ],
        ),
        one("INSERT INTO wallets (user_id, balance_cents) VALUES ($1, 0)", vec![user.id.into()]),
    ]
}

fn create_agent(agent: &Agent) -> Statement {
    one(
        "INSERT INTO agents (id, owner_id, name, personality, avatar_url, is_default, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            agent.id.into(),
            agent.owner.into(),
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
            agent.id.into(),
        ],
    )
}

fn create_key(key: &ApiKey) -> Statement {
    one(
        "INSERT INTO api_keys (id, user_id, name, hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            key.id.into(),
            key.user.into(),
            key.name.as_str().into(),
            key.hash.as_slice().into(),
            i64::from(key.scopes.bits()).into(),
            key.created_at.into(),
            key.expires_at.into(),
        ],
    )
}

fn create_upload(file: &Upload) -> Statement {
    one(
        "INSERT INTO uploads (id, owner_id, name, size_bytes, content_type, sha256, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vec![
            file.id.into(),
            file.owner.into(),
            file.name.as_str().into(),
            i64::try_from(file.size_bytes).expect("nobody has a file of exabytes").into(),
            file.content_type.as_str().into(),
            file.sha256.as_slice().into(),
            file.created_at.into(),
        ],
    )
}

/// None for no files.
fn files(files: &[Upload]) -> Value {
    if files.is_empty() { Value::Null } else { json(&files) }
}

fn create_job(job: &Job, previous: Option<JobId>) -> Statement {
    one(
        "INSERT INTO jobs (id, sender_id, status, price_cents, fee_cents, escrow_cents, time_limit_seconds,
                           attempt_count, cancellation_requested, version, previous, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $9, $10, $10)",
        vec![
            job.id.into(),
            job.sender.into(),
            job.status().as_str().into(),
            job.price.into(),
            job.fee.into(),
            escrow(job).into(),
            job.time_limit_seconds.into(),
            job.version.into(),
            previous.into(),
            job.created_at.into(),
        ],
    )
}

fn create_brief(job: &Job) -> Statement {
    let brief = &job.brief;
    one(
        "INSERT INTO briefs (job_id, prompt, title, description, requirements, criteria, sealed_env, checks, attachments)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        vec![
            job.id.into(),
            brief.prompt.as_str().into(),
            brief.title.as_str().into(),
            brief.description.as_deref().into(),
            brief.requirements.as_deref().into(),
            json(&brief.criteria),
            brief.sealed_env.as_deref().into(),
            if brief.checks.is_empty() { Value::Null } else { json(&brief.checks) },
            files(&brief.attachments),
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
        "UPDATE jobs SET status = $1, escrow_cents = $2, worker_agent_id = $3, worker_user_id = $4,
                         hold_expires_at = $5, attempt_count = $6, cancellation_requested = $7, offers = $8,
                         version = $9, updated_at = $10
          WHERE id = $11 AND version = $12",
        vec![
            job.status().as_str().into(),
            escrow(job).into(),
            worker.map(|worker| worker.agent).into(),
            worker.map(|worker| worker.user).into(),
            until.into(),
            job.attempt_count.into(),
            job.cancellation_requested.into(),
            if job.offers.is_empty() { Value::Null } else { json(&job.offers) },
            job.version.into(),
            job.updated_at.into(),
            job.id.into(),
            (job.version - 1).into(),
        ],
    )
}

fn attempt(record: &AttemptRecord) -> Statement {
    let submission = record.submission.as_ref();
    let mut values = vec![
        record.job.into(),
        record.attempt.number.into(),
        record.attempt.worker.agent.into(),
        record.attempt.worker.user.into(),
        record.attempt.accepted_at.into(),
        record.attempt.deadline_at.into(),
        submission.map(|submission| submission.submitted_at).into(),
        submission.and_then(|submission| submission.output_text.as_deref()).into(),
        record.verification.as_ref().map(json_text).into(),
        record.outcome.map(clawrk_domain::change::Outcome::as_str).into(),
        record.ended_at.into(),
    ];
    values.extend(stage::values(record.stage.as_ref()));
    values.push(submission.map_or(Value::Null, |submission| files(&submission.output_files)));
    one(
        "INSERT INTO attempts (job_id, number, agent_id, user_id, accepted_at, deadline_at,
                               submitted_at, output_text, verification, outcome, ended_at,
                               review_until, stage, verify_kind, verify_at, output_files)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (job_id, number) DO UPDATE SET
                submitted_at = excluded.submitted_at, output_text = excluded.output_text,
                verification = excluded.verification, outcome = excluded.outcome, ended_at = excluded.ended_at,
                review_until = excluded.review_until, stage = excluded.stage,
                verify_kind = excluded.verify_kind, verify_at = excluded.verify_at,
                output_files = excluded.output_files",
        values,
    )
}

/// Lines that go behind the last one that is there; whoever writes them has the job or its task in hand.
pub(crate) fn log_lines(job: JobId, attempt: u32, last: i64, lines: &[LogLine]) -> impl Iterator<Item = Statement> {
    lines.iter().zip(last + 1..).map(move |(line, n)| {
        let values: Vec<Value> = vec![
            job.into(),
            attempt.into(),
            n.into(),
            line.at.into(),
            line.kind.as_str().into(),
            line.text.as_str().into(),
        ];
        one("INSERT INTO logs (job_id, attempt, n, at, kind, text) VALUES ($1, $2, $3, $4, $5, $6)", values)
    })
}

/// What the job's escrow holds in its state; the audit compares it with the transfers.
fn escrow(job: &Job) -> Cents {
    if job.status().is_funded() { job.price } else { Cents::ZERO }
}

fn create_transfer(transfer: &Transfer, previous: Option<TransferId>) -> Statement {
    one(
        "INSERT INTO transfers (id, at, from_kind, to_kind, user_id, job_id, cents, reason, previous, payment_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        vec![
            transfer.id.into(),
            transfer.at.into(),
            Account::kind(transfer.from).into(),
            Account::kind(transfer.to).into(),
            transfer.wallet().map(|(user, _)| user).into(),
            transfer.escrow().map(|(job, _)| job).into(),
            transfer.amount.into(),
            transfer.reason.word().into(),
            previous.into(),
            transfer.reason.payment().into(),
        ],
    )
}

fn update_wallet(user: UserId, [moved, owed]: [Cents; 2], wallet: &Wallet) -> Statement {
    one(
        "UPDATE wallets SET balance_cents = balance_cents + $1, owed_cents = owed_cents + $2, last_transfer = $3,
                            last_job = $4 WHERE user_id = $5",
        vec![moved.into(), owed.into(), wallet.last_transfer.into(), wallet.last_job.into(), user.into()],
    )
}

fn event(event: &Event) -> Statement {
    one(
        "INSERT INTO events (job_id, n, at, kind, by_whom, status, agent_id, user_id, attempt, reason, moved)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        vec![
            event.job.into(),
            event.n.into(),
            event.at.into(),
            word(&event.kind),
            word(&event.by),
            event.status.as_str().into(),
            event.worker.map(|worker| worker.agent).into(),
            event.worker.map(|worker| worker.user).into(),
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
