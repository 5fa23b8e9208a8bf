//! A real exchange for a test: its data, its server processes, and the `clawrk` commands around it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Where an exchange keeps its data; several servers may share a database.
pub(crate) struct Exchange {
    /// Holds the SQLite database, and everything else that commands write.
    folder: TempDir,
    database_url: Option<String>,
    /// Other settings than the default ones, and whatever else is in its commands' environment.
    variables: Vec<(&'static str, OsString)>,
}

/// A server process; killed when dropped.
pub(crate) struct Server {
    /// Such as `http://127.0.0.1:40000`.
    pub(crate) url: String,
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
}

/// A user with the key that `admin user create --json` printed.
pub(crate) struct User {
    pub(crate) key: String,
}

impl Exchange {
    /// An empty one on SQLite.
    pub(crate) fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database_url: None, variables: Vec::new() }
    }

    /// An empty one on a database of its own; none when the tests were given no server.
    pub(crate) async fn postgres() -> Option<Self> {
        let Some(server) = variable("CLAWRK_TEST_POSTGRES") else {
            assert!(variable("REQUIRE_POSTGRES").is_none(), "CLAWRK_TEST_POSTGRES names no server");
            return None;
        };
        Some(Self::on(&server).await)
    }

    /// An empty one on a database of its own at this PostgreSQL.
    pub(crate) async fn on(server: &str) -> Self {
        let name = format!("cli_{:032x}", clawrk_server::random::seed());
        ask(&connect(server).await.unwrap(), &format!("CREATE DATABASE {name}")).await;
        let (base, _) = server.rsplit_once('/').expect("a URL names a database");
        let database_url = Some(format!("{base}/{name}"));
        Self { folder: tempfile::tempdir().unwrap(), database_url, variables: Vec::new() }
    }

    /// The same with one more variable in the environment of every command, such as `("CLAWRK_HOLD_SECONDS", "1")`.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// The URL of its database at PostgreSQL.
    pub(crate) fn database_url(&self) -> &str {
        self.database_url.as_deref().expect("it is on PostgreSQL")
    }

    /// A `clawrk` command with a clean environment: this exchange's settings, and nothing of whoever runs the tests.
    pub(crate) fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawrk"));
        command.args(arguments);
        self.prepare(command)
    }

    /// Gives any program the environment that a `clawrk` command has here.
    pub(crate) fn prepare(&self, mut command: Command) -> Command {
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("CLAWRK_LISTEN", "127.0.0.1:0");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        match &self.database_url {
            None => command.env("CLAWRK_DATA_DIR", self.data()),
            Some(url) => command
                .env("CLAWRK_DATABASE_URL", url)
                .env("CLAWRK_SECRET_KEY", "a secret for the tests, which is long enough"),
        };
        command
    }

    /// The folder that everything of this exchange is in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where SQLite keeps its files: in a folder that the first start has to make, too.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("exchange/data")
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn serve(&self) -> Server {
        self.serve_by(self.command(["serve"]))
    }

    /// Starts a server whose connections to PostgreSQL bear this name.
    pub(crate) fn serve_as(&self, name: &str) -> Server {
        let mut command = self.command(["serve"]);
        command.env("CLAWRK_DATABASE_URL", format!("{}?application_name={name}", self.database_url()));
        self.serve_by(command)
    }

    /// Starts a server with limits on how many requests a minute may have.
    pub(crate) fn serve_limited(&self, requests_per_minute: u32) -> Server {
        let mut command = self.command(["serve"]);
        command.env("CLAWRK_RATE_LIMIT_PER_MINUTE", requests_per_minute.to_string());
        Server::start(command)
    }

    fn serve_by(&self, mut command: Command) -> Server {
        // A test asks as fast as it can, and what is no concern of it takes none of its time.
        command.env("CLAWRK_RATE_LIMIT_PER_MINUTE", "0");
        if self.variables.iter().all(|(name, _)| *name != "CLAWRK_SANDBOX") {
            command.env("CLAWRK_SANDBOX", "off");
        }
        Server::start(command)
    }

    /// Makes a user with that much in the wallet, beside a running server or before there is one.
    pub(crate) fn user(&self, name: &str, cents: i64) -> User {
        let cents = cents.to_string();
        let made = self.json(["admin", "user", "create", "--name", name, "--grant-cents", &cents, "--json"]);
        User { key: made["api_key"].as_str().unwrap().to_owned() }
    }

    /// What a command that succeeds prints with `--json`.
    #[track_caller]
    pub(crate) fn json<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Value {
        succeeded(&self.command(arguments).output().unwrap())
    }

    /// The books balance.
    #[track_caller]
    pub(crate) fn audit(&self) {
        assert_eq!(self.json(["admin", "audit", "--json"])["ok"], true);
    }
}

impl Server {
    /// Starts a program that serves, and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        let url = loop {
            let start = told.len();
            assert!(log.read_line(&mut told).unwrap() > 0, "the server ended:\n{told}");
            if let Some((_, rest)) = told[start..].split_once("listens on ") {
                break rest.split([',', ' ']).next().unwrap().to_owned();
            }
        };
        let log = Some(std::thread::spawn(move || rest_of(log, told)));
        Self { url, child, log }
    }

    /// A command for this user at this server.
    pub(crate) fn command(&self, exchange: &Exchange, user: &User, arguments: &[&str]) -> Command {
        let mut command = exchange.command(arguments);
        command.env("CLAWRK_API_URL", &self.url).env("CLAWRK_API_KEY", &user.key);
        command
    }

    /// What a command of this user prints with `--json`, when it succeeds.
    #[track_caller]
    pub(crate) fn json(&self, exchange: &Exchange, user: &User, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        succeeded(&self.command(exchange, user, &arguments).output().unwrap())
    }

    /// Whether it says that it can serve.
    pub(crate) async fn is_ready(&self) -> bool {
        let asked = reqwest::get(format!("{}/readyz", self.url)).await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, &self.child.id().to_string());
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; its exit code, and everything it logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        signal("TERM", &self.child.id().to_string());
        let code = self.child.wait().unwrap().code();
        (code, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(name: &str, process: &str) {
    // The shell's own `kill`: not every machine has another.
    let asked = Command::new("sh").args(["-c", "kill -$0 $1", name, process]).status().unwrap();
    assert!(asked.success());
}

/// A connection to PostgreSQL, if there is one to be had.
pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    // However it ends, the client is told.
    background(async move { connection.await.unwrap_or_default() });
    Ok(client)
}

/// The first column of the rows that come of it.
pub(crate) async fn ask(client: &Client, question: &str) -> Vec<String> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    client.simple_query(question).await.unwrap().into_iter().filter_map(row).collect()
}

/// Does something that takes its time, while the load goes on.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the one place where a test starts what runs beside it")]
pub(crate) fn background(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

#[track_caller]
fn succeeded(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rest_of(mut log: BufReader<ChildStderr>, mut told: String) -> String {
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line).unwrap() > 0 {
        told.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    told
}

#[expect(clippy::disallowed_methods, reason = "which server the tests run on comes from the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
