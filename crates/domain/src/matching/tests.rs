//! The order of jobs on texts as people write them, and the index under churn.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn text<'a>(title: &'a str, description: &'a str, requirements: &'a str) -> Text<'a> {
    let some = |text: &'a str| (!text.is_empty()).then_some(text);
    Text { title, description: some(description), requirements: some(requirements) }
}

fn post<Id: Clone + Ord + std::hash::Hash>(index: &mut Index<Id>, id: Id, text: &Text<'_>, queued_at: i64) {
    index.insert(id, Reading::of(text), queued_at);
}

fn ids<Id>(ranked: Vec<Ranked<Id>>) -> Vec<Id> {
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
        post(&mut index, id, &text, queued_at);
    }
    index
}

#[test]
fn the_nearest_job_comes_first_and_the_rest_follow_oldest_first() {
    let index = board();
    let best = |personality| ids(index.best(Some(personality), 0, 10, |_| false));
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
    post(&mut index, "said", &text("Check my page", "Some python was used somewhere", "Proofreading"), 0);
    post(&mut index, "required", &text("Check my page", "Some code was used somewhere", "Python"), 1);
    post(&mut index, "titled", &text("Python page", "Some code was used somewhere", "Proofreading"), 2);
    assert_eq!(ids(index.best(Some("python"), 0, 3, |_| false))[2], "said");
}

#[test]
fn words_that_begin_alike_are_relatives() {
    let mut index = Index::new();
    post(&mut index, "manager", &text("Management of a warehouse", "", ""), 0);
    post(&mut index, "other", &text("Manufacture of a warehouse", "", ""), 1);
    post(&mut index, "too unlike", &text("Manavelins of a warehouse", "", ""), 2);
    let best = index.best(Some("I am a manager"), 2, 3, |_| false);
    assert_eq!(best[0].id, "manager");
    assert!(best[0].lexical > 0.0 && best[1].lexical == 0.0 && best[2].lexical == 0.0, "{best:?}");
    let shares = index.shares("I am a manager", &"manager");
    assert_eq!((shares.len(), &*shares[0].term, &*shares[0].said), (1, "manag", "manag"));
}

#[test]
fn what_one_says_first_counts_more() {
    let mut index = Index::new();
    post(&mut index, "poem", &text("Poems", "", ""), 0);
    post(&mut index, "sum", &text("Sums", "", ""), 0);
    for (personality, first) in [
        ("I write poems. I do sums.", "poem"),
        ("I do sums, well. I write poems.", "sum"),
        ("...\nSums!\nPoems", "sum"),
    ] {
        assert_eq!(ids(index.best(Some(personality), 0, 1, |_| false)), [first], "{personality}");
    }
}

#[test]
fn neighbours_count_as_phrases_within_a_clause() {
    let mut index = Index::new();
    post(&mut index, "apart", &text("Learning about a machine", "", ""), 0);
    post(&mut index, "marked", &text("About a machine, learning", "", ""), 1);
    post(&mut index, "together", &text("About machine learning", "", ""), 2);
    assert_eq!(ids(index.best(Some("machine learning"), 0, 3, |_| false)), ["together", "apart", "marked"]);
}

#[test]
fn a_job_that_suits_nobody_comes_first_after_a_day() {
    let mut index = board();
    post(&mut index, "odd", &text("Whistle", "", ""), 0);
    let first = |index: &Index<&'static str>, now| ids(index.best(Some("German translation"), now, 1, |_| false))[0];
    const DAY: i64 = 86_400_000_000;
    for id in ["haiku", "sum", "rust", "cpp", "node", "german"] {
        index.remove(&id);
    }
    let first_hour = (0..=24).find(|hour| {
        // What fits perfectly keeps coming.
        let now = hour * DAY / 24;
        post(&mut index, "german", &text("German translation", "German translation", "German translation"), now);
        first(&index, now) == "odd"
    });
    assert!(first_hour.is_some_and(|hour| hour >= 12), "{first_hour:?}");
}

#[test]
fn who_names_everything_gets_nothing_before_those_who_name_one_thing() {
    let trades = ["translation", "welding", "surgery", "sculpture", "brewing", "carpentry", "astronomy", "knitting"];
    let mut index = Index::new();
    for (at, trade) in (0..).zip(trades) {
        post(&mut index, trade, &text(&format!("Some {trade} for a customer"), "", ""), at);
    }
    let all = trades.join(" ");
    post(&mut index, "everything", &text(&all, &all.repeat(9), &all.repeat(9)), -1);
    for trade in trades {
        let best = index.best(Some(&format!("I know {trade}")), 0, 2, |_| false);
        assert_eq!(ids(best), [trade, "everything"]);
        let modest = index.best(Some(&format!("I know {trade}")), 0, 1, |_| false)[0].lexical;
        let greedy = index.best(Some(&all), 0, 9, |id| *id == "everything");
        assert!(greedy.iter().all(|ranked| ranked.lexical < modest), "{greedy:?}");
    }
}

/// Forty trades of twelve words each; what each is about, and who is good at it.
fn trades() -> Vec<Vec<String>> {
    (0..40).map(|trade| (0..12).map(|word| format!("t{trade}w{word}x")).collect()).collect()
}

#[test]
fn a_job_full_of_everybodys_words_comes_behind_those_that_are_about_something() {
    let trades = trades();
    let filler = |words: usize| (0..words).map(|n| format!("f{}x ", n % 90)).collect::<String>();
    for length in [8, 30, 100] {
        let mut index = Index::new();
        for (n, trade) in trades.iter().enumerate() {
            let (title, description) = (trade[..3].join(" "), trade[2..8].join(" ") + " " + &filler(length - 8));
            post(&mut index, n, &text(&title, &description, ""), 1);
        }
        // The same words in each field, from each trade in turn, so that what is read has some of all.
        let all: Vec<&str> = (0..12).flat_map(|word| trades.iter().map(move |trade| &*trade[word])).collect();
        let all = all.join(" ");
        for (stuffed, title, rest) in [(98, "Some work", &*all), (99, &*all, &*all)] {
            // It waits for longer, if for hardly any time.
            post(&mut index, stuffed, &text(title, rest, rest), 0);
        }
        for (n, trade) in trades.iter().enumerate() {
            let personality = format!("I know {}", trade.join(" and "));
            let best = index.best(Some(&personality), 1, 2, |_| false);
            assert_eq!(best[0].id, n, "{length} words: {best:?}");
            assert!(best[0].lexical > 1.5 * best[1].lexical, "{length} words: {best:?}");
        }
    }
}

#[test]
fn a_job_that_repeats_a_word_gains_little_by_it() {
    let mut index = Index::new();
    let honest = text("Translate a letter", "A letter to the landlord, in German", "German translation");
    post(&mut index, "honest", &honest, 1);
    let again = "translation German ".repeat(60);
    post(&mut index, "again and again", &text(&again, &again, &again), 1);
    post(&mut index, "other", &text("Water the plants", "", ""), 1);
    let best = index.best(Some("A translator of letters into German"), 1, 3, |_| false);
    assert_eq!(ids(best), ["honest", "again and again", "other"]);
}

#[test]
fn what_stands_far_behind_is_not_read() {
    let mut index = Index::new();
    let padding = |words: usize| (0..words).map(|n| format!("p{n}x ")).collect::<String>();
    post(&mut index, 1, &text(&format!("{} brewing", padding(199)), "", ""), 0);
    post(&mut index, 2, &text(&format!("{} welding", padding(200)), "", ""), 0);
    let fits = |personality: &str, id| index.best(Some(personality), 0, 2, |other| other != id)[0].lexical > 0.0;
    assert!(fits("brewing", &1) && !fits("welding", &2));
    let far = |words: usize| format!("{} brewing", (0..words).map(|n| format!("q{n}x ")).collect::<String>());
    assert!(fits(&far(399), &1) && !fits(&far(400), &1));
}

#[test]
fn without_a_personality_the_oldest_job_comes_first() {
    let index = board();
    for nobody in [None, Some(""), Some("  "), Some("I am the one, and you?"), Some("🎉 --")] {
        let oldest = index.best(nobody, 0, 3, |_| false);
        assert!(oldest.iter().all(|ranked| ranked.score() == 0.0));
        assert_eq!(ids(oldest), ["haiku", "sum", "rust"], "{nobody:?}");
    }
}

#[test]
fn jobs_of_one_age_go_by_their_id() {
    let mut index = Index::new();
    for id in ["c", "a", "b"] {
        post(&mut index, id, &text("Count", "", ""), 7);
    }
    assert_eq!(ids(index.best(None, 0, 9, |_| false)), ["a", "b", "c"]);
    assert_eq!(ids(index.best(Some("counting"), 0, 2, |_| false)), ["a", "b"]);
}

#[test]
fn what_was_posted_and_called_off_changes_nothing() {
    let mut index = board();
    let asked = [Some("a poet who writes haikus"), Some("C++ expert"), Some("German translation")];
    let ranked = |index: &Index<_>| asked.map(|personality| index.best(personality, 0, 9, |_| false));
    let before = ranked(&index);
    for _ in 0..500 {
        post(&mut index, "poison", &text("haiku german c++ haiku", "rust sum", "translations"), 0);
        index.remove(&"poison");
    }
    assert_eq!(ranked(&index), before);
}

#[test]
fn words_that_all_begin_alike_cost_no_more_than_others() {
    let letters =
        |number: usize| -> String { number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect() };
    let alike = |from: usize| (from..from + 150).map(|n| format!("musi{}x ", letters(n))).collect::<String>();
    let mut index = Index::new();
    post(&mut index, 0, &text("Music of an island", "", ""), 0);
    let fits = |index: &Index<usize>| index.best(Some("I am a musician"), 0, 1, |_| false)[0].lexical > 0.0;
    assert!(fits(&index));
    for n in 1..70 {
        post(&mut index, n, &text(&alike(n * 150), "", ""), 1);
    }
    assert!(!fits(&index), "there are so many that none is taken for a relative");
}

#[test]
fn among_jobs_that_all_waited_for_long_the_fit_decides() {
    const DAY: i64 = 86_400_000_000;
    let mut index = Index::new();
    for days in 0..10 {
        post(&mut index, "other", &text("Water the plants", "", ""), 0);
        post(&mut index, "fits", &text("Translate a letter", "", ""), days * DAY);
        let first = ids(index.best(Some("A translator of letters"), 12 * DAY, 1, |_| false))[0];
        assert_eq!(first, "fits", "it waited for {} days, and the other one for 12", 12 - days);
    }
}

#[test]
fn a_word_of_nearly_every_job_tells_none_apart() {
    let mut index = Index::new();
    for n in 0..200_003_u32 {
        index.insert(n, Reading::of(&text("Count", "", "")), i64::from(n));
    }
    post(&mut index, 300_000, &text("Count sheep", "", ""), 300_000);
    assert_eq!(ids(index.best(Some("counting"), 0, 3, |id| *id == 1)), [0, 2, 3]);
    assert_eq!(ids(index.best(Some("counting sheep"), 0, 2, |_| false)), [300_000, 0]);
}

#[test]
fn skipped_jobs_are_left_out_wherever_they_would_stand() {
    let index = board();
    let skip = |id: &&str| ["german", "haiku"].contains(id);
    assert_eq!(ids(index.best(Some("German translation"), 0, 2, skip)), ["sum", "rust"]);
    assert_eq!(index.best(Some("German"), 0, 10, |_| true), []);
    assert_eq!(index.best(Some("German"), 0, 0, |_| false), []);
}

#[test]
fn a_job_that_comes_again_is_replaced() {
    let mut index = board();
    post(&mut index, "sum", &text("Translate a poem into Danish", "", ""), 100);
    assert_eq!(index.len(), 6);
    assert_eq!(ids(index.best(Some("Danish"), 0, 1, |_| false)), ["sum"]);
    assert_eq!(ids(index.best(Some("invoices"), 0, 9, |_| false)).last(), Some(&"sum"));
    index.check();
}

#[test]
fn a_removed_job_is_gone() {
    let mut index = board();
    assert!(index.contains(&"rust") && index.remove(&"rust"));
    assert!(!index.contains(&"rust") && !index.remove(&"rust"));
    assert!(!ids(index.best(Some("rust parser"), 0, 10, |_| false)).contains(&"rust"));
    for id in ["haiku", "sum", "german", "cpp", "node"] {
        assert!(!index.is_empty() && index.remove(&id));
        index.check();
    }
    assert!(index.is_empty());
    assert_eq!(index.best(Some("rust"), 0, 10, |_| false), []);
}

#[test]
fn ten_thousand_jobs_that_come_and_go_leave_nothing_behind() {
    let mut index = Index::new();
    for n in 0..10_000_u32 {
        let title = format!("Count word{n} and common words");
        post(&mut index, n, &text(&title, "The description of a job", ""), i64::from(n));
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
        post(&mut index, n, &text("Count", "", ""), 0);
    }
    for n in 1..5_000 {
        index.remove(&n);
    }
    assert!(index.sizes().2 <= 16, "{:?}", index.sizes());
}

/// The score by the book, over plain lists, sorted whole.
fn naive(
    jobs: &BTreeMap<u8, (Vec<u8>, i64)>,
    personality: &[u8],
    now: i64,
    k: usize,
    skip: &BTreeSet<u8>,
) -> Vec<(u8, f64)> {
    let neighbours = |words: &[u8]| -> BTreeSet<(u8, u8)> {
        words.windows(2).map(|two| (two[0], two[1])).filter(|(one, other)| one != other).collect()
    };
    let times = |words: &[u8], word| words.iter().filter(|other| **other == word).count() as f64;
    let n = jobs.len() as f64 + 40.0;
    let mut weights = BTreeMap::new();
    for word in personality {
        let df = jobs.values().filter(|(words, _)| words.contains(word)).count() as f64;
        let rarity = (1.0 + (n - df + 0.5) / (df + 0.5)).ln() * (1.0 + (n + 1.0) / (df + 0.5)).ln();
        if jobs.values().any(|(words, _)| words.contains(word)) {
            weights.insert(*word, (1.5 * times(personality, *word)).powf(0.75) * rarity);
        }
    }
    let length = weights.values().map(|weight| weight * weight).sum::<f64>().sqrt();
    weights.values_mut().for_each(|weight| *weight /= length);
    let average = jobs.values().map(|(words, _)| 2.0 * words.len() as f64).sum::<f64>() / jobs.len() as f64;
    let score = |words: &[u8], at: i64| {
        let drag = 0.25 + 0.75 * 2.0 * words.len() as f64 / average;
        let part = |(word, weight): (&u8, &f64)| {
            let count = f64::min(2.0 * times(words, *word), 6.0);
            if count == 0.0 { 0.0 } else { weight * count * 2.0 / (count + drag) }
        };
        let terms: f64 = weights.iter().map(part).sum();
        let together = neighbours(personality).intersection(&neighbours(words)).copied().collect::<Vec<_>>();
        let phrases: f64 = together.iter().map(|(one, other)| weights[one] + weights[other]).sum();
        let sum = if words.is_empty() { 0.0 } else { terms + 0.25 * phrases * 2.0 / (1.0 + drag) };
        let days = (now - at).max(0) as f64 / 86_400e6;
        sum / (1.0 + sum) + if days <= 1.0 { days } else { 1.0 + 0.25 * days.ln() }
    };
    let mut all: Vec<(u8, f64, i64)> = jobs.iter().map(|(id, (words, at))| (*id, score(words, *at), *at)).collect();
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
        now in prop_oneof![Just(0_i64), Just(40_000_000_000), Just(400_000_000_000)],
        k in 0_usize..15,
        skip in prop::collection::btree_set(0_u8..12, 0..4),
    ) {
        let (mut index, mut jobs) = (Index::new(), BTreeMap::new());
        for (id, put, at) in steps {
            if let Some(put) = put {
                post(&mut index, id, &text(&words(&put), "", ""), at);
                jobs.insert(id, (put, at));
            } else {
                prop_assert_eq!(index.remove(&id), jobs.remove(&id).is_some());
            }
            index.check();
        }
        let best = index.best(Some(&words(&personality)), now, k, |id| skip.contains(id));
        let expected = naive(&jobs, &personality, now, k, &skip);
        prop_assert_eq!(best.len(), expected.len());
        for (ranked, (_, score)) in best.iter().zip(&expected) {
            prop_assert!((ranked.score() - score).abs() < 1e-9, "{} is not {score}", ranked.score());
        }
        // Sums that are equal by the book may differ in their last bit, and then age does not decide.
        let among = |ranked: &Ranked<u8>| expected.iter().any(|(id, score)| {
            *id == ranked.id || (score - ranked.score()).abs() < 1e-9
        });
        prop_assert!(best.iter().all(among));
    }

    #[test]
    fn any_text_can_be_indexed_and_removed(title in "\\PC*", rest in any::<String>(), personality in any::<String>()) {
        let mut index = Index::new();
        post(&mut index, 1, &text(&title, &rest, &rest), i64::MIN);
        post(&mut index, 2, &text(&personality, "", ""), i64::MAX);
        prop_assert_eq!(index.best(Some(&personality), 0, 9, |_| false).len(), 2);
        index.check();
        prop_assert!(index.remove(&1) && index.remove(&2));
        prop_assert_eq!(index.sizes().2, 0);
    }
}

/// The jobs that have all the words, by both ways of asking for them.
fn found(index: &Index<&'static str>, words: &str) -> Vec<&'static str> {
    let search = Search::of(words);
    let finder = index.finder(&search);
    let mut all: Vec<&str> = index.by_id().filter(|id| finder.finds(id)).collect();
    all.sort_unstable();
    for id in index.by_id() {
        let marks = index.marks(&id).unwrap();
        assert_eq!(search.finds(&marks), all.contains(&id), "{words}: {id}");
    }
    if let Some(few) = finder.few(usize::MAX) {
        assert!(all.iter().all(|id| few.iter().any(|(few, _)| few == id)), "{words}");
    }
    all
}

#[test]
fn a_search_finds_the_jobs_that_have_all_its_words() {
    let mut index = Index::new();
    let jobs = [
        ("sort", text("Sorting numbers", "in C++, as fast as it can be", "")),
        ("translate", text("Übersetzung", "Translate a letter", "English; Привет")),
        ("scrape", text("Sorted links", "数据 from a page", "node.js")),
    ];
    for (at, (id, text)) in jobs.iter().enumerate() {
        post(&mut index, *id, text, at as i64);
    }
    for (words, expected) in [
        ("sorts", &["scrape", "sort"][..]),
        ("SORTED number", &["sort"]),
        ("c++", &["sort"]),
        ("numbers, numbers; numbers", &["sort"]),
        ("übersetzung", &["translate"]),
        ("ПРИВЕТ translations", &["translate"]),
        ("据", &["scrape"]),
        ("Node.js and the 数", &["scrape"]),
        ("sort nothing", &[]),
        ("the", &["scrape", "sort", "translate"]),
        ("  ", &["scrape", "sort", "translate"]),
        ("% ' \" \0 --", &[]),
        (&*format!("sort {}", "z".repeat(65)), &[]),
    ] {
        assert_eq!(found(&index, words), expected, "{words}");
    }
    let sorts = Search::of("sort numbers");
    assert_eq!(index.finder(&sorts).few(1), Some(vec![("sort", 0)]), "the rarest word's jobs");
    assert_eq!(index.finder(&Search::of("sort")).few(1), None, "there are more");
    assert_eq!(index.finder(&Search::of("unknown sort")).few(0), Some(Vec::new()));
    assert_eq!(index.finder(&Search::default()).few(9), None, "nothing is looked for");
    let gone = index.marks(&"sort").unwrap();
    index.remove(&"sort");
    assert_eq!(found(&index, "numbers"), [""; 0]);
    assert!(index.marks(&"sort").is_none() && sorts.finds(&gone) && !Search::of("letter").finds(&gone));
    assert_eq!(gone, Marks::of(&Reading::of(&jobs[0].1)), "read or remembered, a job's marks are the same");
}
