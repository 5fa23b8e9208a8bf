//! A PostgreSQL database of its own for each test, copied from one that was migrated once; or a server of its own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use clawrk_domain::Policy;
use clawrk_store::{Clock, Store};
use tokio_postgres::{Client, NoTls};

use crate::support::{START, background, variable};

/// A database that is dropped in the end.
pub(crate) struct Throwaway {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Throwaway {
    pub(crate) async fn create(server: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let template = template(server).await;
        let name = format!("clawrk_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let admin = connect(server).await;
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Self { server: server.to_owned(), url: database_url(server, &name), name }
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let drop_it = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = connect(&server).await;
                admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
            });
        };
        // A thread of its own: a runtime cannot be entered twice.
        let dropped = std::thread::spawn(drop_it).join();
        assert!(dropped.is_ok() || std::thread::panicking(), "a test's database could not be dropped");
    }
}

/// A PostgreSQL server of its own, for a test that changes its settings; gone when dropped.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Cluster {
    /// None when the tests were given no PostgreSQL, which then is not installed either.
    pub(crate) fn start() -> Option<Self> {
        server()?;
        // In memory where there is some: the disk is not what is tested.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let url = script("start", folder.path()).trim().to_owned();
        Some(Self { folder, url })
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

/// The migrated database that tests copy. It bears the schema's hash, so runs share it until the schema changes.
async fn template(server: &str) -> String {
    static TEMPLATE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let make = async || {
        let mut hasher = DefaultHasher::new();
        include_str!("../../migrations/postgres/V1__start.sql").hash(&mut hasher);
        include_str!("../../migrations/postgres/V2__tally.sql").hash(&mut hasher);
        let name = format!("clawrk_template_{:016x}", hasher.finish());
        let admin = connect(server).await;
        // Another run of the tests may be at it, too.
        admin.batch_execute("SELECT pg_advisory_lock(20250101)").await.unwrap();
        let there = admin.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await.unwrap();
        if there.is_empty() {
            // An order of letters that is not that of their bytes, where the server knows one: the store must not care.
            let strange = format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
            );
            if admin.batch_execute(&strange).await.is_err() {
                admin
                    .batch_execute(&format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))
                    .await
                    .unwrap();
            }
            let url = database_url(server, &name);
            drop(Store::postgres(&url, Policy::default(), Clock::manual(START)).await.unwrap());
            let clear = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
            admin.query(clear, &[&name]).await.unwrap();
        }
        name
    };
    TEMPLATE.get_or_init(make).await.clone()
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL for tests is there");
    background(async move {
        // It ends with its client; what it has to say the client says, too.
        let _ = connection.await;
    });
    client
}

/// The test server's URL, if there is one.
pub(crate) fn server() -> Option<String> {
    let url = variable("CLAWRK_TEST_POSTGRES");
    if url.is_none() {
        assert!(variable("REQUIRE_POSTGRES").as_deref() != Some("1"), "CLAWRK_TEST_POSTGRES is not set");
        println!("skipped on PostgreSQL: CLAWRK_TEST_POSTGRES is not set");
    }
    url
}

/// The same server's URL for another database.
fn database_url(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, None), |(base, query)| (base, Some(query)));
    let scheme = base.find("://").expect("a URL") + 3;
    let host = base[scheme..].find('/').map_or(base, |slash| &base[..scheme + slash]);
    query.map_or_else(|| format!("{host}/{name}"), |query| format!("{host}/{name}?{query}"))
}
