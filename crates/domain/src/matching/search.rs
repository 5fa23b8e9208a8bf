//! Jobs that have all of some words, whoever is looking: the board's question, where [`Index::best`] is an agent's.
//!
//! Words are those that matching reads, so *Sorting* finds *sorted*, and words that say nothing are left out of the
//! question too: one of nothing but those is met by every job, and one that no job could meet, by none.

use std::hash::Hash;

use super::index::Index;
use super::reading::Reading;
use super::terms::{can_be_looked_for, terms};

/// Words that are looked for: a job has to have all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Sorted, each once.
    terms: Vec<String>,
    marks: Box<[u64]>,
    /// No job can have it: signs alone, or a word that is none.
    is_hopeless: bool,
}

/// The terms of a job as numbers, which are so few bytes that those of jobs that have left can be kept for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks(Box<[u64]>);

impl Search {
    /// The words of a text.
    pub fn of(text: &str) -> Self {
        let mut terms = terms(text);
        terms.sort_unstable();
        terms.dedup();
        let marks = sorted(terms.iter().map(String::as_str));
        let is_hopeless = !text.trim().is_empty() && !can_be_looked_for(text);
        Self { terms, marks, is_hopeless }
    }

    /// Whether nothing is looked for, and every job has it.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && !self.is_hopeless
    }

    /// Whether a job with these terms has all the words.
    pub fn finds(&self, marks: &Marks) -> bool {
        !self.is_hopeless && self.marks.iter().all(|mark| marks.0.binary_search(mark).is_ok())
    }
}

impl Marks {
    /// The terms of a job that was read.
    pub fn of(reading: &Reading) -> Self {
        Self(sorted(reading.terms()))
    }

    /// Bytes of memory beside its own.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

fn sorted<'a>(terms: impl Iterator<Item = &'a str>) -> Box<[u64]> {
    let mut marks: Vec<u64> = terms.map(mark).collect();
    marks.sort_unstable();
    marks.into()
}

/// The number of a term.
fn mark(term: &str) -> u64 {
    // FNV-1a: the same everywhere and always.
    term.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A search among the jobs that are queued at one moment.
#[derive(Debug)]
pub struct Finder<'i, Id> {
    index: &'i Index<Id>,
    /// The words' numbers, the rarest first; none when no job has one of them.
    words: Option<Vec<u32>>,
}

impl<Id: Clone + Ord + Eq + Hash> Index<Id> {
    /// Looks for words among the queued jobs.
    pub fn finder(&self, search: &Search) -> Finder<'_, Id> {
        let words = self.words();
        let numbers = search.terms.iter().map(|term| words.number(term));
        let numbers: Option<Vec<u32>> = if search.is_hopeless { None } else { numbers.collect() };
        let words = numbers.map(|mut numbers| {
            numbers.sort_by_key(|number| words.list(*number).len());
            numbers
        });
        Finder { index: self, words }
    }

    /// The terms of a queued job; none if it is not queued here.
    pub fn marks(&self, id: &Id) -> Option<Marks> {
        let terms = self.numbers(id)?.map(|number| self.words().text(number));
        Some(Marks(sorted(terms)))
    }
}

impl<Id: Clone + Ord + Eq + Hash> Finder<'_, Id> {
    /// Whether the job is queued and has all the words.
    pub fn finds(&self, id: &Id) -> bool {
        let Some(words) = &self.words else { return false };
        self.index.has_all(id, words)
    }

    /// The jobs that have the rarest of the words, and when each was queued, in microseconds; none when they are more
    /// than so many, or when nothing is looked for. All that is found is among them.
    pub fn few(&self, most: usize) -> Option<Vec<(Id, i64)>> {
        let Some(words) = &self.words else { return Some(Vec::new()) };
        self.index.with(*words.first()?, most)
    }
}
