//! A job as matching reads it: its terms, how often each stands there, and which are neighbours.

use std::collections::BTreeMap;

use super::Text;
use super::profile::{Pair, pair};
use super::terms::clauses;

const TITLE_WEIGHT: u16 = 2;
const REQUIREMENTS_WEIGHT: u16 = 2;
const DESCRIPTION_WEIGHT: u16 = 1;
/// Terms of a job that are read, over all its fields; what is behind them is not.
const MOST_READ: usize = 200;
/// Weighted appearances of a term that count; more of them only make the text longer.
const MOST_COUNTED: u16 = 6;
/// Different terms that a job may have without being held against it: what is about everything is about nothing.
const BROAD: usize = 60;

/// A job as the index reads it; made before the index is locked, for it is most of the work.
#[derive(Debug, Clone)]
pub struct Reading {
    /// How often each term stands there, each field by its weight.
    pub(super) counts: BTreeMap<String, u16>,
    /// Neighbours, sorted.
    pub(super) pairs: Vec<Pair>,
    /// How long it is, weighted, in words: longer than its words where they are very many different ones.
    pub(super) length: u16,
}

impl Reading {
    /// Reads a job's text.
    pub fn of(text: &Text<'_>) -> Self {
        let (mut counts, mut pairs, mut length, mut left) = (BTreeMap::new(), Vec::new(), 0, MOST_READ);
        let fields = [
            (Some(text.title), TITLE_WEIGHT),
            (text.requirements, REQUIREMENTS_WEIGHT),
            (text.description, DESCRIPTION_WEIGHT),
        ];
        for (field, weight) in fields {
            for clause in clauses(field.unwrap_or_default()) {
                let terms = &clause.terms[..clause.terms.len().min(left)];
                left -= terms.len();
                pairs.extend(terms.windows(2).filter(|two| two[0] != two[1]).map(|two| pair(&two[0], &two[1])));
                for term in terms {
                    length += u64::from(weight);
                    let count = counts.entry(term.clone()).or_insert(0_u16);
                    *count = (*count + weight).min(MOST_COUNTED);
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        length = length * (counts.len().max(BROAD) as u64) / BROAD as u64;
        Self { counts, pairs, length: u16::try_from(length).unwrap_or(u16::MAX) }
    }

    /// Its different terms.
    pub(super) fn terms(&self) -> impl Iterator<Item = &str> {
        self.counts.keys().map(String::as_str)
    }
}
