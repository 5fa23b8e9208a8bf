//! Both schemas are one schema, and both databases can bind the shared statements.

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

#[test]
fn parameters_are_numbered_in_order_of_first_appearance() {
    let sources =
        [include_str!("../../src/sql.rs"), include_str!("../../src/writes.rs"), include_str!("../../src/audit.rs")];
    let mut with_parameters = 0;
    for literal in sources.into_iter().flat_map(string_literals) {
        let numbers = parameters(&literal);
        assert!(in_order(&numbers), "{numbers:?} in {literal}");
        with_parameters += usize::from(!numbers.is_empty());
    }
    assert!(with_parameters > 30, "the scan missed statements: {with_parameters}");
}

#[test]
fn a_parameter_out_of_order_is_noticed() {
    assert_eq!(string_literals(r#"a("x = $2 \" AND y", '"', "$1") // "$9" "#), ["x = $2 \" AND y", "$1"]);
    for (sql, fine) in [("$1 $2 $1 $3", true), ("$2 $1", false), ("$1 $3", false), ("$1 $2 $12", false), ("", true)] {
        assert_eq!(in_order(&parameters(sql)), fine, "{sql}");
    }
}

fn in_order(numbers: &[usize]) -> bool {
    let mut highest = 0;
    numbers.iter().all(|number| {
        let fits = (1..=highest + 1).contains(number);
        highest = highest.max(*number);
        fits
    })
}

/// The numbers of the parameters, in the order they appear.
fn parameters(sql: &str) -> Vec<usize> {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    sql.split('$').skip(1).filter_map(|rest| digits(rest).parse().ok()).collect()
}

/// The string literals of Rust source that has no raw ones.
fn string_literals(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut letters = source.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '/' if letters.peek() == Some(&'/') => while letters.next_if(|letter| *letter != '\n').is_some() {},
            '\'' if letters.peek() == Some(&'"') => _ = letters.next(),
            '"' => {
                let mut literal = String::new();
                while let Some(letter) = letters.next_if(|letter| *letter != '"') {
                    literal.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
                }
                letters.next();
                literals.push(literal);
            }
            _ => {}
        }
    }
    literals
}
