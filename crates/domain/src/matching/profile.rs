//! What a personality asks for: its terms and what they weigh among the jobs that are there.
//!
//! A term weighs the more, the rarer it is among the jobs; repeated ones count less each time, and those of the first
//! sentence, where one says what one is, half as much again. A word brings its relatives along at a discount: words of
//! the jobs that begin alike (*manage* and *management*). Neighbours stand for phrases.

use std::collections::BTreeMap;

use super::frequency::Frequencies;
use super::terms::clauses;
use super::words::Words;

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

/// A personality as one index reads it.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// The heaviest first.
    pub(super) wanted: Vec<Wanted>,
    /// Neighbours, and what both weigh; sorted.
    pub(super) pairs: Vec<(Pair, f64)>,
}

/// A term that jobs are looked up by.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) term: u32,
    /// All of a profile's weights are a vector of length 1.
    pub(super) weight: f64,
    /// The jobs' word.
    pub(super) text: String,
    /// The word of the personality that asks for it most.
    pub(super) said: String,
}

/// Two neighbours in a clause, in one number.
pub(super) type Pair = u32;

/// The number of a pair.
pub(super) fn pair(first: &str, second: &str) -> Pair {
    // FNV-1a: the same everywhere and always. A collision makes a phrase of what is none, and nothing else.
    let bytes = first.bytes().chain([0]).chain(second.bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A weight, and the personality's word that most of it comes from.
#[derive(Debug, Clone)]
struct Weight {
    sum: f64,
    most: f64,
    said: String,
}

impl Profile {
    /// Reads a personality among the words of the queued jobs, weighed by how common they are.
    pub(super) fn new(personality: &str, words: &Words, frequencies: &Frequencies) -> Self {
        let (mut counts, mut neighbours, mut left) = (BTreeMap::<String, f64>::new(), Vec::new(), MOST_READ);
        for clause in clauses(personality) {
            let terms = &clause.terms[..clause.terms.len().min(left)];
            left -= terms.len();
            neighbours.extend(terms.windows(2).filter(|two| two[0] != two[1]).map(<[String]>::to_vec));
            for term in terms {
                *counts.entry(term.clone()).or_default() +=
                    if clause.is_of_first_sentence { FIRST_SENTENCE } else { 1.0 };
            }
        }
        let own = counts.into_iter().map(|(term, count)| {
            let weight = count.powf(REPETITION) * frequencies.rarity(&term);
            (term.clone(), Weight { sum: weight, most: weight, said: term })
        });
        let own = normalised(own.collect());
        let mut all = own.clone();
        for (term, own) in &own {
            for (relative, alike) in relatives(term, words) {
                let more = RELATIVE * alike * own.sum;
                let weight = all.entry(relative.to_owned());
                let weight = weight.or_insert_with(|| Weight { sum: 0.0, most: 0.0, said: term.clone() });
                weight.sum += more;
                if more > weight.most {
                    (weight.most, weight.said) = (more, term.clone());
                }
            }
        }
        let mut heaviest: Vec<_> = all.into_iter().filter(|(term, _)| words.number(term).is_some()).collect();
        heaviest.sort_by(|one, other| other.1.sum.total_cmp(&one.1.sum).then_with(|| one.0.cmp(&other.0)));
        heaviest.truncate(MOST_WANTED);
        let kept = normalised(heaviest.into_iter().collect());
        let weigh = |two: &Vec<String>| Some((pair(&two[0], &two[1]), kept.get(&two[0])?.sum + kept.get(&two[1])?.sum));
        let mut pairs: Vec<(Pair, f64)> = neighbours.iter().filter_map(weigh).collect();
        pairs.sort_by_key(|(pair, _)| *pair);
        pairs.dedup_by_key(|(pair, _)| *pair);
        let wanted = kept.into_iter().filter_map(|(text, Weight { sum, said, .. })| {
            Some(Wanted { term: words.number(&text)?, weight: sum, text, said })
        });
        let mut wanted: Vec<Wanted> = wanted.collect();
        wanted.sort_by(|one, other| other.weight.total_cmp(&one.weight).then_with(|| one.text.cmp(&other.text)));
        Self { wanted, pairs }
    }
}

fn normalised(mut weights: BTreeMap<String, Weight>) -> BTreeMap<String, Weight> {
    let length = weights.values().map(|weight| weight.sum * weight.sum).sum::<f64>().sqrt();
    if length > 0.0 {
        weights.values_mut().for_each(|weight| weight.sum /= length);
        weights.values_mut().for_each(|weight| weight.most /= length);
    }
    weights
}

/// The words of the jobs that are most like this one, and how much they are.
fn relatives<'w>(term: &str, words: &'w Words) -> Vec<(&'w str, f64)> {
    let relatives = words.beginning_like(term).filter(|other| *other != term).map(|other| {
        let same = term.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
        (other, 2.0 * same as f64 / (term.chars().count() + other.chars().count()) as f64)
    });
    let mut relatives: Vec<_> = relatives.filter(|(_, alike)| *alike >= LEAST_ALIKE).collect();
    relatives.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(other.0)));
    relatives.truncate(MOST_RELATIVES);
    relatives
}
