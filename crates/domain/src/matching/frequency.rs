//! How common a word is among jobs: counted over those that are queued, on top of a guess that is built in, so that the
//! first job of an exchange already ranks by what it is about.
//!
//! What is no longer queued does not count: every node counts the same, whenever it was started, and jobs that are
//! posted and called off make no word common.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::terms::terms;

/// As many jobs as the guess is worth.
const GUESSED_JOBS: f64 = 40.0;

/// How much a term tells that stands in so many of all queued jobs: the product of two kinds of inverse document
/// frequency.
pub(super) fn rarity(term: &str, found: usize, jobs: usize) -> f64 {
    let found = found as f64 + GUESSED_JOBS * guess(term);
    let jobs = jobs as f64 + GUESSED_JOBS;
    let among_jobs = (1.0 + (jobs - found + 0.5) / (found + 0.5)).ln();
    let in_general = (1.0 + (jobs + 1.0) / (found + 0.5)).ln();
    among_jobs * in_general
}

/// In what share of jobs a term is guessed to stand before any was seen.
fn guess(term: &str) -> f64 {
    static GUESSES: LazyLock<HashMap<String, f64>> = LazyLock::new(|| {
        let words = COMMON.iter().flat_map(|(share, words)| words.split_whitespace().map(|word| (word, *share)));
        words.flat_map(|(word, share)| terms(word).into_iter().map(move |term| (term, share))).collect()
    });
    GUESSES.get(term).copied().unwrap_or_default()
}

/// What people write into jobs of every kind: it tells little of what a job is about.
const COMMON: [(f64, &str); 3] = [
    (0.25, "answer check create data file find give list make name need number one text two use word work write"),
    (
        0.1,
        "ability add best brief change clear complete correct day detail document email exact example experience \
         explain expert fact first five follow format four full good help high include information item job know \
         knowledge language least line long new output page paragraph part person point product professional project \
         provide question read reason report result return right sentence short show simple skill specialist start \
         style summary table take task ten three time topic under using want well year",
    ),
    (
        0.04,
        "analyze article available business code collect company compare contain content customer date deliver \
         describe design different edit english error evaluate every extract general group idea identify important \
         improve input keep key large level link main manage market meet message method model money month note order \
         organize original people perform plan possible practice prepare present price problem process public quality \
         quick real record require research review sample science search section select service set several sort \
         source state step strong structure subject suggest summarize support system team technical test title tool \
         translate type understand value various week website world",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tells(word: &str) -> f64 {
        rarity(&terms(word)[0], 0, 0)
    }

    #[test]
    fn what_everybody_writes_tells_little_before_there_is_any_job() {
        assert!(tells("tax") == tells("c++") && tells("tax") > 2.0 * tells("translates"));
        assert!(tells("translates") > tells("report") && tells("report") > tells("writing"));
        assert!(tells("writing") > 0.0);
    }

    #[test]
    fn jobs_that_are_there_outweigh_the_guess() {
        assert!(rarity("tax", 500, 500) < rarity("write", 0, 500));
    }
}
