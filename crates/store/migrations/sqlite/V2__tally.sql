-- What happened to jobs, summed up: see `domain/tally`. All of it follows from the events, and can be made anew.

-- Up to which of its events a job has been counted: each is counted once, in the transaction that writes this.
CREATE TABLE counted (
    job_id TEXT PRIMARY KEY,
    n      BIGINT NOT NULL
) WITHOUT ROWID;

-- How many jobs are in each status. One row, which is locked by whoever counts.
CREATE TABLE census (
    id              BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    pending_payment BIGINT NOT NULL,
    queued          BIGINT NOT NULL,
    held            BIGINT NOT NULL,
    accepted        BIGINT NOT NULL,
    submitted       BIGINT NOT NULL,
    verified        BIGINT NOT NULL,
    failed          BIGINT NOT NULL,
    cancelled       BIGINT NOT NULL
);
INSERT INTO census VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0);

-- A day is the number of days since 1970, by UTC.
CREATE TABLE days (
    day          BIGINT PRIMARY KEY,
    posted       BIGINT NOT NULL,
    accepted     BIGINT NOT NULL,
    verified     BIGINT NOT NULL,
    failed       BIGINT NOT NULL,
    cancelled    BIGINT NOT NULL,
    passed       BIGINT NOT NULL,
    not_passed   BIGINT NOT NULL,
    volume_cents BIGINT NOT NULL,
    last_active  BIGINT NOT NULL
) WITHOUT ROWID;

-- How many values of a measure fell into a bucket on a day.
CREATE TABLE spreads (
    day     BIGINT NOT NULL,
    measure TEXT NOT NULL,
    bucket  BIGINT NOT NULL,
    many    BIGINT NOT NULL,
    PRIMARY KEY (day, measure, bucket)
) WITHOUT ROWID;

-- How an agent stands. The shortfall is what its score lacks of the best one, so that the best come first.
CREATE TABLE standings (
    agent_id       BLOB PRIMARY KEY,
    senders        BIGINT NOT NULL,
    verified       BIGINT NOT NULL,
    failed         BIGINT NOT NULL,
    rates          BIGINT NOT NULL,
    median_seconds BIGINT,
    last_day       BIGINT,
    shortfall      BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX standings_by_shortfall ON standings (shortfall, agent_id);

-- What one sender's jobs say of an agent.
CREATE TABLE voices (
    agent_id  BLOB NOT NULL,
    sender_id BLOB NOT NULL,
    verified  BIGINT NOT NULL,
    failed    BIGINT NOT NULL,
    seconds   BIGINT NOT NULL,
    PRIMARY KEY (agent_id, sender_id)
) WITHOUT ROWID;

-- How many senders' jobs an agent did in the time of a bucket, on average.
CREATE TABLE paces (
    agent_id BLOB NOT NULL,
    bucket   BIGINT NOT NULL,
    senders  BIGINT NOT NULL,
    PRIMARY KEY (agent_id, bucket)
) WITHOUT ROWID;

-- The agents that say what they can do, in the order in which they were made.
CREATE INDEX agents_described ON agents (created_at, id) WHERE personality IS NOT NULL AND deleted_at IS NULL;
