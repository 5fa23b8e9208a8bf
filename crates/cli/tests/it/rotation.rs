//! The secret is changed by the real command, which is killed at random moments: nothing that was sealed is lost, and
//! nobody seals under the old secret afterwards.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use clawrk_domain::Policy;
use clawrk_server::vault::{Purpose, Vault};
use clawrk_store::{Clock, Store};
use serde_json::Value;

use crate::dice::rounds;
use crate::exchange::{Exchange, Server, ask, connect};
use crate::load::Load;

/// Jobs with a variable, and kept answers: more than are sealed anew in one transaction.
const PIECES: usize = 250;
/// What the tests' exchanges on PostgreSQL are given.
const FIRST: &str = "a secret for the tests, which is long enough";

/// An exchange whose secret changes.
struct Changing {
    exchange: Exchange,
    /// On PostgreSQL the secrets that it is given, the newest first.
    given: Vec<String>,
    tokens: Vec<(String, String)>,
}

impl Changing {
    async fn new(exchange: Exchange, is_set: bool, pieces: usize) -> (Self, Load) {
        let given = if is_set { vec![FIRST.to_owned()] } else { Vec::new() };
        let mut changing = Self { exchange, given, tokens: Vec::new() };
        let server = changing.serve();
        let load = Load::new(&changing.exchange);
        load.at([&server]);
        let mut sender = load.quiet_sender();
        for n in 0..pieces {
            let token = format!("token {n}");
            changing.tokens.push((sender.post_with_token(&token).await.unwrap(), token));
        }
        server.stop();
        (changing, load)
    }

    fn is_set(&self) -> bool {
        !self.given.is_empty()
    }

    /// A command that is given the newest of the secrets, and these before it.
    fn command(&self, arguments: &[&str], previous: usize) -> Command {
        let mut command = self.exchange.command(arguments);
        command.env("CLAWRK_RATE_LIMIT_PER_MINUTE", "0");
        if let Some(newest) = self.given.first() {
            let before = self.given[1..].iter().take(previous).cloned().collect::<Vec<_>>();
            command.env("CLAWRK_SECRET_KEY", newest).env("CLAWRK_SECRET_KEY_PREVIOUS", before.join("\n"));
        }
        command
    }

    fn serve(&self) -> Server {
        Server::start(self.command(&["serve"], 1))
    }

    /// Begins one more change.
    fn choose(&mut self) {
        if self.is_set() {
            self.given.insert(0, format!("secret number {} of the tests, long enough", self.given.len()));
        }
    }

    fn rotate(&self) -> Output {
        self.command(&["admin", "rotate-secret", "--json"], 1).output().unwrap()
    }

    async fn store(&self) -> Store {
        if self.is_set() {
            Store::postgres(self.exchange.database_url(), Policy::default(), Clock::System).await.unwrap()
        } else {
            Store::sqlite(&self.exchange.data(), Policy::default(), Clock::System).unwrap()
        }
    }

    /// The vault of whoever has the newest secret, and that many before it.
    fn vault(&self, previous: usize) -> Vault {
        if self.is_set() {
            return Vault::after(&self.given[0], &self.given[1..][..previous.min(self.given.len() - 1)]);
        }
        let read = |name: &str| std::fs::read_to_string(self.exchange.data().join(name));
        let before = read("secret_key.previous").into_iter().take(previous).collect::<Vec<_>>();
        Vault::after(&read("secret_key").unwrap(), &before)
    }

    /// Everything opens under the newest secret and so many before it; what was sealed, in its order.
    async fn opens(&self, previous: usize) -> Vec<Vec<u8>> {
        let (store, vault) = (self.store().await, self.vault(previous));
        assert!(vault.sealed(&store.kept_seal().await.unwrap().unwrap()));
        let variables = store.sealed_env(None, 10_000).await.unwrap();
        let answers = store.sealed_answers(None, 10_000).await.unwrap();
        assert_eq!((variables.len(), answers.len()), (self.tokens.len(), self.tokens.len()));
        for sealed in &variables {
            let token = &vault.open_env(Some(&sealed.bytes)).unwrap()["TOKEN"];
            let place = format!("{:?}", sealed.place);
            assert!(self.tokens.iter().any(|(job, was)| was == token && place.contains(job.as_str())), "{place}");
        }
        assert!(answers.iter().all(|sealed| vault.open(Purpose::Receipt, &sealed.bytes).is_ok()));
        variables.into_iter().chain(answers).map(|sealed| sealed.bytes).collect()
    }

    /// Whether the database's own files have one of these anywhere.
    async fn files_hold(&self, pieces: &[Vec<u8>]) -> bool {
        let mut files = Vec::new();
        if self.is_set() {
            let database = connect(self.exchange.database_url()).await.unwrap();
            database.batch_execute("CHECKPOINT").await.unwrap();
            for table in ["briefs", "receipts"] {
                let question = format!("SELECT encode(pg_read_binary_file(pg_relation_filepath('{table}')), 'hex')");
                files.push(ask(&database, &question).await.remove(0));
            }
        } else {
            for file in std::fs::read_dir(self.exchange.data()).unwrap() {
                // SQLite takes its log away when the last one has left.
                files.extend(std::fs::read(file.unwrap().path()).map(|bytes| hex(&bytes)));
            }
        }
        // The middle of a piece: its beginning may stand on another page.
        pieces.iter().any(|piece| files.iter().any(|file| file.contains(&hex(&piece[30..60]))))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_secret_is_killed_at_any_moment_and_loses_nothing_on_sqlite() {
    survives(Exchange::sqlite(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_secret_is_killed_at_any_moment_and_loses_nothing_on_postgresql() {
    let Some(exchange) = Exchange::postgres().await else { return };
    survives(exchange, true).await;
}

async fn survives(exchange: Exchange, is_set: bool) {
    let (mut changing, load) = Changing::new(exchange, is_set, PIECES).await;
    let mut dice = load.dice();
    let first = changing.opens(0).await;
    changing.choose();
    let began = Instant::now();
    assert!(changing.rotate().status.success());
    let whole = u64::try_from(began.elapsed().as_millis()).unwrap();
    let (mut killed, mut finished, mut halfway, mut under_way) = (0, 0, 0, false);
    while killed < rounds(20) || halfway == 0 && killed < 100 {
        if !under_way {
            changing.choose();
        }
        let mut command = changing.command(&["admin", "rotate-secret"], 1);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        tokio::time::sleep(dice.millis(0, whole)).await;
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        under_way = !output.status.success();
        if !under_way {
            finished += 1;
            continue;
        }
        assert_eq!(output.status.code(), None, "{}", said(&output));
        killed += 1;
        let sealed = changing.opens(1).await;
        let newest = changing.vault(0);
        let purposes = [Purpose::EnvVars, Purpose::Receipt];
        let is_new = |piece: &&Vec<u8>| purposes.iter().any(|purpose| newest.open(*purpose, piece).is_ok());
        let new = sealed.iter().filter(is_new).count();
        halfway += usize::from(new > 0 && new < 2 * PIECES);
        if killed % 5 == 0 {
            let server = changing.serve();
            load.at([&server]);
            load.repeat_the_answered().await;
            server.stop();
        }
    }
    println!("{killed} were killed within {whole} ms, {finished} finished, {halfway} were between two transactions");
    assert!(halfway > 0, "none was killed while some was sealed anew and some was not");
    if under_way {
        let output = changing.rotate();
        assert!(output.status.success(), "{}", said(&output));
    }
    changing.opens(0).await;
    assert!(!changing.files_hold(&first).await);
    let server = Server::start(changing.command(&["serve"], 0));
    load.at([&server]);
    load.repeat_the_first(PIECES).await;
    server.stop();
    changing.exchange.audit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_changes_the_secret_and_leaves_nothing_under_the_old_one_on_sqlite() {
    changes(Exchange::sqlite(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_changes_the_secret_and_leaves_nothing_under_the_old_one_on_postgresql() {
    let Some(exchange) = Exchange::postgres().await else { return };
    changes(exchange, true).await;
}

async fn changes(exchange: Exchange, is_set: bool) {
    let (mut changing, load) = Changing::new(exchange, is_set, 10).await;
    let secret = changing.exchange.data().join("secret_key");
    if !is_set {
        // What was there and is gone stands in free pages.
        let database = rusqlite::Connection::open(changing.exchange.data().join("clawrk.db")).unwrap();
        database.execute_batch("CREATE TABLE gone AS SELECT * FROM receipts; DROP TABLE gone").unwrap();
    }
    let (before, old) = (changing.opens(0).await, std::fs::read_to_string(&secret).unwrap_or_default());
    assert!(changing.files_hold(&before).await);
    changing.choose();
    let told = changing.rotate();
    assert!(told.status.success(), "{}", said(&told));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["resealed"], 21, "the variables, the answers and the seal");
    let after = changing.opens(0).await;
    assert!(!changing.files_hold(&before).await && changing.files_hold(&after).await);
    let mut refused = changing.command(&["serve"], 0);
    if is_set {
        refused.env("CLAWRK_SECRET_KEY", FIRST);
    } else {
        let kept = told["old_secret_key"].as_str().unwrap();
        assert_eq!(std::fs::read_to_string(kept).unwrap(), old);
        assert_ne!(std::fs::read_to_string(&secret).unwrap(), old);
        assert!(!changing.exchange.data().join("secret_key.previous").exists());
        refused.env("CLAWRK_SECRET_KEY", old);
    }
    let refused = refused.output().unwrap();
    assert!(said(&refused).contains("not the one that the database was set up with or changed to"), "{refused:?}");
    let server = Server::start(changing.command(&["serve"], 0));
    load.at([&server]);
    load.repeat_the_first(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_secret_opens_is_named_and_the_rest_is_sealed_anew() {
    names_the_damaged(Exchange::sqlite(), false).await;
    let Some(exchange) = Exchange::postgres().await else { return };
    names_the_damaged(exchange, true).await;
}

async fn names_the_damaged(exchange: Exchange, is_set: bool) {
    let (mut changing, _) = Changing::new(exchange, is_set, 5).await;
    let (damaged, _) = changing.tokens[2].clone();
    let damage = |bytes: &str| {
        format!(
            "UPDATE briefs SET sealed_env = {bytes} WHERE job_id = '{damaged}';
             UPDATE receipts SET answer = {bytes} WHERE key = (SELECT min(key) FROM receipts)"
        )
    };
    if is_set {
        let database = connect(changing.exchange.database_url()).await.unwrap();
        database.batch_execute(&damage(r"'\x0102'::bytea")).await.unwrap();
    } else {
        let database = rusqlite::Connection::open(changing.exchange.data().join("clawrk.db")).unwrap();
        database.execute_batch(&damage("X'0102'")).unwrap();
    }
    changing.choose();
    let output = changing.rotate();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("the variables of job {damaged}")), "{told}");
    assert!(told.contains("the answer that is kept for user"), "{told}");
    let (store, vault) = (changing.store().await, changing.vault(0));
    let variables = store.sealed_env(None, 10).await.unwrap();
    assert_eq!(variables.iter().filter(|sealed| vault.open_env(Some(&sealed.bytes)).is_ok()).count(), 4);
    let answers = store.sealed_answers(None, 10).await.unwrap();
    assert_eq!(answers.iter().filter(|sealed| vault.open(Purpose::Receipt, &sealed.bytes).is_ok()).count(), 4);
    drop(store);
    drop(Server::start(changing.command(&["serve"], 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_is_not_changed_beside_a_server() {
    for (exchange, is_set) in [(Some(Exchange::sqlite()), false), (Exchange::postgres().await, true)] {
        let Some(exchange) = exchange else { continue };
        let (mut changing, _) = Changing::new(exchange, is_set, 1).await;
        let server = changing.serve();
        let now = changing.opens(0).await;
        changing.choose();
        let output = changing.rotate();
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(if is_set { "are on the database" } else { "A server has" }), "{told}");
        if is_set {
            changing.given.remove(0);
        }
        assert_eq!(changing.opens(0).await, now);
        server.kill();
        changing.choose();
        assert!(changing.rotate().status.success(), "the dead keep nobody from it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_while_the_secret_changed_serves_no_more() {
    let Some(exchange) = Exchange::postgres().await else { return };
    let (mut changing, load) = Changing::new(exchange, true, 3).await;
    let server = changing.serve();
    load.at([&server]);
    load.repeat_the_answered().await;
    server.signal("STOP");
    let database = connect(changing.exchange.database_url()).await.unwrap();
    ask(
        &database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
    changing.choose();
    let output = changing.rotate();
    assert!(output.status.success(), "{}", said(&output));
    let anew = changing.opens(0).await;
    server.signal("CONT");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!server.is_ready().await);
    let posted = tokio::time::timeout(Duration::from_secs(3), load.quiet_sender().post_with_token("late")).await;
    assert!(posted.is_err(), "it is asked again and again, and takes nothing");
    assert_eq!(changing.opens(0).await, anew);
    let (_, log) = server.stop();
    assert!(log.contains("restart it with the new one"), "{log}");
    let server = Server::start(changing.command(&["serve"], 0));
    assert!(server.is_ready().await);
    load.at([&server]);
    load.repeat_the_first(3).await;
}
