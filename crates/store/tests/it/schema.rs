//! Both schemas are one schema.

use std::collections::BTreeSet;

use crate::support::{Harness, TABLES};

#[test]
fn migrations_have_the_same_numbers_and_names() {
    let names = |database: &str| {
        let dir = format!("{}/migrations/{database}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(dir).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert!(names("sqlite").contains("V1__start.sql"));
    assert_eq!(names("sqlite"), names("postgres"));
}

#[tokio::test]
async fn tables_columns_and_indexes_are_the_same() {
    let Some(postgres) = Harness::postgres().await else { return };
    let sqlite = Harness::sqlite().await;
    let columns = sqlite
        .rows(
            "SELECT t.name, c.name, c.\"notnull\" + c.pk > 0 FROM sqlite_master t, pragma_table_info(t.name) c
              WHERE t.type = 'table' AND t.name <> 'refinery_schema_history' AND t.name NOT LIKE 'sqlite_%'
              ORDER BY t.name, c.cid",
        )
        .await
        .unwrap();
    let twins = postgres
        .rows(
            "SELECT table_name COLLATE \"C\", column_name, (is_nullable = 'NO')::int FROM information_schema.columns
              WHERE table_schema = 'public' AND table_name NOT IN ('refinery_schema_history', 'feed')
              ORDER BY 1, ordinal_position",
        )
        .await
        .unwrap();
    let tables: BTreeSet<_> = columns.iter().filter_map(|row| row[0].as_deref()).collect();
    assert_eq!(tables, TABLES.into_iter().chain(["transfers"]).collect(), "a dump shows every table");
    // SQLite's own integer key is its row's number, and never null.
    assert_eq!(columns, twins);
    let indexes = sqlite.rows("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1");
    let twins = postgres.rows(
        "SELECT indexname COLLATE \"C\" FROM pg_indexes
          WHERE schemaname = 'public' AND indexname !~ '_(pkey|key)$' AND indexname <> 'feed_by_xid' ORDER BY 1",
    );
    assert_eq!(indexes.await.unwrap(), twins.await.unwrap());
}
