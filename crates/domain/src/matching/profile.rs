//! What a personality asks for: its terms and what they weigh among the jobs that are there.
//!
//! A term weighs the more, the rarer it is among the jobs; repeated ones count less each time, and those of the first
//! sentence, where one says what one is, half as much again. A word brings its relatives along at a discount: words of
//! the jobs that begin alike (*manage* and *management*). Neighbours stand for phrases.

use std::collections::{BTreeMap, HashMap};

use super::frequency::rarity;
use super::terms::clauses;
use super::words::{Place, Words};

/// Terms of a personality that are read; what is behind them is not.
const MOST_READ: usize = 400;
/// Terms that are asked for, the heaviest ones: a personality that names everything asks for nothing in particular.
const MOST_WANTED: usize = 48;
const FIRST_SENTENCE: f64 = 1.5;
/// The exponent of a count: how little a repetition adds.
const REPETITION: f64 = 0.75;
/// What a relative weighs of its word, if it were the same.
const RELATIVE: f64 = 0.5;
/// How much of two words must be alike, at the start, in proportion to both.
const LEAST_ALIKE: f64 = 0.6;
const MOST_RELATIVES: usize = 8;
/// Words of the jobs that a personality's are compared with, in all: somebody may have filled the jobs with words that
/// begin alike.
const MOST_COMPARED: usize = 10_000;

/// A personality as one index reads it.
#[derive(Debug)]
pub(super) struct Profile {
    /// The heaviest first.
    pub(super) wanted: Vec<Wanted>,
    /// Neighbours, and what both weigh; sorted.
    pub(super) pairs: Vec<(Pair, f64)>,
    /// The wanted terms, sorted, and where each stands among them.
    by_term: Vec<(u32, usize)>,
    /// The personality's own terms, sorted.
    own: Vec<String>,
}

/// A term that jobs are looked up by.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) term: u32,
    /// All of a profile's weights are a vector of length 1.
    pub(super) weight: f64,
    /// Which of the personality's own terms asks for it most.
    said: usize,
}

/// Two neighbours in a clause, in one number.
pub(super) type Pair = u32;

/// The number of a pair.
pub(super) fn pair(first: &str, second: &str) -> Pair {
    // FNV-1a: the same everywhere and always. A collision makes a phrase of what is none, and nothing else.
    let bytes = first.bytes().chain([0]).chain(second.bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What a term weighs, and which of the personality's own terms the most of it comes from.
#[derive(Debug, Clone, Copy)]
struct Weight {
    sum: f64,
    most: f64,
    said: usize,
}

impl Profile {
    /// Reads a personality among the words of the queued jobs, weighed by how common they are.
    pub(super) fn new(personality: &str, words: &Words, jobs: usize) -> Self {
        let (counts, neighbours) = read(personality);
        let weigh = |(term, count): (&String, &f64)| {
            let found = words.number(term).map_or(0, |number| words.list(number).len());
            count.powf(REPETITION) * rarity(term, found, jobs)
        };
        let own: Vec<f64> = counts.iter().map(weigh).collect();
        let length = length(own.iter().copied());
        let own: Vec<f64> = own.into_iter().map(|weight| weight / length).collect();
        let own_terms = counts.into_keys().collect::<Vec<_>>();
        let numbers: Vec<Option<u32>> = own_terms.iter().map(|term| words.number(term)).collect();
        let mut all: HashMap<u32, Weight> = HashMap::new();
        for (said, (weight, number)) in own.iter().zip(&numbers).enumerate() {
            all.extend(number.map(|number| (number, Weight { sum: *weight, most: *weight, said })));
        }
        let mut left = MOST_COMPARED;
        for (said, (term, own)) in own_terms.iter().zip(&own).enumerate() {
            for (relative, alike) in relatives(term, words, &mut left) {
                let more = RELATIVE * alike * own;
                let weight = all.entry(relative).or_insert(Weight { sum: 0.0, most: 0.0, said });
                weight.sum += more;
                if more > weight.most {
                    (weight.most, weight.said) = (more, said);
                }
            }
        }
        let mut wanted: Vec<Wanted> =
            all.iter().map(|(term, weight)| Wanted { term: *term, weight: weight.sum, said: weight.said }).collect();
        wanted.sort_unstable_by(|one, other| {
            other.weight.total_cmp(&one.weight).then_with(|| words.text(one.term).cmp(words.text(other.term)))
        });
        wanted.truncate(MOST_WANTED);
        let length = self::length(wanted.iter().map(|wanted| wanted.weight));
        wanted.iter_mut().for_each(|wanted| wanted.weight /= length);
        let weights: HashMap<u32, f64> = wanted.iter().map(|wanted| (wanted.term, wanted.weight)).collect();
        let kept: Vec<Option<f64>> = numbers.iter().map(|number| weights.get(&(*number)?).copied()).collect();
        let weigh =
            |(one, other): (usize, usize)| Some((pair(&own_terms[one], &own_terms[other]), kept[one]? + kept[other]?));
        let mut pairs: Vec<(Pair, f64)> = neighbours.into_iter().filter_map(weigh).collect();
        pairs.sort_by_key(|(pair, _)| *pair);
        pairs.dedup_by_key(|(pair, _)| *pair);
        let mut by_term: Vec<(u32, usize)> = wanted.iter().map(|wanted| wanted.term).zip(0..).collect();
        by_term.sort_unstable();
        Self { wanted, pairs, by_term, own: own_terms }
    }

    /// The wanted terms that stand in a job too, the heaviest first: sums are the same however terms are numbered.
    pub(super) fn common<'p>(&'p self, places: &[Place]) -> impl Iterator<Item = (&'p Wanted, Place)> {
        let (mut left, mut common) = (&self.by_term[..], Vec::new());
        for place in places {
            while let [(term, wanted), behind @ ..] = left
                && *term <= place.term
            {
                if *term == place.term {
                    common.push((*wanted, *place));
                }
                left = behind;
            }
        }
        common.sort_unstable_by_key(|(wanted, _)| *wanted);
        common.into_iter().map(|(wanted, place)| (&self.wanted[wanted], place))
    }

    /// The personality's word that asks for a term most.
    pub(super) fn said(&self, wanted: &Wanted) -> &str {
        &self.own[wanted.said]
    }
}

/// How often each term was said, and which of them, by their place in that order, are neighbours.
fn read(personality: &str) -> (BTreeMap<String, f64>, Vec<(usize, usize)>) {
    let (mut counts, mut neighbours, mut left) = (BTreeMap::<String, f64>::new(), Vec::new(), MOST_READ);
    let clauses = clauses(personality);
    for clause in &clauses {
        let terms = &clause.terms[..clause.terms.len().min(left)];
        left -= terms.len();
        neighbours.extend(terms.windows(2).filter(|two| two[0] != two[1]));
        for term in terms {
            *counts.entry(term.clone()).or_default() += if clause.is_of_first_sentence { FIRST_SENTENCE } else { 1.0 };
        }
    }
    let places: HashMap<&str, usize> = counts.keys().map(String::as_str).zip(0..).collect();
    let neighbours = neighbours.into_iter().map(|two| (places[&*two[0]], places[&*two[1]])).collect();
    (counts, neighbours)
}

/// The length of a vector, or 1 where that is 0.
fn length(weights: impl Iterator<Item = f64>) -> f64 {
    let length = weights.map(|weight| weight * weight).sum::<f64>().sqrt();
    if length > 0.0 { length } else { 1.0 }
}

/// The words of the jobs that are most like this one, and how much they are; none where there are too many.
fn relatives(term: &str, words: &Words, left: &mut usize) -> Vec<(u32, f64)> {
    let letters = term.chars().count();
    let alike = words.beginning_like(term);
    if alike.len() > *left {
        return Vec::new();
    }
    *left -= alike.len();
    let relatives = alike.filter_map(|(number, other)| {
        let same = term.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
        let alike = 2.0 * same as f64 / (letters + other.chars().count()) as f64;
        (alike >= LEAST_ALIKE && other != term).then_some((number, alike))
    });
    let mut relatives: Vec<_> = relatives.collect();
    relatives.sort_unstable_by(|one, other| {
        other.1.total_cmp(&one.1).then_with(|| words.text(one.0).cmp(words.text(other.0)))
    });
    relatives.truncate(MOST_RELATIVES);
    relatives
}
