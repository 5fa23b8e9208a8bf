//! Every statement that reads, and its columns. What writes is in `writes.rs`.
//!
//! Parameters are numbered in the order of their first appearance, since SQLite binds by that
//! order and PostgreSQL by the number.

use clawrk_domain::{JobId, UserId};

use crate::value::Value;

/// The columns that `row::job` reads.
macro_rules! jobs {
    ($rest:expr) => {
        concat!(
            "SELECT j.id, j.sender_id, j.status, j.price_cents, j.fee_cents, j.time_limit_seconds, j.worker_agent_id,
                    j.worker_user_id, j.hold_expires_at, j.attempt_count, j.cancellation_requested, j.version,
                    j.created_at, j.updated_at, j.offers,
                    b.prompt, b.title, b.description, b.requirements, b.criteria, b.sealed_env,
                    a.number, a.agent_id, a.user_id, a.accepted_at, a.deadline_at, a.submitted_at, a.review_until,
                    a.output_text, a.verification, b.checks, a.stage, a.verify_at, b.attachments, a.output_files
               FROM jobs j
               JOIN briefs b ON b.job_id = j.id
               LEFT JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt_count
                    AND j.status IN ('accepted', 'submitted', 'verified', 'failed', 'cancelled')
                    AND j.worker_agent_id IS NOT NULL ",
            $rest
        )
    };
}

/// Of a job that a user may know of. Nothing of one that is there takes longer to say no to than one that is not: it is not read any further. A user's
/// id stands in the offers as text; what those are is for the job itself to say.
macro_rules! known_to {
    () => {
        "WHERE j.id = $1 AND (j.status = 'queued' OR j.sender_id = $2 OR j.worker_user_id = $2 OR j.offers LIKE $3)"
    };
}

/// The values for it.
pub(crate) fn known_to(job: JobId, user: UserId) -> Vec<Value> {
    vec![job.into(), user.into(), format!("%{user}%").into()]
}

/// The columns that `row::agent` reads.
macro_rules! agents {
    ($rest:literal) => {
        concat!("SELECT id, owner_id, name, personality, avatar_url, is_default, created_at FROM agents ", $rest)
    };
}

/// The columns that `row::key` reads.
macro_rules! keys {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, name, hash, scopes, created_at, expires_at, last_used_at FROM api_keys
              WHERE revoked_at IS NULL ",
            $rest
        )
    };
}

/// The columns that `row::user` reads, and the balance.
macro_rules! users {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.name, u.email, u.avatar_url, u.is_admin, u.stripe_customer_id, u.stripe_account_id,
                    u.stripe_account_status, u.created_at, w.balance_cents
               FROM users u JOIN wallets w ON w.user_id = u.id ",
            $rest
        )
    };
}

/// A read of one row of one table that locks it to the end of the transaction, where that means something: whoever
/// waited for it reads what the one before has left.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) read: &'static str,
    pub(crate) locking: &'static str,
}

macro_rules! locked {
    ($read:expr) => {
        Locked { read: $read, locking: concat!($read, " FOR NO KEY UPDATE") }
    };
}

/// SQLite alone: another number when another connection has committed.
pub(crate) const OTHERS_COMMITTED: &str = "PRAGMA data_version";

pub(crate) const PING: &str = "SELECT 1";

pub(crate) const ANY_USER: &str = "SELECT 1 FROM users LIMIT 1";
pub(crate) const USER: &str = users!("WHERE u.id = $1");
pub(crate) const USERS_NAMED: &str = users!("WHERE u.name = $1 OR u.email = $1 ORDER BY u.created_at, u.id LIMIT 10");
pub(crate) const EMAIL_TAKEN: &str = "SELECT 1 FROM users WHERE email = $1";
pub(crate) const WALLET: Locked = locked!(
    "SELECT balance_cents, last_transfer, last_job, owed_cents, tops_up_below_cents FROM wallets WHERE user_id = $1"
);

pub(crate) const AGENT: Locked = locked!(agents!("WHERE id = $1 AND deleted_at IS NULL"));
pub(crate) const DEFAULT_AGENT: Locked = locked!(agents!("WHERE owner_id = $1 AND is_default = 1"));
pub(crate) const AGENTS: &str =
    agents!("WHERE owner_id = $1 AND deleted_at IS NULL ORDER BY is_default DESC, created_at, id");
pub(crate) const ENGAGED: &str =
    "SELECT 1 FROM jobs WHERE worker_agent_id = $1 AND status IN ('held', 'accepted', 'submitted') LIMIT 1";

pub(crate) const KEY: &str = keys!("AND id = $1");
pub(crate) const KEYS: &str = keys!("AND user_id = $1 ORDER BY created_at, id");

pub(crate) const JOB: &str = jobs!("WHERE j.id = $1");
pub(crate) const JOB_KNOWN_TO: &str = jobs!(known_to!());
/// PostgreSQL alone: whoever may not know of a job does not wait for its lock either.
pub(crate) const LOCK_JOB_KNOWN_TO: &str = concat!("SELECT FROM jobs j ", known_to!(), " FOR NO KEY UPDATE OF j");
/// SQLite alone: PostgreSQL locks it as it looks.
pub(crate) const IS_QUEUED: &str = "SELECT 1 FROM jobs WHERE id = $1 AND status = 'queued'";
pub(crate) const JOB_HELD_BY: &str = "SELECT id FROM jobs WHERE worker_agent_id = $1 AND status = 'held'";

/// Goes from job to job back to the sender's first one; both databases read no more of it than is taken.
macro_rules! jobs_sent {
    ($first:literal, $rest:literal) => {
        concat!(
            "WITH RECURSIVE chain (id, created_at, status, previous) AS (
                 SELECT j.id, j.created_at, j.status, j.previous ",
            $first,
            " UNION ALL
                 SELECT j.id, j.created_at, j.status, j.previous FROM chain c JOIN jobs j ON j.id = c.previous)
             SELECT id, created_at FROM chain ",
            $rest
        )
    };
}

/// The jobs in hand and those that are over, each from an index of its own, newest first.
macro_rules! jobs_of_worker {
    ($worker:literal, $in_hand:literal) => {
        concat!(
            "SELECT id, updated_at FROM (
                 SELECT id, updated_at FROM jobs WHERE ",
            $worker,
            " = $1 AND ",
            $in_hand,
            "       AND (updated_at < $2 OR (updated_at = $2 AND id < $3))
                  ORDER BY updated_at DESC, id DESC LIMIT $4) in_hand
             UNION ALL
             SELECT id, updated_at FROM (
                 SELECT id, updated_at FROM jobs
                  WHERE ",
            $worker,
            " = $1 AND status IN ('verified', 'failed', 'cancelled')
                    AND (updated_at < $2 OR (updated_at = $2 AND id < $3))
                  ORDER BY updated_at DESC, id DESC LIMIT $4) over_now
             ORDER BY 2 DESC, 1 DESC LIMIT $4"
        )
    };
}

/// Lists of job ids with the time they are ordered by, newest first. A page starts behind a place (time, id).
pub(crate) const JOBS_SENT: &str =
    jobs_sent!("FROM wallets w JOIN jobs j ON j.id = w.last_job WHERE w.user_id = $1", "LIMIT $2");
pub(crate) const JOBS_SENT_BEFORE: &str =
    jobs_sent!("FROM jobs a JOIN jobs j ON j.id = a.previous WHERE a.id = $1 AND a.sender_id = $2", "LIMIT $3");
/// What waits for the sender's review is asked for again and again.
pub(crate) const JOBS_SUBMITTED: &str = "SELECT id, created_at FROM jobs
      WHERE sender_id = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3)) AND status = 'submitted'
      ORDER BY created_at DESC, id DESC LIMIT $4";
pub(crate) const JOBS_SENT_IN_STATUS: &str =
    jobs_sent!("FROM wallets w JOIN jobs j ON j.id = w.last_job WHERE w.user_id = $1", "WHERE status = $2 LIMIT $3");
pub(crate) const JOBS_SENT_IN_STATUS_BEFORE: &str = jobs_sent!(
    "FROM jobs a JOIN jobs j ON j.id = a.previous WHERE a.id = $1 AND a.sender_id = $2",
    "WHERE status = $3 LIMIT $4"
);
pub(crate) const JOBS_RECEIVED: &str =
    jobs_of_worker!("worker_agent_id", "status IN ('held', 'accepted', 'submitted') AND status <> 'held'");
pub(crate) const JOBS_WORKED: &str = jobs_of_worker!("worker_user_id", "status IN ('held', 'accepted', 'submitted')");
pub(crate) const JOBS_QUEUED: &str = "SELECT id, created_at FROM jobs
      WHERE status = 'queued' AND (created_at < $1 OR (created_at = $1 AND id < $2))
      ORDER BY created_at DESC, id DESC LIMIT $3";

pub(crate) const EVENTS: &str = "SELECT n, at, kind, by_whom, status, agent_id, user_id, attempt, reason, moved
       FROM events WHERE job_id = $1 ORDER BY n";

/// The log of an attempt's verification, behind a line of it.
pub(crate) const LOG: &str =
    "SELECT n, at, kind, text FROM logs WHERE job_id = $1 AND attempt = $2 AND n > $3 ORDER BY n LIMIT $4";
pub(crate) const LOG_END: &str = "SELECT COALESCE(MAX(n), 0) FROM logs WHERE job_id = $1 AND attempt = $2";
/// The attempts of a job that handed something in, the last one first.
pub(crate) const SUBMITTED_ATTEMPTS: &str =
    "SELECT number, user_id, verification, review_until, stage, verify_at, outcome FROM attempts
      WHERE job_id = $1 AND submitted_at IS NOT NULL ORDER BY number DESC";

/// Goes from transfer to transfer back to the wallet's first one.
macro_rules! entries {
    ($first:literal, $rest:literal) => {
        concat!(
            "WITH RECURSIVE chain (id, at, from_kind, cents, reason, job_id, payment_id, previous) AS (
                 SELECT t.id, t.at, t.from_kind, t.cents, t.reason, t.job_id, t.payment_id, t.previous ",
            $first,
            " UNION ALL
                 SELECT t.id, t.at, t.from_kind, t.cents, t.reason, t.job_id, t.payment_id, t.previous
                   FROM chain c JOIN transfers t ON t.id = c.previous)
             SELECT id, at, from_kind, cents, reason, job_id, payment_id,
                    (SELECT p.reference FROM payments p WHERE p.id = chain.payment_id)
               FROM chain ",
            $rest
        )
    };
}

pub(crate) const ENTRIES: &str =
    entries!("FROM wallets w JOIN transfers t ON t.id = w.last_transfer WHERE w.user_id = $1", "LIMIT $2");
pub(crate) const ENTRIES_BEFORE: &str =
    entries!("FROM transfers a JOIN transfers t ON t.id = a.previous WHERE a.id = $1 AND a.user_id = $2", "LIMIT $3");

/// The columns that `row::payment` reads.
macro_rules! payments {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, kind, cents, state, reference, intent, counterparty, sent_at, tries, problem, back_cents,
                    disputes, moved_back_cents, due_at, created_at, updated_at, version
               FROM payments ",
            $rest
        )
    };
}

pub(crate) const PAYMENT: Locked = locked!(payments!("WHERE id = $1"));
pub(crate) const PAYMENT_NAMED: &str =
    concat!(payments!("WHERE reference = $1"), " UNION ", payments!("WHERE intent = $1"));
/// The payments of a user behind one, the newest first.
pub(crate) const PAYMENTS: &str = payments!("WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
/// The payments that nobody knows the outcome of, behind one.
pub(crate) const PAYMENTS_PARKED: &str =
    payments!("WHERE state IN ('sending', 'parked') AND state = 'parked' AND id > $1 ORDER BY id LIMIT $2");
/// The payments that were begun in a span of time, behind one.
pub(crate) const PAYMENTS_OF_SPAN: &str =
    payments!("WHERE id > $1 AND id < $2 AND created_at >= $3 AND created_at < $4 ORDER BY id LIMIT $5");
/// Whether a card is being charged, and how often that was begun since a time.
pub(crate) const CHARGES: &str = "SELECT
    CAST(COALESCE(SUM(CASE WHEN state IN ('sending', 'parked') THEN 1 ELSE 0 END), 0) AS BIGINT),
    CAST(COALESCE(SUM(CASE WHEN created_at > $1 THEN 1 ELSE 0 END), 0) AS BIGINT)
    FROM payments WHERE user_id = $2 AND kind = 'auto_topup' AND (created_at > $1 OR state IN ('sending', 'parked'))";
pub(crate) const STRIPE_IDS: Locked = locked!(
    "SELECT stripe_customer_id, stripe_account_id, stripe_account_status, stripe_payment_method FROM users WHERE id = $1"
);
pub(crate) const AUTO_TOPUP: &str =
    "SELECT enabled, amount_cents, threshold_cents, off_because FROM auto_topups WHERE user_id = $1";
pub(crate) const USER_WITH_ACCOUNT: &str = "SELECT id FROM users WHERE stripe_account_id = $1 ORDER BY id LIMIT 1";
pub(crate) const USER_WITH_CUSTOMER: &str = "SELECT id FROM users WHERE stripe_customer_id = $1 ORDER BY id LIMIT 1";
pub(crate) const NOTICE: Locked = locked!("SELECT received_at FROM notices WHERE id = $1");
pub(crate) const NOTICE_PAYLOAD: &str = "SELECT event, kind, payload FROM notices WHERE id = $1";
/// The notices that say what cannot be, the newest first.
pub(crate) const NOTICES_PARKED: &str =
    "SELECT event, kind, problem, received_at FROM notices WHERE outcome = 'parked' ORDER BY received_at DESC LIMIT $1";

/// The columns that `row::upload` reads.
macro_rules! uploads {
    ($rest:literal) => {
        concat!("SELECT id, owner_id, name, size_bytes, content_type, sha256, created_at FROM uploads ", $rest)
    };
}

pub(crate) const OWN_UPLOAD: Locked = locked!(uploads!("WHERE id = $1 AND owner_id = $2"));
/// A file that a user may read: one's own; what came with a job that one sent, holds or received; and what was handed
/// in to a job that one sent.
pub(crate) const UPLOAD_KNOWN_TO: &str = uploads!(
    "WHERE id = $1 AND (owner_id = $2 OR EXISTS (
         SELECT 1 FROM upload_uses u JOIN jobs j ON j.id = u.job_id
          WHERE u.upload_id = uploads.id AND (j.sender_id = $2 OR (u.attempt = 0 AND j.worker_user_id = $2))))"
);
pub(crate) const UPLOAD_THERE: &str = "SELECT 1 FROM uploads WHERE id = $1";
pub(crate) const UPLOAD_IN_USE: &str = "SELECT 1 FROM upload_uses WHERE upload_id = $1 LIMIT 1";
pub(crate) const UPLOADED_BYTES: &str =
    "SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM uploads WHERE owner_id = $1";
/// Files that no job names, from before a time.
pub(crate) const UNUSED_UPLOADS: &str = "SELECT f.id, f.owner_id FROM uploads f
      WHERE f.created_at <= $1 AND NOT EXISTS (SELECT 1 FROM upload_uses u WHERE u.upload_id = f.id)
      ORDER BY f.id LIMIT $2";
pub(crate) const DELETE_UPLOAD: &str = "DELETE FROM uploads WHERE id = $1";

pub(crate) const RECEIPT: &str = "SELECT fingerprint, answer, created_at FROM receipts WHERE user_id = $1 AND key = $2";
pub(crate) const KEEP_RECEIPT: &str = "INSERT INTO receipts (user_id, key, fingerprint, answer, created_at)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (user_id, key) DO UPDATE SET
            fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = excluded.created_at";
pub(crate) const DROP_RECEIPTS: &str = "DELETE FROM receipts WHERE created_at <= $1";

/// Where sealed pieces are.
pub(crate) const SEALED_TABLES: [&str; 3] = ["seal", "briefs", "receipts"];

/// PostgreSQL alone: how many others may still see rows of this database that have gone.
pub(crate) const SEEN_BY_OTHERS: &str = "SELECT COUNT(*) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL";

/// What is sealed of jobs and of kept answers, behind a place.
pub(crate) const SEALED_ENV: &str =
    "SELECT job_id, sealed_env FROM briefs WHERE sealed_env IS NOT NULL AND job_id > $1 ORDER BY job_id LIMIT $2";
pub(crate) const SEALED_ANSWERS: &str =
    "SELECT user_id, key, answer FROM receipts WHERE (user_id, key) > ($1, $2) ORDER BY user_id, key LIMIT $3";
/// What is there is replaced only while it is what was read: whoever wrote meanwhile knew better.
pub(crate) const RESEAL_ENV: &str = "UPDATE briefs SET sealed_env = $1 WHERE job_id = $2 AND sealed_env = $3";
pub(crate) const RESEAL_ANSWER: &str =
    "UPDATE receipts SET answer = $1 WHERE user_id = $2 AND key = $3 AND answer = $4";
pub(crate) const RESEAL: &str = "UPDATE seal SET sealed = $1 WHERE id = 1 AND sealed = $2";

/// Counts to one more than the limit and no further.
pub(crate) const SPEND: &str = "INSERT INTO budgets (user_id, day, what, spent) VALUES ($1, $2, $3, 1)
     ON CONFLICT (user_id, day, what) DO UPDATE SET
            spent = CASE WHEN budgets.spent <= $4 THEN budgets.spent + 1 ELSE budgets.spent END";
pub(crate) const SPENT: &str = "SELECT spent FROM budgets WHERE user_id = $1 AND day = $2 AND what = $3";
pub(crate) const DROP_BUDGETS: &str = "DELETE FROM budgets WHERE day < $1";

pub(crate) const SEAL: &str = "SELECT sealed FROM seal WHERE id = 1";
pub(crate) const KEEP_SEAL: &str = "INSERT INTO seal (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";

/// The timers that are due: all tasks but those of verifiers.
pub(crate) const DUE_TIMERS: &str = "SELECT kind, subject, due_at, token FROM tasks
      WHERE kind NOT LIKE 'verify%' AND kind NOT LIKE 'stripe%' AND due_at <= $1 AND leased_until <= $1
      ORDER BY due_at, kind, subject LIMIT $2";
/// What waits for Stripe, in an index of its own.
pub(crate) const DUE_AT_STRIPE: &str = "SELECT kind, subject, due_at, token FROM tasks
      WHERE kind LIKE 'stripe%' AND due_at <= $1 AND leased_until <= $1 ORDER BY due_at, kind, subject LIMIT $2";
/// What verifiers of one kind have to look at, in an index of its own.
pub(crate) const DUE_LOOKS: &str = "SELECT kind, subject, due_at, token FROM tasks
      WHERE kind LIKE 'verify%' AND kind = $1 AND due_at <= $2 AND leased_until <= $3
      ORDER BY due_at, subject LIMIT $4";
/// The same, but for what two senders wait for.
pub(crate) const DUE_LOOKS_OF_OTHERS: &str = "SELECT kind, subject, due_at, token FROM tasks
      WHERE kind LIKE 'verify%' AND kind = $1 AND due_at <= $2 AND leased_until <= $3
        AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = subject AND sender_id IN ($4, $5))
      ORDER BY due_at, subject LIMIT $6";
/// Whoever had a task in hand is gone.
pub(crate) const END_LEASES: &str = "UPDATE tasks SET leased_until = 0 WHERE leased_until > 0";
pub(crate) const LEASE_TASK: &str =
    "UPDATE tasks SET token = token + 1, leased_until = $1 WHERE kind = $2 AND subject = $3 AND token = $4";
pub(crate) const RENEW_LEASE: &str =
    "UPDATE tasks SET leased_until = $1 WHERE kind = $2 AND subject = $3 AND due_at = $4 AND token = $5";
pub(crate) const LEASE: &str = "SELECT due_at, token FROM tasks WHERE kind = $1 AND subject = $2";

/// What happened to a job and has not been counted, as `row::happening` reads it.
pub(crate) const UNCOUNTED_EVENTS: &str =
    "SELECT e.n, e.at, e.kind, b.status, e.status, j.sender_id, e.agent_id, e.user_id, j.price_cents,
            (SELECT q.at FROM events q WHERE q.job_id = j.id AND q.status = 'queued' ORDER BY q.n LIMIT 1),
            f.accepted_at, a.accepted_at, a.submitted_at, CASE WHEN e.kind = 'verified' THEN a.verification END
       FROM jobs j
       JOIN events e ON e.job_id = j.id AND e.n > COALESCE((SELECT c.n FROM counted c WHERE c.job_id = j.id), 0)
       LEFT JOIN events b ON b.job_id = e.job_id AND b.n = e.n - 1
       LEFT JOIN attempts a ON a.job_id = e.job_id AND a.number = e.attempt
       LEFT JOIN attempts f ON f.job_id = e.job_id AND f.number = 1
      WHERE j.id = $1 ORDER BY e.n LIMIT $2";
/// Jobs behind one of them, each with its version and up to which event it was counted.
pub(crate) const COUNTED_JOBS: &str = "SELECT j.id, j.version, c.n FROM jobs j LEFT JOIN counted c ON c.job_id = j.id
      WHERE j.id > $1 ORDER BY j.id LIMIT $2";

/// One row: how many jobs are in each status, in the order of a job's life.
pub(crate) const CENSUS: Locked = locked!(
    "SELECT pending_payment, queued, held, accepted, submitted, verified, failed, cancelled FROM census WHERE id = 1"
);
/// The days behind one and up to another.
pub(crate) const DAYS: &str =
    "SELECT day, posted, accepted, verified, failed, cancelled, passed, not_passed, volume_cents, last_active
       FROM days WHERE day > $1 AND day <= $2 ORDER BY day";
pub(crate) const SPREAD: &str = "SELECT bucket, CAST(SUM(many) AS BIGINT) FROM spreads
      WHERE day > $1 AND day <= $2 AND measure = $3 GROUP BY bucket";

pub(crate) const STANDING: &str =
    "SELECT senders, verified, failed, rates, median_seconds, last_day FROM standings WHERE agent_id = $1";
pub(crate) const PACES: &str = "SELECT bucket, senders FROM paces WHERE agent_id = $1";
pub(crate) const VOICE: &str = "SELECT verified, failed, seconds FROM voices WHERE agent_id = $1 AND sender_id = $2";

/// The agents with finished work behind a place, the best first; those that are gone, too.
pub(crate) const RANKED: &str =
    "SELECT s.senders, s.verified, s.failed, s.rates, s.median_seconds, s.last_day, s.shortfall,
            a.id, a.name, a.avatar_url, a.personality, a.deleted_at
       FROM standings s JOIN agents a ON a.id = s.agent_id
      WHERE (s.shortfall, s.agent_id) > ($1, $2) ORDER BY s.shortfall, s.agent_id LIMIT $3";
/// The agents with a personality behind a place, the oldest first; those with finished work have a standing.
pub(crate) const DESCRIBED: &str = "SELECT s.agent_id, a.created_at, a.id, a.name, a.avatar_url, a.personality
       FROM agents a LEFT JOIN standings s ON s.agent_id = a.id
      WHERE a.personality IS NOT NULL AND a.deleted_at IS NULL AND (a.created_at, a.id) > ($1, $2)
      ORDER BY a.created_at, a.id LIMIT $3";
