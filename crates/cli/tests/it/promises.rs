//! `docs/promises.md` names tests that there are.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let promises = std::fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let mut known = String::new();
    read_sources(&root.join("crates"), &mut known);
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Promise"));
    let mut names = BTreeSet::new();
    for row in rows {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let before = names.len();
        names.extend(proof.split('`').skip(1).step_by(2).map(str::to_owned));
        assert!(names.len() > before || proof.contains("both_databases_answer_alike"), "nothing proves this: {row}");
    }
    assert!(names.len() > 40, "the page was not read: {names:?}");
    for name in names {
        // Tests that a macro makes for both databases are functions with an argument.
        let on_both_databases = known.contains(&format!("fn {name}(h: &Harness)"));
        assert!(on_both_databases || is_test(&known, &name), "there is no test {name}");
    }
}

/// A function that the test runner runs: marked as a test, and not ignored.
fn is_test(sources: &str, name: &str) -> bool {
    let Some(at) = sources.find(&format!("fn {name}(")) else { return false };
    let line_start = sources[..at].rfind('\n').unwrap_or_default();
    let before = sources[..line_start].lines().rev().take_while(|line| line.trim_start().starts_with("#["));
    let marks: Vec<&str> = before.collect();
    marks.iter().any(|mark| mark.contains("test]") || mark.contains("tokio::test"))
        && marks.iter().all(|mark| !mark.contains("ignore"))
}

fn read_sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
