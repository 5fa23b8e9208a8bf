-- Times are microseconds since 1970, money is cents, flags are 0 or 1. The ids of users, agents and transfers are the
-- 16 bytes of a UUID, those of jobs and keys are text. All but keys begin with the time, so that what is new stands
-- together: a commit touches few pages.

CREATE TABLE users (
    id                    BLOB PRIMARY KEY,
    name                  TEXT NOT NULL,
    email                 TEXT UNIQUE,
    avatar_url            TEXT,
    is_admin              BIGINT NOT NULL,
    stripe_customer_id    TEXT,
    stripe_account_id     TEXT,
    stripe_account_status TEXT,
    created_at            BIGINT NOT NULL
) WITHOUT ROWID;

-- What is written at nearly every command of a user, in one small row. Each transfer names the one before it of the same
-- wallet, and each job the one before it of the same sender: the lists begin here, and need no index that every commit
-- would have to touch somewhere else.
CREATE TABLE wallets (
    user_id       BLOB PRIMARY KEY,
    balance_cents BIGINT NOT NULL CHECK (balance_cents >= 0),
    last_transfer BLOB,
    last_job      TEXT
) WITHOUT ROWID;

CREATE TABLE agents (
    id          BLOB PRIMARY KEY,
    owner_id    BLOB NOT NULL,
    name        TEXT NOT NULL,
    personality TEXT,
    avatar_url  TEXT,
    is_default  BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    deleted_at  BIGINT
) WITHOUT ROWID;
CREATE UNIQUE INDEX agents_by_name ON agents (owner_id, name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX agents_default ON agents (owner_id) WHERE is_default = 1;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    user_id      BLOB NOT NULL,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL,
    scopes       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
) WITHOUT ROWID;
CREATE INDEX api_keys_by_user ON api_keys (user_id) WHERE revoked_at IS NULL;

-- What changes of a job. The worker is the holder while held, and the receiver from accepted on. Offers are JSON: whom
-- it was presented to, in that order, and what came of it; they are read and written with the job and never searched.
CREATE TABLE jobs (
    id                     TEXT PRIMARY KEY,
    sender_id              BLOB NOT NULL,
    status                 TEXT NOT NULL CHECK (status IN ('pending_payment', 'queued', 'held', 'accepted', 'submitted',
                                                           'verified', 'failed', 'cancelled')),
    price_cents            BIGINT NOT NULL CHECK (price_cents > 0),
    fee_cents              BIGINT NOT NULL CHECK (fee_cents BETWEEN 0 AND price_cents),
    escrow_cents           BIGINT NOT NULL CHECK (escrow_cents >= 0),
    time_limit_seconds     BIGINT NOT NULL,
    worker_agent_id        BLOB,
    worker_user_id         BLOB,
    hold_expires_at        BIGINT,
    attempt_count          BIGINT NOT NULL,
    cancellation_requested BIGINT NOT NULL,
    offers                 TEXT,
    version                BIGINT NOT NULL,
    previous               TEXT,
    created_at             BIGINT NOT NULL,
    updated_at             BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX jobs_queued ON jobs (created_at) WHERE status = 'queued';
-- What waits for its sender's review.
CREATE INDEX jobs_submitted ON jobs (sender_id, created_at) WHERE status = 'submitted';
-- Few jobs are in hand at once, and those that are over stay as they are.
CREATE INDEX jobs_in_hand_of_agent ON jobs (worker_agent_id) WHERE status IN ('held', 'accepted', 'submitted');
CREATE INDEX jobs_in_hand_of_user ON jobs (worker_user_id) WHERE status IN ('held', 'accepted', 'submitted');
CREATE INDEX jobs_over_of_agent ON jobs (worker_agent_id, updated_at)
    WHERE status IN ('verified', 'failed', 'cancelled') AND worker_agent_id IS NOT NULL;
CREATE INDEX jobs_over_of_user ON jobs (worker_user_id, updated_at)
    WHERE status IN ('verified', 'failed', 'cancelled') AND worker_user_id IS NOT NULL;
CREATE UNIQUE INDEX jobs_one_hold ON jobs (worker_agent_id) WHERE status = 'held';

-- What never changes of a job.
CREATE TABLE briefs (
    job_id       TEXT PRIMARY KEY,
    prompt       TEXT NOT NULL,
    title        TEXT NOT NULL,
    description  TEXT,
    requirements TEXT,
    criteria     TEXT NOT NULL,
    sealed_env   BLOB
);

CREATE TABLE attempts (
    job_id       TEXT NOT NULL,
    number       BIGINT NOT NULL,
    agent_id     BLOB NOT NULL,
    user_id      BLOB NOT NULL,
    accepted_at  BIGINT NOT NULL,
    deadline_at  BIGINT NOT NULL,
    submitted_at BIGINT,
    review_until BIGINT,
    output_text  TEXT,
    verification TEXT,
    outcome      TEXT,
    ended_at     BIGINT,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE events (
    job_id   TEXT NOT NULL,
    n        BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    by_whom  TEXT NOT NULL,
    status   TEXT NOT NULL,
    agent_id BLOB,
    user_id  BLOB,
    attempt  BIGINT,
    reason   TEXT,
    moved    TEXT,
    PRIMARY KEY (job_id, n)
) WITHOUT ROWID;

-- One row is one movement between two accounts. It touches at most one wallet (user_id) and one escrow (job_id). What
-- the reason refers to is the job, or else the transfer itself.
CREATE TABLE transfers (
    id        BLOB PRIMARY KEY,
    at        BIGINT NOT NULL,
    from_kind TEXT NOT NULL,
    to_kind   TEXT NOT NULL,
    user_id   BLOB,
    job_id    TEXT,
    cents     BIGINT NOT NULL CHECK (cents > 0),
    reason    TEXT NOT NULL,
    previous  BLOB,
    CHECK (from_kind <> to_kind),
    CHECK ((user_id IS NOT NULL) = (from_kind = 'wallet' OR to_kind = 'wallet')),
    CHECK ((job_id IS NOT NULL) = (from_kind = 'escrow' OR to_kind = 'escrow')),
    CHECK (previous IS NULL OR user_id IS NOT NULL)
) WITHOUT ROWID;
-- A job is paid for once, pays one wallet once (its worker or its sender), and pays one fee.
CREATE UNIQUE INDEX transfers_once ON transfers (job_id, from_kind, to_kind) WHERE job_id IS NOT NULL;

CREATE TABLE tasks (
    kind         TEXT NOT NULL,
    job_id       TEXT NOT NULL,
    due_at       BIGINT NOT NULL,
    token        BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    PRIMARY KEY (kind, job_id)
) WITHOUT ROWID;
CREATE INDEX tasks_by_time ON tasks (due_at);

-- What was answered to a request with an Idempotency-Key, encrypted by the server.
CREATE TABLE receipts (
    user_id     BLOB NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    answer      BLOB NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, key)
) WITHOUT ROWID;
CREATE INDEX receipts_by_time ON receipts (created_at);

-- Something known, encrypted by the server under its secret_key: another key does not open it.
CREATE TABLE seal (
    id     BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
);
