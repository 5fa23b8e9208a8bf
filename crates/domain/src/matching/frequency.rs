//! How common a word is among jobs: counted over all that were seen, on top of a guess that is built in, so that the
//! first job of an exchange already ranks by what it is about.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use super::terms::terms;

/// As many jobs as the guess is worth.
const GUESSED_JOBS: f64 = 40.0;
/// Terms and jobs that are counted, at most; then all counts are halved, so that what was long ago weighs less and what
/// was seen once is forgotten.
const MOST_TERMS: usize = 1 << 17;
const MOST_JOBS: u32 = 1 << 20;

/// Of how many jobs each term was a part.
#[derive(Debug, Default)]
pub(super) struct Frequencies {
    counts: HashMap<u64, u32>,
    jobs: u32,
}

impl Frequencies {
    /// Counts a job.
    pub(super) fn learn<'t>(&mut self, terms: impl Iterator<Item = &'t str>) {
        for term in terms {
            *self.counts.entry(key(term)).or_default() += 1;
        }
        self.jobs += 1;
        if self.jobs >= MOST_JOBS || self.counts.len() > MOST_TERMS {
            self.jobs /= 2;
            self.counts.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
    }

    /// How much a term tells: the product of two kinds of inverse document frequency.
    pub(super) fn rarity(&self, term: &str) -> f64 {
        let seen = self.counts.get(&key(term)).copied().unwrap_or_default();
        let found = f64::from(seen) + GUESSED_JOBS * guess(term);
        let jobs = f64::from(self.jobs) + GUESSED_JOBS;
        let among_jobs = (1.0 + (jobs - found + 0.5) / (found + 0.5)).ln();
        let in_general = (1.0 + (jobs + 1.0) / (found + 0.5)).ln();
        among_jobs * in_general
    }
}

/// The same term has the same key on every node.
fn key(term: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    term.hash(&mut hasher);
    hasher.finish()
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

    fn learned(jobs: &[&[&str]]) -> Frequencies {
        let mut frequencies = Frequencies::default();
        jobs.iter().for_each(|terms| frequencies.learn(terms.iter().copied()));
        frequencies
    }

    #[test]
    fn what_everybody_writes_tells_little_before_any_job_was_seen() {
        let fresh = Frequencies::default();
        let tells = |word| fresh.rarity(&terms(word)[0]);
        assert!(tells("tax") == tells("c++") && tells("tax") > 2.0 * tells("translates"));
        assert!(tells("translates") > tells("report") && tells("report") > tells("writing"));
        assert!(tells("writing") > 0.0);
    }

    #[test]
    fn jobs_that_were_seen_outweigh_the_guess() {
        let jobs = vec![&["tax", "x"][..]; 500];
        let frequencies = learned(&jobs);
        assert!(frequencies.rarity("tax") < frequencies.rarity("write"));
    }

    #[test]
    fn what_was_seen_once_is_forgotten_when_there_is_too_much() {
        let mut frequencies = learned(&[&["often"], &["often"], &["often"], &["often"]]);
        for n in 0..MOST_TERMS {
            frequencies.learn(std::iter::once(&*format!("x{n}")));
        }
        assert!(frequencies.counts.len() < 10, "{}", frequencies.counts.len());
        assert_eq!(frequencies.counts[&key("often")], 2);
    }
}
