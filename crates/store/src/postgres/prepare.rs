//! Before a node begins: is this a server that keeps what it acknowledges, and is the schema there?

use deadpool_postgres::Pool;

use super::unreachable;
use crate::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The oldest server that has everything we ask of it, as `server_version_num`.
const OLDEST_SERVER: i32 = 130_000;
/// The advisory lock under which the schema is brought up to date: "clawrk" in ASCII.
const MIGRATION_LOCK: i64 = 0x63_6c_61_77_72_6b;

/// Refuses a server that could lose what it acknowledged, and brings the schema up to date, one node at a time.
pub(super) async fn prepare(pool: &Pool) -> Result<(), StoreError> {
    let mut client = pool.get().await.map_err(unreachable)?;
    check_server(&client).await?;
    // Another node may take its time over a long migration, and so may this one.
    client.batch_execute("SET lock_timeout = 0; SET statement_timeout = 0").await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    // On an error the connection is dropped below, and the lock with it.
    let migrated = embedded::migrations::runner().run_async(&mut **client).await;
    if migrated.is_ok() {
        client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
    }
    drop(deadpool_postgres::Object::take(client));
    Ok(migrated.map(|_| ())?)
}

async fn check_server(client: &tokio_postgres::Client) -> Result<(), StoreError> {
    let ask = async |setting: &str| {
        let answer = client.query_one("SELECT current_setting($1)", &[&setting]).await?;
        answer.try_get::<_, String>(0)
    };
    let refuse = |text: String| Err(StoreError::Unsafe(text));
    let version = ask("server_version_num").await?;
    if version.parse::<i32>().is_ok_and(|version| version < OLDEST_SERVER) {
        return refuse(format!("PostgreSQL 13 or later is needed; this one is {}", ask("server_version").await?));
    }
    for setting in ["fsync", "synchronous_commit"] {
        if ask(setting).await? == "off" {
            return refuse(format!(
                "PostgreSQL runs with {setting} = off, which could lose acknowledged payments at a power cut: \
                 set {setting} = on"
            ));
        }
    }
    let encoding = ask("server_encoding").await?;
    if encoding != "UTF8" {
        return refuse(format!(
            "the PostgreSQL database is encoded in {encoding}, which cannot keep every text: \
             create it with ENCODING 'UTF8'"
        ));
    }
    Ok(())
}
