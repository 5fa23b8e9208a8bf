//! A transaction on PostgreSQL, in as few flights as can be: what need not wait for an answer travels together, the
//! beginning with the first look and the end with what is written.
//!
//! Each statement of a flight has a snapshot of its own, taken when those before it are done. When one fails, those
//! behind it do nothing, and a commit among them rolls back.

use clawrk_domain::{JobId, Timestamp, UserId};
use deadpool_postgres::Object;
use futures_util::future::try_join_all;
use tokio_postgres::error::SqlState;

use crate::hot::Known;
use crate::tx::{Found, Lock, News, Step, Tx, broken};
use crate::value::{Row, Value};
use crate::writes::Statement;
use crate::{Clock, StoreError, sql};

/// What travels together, at most.
const FLIGHT: usize = 24;
/// Statements that go as one, at most.
const TOGETHER: usize = 12;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// The names come as one text; the first that is free, in their order.
const LOCK_QUEUED: &str = "SELECT id FROM jobs WHERE id = ANY (string_to_array($1, ' ')) AND status = 'queued'
      ORDER BY array_position(string_to_array($1, ' '), id) LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED";
const TELL: &str = "INSERT INTO feed (kind, id, version) VALUES ($1, $2, $3)";

/// The key's lock: free again when the transaction ends, however it ends.
const TRY_KEY: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))::int";
const WAIT_FOR_KEY: &str = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 0))) AS waited";

/// A transaction, and the connection that it has to itself.
pub(super) struct PostgresTx<'a> {
    connection: Option<Object>,
    clock: &'a Clock,
    begun: bool,
    /// What is to be written and has not been sent yet.
    unsent: Vec<Statement>,
    wrote: bool,
}

/// A part of a flight.
enum Message {
    Order(&'static str),
    Ask(&'static str, Vec<Value>),
    Write(Vec<Statement>),
}

impl<'a> PostgresTx<'a> {
    pub(super) const fn new(connection: Object, clock: &'a Clock) -> Self {
        Self { connection: Some(connection), clock, begun: false, unsent: Vec::new(), wrote: false }
    }

    /// Commits what was written; where nothing was, there is nothing to wait for the disk for.
    pub(super) async fn end(mut self) -> Result<(), StoreError> {
        if let Err(error) = self.finish().await {
            self.undo().await;
            return Err(error);
        }
        self.begun = false;
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        let mut last = self.take_unsent();
        if self.wrote {
            last.push(Message::Order(COMMIT));
        } else if self.begun {
            last.push(Message::Order(ROLLBACK));
        } else {
            return Ok(());
        }
        self.send(last).await.map(|_| ())
    }

    /// Rolls back after an error; when even that fails, the server does it as the connection ends.
    pub(super) async fn undo(mut self) {
        self.unsent.clear();
        if !self.begun {
            return;
        }
        match self.send(vec![Message::Order(ROLLBACK)]).await {
            Ok(_) => self.begun = false,
            Err(error) => tracing::debug!(%error, "a transaction could not be rolled back"),
        }
    }

    fn take_unsent(&mut self) -> Vec<Message> {
        let unsent = std::mem::take(&mut self.unsent);
        self.wrote |= !unsent.is_empty();
        joined(unsent).into_iter().map(Message::Write).collect()
    }

    /// Asks, behind what was to be written before.
    async fn ask(&mut self, questions: Vec<(&'static str, Vec<Value>)>) -> Result<Vec<Vec<Row>>, StoreError> {
        let mut flight = self.take_unsent();
        let before = flight.len();
        flight.extend(questions.into_iter().map(|(sql, values)| Message::Ask(sql, values)));
        Ok(self.send(flight).await?.split_off(before))
    }

    /// Sends messages, each without waiting for the answer to the one before; the rows of each.
    async fn send(&mut self, mut messages: Vec<Message>) -> Result<Vec<Vec<Row>>, StoreError> {
        let begins = !std::mem::replace(&mut self.begun, true);
        if begins {
            messages.insert(0, Message::Order(BEGIN));
        }
        let connection = self.connection.as_ref().expect("it is there until the transaction is dropped");
        let mut answers = Vec::with_capacity(messages.len());
        for flight in messages.chunks(FLIGHT) {
            let mut prepared = Vec::with_capacity(flight.len());
            for message in flight {
                prepared.push(match message {
                    Message::Order(_) => None,
                    Message::Ask(sql, _) => Some(connection.prepare_cached(sql).await?),
                    Message::Write(write) => Some(connection.prepare_cached(&one_statement(write)).await?),
                });
            }
            // Polled in order for the first time, which is when each is sent.
            let sent = flight.iter().zip(&prepared).map(async |(message, prepared)| match (message, prepared) {
                (Message::Ask(_, values), Some(prepared)) => super::rows(connection, prepared, values).await,
                (Message::Write(write), Some(prepared)) => {
                    let values: Vec<_> = write.iter().flat_map(|write| super::bound(&write.values)).collect();
                    match connection.execute(prepared, &values).await {
                        Err(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => {
                            Err(broken(&one_statement(write)))
                        }
                        written => Ok(written.map(|_| Vec::new())?),
                    }
                }
                (Message::Order(order), _) => Ok(connection.batch_execute(order).await.map(|()| Vec::new())?),
                (_, None) => unreachable!("all but orders were prepared"),
            });
            answers.extend(try_join_all(sent).await?);
        }
        if begins {
            answers.remove(0);
        }
        Ok(answers)
    }
}

impl Drop for PostgresTx<'_> {
    /// A connection in the middle of a transaction is nothing that anyone else could use.
    fn drop(&mut self) {
        if self.begun {
            drop(self.connection.take().map(Object::take));
        }
    }
}

/// Statements as the server is to have them: those that stand together go as one, which costs it less.
///
/// Within one, none sees what another has done, and a row is touched once. So what finds its row stands neither with
/// itself nor behind what adds to its table; for the rest, the statements of a change touch different rows.
fn joined(statements: Vec<Statement>) -> Vec<Vec<Statement>> {
    let mut groups: Vec<Vec<Statement>> = Vec::new();
    for statement in statements {
        let finds = !adds(&statement) || statement.sql.contains("ON CONFLICT");
        let apart = |one: &Statement| {
            finds && (one.sql == statement.sql || adds(one) && table(one.sql) == table(statement.sql))
        };
        match groups.last_mut() {
            Some(group) if group.len() < TOGETHER && !group.iter().any(apart) => group.push(statement),
            _ => groups.push(vec![statement]),
        }
    }
    groups
}

fn adds(statement: &Statement) -> bool {
    statement.sql.starts_with("INSERT")
}

/// The table that a statement writes to.
fn table(sql: &str) -> &str {
    let mut words = sql
        .split_ascii_whitespace()
        .skip_while(|word| matches!(*word, "INSERT" | "INTO" | "UPDATE" | "DELETE" | "FROM"));
    words.next().expect("a statement names its table")
}

/// The statements as one, with the values of all of them in their order. Where one row must be changed, the server itself
/// checks it by a division, so that the commit can travel behind; what inserts changes one row or fails.
fn one_statement(statements: &[Statement]) -> String {
    let mut parts = Vec::with_capacity(statements.len());
    let mut checks = vec!["1".to_owned()];
    let mut values = 0;
    for (at, statement) in statements.iter().enumerate() {
        let checked = statement.one_row && !adds(statement);
        let returning = if checked { " RETURNING 1" } else { "" };
        parts.push(format!("w{at} AS ({}{returning})", renumbered(statement.sql, values)));
        if checked {
            checks.push(format!("1 / ((SELECT count(*) FROM w{at}) = 1)::int"));
        }
        values += statement.values.len();
    }
    format!("WITH {} SELECT {}", parts.join(", "), checks.join(", "))
}

/// The statement with its parameters numbered from behind those before it.
fn renumbered(sql: &str, before: usize) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(part.len());
        let number: usize = part[..digits].parse().expect("a dollar sign stands before a parameter's number alone");
        text.push_str(&format!("${}{}", number + before, &part[digits..]));
    }
    text
}

impl Tx for PostgresTx<'_> {
    async fn look(&mut self, steps: Vec<Step>) -> Result<Found, StoreError> {
        let question = |step| match step {
            Step::Lock(Lock::User(user)) => ("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", vec![user.into()]),
            Step::Lock(Lock::Job(job)) => ("SELECT FROM jobs WHERE id = $1 FOR NO KEY UPDATE", vec![job.into()]),
            Step::Lock(Lock::JobKnownTo(job, user)) => (sql::LOCK_JOB_KNOWN_TO, sql::known_to(job, user)),
            Step::Lock(Lock::Task(kind, subject)) => (
                "SELECT FROM tasks WHERE kind = $1 AND subject = $2 FOR UPDATE SKIP LOCKED",
                vec![kind.as_str().into(), subject.into()],
            ),
            Step::Locked(query, values) => (query.locking, values),
            Step::Read(sql, values) => (sql, values),
        };
        let mut questions: Vec<_> = steps.into_iter().map(question).collect();
        let by_hand = self.clock.by_hand();
        if by_hand.is_none() {
            questions.push((NOW, Vec::new()));
        }
        let mut rows = self.ask(questions).await?;
        let now: Timestamp = match by_hand {
            Some(now) => now,
            None => {
                let time = rows.pop().and_then(|mut rows| rows.pop());
                time.ok_or_else(|| StoreError::Corrupt("no time".to_owned()))?.time(0)?
            }
        };
        Ok(Found::new(rows, now))
    }

    async fn lock_queued(&mut self, jobs: &[JobId]) -> Result<Option<JobId>, StoreError> {
        let names: Vec<&str> = jobs.iter().map(JobId::as_str).collect();
        let found = self.ask(vec![(LOCK_QUEUED, vec![names.join(" ").into()])]).await?;
        found.first().and_then(|rows| rows.first()).map(|row| row.parsed(0)).transpose()
    }

    async fn execute(&mut self, statements: Vec<Statement>) -> Result<(), StoreError> {
        self.unsent.extend(statements);
        Ok(())
    }

    /// Waits for the key's other request as long as for any lock: 10 s.
    async fn claim_key(&mut self, user: UserId, key: &str) -> Result<bool, StoreError> {
        let name = || vec![Value::Text(format!("{user}:{key}"))];
        let tried = self.ask(vec![(TRY_KEY, name())]).await?;
        if tried.first().and_then(|rows| rows.first()).is_some_and(|row| row.flag(0).unwrap_or(false)) {
            return Ok(true);
        }
        match self.ask(vec![(WAIT_FOR_KEY, name())]).await {
            Ok(_) => Ok(true),
            // The transaction is over now, but it has written nothing and its caller ends it.
            Err(StoreError::Postgres(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn tell(&self, news: News) -> Option<Statement> {
        let (kind, id, version) = match news {
            News::Job(job, version) => ("job", job.into(), version),
            News::Known(Known::Key(key)) => ("key", key.into(), None),
            News::Known(Known::Agents(owner)) => ("agents", owner.to_string().into(), None),
        };
        Some(Statement { sql: TELL, values: vec![kind.into(), id, version.into()], one_row: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{configure, pool};

    /// A connection to the server of the tests, with a table of its own in which five rows are; none where there is no
    /// such server.
    async fn rows_of_its_own() -> Option<deadpool_postgres::Pool> {
        #[expect(clippy::disallowed_methods, reason = "where these tests read the environment")]
        let url = std::env::var("CLAWRK_TEST_POSTGRES").ok()?;
        let pool = pool(&configure(&url).unwrap(), 1, crate::postgres::Presence::Reading).unwrap();
        let mine = "CREATE TEMPORARY TABLE mine (n BIGINT PRIMARY KEY, text TEXT);
                    INSERT INTO mine SELECT n FROM generate_series(1, 5) n";
        pool.get().await.unwrap().batch_execute(mine).await.unwrap();
        Some(pool)
    }

    fn mark(n: i64) -> Statement {
        Statement { sql: "UPDATE mine SET text = 'x' WHERE n = $1", values: vec![n.into()], one_row: true }
    }

    async fn carry_out(pool: &deadpool_postgres::Pool, statements: Vec<Statement>) -> Result<(), StoreError> {
        let clock = Clock::System;
        let mut tx = PostgresTx::new(pool.get().await.unwrap(), &clock);
        tx.execute(statements).await?;
        tx.end().await
    }

    async fn marked(pool: &deadpool_postgres::Pool) -> i64 {
        let client = pool.get().await.unwrap();
        client.query_one("SELECT count(*) FROM mine WHERE text = 'x'", &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn what_fails_anywhere_on_the_way_to_the_commit_undoes_all_of_it() {
        let Some(pool) = rows_of_its_own().await else { return };
        let wrong = || Statement { sql: mark(0).sql, values: vec![Value::Text("one".to_owned())], one_row: true };
        for (fails, statements) in [
            ("no row", vec![mark(1), mark(9), mark(2)]),
            ("no row at last", vec![mark(1), mark(2), mark(9)]),
            ("a value that cannot even be sent", vec![mark(1), wrong(), mark(2)]),
            ("behind more than travel together", (1..=30).map(|n| mark(n % 6)).collect()),
        ] {
            assert!(carry_out(&pool, statements).await.is_err(), "{fails}");
            assert_eq!(marked(&pool).await, 0, "{fails}");
        }
        carry_out(&pool, vec![mark(1), mark(2)]).await.unwrap();
        assert_eq!(marked(&pool).await, 2);
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_takes_its_connection_along() {
        let Some(pool) = rows_of_its_own().await else { return };
        let clock = Clock::System;
        let mut tx = PostgresTx::new(pool.get().await.unwrap(), &clock);
        tx.look(Vec::new()).await.unwrap();
        drop(tx);
        let client = pool.get().await.unwrap();
        assert!(client.query("SELECT n FROM mine", &[]).await.is_err(), "it is the same connection");
    }

    #[test]
    fn statements_go_as_one_only_where_they_touch_different_rows() {
        let groups = |statements: &[&'static str]| -> Vec<usize> {
            let one = |sql: &&'static str| Statement { sql, values: Vec::new(), one_row: true };
            joined(statements.iter().map(one).collect()).iter().map(Vec::len).collect()
        };
        let (add, change) = ("INSERT INTO a VALUES ($1)", "UPDATE a SET n = $1");
        let (replace, remove) = ("INSERT INTO a VALUES ($1) ON CONFLICT DO NOTHING", "DELETE FROM a WHERE n = $1");
        assert_eq!(groups(&[add, add, add]), [3]);
        assert_eq!(groups(&[add, "UPDATE b SET n = $1", "INSERT INTO b VALUES ($1)"]), [3]);
        for statements in [[add, change], [add, replace], [add, remove], [change, change], [replace, replace]] {
            assert_eq!(groups(&statements), [1, 1], "{statements:?}");
        }
        assert_eq!(groups(&[remove, replace]), [2]);
        assert_eq!(groups(&[add; 13]), [12, 1]);
    }

    #[test]
    fn parameters_are_numbered_on() {
        let statements = [
            Statement {
                sql: "INSERT INTO a VALUES ($1, $2, $1)",
                values: vec![1_i64.into(), 2_i64.into()],
                one_row: true,
            },
            Statement { sql: "UPDATE b SET n = $1 WHERE n = $10 + $2", values: Vec::new(), one_row: true },
        ];
        assert_eq!(
            one_statement(&statements),
            "WITH w0 AS (INSERT INTO a VALUES ($1, $2, $1)), w1 AS (UPDATE b SET n = $3 WHERE n = $12 + $4 RETURNING 1) \
             SELECT 1, 1 / ((SELECT count(*) FROM w1) = 1)::int"
        );
    }
}
