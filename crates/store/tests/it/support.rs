//! A fresh store for each test, on either database, with a clock that moves by hand; and a look behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clawrk_domain::action::{AgentFields, NewUser, Posting, Review};
use clawrk_domain::{
    Action, Actor, Agent, AgentId, Answer, Cents, Command, Job, JobId, Policy, Rejection, Timestamp, UserId, Verdict,
};
use clawrk_store::{Clock, Due, Outcome, ReceiptRequest, Request, Store, StoreError};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::throwaway::{Throwaway, connect, server};

/// 2025-01-01T00:00:00Z, when every test begins.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

/// Every table of both schemas, in the order of a dump.
pub(crate) const TABLES: [&str; 25] = [
    "users",
    "wallets",
    "agents",
    "api_keys",
    "jobs",
    "briefs",
    "attempts",
    "events",
    "tasks",
    "receipts",
    "seal",
    "counted",
    "census",
    "days",
    "spreads",
    "standings",
    "voices",
    "paces",
    "logs",
    "uploads",
    "upload_uses",
    "budgets",
    "payments",
    "notices",
    "auto_topups",
];

/// A store on a database of its own.
pub(crate) struct Harness {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    policy: Policy,
    database: Database,
    seeds: AtomicU64,
}

enum Database {
    Sqlite(tempfile::TempDir),
    Postgres(Throwaway, Box<Client>),
}

impl Harness {
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_by(Policy::default()).await
    }

    /// By these rules.
    pub(crate) async fn sqlite_by(policy: Policy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let store = Store::sqlite(dir.path(), policy.clone(), clock.clone()).unwrap();
        Self { store, clock, policy, database: Database::Sqlite(dir), seeds: AtomicU64::new(0) }
    }

    /// On PostgreSQL, or nothing where there is none.
    pub(crate) async fn postgres() -> Option<Self> {
        Self::postgres_by(Policy::default()).await
    }

    /// On PostgreSQL by these rules, or nothing where there is none.
    pub(crate) async fn postgres_by(policy: Policy) -> Option<Self> {
        let database = Throwaway::create(&server()?).await;
        let clock = Clock::manual(START);
        let store = Store::postgres(&database.url, policy.clone(), clock.clone()).await.unwrap();
        let client = Box::new(connect(&database.url).await);
        Some(Self { store, clock, policy, database: Database::Postgres(database, client), seeds: AtomicU64::new(0) })
    }

    /// Another one on the same kind of database.
    pub(crate) async fn fresh(&self) -> Self {
        match &self.database {
            Database::Sqlite(_) => Self::sqlite_by(self.policy.clone()).await,
            Database::Postgres(..) => Self::postgres_by(self.policy.clone()).await.expect("it was there before"),
        }
    }

    /// Another node on the same database, as far as there can be one.
    pub(crate) async fn node(&self) -> Store {
        match &self.database {
            Database::Sqlite(_) => self.store.clone(),
            Database::Postgres(database, _) => {
                Store::postgres(&database.url, self.policy.clone(), self.clock.clone()).await.unwrap()
            }
        }
    }

    /// Another process on the same database, which remembers for itself.
    pub(crate) async fn beside(&self) -> Store {
        let other = match &self.database {
            Database::Sqlite(dir) => Store::sqlite(dir.path(), self.policy.clone(), self.clock.clone()).unwrap(),
            Database::Postgres(..) => self.node().await,
        };
        other.observe(std::sync::Arc::new(|_| {}));
        other
    }

    /// The database's URL, if it is on a server.
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.database {
            Database::Sqlite(_) => None,
            Database::Postgres(database, _) => Some(&database.url),
        }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url().is_none()
    }

    /// Runs SQL behind the store's back and takes its rows as text.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        match &self.database {
            Database::Sqlite(dir) => sqlite_rows(dir.path(), sql).map_err(|error| error.to_string()),
            Database::Postgres(_, client) => {
                let said = client.simple_query(sql).await.map_err(|error| {
                    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
                })?;
                let row = |message| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
                    }
                    _ => None,
                };
                Ok(said.into_iter().filter_map(row).collect())
            }
        }
    }

    pub(crate) async fn raw(&self, sql: &str) {
        self.rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The id of a user, an agent or a transfer as it stands in SQL.
    pub(crate) fn uuid(&self, id: uuid::Uuid) -> String {
        if self.is_sqlite() { format!("x'{}'", id.simple()) } else { format!("'{id}'") }
    }

    /// The one number that the query finds.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await.unwrap()[0][0].as_deref().unwrap().parse().unwrap()
    }

    /// Everything that is stored, as text that both databases agree on.
    pub(crate) async fn dump(&self) -> String {
        let mut dump = String::new();
        let transfers =
            "SELECT id, at, from_kind, to_kind, user_id, job_id, cents, reason, previous FROM transfers ORDER BY id";
        let tables = TABLES.map(|table| {
            let has_three = ["spreads", "logs", "upload_uses", "budgets"].contains(&table);
            let key = if has_three { "1, 2, 3" } else { "1, 2" };
            (table, format!("SELECT * FROM {table} ORDER BY {key}"))
        });
        for (table, sql) in tables.into_iter().chain([("transfers", transfers.to_owned())]) {
            for row in self.rows(&sql).await.unwrap() {
                let columns: Vec<_> = row.into_iter().map(|column| column.unwrap_or("NULL".to_owned())).collect();
                dump.push_str(&format!("{table} {}\n", columns.join(" | ")));
            }
        }
        dump
    }

    pub(crate) fn request(&self, actor: Actor, action: Action) -> Request {
        let count = self.seeds.fetch_add(1, Ordering::SeqCst);
        Request { command: Command { seed: seed(count), actor, action }, receipt: None }
    }

    pub(crate) async fn submit(&self, actor: Actor, action: Action) -> Result<Outcome, StoreError> {
        self.store.submit(self.request(actor, action)).await
    }

    /// Carries it out and expects it to be done.
    pub(crate) async fn done(&self, actor: Actor, action: Action) -> Answer {
        match self.submit(actor, action.clone()).await {
            Ok(Outcome::Done(answer)) => answer,
            other => panic!("{action:?}: {other:?}"),
        }
    }

    /// Expects a refusal, and that it has written nothing.
    pub(crate) async fn refused(&self, actor: Actor, action: Action) -> Rejection {
        let before = self.dump().await;
        let rejection = match self.submit(actor, action.clone()).await {
            Ok(Outcome::Rejected(rejection)) => rejection,
            other => panic!("{action:?}: {other:?}"),
        };
        assert_eq!(before, self.dump().await, "a refused {action:?} has written something");
        rejection
    }

    /// A new user with so much in the wallet.
    pub(crate) async fn user(&self, name: &str, cents: i64) -> UserId {
        let grant = (cents > 0).then_some(Cents(cents));
        match self.done(Actor::Operator, Action::CreateUser(new_user(name, grant))).await {
            Answer::User(user) => user.id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn agent(&self, owner: UserId, name: &str) -> Agent {
        let fields = AgentFields { name: name.to_owned(), personality: None, avatar_url: None };
        match self.done(Actor::User(owner), Action::CreateAgent(fields)).await {
            Answer::Agent(agent) => agent,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn default_agent(&self, owner: UserId) -> AgentId {
        self.store.agents(owner).await.unwrap()[0].id
    }

    /// Does something that ends in a job.
    pub(crate) async fn moved(&self, user: UserId, action: Action) -> Arc<Job> {
        match self.done(Actor::User(user), action).await {
            Answer::Job(job) => job,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn post(&self, user: UserId, price: i64) -> JobId {
        self.moved(user, Action::Post(posting(price))).await.id
    }

    /// Posts a job and lets the user's default agent take it on.
    pub(crate) async fn accepted(&self, sender: UserId, worker: UserId, price: i64) -> JobId {
        let job = self.post(sender, price).await;
        self.moved(worker, Action::Claim { agent: None, job }).await;
        self.moved(worker, Action::Accept(job)).await;
        job
    }

    /// Claims, accepts and submits.
    pub(crate) async fn submitted(&self, sender: UserId, worker: UserId, price: i64) -> JobId {
        let job = self.accepted(sender, worker, price).await;
        self.moved(worker, submission(job)).await;
        job
    }

    pub(crate) async fn job(&self, job: JobId) -> Job {
        self.store.job(job).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, job: JobId) -> String {
        self.job(job).await.status().to_string()
    }

    pub(crate) async fn balance(&self, user: UserId) -> i64 {
        self.store.user(user).await.unwrap().unwrap().1.0
    }

    /// Runs all tasks that are due, and says how many changed a job.
    pub(crate) async fn run_due_tasks(&self) -> usize {
        let mut changed = 0;
        for lease in self.store.take_due_tasks(Due::Timers, 100, 30).await.unwrap() {
            if let Answer::Job(_) = self.done(Actor::Exchange, Action::Run(lease)).await {
                changed += 1;
            }
        }
        changed
    }

    pub(crate) async fn assert_books_balance(&self) {
        let audit = self.store.audit().await.unwrap();
        assert_eq!(audit.offence, None);
        assert_eq!(audit.sum(), Cents::ZERO);
    }
}

/// The exchange's random bits, from a counter.
pub(crate) fn seed(count: u64) -> u128 {
    let mut random = Random(count);
    u128::from(random.next()) << 64 | u128::from(random.next())
}

/// SplitMix64: all a test needs of randomness.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

pub(crate) fn new_user(name: &str, grant: Option<Cents>) -> NewUser {
    NewUser { name: name.to_owned(), email: None, is_admin: false, grant, key: None }
}

pub(crate) fn posting(price: i64) -> Posting {
    Posting {
        prompt: "Count the vowels of this sentence.".to_owned(),
        title: "Count vowels".to_owned(),
        description: Some("How many are there?".to_owned()),
        requirements: None,
        criteria: vec!["names a number".to_owned(), "explains it".to_owned()],
        checks: Vec::new(),
        attachments: Vec::new(),
        sealed_env: Some(vec![0, 255, 7]),
        price: Cents(price),
        time_limit_seconds: 600,
    }
}

pub(crate) fn submission(job: JobId) -> Action {
    Action::Submit { job, output_text: Some("There are 11.".to_owned()), files: Vec::new() }
}

pub(crate) fn review(job: JobId, verdict: Verdict) -> Action {
    let reason = (verdict == Verdict::Fail).then(|| "It is not what was asked for.".to_owned());
    Action::Review { job, review: Review { verdict, reason, attempt: None } }
}

/// Keeps the answer under this key, as its debug form.
pub(crate) fn receipt(user: UserId, key: &str, fingerprint: u8) -> Option<ReceiptRequest> {
    let keep = Arc::new(|answer: &Answer| format!("{answer:?}").into_bytes());
    Some(ReceiptRequest { user, key: key.to_owned(), fingerprint: [fingerprint; 32], keep })
}

/// Makes a test on each database of a function over `&Harness`.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&crate::support::Harness::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(harness) = crate::support::Harness::postgres().await {
                    super::$name(&harness).await;
                }
            })*
        }
    };
}
pub(crate) use on_both_databases;

fn sqlite_rows(dir: &std::path::Path, sql: &str) -> rusqlite::Result<Vec<Vec<Option<String>>>> {
    use rusqlite::types::ValueRef;
    let connection = rusqlite::Connection::open(dir.join("clawrk.db"))?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let (last, before) = match sql.trim_end_matches(';').rsplit_once("; ") {
        Some((before, last)) => (last, before),
        None => (sql, ""),
    };
    connection.execute_batch(before)?;
    let mut statement = connection.prepare(last)?;
    let width = statement.column_count();
    let text = |column: ValueRef<'_>| match column {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) if bytes.len() == 16 => Some(uuid::Uuid::from_slice(bytes).unwrap().to_string()),
        ValueRef::Blob(bytes) => {
            Some(format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
        }
    };
    let rows = statement.query_map([], |row| (0..width).map(|at| row.get_ref(at).map(text)).collect())?;
    rows.collect()
}

/// Runs beside the test.
#[expect(clippy::disallowed_methods, reason = "the one place where the tests start what runs by itself")]
pub(crate) fn background<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

#[expect(clippy::disallowed_methods, reason = "the one place where the tests read the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
