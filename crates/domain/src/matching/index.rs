//! The inverted index of the queued jobs, and their order for one personality.
//!
//! A job lives in a numbered slot; a term has a number and a list of the slots it stands in. Both
//! numbers are used again once free, so the index is as large as the most jobs that were ever queued
//! at once. Each job remembers where it stands in every list: to insert or remove it costs its own
//! terms, however many other jobs there are.
//!
//! The score is BM25 over one weighted text: a word in the title or the requirements counts as
//! several in the description. Weights and counts are integers, so sums never drift as jobs come
//! and go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::{Text, terms};

/// How fast a repeated word stops adding to the score.
const K1: f64 = 1.2;
/// How much a long text is held against its words.
const B: f64 = 0.75;
const TITLE_WEIGHT: u32 = 3;
const REQUIREMENTS_WEIGHT: u32 = 3;
const DESCRIPTION_WEIGHT: u32 = 1;

/// A job and how well it fits: 0 shares no term with the personality, higher is nearer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<Id> {
    /// The job.
    pub id: Id,
    /// BM25, without an upper bound; comparable only within one answer.
    pub score: f64,
}

/// The queued jobs, by their words and by their age.
#[derive(Debug)]
pub struct Index<Id> {
    slots: Vec<Option<Job<Id>>>,
    free_slots: Vec<u32>,
    by_id: HashMap<Id, u32>,
    by_age: BTreeMap<(i64, Id), u32>,
    numbers: HashMap<Arc<str>, u32>,
    terms: Vec<Term>,
    free_terms: Vec<u32>,
    /// The weighted length of all jobs together.
    total_length: u64,
}

#[derive(Debug)]
struct Job<Id> {
    id: Id,
    queued_at_micros: i64,
    /// Weighted, in words.
    length: u32,
    /// Sorted by term.
    places: Box<[Place]>,
}

/// Where a job stands in the list of one of its terms.
#[derive(Debug, Clone, Copy)]
struct Place {
    term: u32,
    position: u32,
}

#[derive(Debug)]
struct Term {
    text: Arc<str>,
    postings: Vec<Posting>,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    slot: u32,
    /// How often the term stands in the job, weighted.
    count: u32,
}

impl<Id> Default for Index<Id> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_id: HashMap::new(),
            by_age: BTreeMap::new(),
            numbers: HashMap::new(),
            terms: Vec::new(),
            free_terms: Vec::new(),
            total_length: 0,
        }
    }
}

impl<Id: Clone + Ord + Eq + Hash> Index<Id> {
    /// An index without jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a queued job in; one that is there already is replaced.
    pub fn insert(&mut self, id: Id, text: &Text<'_>, queued_at_micros: i64) {
        self.remove(&id);
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        let counts = weighted_counts(text);
        let length = counts.values().fold(0, |sum: u32, count| sum.saturating_add(*count));
        let mut places: Vec<Place> =
            counts.into_iter().map(|(term, count)| self.post(&term, Posting { slot, count })).collect();
        places.sort_unstable_by_key(|place| place.term);
        self.total_length += u64::from(length);
        self.by_id.insert(id.clone(), slot);
        self.by_age.insert((queued_at_micros, id.clone()), slot);
        self.slots[slot as usize] = Some(Job { id, queued_at_micros, length, places: places.into() });
    }

    /// Forgets a job that is no longer queued; says whether it was there.
    pub fn remove(&mut self, id: &Id) -> bool {
        let Some(slot) = self.by_id.remove(id) else {
            return false;
        };
        let job = self.slots[slot as usize].take().expect("an id leads to a filled slot");
        self.by_age.remove(&(job.queued_at_micros, job.id));
        for place in &job.places {
            self.unpost(*place);
        }
        self.total_length -= u64::from(job.length);
        self.free_slots.push(slot);
        true
    }

    /// Whether the job is queued here.
    pub fn contains(&self, id: &Id) -> bool {
        self.by_id.contains_key(id)
    }

    /// How many jobs are queued here.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no job is queued here.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The first `k` jobs for a personality, best first, leaving out those that `skip` names.
    ///
    /// Jobs that share no term with it follow by age, oldest first; without a personality that is
    /// the whole order. Equal scores go by age, then by id.
    pub fn best(&self, personality: Option<&str>, k: usize, skip: impl Fn(&Id) -> bool) -> Vec<Ranked<Id>> {
        let (scores, matched) = self.scores(personality.unwrap_or_default());
        let mut best = self.top(&scores, &matched, k, &skip);
        let others =
            self.by_age.iter().filter(|(_, slot)| scores.get(**slot as usize).is_none_or(|score| *score == 0.0));
        let others = others.map(|((_, id), _)| id).filter(|id| !skip(id));
        best.extend(others.take(k - best.len()).map(|id| Ranked { id: id.clone(), score: 0.0 }));
        best
    }

    /// The score of every slot (none at all where no term matches), and the slots above 0.
    fn scores(&self, personality: &str) -> (Vec<f64>, Vec<u32>) {
        // Sorted by text: floating-point sums must not depend on the order in which terms were numbered.
        let wanted: BTreeSet<String> = terms(personality).into_iter().collect();
        let known: Vec<&Term> = wanted
            .iter()
            .filter_map(|term| self.numbers.get(term.as_str()))
            .map(|term| &self.terms[*term as usize])
            .collect();
        if known.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let jobs = self.len() as f64;
        let average_length = self.total_length as f64 / jobs;
        let mut scores = vec![0.0; self.slots.len()];
        let mut matched = Vec::new();
        for term in known {
            let found = term.postings.len() as f64;
            let rarity = (1.0 + (jobs - found + 0.5) / (found + 0.5)).ln();
            for posting in &term.postings {
                let length = f64::from(self.job(posting.slot).length);
                let count = f64::from(posting.count);
                let score = &mut scores[posting.slot as usize];
                if *score == 0.0 {
                    matched.push(posting.slot);
                }
                *score += rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / average_length));
            }
        }
        (scores, matched)
    }

    /// The `k` best of the matched slots, in order. The heap keeps the worst of them on top.
    fn top(&self, scores: &[f64], matched: &[u32], k: usize, skip: &impl Fn(&Id) -> bool) -> Vec<Ranked<Id>> {
        let mut heap = BinaryHeap::new();
        if k == 0 {
            return Vec::new();
        }
        for slot in matched {
            let job = self.job(*slot);
            // The better, the smaller. Scores are positive, and positive floats stand in the order of their bits.
            let candidate = (Reverse(scores[*slot as usize].to_bits()), job.queued_at_micros, &job.id);
            let full = heap.len() >= k;
            if full && heap.peek().is_some_and(|worst| candidate >= *worst) || skip(&job.id) {
                continue;
            }
            if full {
                heap.pop();
            }
            heap.push(candidate);
        }
        let sorted = heap.into_sorted_vec().into_iter();
        sorted.map(|(Reverse(bits), _, id)| Ranked { id: id.clone(), score: f64::from_bits(bits) }).collect()
    }

    fn job(&self, slot: u32) -> &Job<Id> {
        self.slots[slot as usize].as_ref().expect("a posting leads to a filled slot")
    }

    /// Adds a posting to a term's list and says where it stands.
    fn post(&mut self, text: &str, posting: Posting) -> Place {
        let term = match self.numbers.get(text) {
            Some(term) => *term,
            None => self.number_term(text),
        };
        let postings = &mut self.terms[term as usize].postings;
        postings.push(posting);
        Place { term, position: number(postings.len() - 1) }
    }

    fn number_term(&mut self, text: &str) -> u32 {
        let text: Arc<str> = text.into();
        let fresh = Term { text: Arc::clone(&text), postings: Vec::new() };
        let term = match self.free_terms.pop() {
            Some(term) => {
                self.terms[term as usize] = fresh;
                term
            }
            None => {
                self.terms.push(fresh);
                number(self.terms.len() - 1)
            }
        };
        self.numbers.insert(text, term);
        term
    }

    /// Takes a posting out; the last of the list moves into the gap and its job learns its new place.
    fn unpost(&mut self, place: Place) {
        let Place { term, position } = place;
        let Term { text, postings } = &mut self.terms[term as usize];
        postings.swap_remove(position as usize);
        if let Some(moved) = postings.get(position as usize) {
            let job = self.slots[moved.slot as usize].as_mut().expect("a posting leads to a filled slot");
            let at = job.places.binary_search_by_key(&term, |place| place.term).expect("a job knows each of its terms");
            job.places[at].position = position;
        }
        if postings.is_empty() {
            *postings = Vec::new();
            self.numbers.remove(&std::mem::take(text));
            self.free_terms.push(term);
        } else if postings.len() < postings.capacity() / 4 {
            postings.shrink_to(postings.len() * 2);
        }
    }

    /// Slots, terms and postings that take up memory, for the tests of churn.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let postings = self.terms.iter().map(|term| term.postings.capacity()).sum();
        (self.slots.len(), self.terms.len(), postings)
    }

    /// Panics unless every part of the index agrees with every other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let living: Vec<_> = self.slots.iter().flatten().collect();
        assert_eq!(living.len(), self.by_id.len());
        assert_eq!(living.len(), self.by_age.len());
        assert_eq!(self.slots.len(), living.len() + self.free_slots.len());
        assert_eq!(self.terms.len(), self.numbers.len() + self.free_terms.len());
        assert_eq!(self.total_length, living.iter().map(|job| u64::from(job.length)).sum::<u64>());
        let places: usize = living.iter().map(|job| job.places.len()).sum();
        assert_eq!(places, self.terms.iter().map(|term| term.postings.len()).sum::<usize>());
        for (id, slot) in &self.by_id {
            let job = self.job(*slot);
            assert!(job.id == *id && job.places.is_sorted_by_key(|place| place.term));
            for place in &job.places {
                assert_eq!(self.terms[place.term as usize].postings[place.position as usize].slot, *slot);
            }
        }
    }
}

/// How often each term stands in a job, each field by its weight.
fn weighted_counts(text: &Text<'_>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let fields = [
        (Some(text.title), TITLE_WEIGHT),
        (text.requirements, REQUIREMENTS_WEIGHT),
        (text.description, DESCRIPTION_WEIGHT),
    ];
    for (field, weight) in fields {
        for term in terms(field.unwrap_or_default()) {
            let count = counts.entry(term).or_insert(0_u32);
            *count = count.saturating_add(weight);
        }
    }
    counts
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends long before four billion slots")
}
