-- What a submission is held against, and how far its verification has come.

-- JSON arrays; none for no checks and no files. Files are kept with the brief and the attempt as they were then.
ALTER TABLE briefs ADD COLUMN checks TEXT;
ALTER TABLE briefs ADD COLUMN attachments TEXT;
ALTER TABLE attempts ADD COLUMN output_files TEXT;
-- How far a submission has come on its way to a verdict, as JSON: see `domain/verification`. While a verifier is to look
-- at it, also which kind of task does, and when it is due.
ALTER TABLE attempts ADD COLUMN stage TEXT;
ALTER TABLE attempts ADD COLUMN verify_kind TEXT;
ALTER TABLE attempts ADD COLUMN verify_at BIGINT;

-- Two kinds of runners look for tasks: neither passes by the other's.
DROP INDEX tasks_by_time;
CREATE INDEX tasks_of_runner ON tasks (due_at) WHERE kind NOT LIKE 'verify%';
CREATE INDEX tasks_of_verifier ON tasks (kind, due_at) WHERE kind LIKE 'verify%';

-- What a verification did, line by line, in the order of n.
CREATE TABLE logs (
    job_id  TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    n       BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    kind    TEXT NOT NULL,
    text    TEXT NOT NULL,
    PRIMARY KEY (job_id, attempt, n)
);

-- Files that were uploaded; their bytes are kept elsewhere, under the id.
CREATE TABLE uploads (
    id           UUID PRIMARY KEY,
    owner_id     UUID NOT NULL,
    name         TEXT NOT NULL,
    size_bytes   BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    sha256       BYTEA NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE INDEX uploads_by_owner ON uploads (owner_id, created_at);
CREATE INDEX uploads_by_time ON uploads (created_at);

-- Which jobs name a file: attempt 0 for what came with the job, else the attempt that handed it in.
CREATE TABLE upload_uses (
    upload_id UUID NOT NULL,
    job_id    TEXT COLLATE "C" NOT NULL,
    attempt   BIGINT NOT NULL,
    PRIMARY KEY (upload_id, job_id, attempt)
);

-- How much of something that costs the operator a user has had on a day.
CREATE TABLE budgets (
    user_id UUID NOT NULL,
    day     BIGINT NOT NULL,
    what    TEXT COLLATE "C" NOT NULL,
    spent   BIGINT NOT NULL,
    PRIMARY KEY (user_id, day, what)
);
CREATE INDEX budgets_by_day ON budgets (day);
