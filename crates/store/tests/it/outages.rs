//! PostgreSQL goes away, or its answer does: nothing acknowledged is lost, nothing happens twice, and the store recovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use clawrk_domain::{Action, Actor, Answer, Policy, Status, UserId};
use clawrk_store::{Clock, Outcome, Store, StoreError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::config::Host;

use crate::support::{Harness, START, background, posting, receipt};
use crate::throwaway::{Cluster, connect};

/// Sends it under a key, again after each failure, and says whether the last answer was a replay.
async fn post_until_answered(h: &Harness, store: &Store, user: UserId, key: &str) -> bool {
    let began = Instant::now();
    loop {
        let mut request = h.request(Actor::User(user), Action::Post(posting(100)));
        request.receipt = receipt(user, key, 1);
        match store.submit(request).await {
            Ok(Outcome::Done(Answer::Job(_))) => return false,
            Ok(Outcome::Replayed(_)) => return true,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.is_unavailable(), "{error:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(5), "the store did not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_has_one_effect() {
    let Some(h) = Harness::postgres().await else { return };
    let proxy = Proxy::start(h.url().unwrap()).await;
    let store = Store::postgres(&proxy.url, Policy::default(), h.clock.clone()).await.unwrap();
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    store.observe(Arc::new(move |jobs| jobs.iter().for_each(|job| tell.send(job.id).unwrap_or_default())));
    let ada = h.user("ada", 100_000).await;
    for cut in 0..60 {
        let after = cut % 2 == 1;
        proxy.cut.store(if after { AFTER } else { BEFORE }, Ordering::SeqCst);
        let replayed = post_until_answered(&h, &store, ada, &format!("key {cut}")).await;
        assert_eq!(replayed, after, "cut {cut}");
        assert_eq!(proxy.cut.load(Ordering::SeqCst), PASS, "the commit was not cut");
    }
    assert_eq!(h.number("SELECT COUNT(*) FROM jobs").await, 60);
    assert_eq!(h.balance(ada).await, 100_000 - 60 * 100);
    h.assert_books_balance().await;
    // Even of a commit that was never answered the node hears, by the feed.
    let mut all = std::collections::BTreeSet::new();
    let hear = async {
        while all.len() < 60 {
            all.insert(heard.recv().await.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(6), hear).await.expect("the observer heard of every job");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_nothing_and_the_store_recovers() {
    let Some(h) = Harness::postgres().await else { return };
    let ada = h.user("ada", 100_000).await;
    let other = h.node().await;
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    other.observe(Arc::new(move |jobs| jobs.iter().for_each(|job| tell.send(job.id).unwrap_or_default())));
    let admin = connect(h.url().unwrap()).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'clawrk'";
    for round in 0..8 {
        let keys: Vec<String> = (0..12).map(|n| format!("key {round} {n}")).collect();
        let posts = keys.iter().map(|key| post_until_answered(&h, &h.store, ada, key));
        let (_, killed) = tokio::join!(futures_util::future::join_all(posts), async {
            tokio::time::sleep(Duration::from_millis(round * 3)).await;
            admin.query(kill, &[]).await.unwrap().len()
        });
        assert!(killed > 0);
    }
    assert_eq!(h.number("SELECT COUNT(*) FROM jobs").await, 96);
    assert_eq!(h.balance(ada).await, 100_000 - 96 * 100);
    h.assert_books_balance().await;
    // The other node lost its connections, too, and still hears.
    let job = h.post(ada, 100).await;
    let hear = async { while heard.recv().await.unwrap() != job {} };
    tokio::time::timeout(Duration::from_secs(6), hear).await.expect("the other node hears again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_waits_for_a_transaction_that_is_still_open() {
    let Some(h) = Harness::postgres().await else { return };
    let ada = h.user("ada", 1000).await;
    let (slow, quick) = (h.post(ada, 100).await, h.post(ada, 100).await);
    let other = h.node().await;
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    other.observe(Arc::new(move |jobs| {
        jobs.iter().for_each(|job| tell.send((job.id, job.status())).unwrap_or_default())
    }));
    let open = connect(h.url().unwrap()).await;
    open.batch_execute(&format!("BEGIN; INSERT INTO feed (kind, id) VALUES ('job', '{slow}')")).await.unwrap();
    // Transactions that began later end earlier, and the other node hears of them, over several looks.
    for _ in 0..3 {
        h.moved(ada, Action::Cancel(quick)).await;
        let later = h.post(ada, 100).await;
        let hear = async { while heard.recv().await.unwrap() != (later, Status::Queued) {} };
        tokio::time::timeout(Duration::from_secs(2), hear).await.expect("the other node heard of the later one");
    }
    open.batch_execute("COMMIT").await.unwrap();
    let hear = async { while heard.recv().await.unwrap().0 != slow {} };
    tokio::time::timeout(Duration::from_secs(2), hear).await.expect("the other node heard of the slow one, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_dropped_leaves_no_connection() {
    let Some(h) = Harness::postgres().await else { return };
    let url = format!("{}?application_name=leaving", h.url().unwrap());
    let leaving = Store::postgres(&url, Policy::default(), h.clock.clone()).await.unwrap();
    leaving.observe(Arc::new(|_| {}));
    leaving.ping().await.unwrap();
    let count = "SELECT COUNT(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'leaving'";
    assert!(h.number(count).await > 0);
    drop(leaving);
    let began = Instant::now();
    while h.number(count).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "connections are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_is_carried_to_its_end() {
    let Some(h) = Harness::postgres().await else { return };
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    h.store.observe(Arc::new(move |jobs| jobs.iter().for_each(|job| tell.send(job.status()).unwrap_or_default())));
    let ada = h.user("ada", 1000).await;
    let given_up = h.submit(Actor::User(ada), Action::Post(posting(100)));
    assert!(futures_util::FutureExt::now_or_never(given_up).is_none(), "the answer takes a while");
    let heard = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await;
    assert_eq!(heard.unwrap(), Some(Status::Queued));
    assert_eq!(h.balance(ada).await, 900);
}

#[tokio::test]
async fn a_key_that_stays_in_progress_is_said_to_be() {
    let Some(h) = Harness::postgres().await else { return };
    let ada = h.user("ada", 1000).await;
    let other = connect(h.url().unwrap()).await;
    other
        .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('{ada}:slow', 0))"))
        .await
        .unwrap();
    let mut request = h.request(Actor::User(ada), Action::Post(posting(100)));
    request.receipt = receipt(ada, "slow", 1);
    let outcome = h.store.submit(request.clone()).await.unwrap();
    assert!(matches!(outcome, Outcome::KeyInProgress), "{outcome:?}");
    other.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(h.store.submit(request).await.unwrap(), Outcome::Done(_)));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let began = Instant::now();
    let opened = Store::postgres("postgres://nobody@127.0.0.1:1/none", Policy::default(), Clock::manual(START)).await;
    let Err(error) = opened else { panic!("there is a server on port 1") };
    assert!(matches!(error, StoreError::Unreachable(_)) && error.is_unavailable(), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn an_unsafe_server_is_refused() {
    let Some(h) = Harness::postgres().await else { return };
    let name = h.rows("SELECT current_database()").await.unwrap()[0][0].clone().unwrap();
    h.raw(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let opened = Store::postgres(h.url().unwrap(), Policy::default(), Clock::manual(START)).await;
    let Err(error) = opened else { panic!("it was opened") };
    assert!(matches!(&error, StoreError::Unsafe(text) if text.contains("set synchronous_commit = on")), "{error}");
    assert!(!error.is_unavailable());
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_refused_until_it_does() {
    let Some(cluster) = Cluster::start() else { return };
    let admin = connect(&cluster.url).await;
    for (fsync, is_taken) in [("off", false), ("on", true)] {
        // By itself: it may not be part of a transaction.
        admin.batch_execute(&format!("ALTER SYSTEM SET fsync = {fsync}")).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let began = Instant::now();
        while connect(&cluster.url).await.query_one("SHOW fsync", &[]).await.unwrap().get::<_, &str>(0) != fsync {
            assert!(began.elapsed() < Duration::from_secs(10), "the server does not hear of it");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let opened = Store::postgres(&cluster.url, Policy::default(), Clock::manual(START)).await;
        let refused = opened.err();
        assert_eq!(refused.is_none(), is_taken, "fsync = {fsync}: {refused:?}");
        if let Some(error) = refused {
            assert!(matches!(&error, StoreError::Unsafe(text) if text.contains("set fsync = on")), "{error}");
        }
    }
}

/// The statement, and the server's word for it: a whole one, not `READ COMMITTED`.
const COMMIT: &[u8] = b"COMMIT\0";
/// What stands before it in its message: the kind, and the length.
const HEADER: usize = 5;

const PASS: u8 = 0;
const BEFORE: u8 = 1;
const AFTER: u8 = 2;

/// Stands between a node and the server, and cuts the connection at the next commit.
struct Proxy {
    url: String,
    cut: Arc<AtomicU8>,
}

impl Proxy {
    async fn start(server: &str) -> Self {
        let config: tokio_postgres::Config = server.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let password =
            config.get_password().map_or(String::new(), |word| format!("password='{}'", String::from_utf8_lossy(word)));
        let url = format!(
            "host=127.0.0.1 port={} user={} dbname={} {password}",
            listener.local_addr().unwrap().port(),
            config.get_user().unwrap(),
            config.get_dbname().unwrap()
        );
        let cut = Arc::new(AtomicU8::new(PASS));
        let mode = Arc::clone(&cut);
        drop(background(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (config, mode) = (config.clone(), Arc::clone(&mode));
                // Either side may go at any time: that is what this is for.
                drop(background(async move { pass(client, &config, &mode).await }));
            }
        }));
        Self { url, cut }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn reach(config: &tokio_postgres::Config) -> std::io::Result<Box<dyn Stream>> {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    Ok(match &config.get_hosts()[0] {
        Host::Tcp(host) => Box::new(TcpStream::connect((host.as_str(), port)).await?),
        Host::Unix(dir) => Box::new(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?),
    })
}

fn place_of_commit(bytes: &[u8]) -> Option<usize> {
    bytes.windows(COMMIT.len()).position(|word| word == COMMIT)
}

async fn pass(client: TcpStream, config: &tokio_postgres::Config, cut: &AtomicU8) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(reach(config).await?);
    let (mut sent, mut said) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            count = from_client.read(&mut sent) => {
                let sent = &sent[..count?];
                let commit = place_of_commit(sent);
                let mode = if commit.is_some() { cut.swap(PASS, Ordering::SeqCst) } else { PASS };
                if let (BEFORE, Some(place)) = (mode, commit) {
                    // What is written travels with the commit: it arrives, and must not stand.
                    to_server.write_all(&sent[..place - HEADER]).await?;
                    return Ok(());
                }
                if sent.is_empty() {
                    return Ok(());
                }
                to_server.write_all(sent).await?;
                if mode == AFTER {
                    let mut answer = Vec::new();
                    while place_of_commit(&answer).is_none() {
                        let count = from_server.read(&mut said).await?;
                        assert_ne!(count, 0, "it was no commit");
                        answer.extend_from_slice(&said[..count]);
                    }
                    return Ok(());
                }
            }
            count = from_server.read(&mut said) => {
                let said = &said[..count?];
                if said.is_empty() {
                    return Ok(());
                }
                to_client.write_all(said).await?;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_catches_up_has_heard_of_all_that_was_acknowledged_elsewhere() {
    let Some(h) = Harness::postgres().await else { return };
    let ada = h.user("ada", 10_000).await;
    let other = h.node().await;
    let heard = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let listening = Arc::clone(&heard);
    other.observe(Arc::new(move |jobs| listening.lock().unwrap().extend(jobs.iter().map(|job| job.id))));
    for _ in 0..50 {
        let job = h.post(ada, 100).await;
        other.catch_up().await;
        assert!(heard.lock().unwrap().contains(&job));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_is_not_believed_once_the_feed_falls_silent() {
    let Some(h) = Harness::postgres().await else { return };
    let ada = h.user("ada", 0).await;
    let other = h.beside().await;
    other.catch_up().await;
    other.known_agents(ada).await.unwrap();
    // Nobody can look at the feed any more, nor tell of what happens.
    h.raw("ALTER TABLE feed RENAME TO lost; UPDATE agents SET name = 'changed'").await;
    let began = Instant::now();
    while other.known_agents(ada).await.unwrap()[0].name != "changed" {
        assert!(began.elapsed() < Duration::from_secs(3), "an old answer is believed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
