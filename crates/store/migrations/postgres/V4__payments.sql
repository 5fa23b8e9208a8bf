-- Money that comes in from outside and goes out: see `domain/payment`.

-- What a wallet owes of payments that were taken back, and below what it is topped up by itself.
ALTER TABLE wallets ADD COLUMN owed_cents BIGINT NOT NULL DEFAULT 0 CHECK (owed_cents >= 0);
ALTER TABLE wallets ADD COLUMN tops_up_below_cents BIGINT;

-- A row for each movement of a payment names it: a payment is paid in or out once, and is debited once.
ALTER TABLE transfers ADD COLUMN payment_id UUID;
CREATE UNIQUE INDEX transfers_of_payment_once ON transfers (payment_id, reason, from_kind)
    WHERE reason IN ('topup', 'auto_topup', 'withdrawal');

-- Disputes are JSON; none for none. The version before is part of every change's condition.
CREATE TABLE payments (
    id               UUID PRIMARY KEY,
    user_id          UUID NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('topup', 'auto_topup', 'withdrawal')),
    cents            BIGINT NOT NULL CHECK (cents > 0),
    state            TEXT NOT NULL CHECK (state IN ('open', 'sending', 'parked', 'paid', 'failed')),
    reference        TEXT COLLATE "C",
    intent           TEXT COLLATE "C",
    counterparty     TEXT,
    sent_at          BIGINT,
    tries            BIGINT NOT NULL,
    problem          TEXT,
    back_cents       BIGINT NOT NULL CHECK (back_cents >= 0),
    disputes         TEXT,
    moved_back_cents BIGINT NOT NULL CHECK (moved_back_cents >= 0),
    due_at           BIGINT,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    version          BIGINT NOT NULL
);
CREATE INDEX payments_of_user ON payments (user_id, id);
CREATE UNIQUE INDEX payments_by_reference ON payments (reference) WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX payments_by_intent ON payments (intent) WHERE intent IS NOT NULL;
CREATE INDEX payments_under_way ON payments (state, id) WHERE state IN ('sending', 'parked');

-- What Stripe told, as it came; the id is computed from Stripe's name for it.
CREATE TABLE notices (
    id          UUID PRIMARY KEY,
    event       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    ended_at    BIGINT,
    outcome     TEXT CHECK (outcome IN ('done', 'ignored', 'parked')),
    problem     TEXT
);
CREATE INDEX notices_parked ON notices (received_at) WHERE outcome = 'parked';

-- When a wallet is topped up by itself, as its owner said.
CREATE TABLE auto_topups (
    user_id         UUID PRIMARY KEY,
    enabled         BIGINT NOT NULL,
    amount_cents    BIGINT NOT NULL,
    threshold_cents BIGINT NOT NULL,
    off_because     TEXT
);

ALTER TABLE users ADD COLUMN stripe_payment_method TEXT;
CREATE INDEX users_by_stripe_account ON users (stripe_account_id) WHERE stripe_account_id IS NOT NULL;
CREATE INDEX users_by_stripe_customer ON users (stripe_customer_id) WHERE stripe_customer_id IS NOT NULL;

-- Tasks are about payments, notices and users, too; those that wait for Stripe have runners of their own.
ALTER TABLE tasks RENAME COLUMN job_id TO subject;
DROP INDEX tasks_of_runner;
CREATE INDEX tasks_of_runner ON tasks (due_at) WHERE kind NOT LIKE 'verify%' AND kind NOT LIKE 'stripe%';
CREATE INDEX tasks_of_stripe ON tasks (due_at) WHERE kind LIKE 'stripe%';
