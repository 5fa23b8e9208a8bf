//! Rows as the things they stand for.

use std::sync::Arc;

use clawrk_domain::payment::{AccountStatus, AutoTopUp, StripeIds};
use clawrk_domain::tally::{Day, DayCounts, Happening, Spread, Standing, Voice};
use clawrk_domain::verification::{LogKind, LogLine};
use clawrk_domain::{
    Agent, ApiKey, Attempt, Brief, Cents, Event, Finished, Job, JobId, Payment, PaymentKind, PaymentState, Reason,
    Scopes, State, Status, Submission, Task, TaskKind, Upload, User, Verification, Worker, change::Moved,
    ledger::Entry,
};

use crate::reads::HandedIn;
use crate::value::{Row, corrupt};
use crate::writes::Wallet;
use crate::{StoreError, stage};

pub(crate) fn user(row: &Row) -> Result<(User, Cents), StoreError> {
    let user = User {
        id: row.user(0)?,
        name: row.text(1)?,
        email: row.text_or_null(2)?,
        avatar_url: row.text_or_null(3)?,
        is_admin: row.flag(4)?,
        stripe_customer_id: row.text_or_null(5)?,
        stripe_account_id: row.text_or_null(6)?,
        stripe_account_status: row.text_or_null(7)?,
        created_at: row.time(8)?,
    };
    Ok((user, row.cents(9)?))
}

pub(crate) fn wallet(row: &Row) -> Result<Wallet, StoreError> {
    Ok(Wallet {
        balance: row.cents(0)?,
        last_transfer: row.transfer_or_null(1)?,
        last_job: row.parsed_or_null(2)?,
        owed: row.cents(3)?,
        tops_up_below: row.int_or_null(4)?.map(Cents),
    })
}

pub(crate) fn agent(row: &Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: row.agent(0)?,
        owner: row.user(1)?,
        name: row.text(2)?,
        personality: row.text_or_null(3)?,
        avatar_url: row.text_or_null(4)?,
        is_default: row.flag(5)?,
        created_at: row.time(6)?,
    })
}

pub(crate) fn key(row: &Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: row.parsed(0)?,
        user: row.user(1)?,
        name: row.text(2)?,
        hash: row.bytes(3)?.try_into().map_err(|_| corrupt(3, "no SHA-256"))?,
        scopes: Scopes::from_bits(u8::try_from(row.int(4)?).map_err(|_| corrupt(4, "no scopes"))?),
        created_at: row.time(5)?,
        expires_at: row.time_or_null(6)?,
        last_used_at: row.time_or_null(7)?,
    })
}

pub(crate) fn job(row: &Row) -> Result<Job, StoreError> {
    let brief = Brief {
        prompt: row.text(15)?,
        title: row.text(16)?,
        description: row.text_or_null(17)?,
        requirements: row.text_or_null(18)?,
        criteria: row.json(19)?,
        checks: if row.str_or_null(30)?.is_some() { row.json(30)? } else { Vec::new() },
        attachments: files(row, 33)?,
        sealed_env: row.bytes_or_null(20)?.map(<[u8]>::to_owned),
    };
    Ok(Job {
        id: row.parsed(0)?,
        sender: row.user(1)?,
        brief: Arc::new(brief),
        price: row.cents(3)?,
        fee: row.cents(4)?,
        time_limit_seconds: row.int(5)?,
        state: state(row)?,
        attempt_count: row.count(9)?,
        cancellation_requested: row.flag(10)?,
        offers: if row.str_or_null(14)?.is_some() { row.json(14)? } else { Vec::new() },
        version: row.count(11)?,
        created_at: row.time(12)?,
        updated_at: row.time(13)?,
    })
}

fn state(row: &Row) -> Result<State, StoreError> {
    let finished = || {
        let verification = row.str_or_null(29)?.is_some().then(|| row.json(29)).transpose()?;
        let submission = if row.int_or_null(26)?.is_some() { Some(submission(row)?) } else { None };
        Ok::<_, StoreError>(Finished { attempt: attempt(row)?, submission, verification })
    };
    Ok(match row.parsed::<Status>(2)? {
        Status::PendingPayment => State::PendingPayment,
        Status::Queued => State::Queued,
        Status::Held => State::Held { by: worker(row, 6)?, until: row.time(8)? },
        Status::Accepted => State::Accepted(attempt(row)?),
        Status::Submitted => State::Submitted(attempt(row)?, submission(row)?, stage::read(row, 27, 31, 32)?),
        Status::Verified => State::Verified(finished()?),
        Status::Failed => State::Failed(finished()?),
        Status::Cancelled if row.int_or_null(21)?.is_none() => State::Cancelled(None),
        Status::Cancelled => State::Cancelled(Some(finished()?)),
    })
}

fn attempt(row: &Row) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: row.count(21)?,
        worker: worker(row, 22)?,
        accepted_at: row.time(24)?,
        deadline_at: row.time(25)?,
    })
}

fn submission(row: &Row) -> Result<Submission, StoreError> {
    let output_text = row.str_or_null(28)?.map(Arc::from);
    Ok(Submission { submitted_at: row.time(26)?, output_text, output_files: files(row, 34)? })
}

/// Files as they stand with a brief or an attempt.
fn files(row: &Row, at: usize) -> Result<Vec<Upload>, StoreError> {
    if row.str_or_null(at)?.is_some() { row.json(at) } else { Ok(Vec::new()) }
}

pub(crate) fn upload(row: &Row) -> Result<Upload, StoreError> {
    Ok(Upload {
        id: row.upload(0)?,
        owner: row.user(1)?,
        name: row.text(2)?,
        size_bytes: row.int(3)?.unsigned_abs(),
        content_type: row.text(4)?,
        sha256: row.bytes(5)?.try_into().map_err(|_| corrupt(5, "no SHA-256"))?,
        created_at: row.time(6)?,
    })
}

fn worker(row: &Row, at: usize) -> Result<Worker, StoreError> {
    Ok(Worker { agent: row.agent(at)?, user: row.user(at + 1)? })
}

pub(crate) fn log_line(row: &Row) -> Result<(u32, LogLine), StoreError> {
    let kind = LogKind::from_name(row.str(2)?).ok_or_else(|| corrupt(2, "an unknown kind of line"))?;
    Ok((row.count(0)?, LogLine { at: row.time(1)?, kind, text: row.text(3)? }))
}

pub(crate) fn handed(row: &Row) -> Result<HandedIn, StoreError> {
    let is_over = row.str_or_null(6)?.is_some();
    Ok(HandedIn {
        attempt: row.count(0)?,
        user: row.user(1)?,
        verification: row.str_or_null(2)?.is_some().then(|| row.json(2)).transpose()?,
        stage: if is_over { None } else { Some(stage::read(row, 3, 4, 5)?) },
    })
}

pub(crate) fn event(job: JobId, row: &Row) -> Result<Event, StoreError> {
    let agent = row.agent_or_null(5)?;
    Ok(Event {
        job,
        n: row.count(0)?,
        at: row.time(1)?,
        kind: word(row, 2)?,
        by: word(row, 3)?,
        status: row.parsed(4)?,
        worker: agent.map(|agent| Ok::<_, StoreError>(Worker { agent, user: row.user(6)? })).transpose()?,
        attempt: row.int_or_null(7)?.map(|_| row.count(7)).transpose()?,
        reason: row.text_or_null(8)?,
        moved: match row.str_or_null(9)? {
            None => Vec::new(),
            Some(_) => row.json::<Vec<Moved>>(9)?,
        },
    })
}

/// What happened to a job, and its event's number.
pub(crate) fn happening(row: &Row) -> Result<(u32, Happening), StoreError> {
    let agent = row.agent_or_null(6)?;
    let silent = |verification: &str| -> Result<bool, StoreError> {
        let verification: Verification =
            serde_json::from_str(verification).map_err(|_| corrupt(13, "malformed JSON"))?;
        Ok(verification.is_silence())
    };
    let happening = Happening {
        at: row.time(1)?,
        kind: word(row, 2)?,
        before: row.parsed_or_null(3)?,
        after: row.parsed(4)?,
        sender: row.user(5)?,
        worker: agent.map(|agent| Ok::<_, StoreError>(Worker { agent, user: row.user(7)? })).transpose()?,
        price: row.cents(8)?,
        queued_at: row.time_or_null(9)?,
        first_accepted_at: row.time_or_null(10)?,
        accepted_at: row.time_or_null(11)?,
        submitted_at: row.time_or_null(12)?,
        by_silence: row.str_or_null(13)?.map(silent).transpose()?.unwrap_or(false),
    };
    Ok((row.count(0)?, happening))
}

pub(crate) fn day(row: &Row) -> Result<(Day, DayCounts), StoreError> {
    let counts = DayCounts {
        posted: row.int(1)?,
        accepted: row.int(2)?,
        verified: row.int(3)?,
        failed: row.int(4)?,
        cancelled: row.int(5)?,
        passed: row.int(6)?,
        not_passed: row.int(7)?,
        volume: row.cents(8)?,
        last_active: row.int(9)?,
    };
    Ok((Day(row.int(0)?), counts))
}

/// Buckets and how many are in each.
pub(crate) fn spread(rows: &[Row]) -> Result<Spread, StoreError> {
    rows.iter().map(|row| Ok((row.count(0)?, row.int(1)?))).collect()
}

pub(crate) fn standing(row: &Row) -> Result<Standing, StoreError> {
    Ok(Standing {
        senders: row.int(0)?,
        verified: row.int(1)?,
        failed: row.int(2)?,
        rates: row.int(3)?,
        median_seconds: row.int_or_null(4)?,
        last_day: row.int_or_null(5)?.map(Day),
    })
}

pub(crate) fn voice(row: &Row) -> Result<Voice, StoreError> {
    Ok(Voice { verified: row.int(0)?, failed: row.int(1)?, seconds: row.int(2)? })
}

pub(crate) fn payment(row: &Row) -> Result<Payment, StoreError> {
    Ok(Payment {
        id: row.payment(0)?,
        user: row.user(1)?,
        kind: PaymentKind::from_name(row.str(2)?).ok_or_else(|| corrupt(2, "an unknown kind of payment"))?,
        amount: row.cents(3)?,
        state: PaymentState::from_name(row.str(4)?).ok_or_else(|| corrupt(4, "an unknown state"))?,
        reference: row.text_or_null(5)?,
        intent: row.text_or_null(6)?,
        counterparty: row.text_or_null(7)?,
        sent_at: row.time_or_null(8)?,
        tries: row.count(9)?,
        problem: row.text_or_null(10)?,
        back: row.cents(11)?,
        disputes: if row.str_or_null(12)?.is_some() { row.json(12)? } else { Vec::new() },
        moved_back: row.cents(13)?,
        due_at: row.time_or_null(14)?,
        created_at: row.time(15)?,
        updated_at: row.time(16)?,
        version: row.count(17)?,
    })
}

pub(crate) fn stripe_ids(row: &Row) -> Result<StripeIds, StoreError> {
    let status = |name: &str| AccountStatus::from_name(name).ok_or_else(|| corrupt(2, "an unknown status"));
    Ok(StripeIds {
        customer: row.text_or_null(0)?,
        account: row.text_or_null(1)?,
        account_status: row.str_or_null(2)?.map(status).transpose()?,
        payment_method: row.text_or_null(3)?,
    })
}

pub(crate) fn auto_top_up(row: &Row) -> Result<AutoTopUp, StoreError> {
    Ok(AutoTopUp {
        enabled: row.flag(0)?,
        amount: row.cents(1)?,
        threshold: row.cents(2)?,
        off_because: row.text_or_null(3)?,
    })
}

/// A name of an enum that serde knows by its snake_case word.
fn word<T: serde::de::DeserializeOwned>(row: &Row, at: usize) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(row.text(at)?)).map_err(|_| corrupt(at, "an unknown word"))
}

pub(crate) fn entry(row: &Row) -> Result<Entry, StoreError> {
    let (id, amount) = (row.transfer(0)?, row.cents(3)?);
    let delta = if row.str(2)? == "wallet" { -amount } else { amount };
    let reason = Reason::of(row.str(4)?, row.parsed_or_null(5)?, row.payment_or_null(6)?, id);
    let reason = reason.ok_or_else(|| corrupt(4, "an unknown reason"))?;
    Ok(Entry { id, delta, reason, reference: row.text_or_null(7)?, at: row.time(1)? })
}

pub(crate) fn task(row: &Row) -> Result<(Task, i64), StoreError> {
    let kind = TaskKind::from_name(row.str(0)?).ok_or_else(|| corrupt(0, "an unknown task"))?;
    let subject = kind.subject(row.str(1)?).ok_or_else(|| corrupt(1, "no id of what such a task is about"))?;
    Ok((Task { kind, subject, due_at: row.time(2)? }, row.int(3)?))
}
