//! The order of jobs on texts as people write them, and the index under churn.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn text<'a>(title: &'a str, description: &'a str, requirements: &'a str) -> Text<'a> {
    let some = |text: &'a str| (!text.is_empty()).then_some(text);
    Text { title, description: some(description), requirements: some(requirements) }
}

fn ids(ranked: Vec<Ranked<&'static str>>) -> Vec<&'static str> {
    ranked.into_iter().map(|ranked| ranked.id).collect()
}

/// A board as one finds it; the oldest job fits nobody.
fn board() -> Index<&'static str> {
    let mut index = Index::new();
    let jobs = [
        ("haiku", text("Write a haiku about rain", "Seventeen syllables, please.", "Creative writing")),
        (
            "sum",
            text(
                "Sum the invoices per customer",
                "A CSV file of invoices is below.",
                "Spreadsheets and CSV; arithmetic",
            ),
        ),
        ("rust", text("Fix a panic in a Rust parser", "The parser panics on empty input.", "Rust; debugging")),
        (
            "german",
            text("Translate a letter into German", "A letter to the landlord, 200 words.", "Translation; German"),
        ),
        ("cpp", text("Review a C++ allocator", "Find data races in the code.", "C++; code review")),
        ("node", text("Add a route to a Node.js server", "Express, returns JSON.", "JavaScript")),
    ];
    for (queued_at, (id, text)) in (0..).zip(jobs) {
        index.insert(id, &text, queued_at);
    }
    index
}

#[test]
fn the_nearest_job_comes_first_and_the_rest_follow_oldest_first() {
    let index = board();
    let best = |personality| ids(index.best(Some(personality), 10, |_| false));
    assert_eq!(
        best("I am good at spreadsheets and adding up invoices"),
        ["sum", "haiku", "rust", "german", "cpp", "node"]
    );
    assert_eq!(best("Native German speaker, translates letters")[0], "german");
    assert_eq!(best("C++ expert")[..2], ["cpp", "haiku"]);
    assert_eq!(best("node.js")[..2], ["node", "haiku"]);
    assert_eq!(best("Rust developer who debugs and reviews")[..2], ["rust", "cpp"]);
    assert_eq!(best("a poet who writes haikus")[0], "haiku");
}

#[test]
fn title_and_requirements_count_more_than_the_description() {
    let mut index = Index::new();
    index.insert("said", &text("Check my page", "Some python was used somewhere", "Proofreading"), 0);
    index.insert("required", &text("Check my page", "Some code was used somewhere", "Python"), 1);
    index.insert("titled", &text("Python page", "Some code was used somewhere", "Proofreading"), 2);
    assert_eq!(ids(index.best(Some("python"), 3, |_| false))[2], "said");
}

#[test]
fn without_a_personality_the_oldest_job_comes_first() {
    let index = board();
    for nobody in [None, Some(""), Some("  "), Some("I am the one, and you?"), Some("🎉 --")] {
        let oldest = index.best(nobody, 3, |_| false);
        assert!(oldest.iter().all(|ranked| ranked.score == 0.0));
        assert_eq!(ids(oldest), ["haiku", "sum", "rust"], "{nobody:?}");
    }
}

#[test]
fn jobs_of_one_age_go_by_their_id() {
    let mut index = Index::new();
    for id in ["c", "a", "b"] {
        index.insert(id, &text("Count", "", ""), 7);
    }
    assert_eq!(ids(index.best(None, 9, |_| false)), ["a", "b", "c"]);
    assert_eq!(ids(index.best(Some("counting"), 2, |_| false)), ["a", "b"]);
}

#[test]
fn skipped_jobs_are_left_out_wherever_they_would_stand() {
    let index = board();
    let skip = |id: &&str| ["german", "haiku"].contains(id);
    assert_eq!(ids(index.best(Some("German translation"), 2, skip)), ["sum", "rust"]);
    assert_eq!(index.best(Some("German"), 10, |_| true), []);
    assert_eq!(index.best(Some("German"), 0, |_| false), []);
}

#[test]
fn a_job_that_comes_again_is_replaced() {
    let mut index = board();
    index.insert("sum", &text("Translate a poem into Danish", "", ""), 100);
    assert_eq!(index.len(), 6);
    assert_eq!(ids(index.best(Some("Danish"), 1, |_| false)), ["sum"]);
    assert_eq!(ids(index.best(Some("invoices"), 9, |_| false)).last(), Some(&"sum"));
    index.check();
}

#[test]
fn a_removed_job_is_gone() {
    let mut index = board();
    assert!(index.contains(&"rust") && index.remove(&"rust"));
    assert!(!index.contains(&"rust") && !index.remove(&"rust"));
    assert!(!ids(index.best(Some("rust parser"), 10, |_| false)).contains(&"rust"));
    for id in ["haiku", "sum", "german", "cpp", "node"] {
        assert!(!index.is_empty() && index.remove(&id));
        index.check();
    }
    assert!(index.is_empty());
    assert_eq!(index.best(Some("rust"), 10, |_| false), []);
}

#[test]
fn ten_thousand_jobs_that_come_and_go_leave_nothing_behind() {
    let mut index = Index::new();
    for n in 0..10_000_u32 {
        let title = format!("Count word{n} and common words");
        index.insert(n, &text(&title, "The description of a job", ""), i64::from(n));
        if n >= 10 {
            assert!(index.remove(&(n - 10)));
        }
    }
    let (slots, terms, postings) = index.sizes();
    assert!(slots <= 11 && terms <= 20 && postings <= 200, "{slots} slots, {terms} terms, {postings} postings");
    index.check();
    for n in 9_990..10_000 {
        assert!(index.remove(&n));
    }
    assert!(index.is_empty());
    assert_eq!(index.sizes().2, 0);
}

#[test]
fn lists_shrink_when_a_crowd_has_left() {
    let mut index = Index::new();
    for n in 0..5_000_u32 {
        index.insert(n, &text("Count", "", ""), 0);
    }
    for n in 1..5_000 {
        index.remove(&n);
    }
    assert!(index.sizes().2 <= 16, "{:?}", index.sizes());
}

/// BM25 by the book, over plain lists, sorted whole.
fn naive(jobs: &BTreeMap<u8, (Vec<u8>, i64)>, personality: &[u8], k: usize, skip: &BTreeSet<u8>) -> Vec<(u8, f64)> {
    let wanted: BTreeSet<u8> = personality.iter().copied().collect();
    let count = |words: &[u8], word| 3.0 * words.iter().filter(|other| **other == word).count() as f64;
    let total: usize = jobs.values().map(|(words, _)| 3 * words.len()).sum();
    let (n, average) = (jobs.len() as f64, total as f64 / jobs.len() as f64);
    let score = |words: &[u8]| {
        let one = |word: &u8| {
            let tf = count(words, *word);
            let df = jobs.values().filter(|(words, _)| words.contains(word)).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            let length = 3.0 * words.len() as f64;
            if tf == 0.0 { 0.0 } else { idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average)) }
        };
        wanted.iter().map(one).fold(0.0, |sum, part| sum + part)
    };
    let mut all: Vec<(u8, f64, i64)> = jobs.iter().map(|(id, (words, at))| (*id, score(words), *at)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.2.cmp(&b.2)).then(a.0.cmp(&b.0)));
    all.into_iter().filter(|(id, ..)| !skip.contains(id)).take(k).map(|(id, score, _)| (id, score)).collect()
}

/// Ten words whose stems differ.
fn words(numbers: &[u8]) -> String {
    numbers.iter().map(|n| format!("w{n}x ")).collect()
}

proptest! {
    #[test]
    fn the_best_are_those_of_a_full_sort(
        steps in prop::collection::vec((0_u8..12, prop::option::weighted(0.7, prop::collection::vec(0_u8..10, 0..6)), 0_i64..4), 0..60),
        personality in prop::collection::vec(0_u8..10, 0..5),
        k in 0_usize..15,
        skip in prop::collection::btree_set(0_u8..12, 0..4),
    ) {
        let (mut index, mut jobs) = (Index::new(), BTreeMap::new());
        for (id, put, at) in steps {
            if let Some(put) = put {
                index.insert(id, &text(&words(&put), "", ""), at);
                jobs.insert(id, (put, at));
            } else {
                prop_assert_eq!(index.remove(&id), jobs.remove(&id).is_some());
            }
            index.check();
        }
        let best = index.best(Some(&words(&personality)), k, |id| skip.contains(id));
        let expected = naive(&jobs, &personality, k, &skip);
        prop_assert_eq!(best.len(), expected.len());
        for (ranked, (id, score)) in best.iter().zip(&expected) {
            prop_assert_eq!(ranked.id, *id);
            prop_assert!((ranked.score - score).abs() < 1e-9);
        }
    }

    #[test]
    fn any_text_can_be_indexed_and_removed(title in "\\PC*", rest in any::<String>(), personality in any::<String>()) {
        let mut index = Index::new();
        index.insert(1, &text(&title, &rest, &rest), i64::MIN);
        index.insert(2, &text(&personality, "", ""), i64::MAX);
        prop_assert_eq!(index.best(Some(&personality), 9, |_| false).len(), 2);
        index.check();
        prop_assert!(index.remove(&1) && index.remove(&2));
        prop_assert_eq!(index.sizes().2, 0);
    }
}
