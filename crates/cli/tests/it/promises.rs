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
        let there = known.contains(&format!("fn {name}()")) || known.contains(&format!("fn {name}(h: &Harness)"));
        assert!(there || known.contains(&format!("fn {name}(steps")), "there is no test {name}");
    }
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
