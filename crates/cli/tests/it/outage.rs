//! PostgreSQL goes away under load and comes back: meanwhile there is 503 and never 500, nothing acknowledged is lost,
//! nothing happens twice, and the same server process goes on.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::Client;

use crate::dice::rounds;
use crate::exchange::{Exchange, ask, beside, connect, signal, variable};
use crate::load::{Load, TroubleKind};
use crate::proof::prove;

/// Errors end within this time after PostgreSQL takes connections again.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_restarts_under_load_costs_nothing_but_a_wait() {
    let Some(cluster) = Cluster::start() else { return };
    let exchange = Exchange::on(&cluster.url).await;
    let mut server = exchange.serve();
    let load = Load::new(&exchange);
    load.at([&server]);
    let mut longest = Duration::ZERO;
    for round in 0..rounds(2) {
        let (went, back) = load
            .during(async {
                tokio::time::sleep(load.dice().millis(100, 500)).await;
                let witness = connect(exchange.database_url()).await.unwrap();
                let went = Instant::now();
                if round % 2 == 0 {
                    cluster.restart().await
                } else {
                    kill_a_backend(&witness).await
                }
                let back = cluster.is_back(&witness).await;
                calm(&load, back).await;
                (went, back)
            })
            .await;
        let troubles = load.troubles();
        assert!(!troubles.is_empty(), "nobody noticed");
        for trouble in &troubles {
            assert_eq!(trouble.kind, TroubleKind::Unavailable, "the server itself stays");
            assert!(trouble.at >= went, "PostgreSQL was there");
            longest = longest.max(trouble.at.saturating_duration_since(back));
        }
        assert!(server.is_running());
        load.repeat_the_unanswered().await;
        load.repeat_the_answered().await;
    }
    prove(&load, &exchange).await;
    println!("errors ended {longest:?} after PostgreSQL was back");
    assert!(longest < BACK, "there were errors {longest:?} after PostgreSQL was back");
}

/// A PostgreSQL that a test may take away; gone when dropped.
struct Cluster {
    folder: TempDir,
    url: String,
}

impl Cluster {
    /// None when the tests were given no PostgreSQL, which then is not installed either.
    fn start() -> Option<Self> {
        variable("CLAWRK_TEST_POSTGRES")?;
        // In memory where there is some: the disk is not what is tested.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let url = script("start", folder.path());
        Some(Self { folder, url: url.trim().to_owned() })
    }

    /// Stops it as a crash would, and starts it again.
    async fn restart(&self) {
        let folder = self.folder.path().to_owned();
        beside(move || script("restart", &folder)).await;
    }

    /// Waits until it is gone, as this connection tells, and there again; since when.
    async fn is_back(&self, witness: &Client) -> Instant {
        let began = Instant::now();
        while !witness.is_closed() || connect(&self.url).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "PostgreSQL does not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Instant::now()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        script("stop", self.folder.path());
    }
}

fn script(action: &str, folder: &Path) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");
    let output = Command::new(path).arg(action).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `kill -9` of one of the processes that serve the exchange: PostgreSQL then ends all of them, and recovers.
async fn kill_a_backend(witness: &Client) {
    let backends = "SELECT pid FROM pg_stat_activity WHERE application_name = 'clawrk' ORDER BY random() LIMIT 1";
    signal("KILL", &ask(witness, backends).await[0]);
}

/// Waits until all is well for a while, or should have been long since.
async fn calm(load: &Load, back: Instant) {
    const WHILE: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let last = load.record.lock().unwrap().troubles.last().map_or(back, |trouble| trouble.at.max(back));
        if last.elapsed() > WHILE || back.elapsed() > BACK + WHILE {
            return;
        }
    }
}
