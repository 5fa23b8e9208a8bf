//! The queued jobs in memory, and their order for one personality.
//!
//! A job lives in a numbered slot; a term has a number and a list of the slots it stands in. Both numbers are used
//! again once free, so the index is as large as the most jobs that were ever queued at once. Each job remembers where
//! it stands in every list: to insert or remove it costs its own terms, however many other jobs there are.
//!
//! | Step     | What happens                                                                                  |
//! |----------|-----------------------------------------------------------------------------------------------|
//! | profile  | the personality becomes weighted terms, see `profile.rs`                                        |
//! | gather   | the lists of the heaviest terms are added up, no more than so many postings in all              |
//! | choose   | the jobs with the highest sums, the nearest in meaning, and the oldest of the others           |
//! | look     | each of them at all terms and phrases, and where it is known at what it means, see `dense.rs`  |
//! | order    | by the share of what was asked for, and by how long the job has waited                         |
//!
//! A term's part is BM25's over one weighted text: a word in the title or the requirements counts as several in the
//! description, and repetitions and long texts count less. Weights and counts are integers, so sums never drift as jobs
//! come and go. Nothing depends on the order of a hash map.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::Hash;

use super::dense::{Vector, Vectors, fused};
use super::profile::{Pair, Profile, Wanted};
use super::reading::Reading;
use super::sums::{Scratch, Sums};
use super::words::{Place, Posting, Words, number};

/// How fast a repeated word stops adding to the score.
const K1: f64 = 1.0;
/// How much a long text is held against its words.
const B: f64 = 0.75;
/// What two neighbours add that stand together in the job too, of what both weigh.
const PHRASE: f64 = 0.25;

/// Postings that are read to gather, beyond those of the first term that is read.
const MOST_GATHERED: usize = 20_000;
/// Postings of the first of them, at most: a term that stands in more jobs tells none of them apart.
const MOST_OF_ONE: usize = 200_000;
/// Jobs that are looked at closely, at least.
const CLOSE_LOOKS: usize = 100;
/// Older jobs with something in common that are passed over in search of one without.
const MOST_PASSED: usize = 10_000;
/// Jobs that are compared with a personality by meaning alone, half of them the oldest and half the newest. Each job is
/// among the newest once, and among the oldest if nobody takes it; between, its words must lead to it.
pub(super) const COMPARED: usize = 20_000;
/// For how long a job waits until that alone is worth a perfect fit, in microseconds: a day.
const FULL_WAIT: f64 = 86_400e6;
/// What waiting adds after that, for each time that the wait is 2.7 times as long: among jobs that all have waited for
/// long, it is the fit that decides.
const LONG_WAIT: f64 = 0.25;

/// A job and how well it suits.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<Id> {
    /// The job.
    pub id: Id,
    /// How near its words are to the personality's: from 0, no word in common, to below 1.
    pub lexical: f64,
    /// How near its meaning is, from 0 to 1; nothing where one of the two is not known.
    pub dense: Option<f64>,
    /// What comes of both, from 0 to 1; without a model, what comes of the words.
    pub relevance: f64,
    /// The bonus for waiting: 1 after a day, and ever more, slowly.
    pub waiting: f64,
}

impl<Id> Ranked<Id> {
    /// What jobs are ordered by.
    pub fn score(&self) -> f64 {
        self.relevance + self.waiting
    }
}

/// What a term of a job has to do with a personality.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The job's term, as matching reads it.
    pub term: String,
    /// The personality's term that asked for it.
    pub said: String,
    /// Its part of the sum over all terms.
    pub part: f64,
}

/// The queued jobs, by their words and by their age.
#[derive(Debug)]
pub struct Index<Id> {
    slots: Vec<Option<Job<Id>>>,
    /// When the job of each slot was queued, in microseconds: asked for more often than the rest of it.
    queued_at: Vec<i64>,
    free_slots: Vec<u32>,
    by_id: HashMap<Id, u32>,
    by_age: BTreeMap<(i64, Id), u32>,
    words: Words,
    vectors: Vectors,
    /// The weighted length of all jobs together.
    total_length: u64,
    scratch: Scratch,
}

#[derive(Debug)]
struct Job<Id> {
    id: Id,
    /// Sorted by term.
    places: Box<[Place]>,
    /// Neighbours, sorted.
    pairs: Box<[Pair]>,
    /// Weighted, in words.
    length: u16,
}

impl<Id> Default for Index<Id> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            queued_at: Vec::new(),
            free_slots: Vec::new(),
            by_id: HashMap::new(),
            by_age: BTreeMap::new(),
            words: Words::default(),
            vectors: Vectors::default(),
            total_length: 0,
            scratch: Scratch::default(),
        }
    }
}

impl<Id: Clone + Ord + Eq + Hash> Index<Id> {
    /// An index without jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a queued job in; one that is there already is replaced.
    pub fn insert(&mut self, id: Id, reading: Reading, queued_at_micros: i64) {
        self.remove(&id);
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.queued_at.push(0);
            number(self.slots.len() - 1)
        });
        let Reading { counts, pairs, length } = reading;
        let posted = counts.into_iter().map(|(term, count)| self.words.post(&term, Posting { slot, count, length }));
        let mut places: Vec<Place> = posted.collect();
        places.sort_unstable_by_key(|place| place.term);
        self.total_length += u64::from(length);
        self.by_id.insert(id.clone(), slot);
        self.by_age.insert((queued_at_micros, id.clone()), slot);
        self.queued_at[slot as usize] = queued_at_micros;
        self.slots[slot as usize] = Some(Job { id, places: places.into(), pairs: pairs.into(), length });
    }

    /// Forgets a job that is no longer queued; says whether it was there.
    pub fn remove(&mut self, id: &Id) -> bool {
        let Some(slot) = self.by_id.remove(id) else {
            return false;
        };
        let job = self.slots[slot as usize].take().expect("an id leads to a filled slot");
        self.by_age.remove(&(self.queued_at[slot as usize], job.id));
        for place in &job.places {
            if let Some(moved) = self.words.unpost(*place) {
                let job = self.slots[moved as usize].as_mut().expect("a posting leads to a filled slot");
                let at = job.places.binary_search_by_key(&place.term, |place| place.term);
                job.places[at.expect("a job knows each of its terms")].position = place.position;
            }
        }
        self.total_length -= u64::from(job.length);
        self.vectors.clear(slot);
        self.free_slots.push(slot);
        true
    }

    /// Notes what a queued job means; false if it is not here, or if its vector is not of the others' model. It is
    /// forgotten when the job leaves or is replaced.
    pub fn give(&mut self, id: &Id, meaning: &Vector) -> bool {
        self.by_id.get(id).is_some_and(|slot| self.vectors.put(*slot, meaning))
    }

    /// What a queued job means, as far as it is known.
    pub fn meaning(&self, id: &Id) -> Option<Vector> {
        self.vectors.get(*self.by_id.get(id)?)
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
    /// Without a personality the oldest come first. Equal scores go by age, then by id.
    pub fn best(
        &self,
        personality: Option<&str>,
        now_micros: i64,
        k: usize,
        skip: impl Fn(&Id) -> bool,
    ) -> Vec<Ranked<Id>> {
        self.best_by_meaning(personality, None, now_micros, k, skip)
    }

    /// As [`Index::best`], by words and by what the personality means, where both sides' meaning is known.
    pub fn best_by_meaning(
        &self,
        personality: Option<&str>,
        meaning: Option<&Vector>,
        now_micros: i64,
        k: usize,
        skip: impl Fn(&Id) -> bool,
    ) -> Vec<Ranked<Id>> {
        let profile = Profile::new(personality.unwrap_or_default(), &self.words, self.len());
        let sums = self.gather(&profile);
        let mut chosen = self.choose(&sums, now_micros, k.max(CLOSE_LOOKS), &skip);
        let others = if sums.found.is_empty() { k.max(CLOSE_LOOKS) } else { k };
        chosen.extend(self.oldest_others(&sums, others, &skip));
        self.scratch.put_back(sums);
        if let Some(meaning) = meaning {
            chosen.extend(self.nearest(meaning, now_micros, k.max(CLOSE_LOOKS), &skip));
            chosen.sort_unstable();
            chosen.dedup();
        }
        let near = |slot: u32| meaning.and_then(|meaning| self.vectors.nearness(slot, meaning));
        let looked = chosen.iter().map(|slot| (share(self.sum(*slot, &profile, |_, _| {})), near(*slot)));
        let parts: Vec<(f64, Option<f64>)> = looked.collect();
        let found = chosen.into_iter().zip(&parts).zip(fused(&parts));
        let mut ranked: Vec<(Ranked<Id>, i64)> = found
            .map(|((slot, (lexical, dense)), relevance)| {
                let queued_at = self.queued_at[slot as usize];
                let (id, waiting) = (self.job(slot).id.clone(), waiting(queued_at, now_micros));
                (Ranked { id, lexical: *lexical, dense: *dense, relevance, waiting }, queued_at)
            })
            .collect();
        ranked.sort_by(|(one, one_at), (other, other_at)| {
            let by_score = other.score().total_cmp(&one.score());
            by_score.then(one_at.cmp(other_at)).then_with(|| one.id.cmp(&other.id))
        });
        ranked.truncate(k);
        ranked.into_iter().map(|(ranked, _)| ranked).collect()
    }

    /// What a job has in common with a personality, the most first; nothing if it is not queued here.
    pub fn shares(&self, personality: &str, id: &Id) -> Vec<Share> {
        let Some(slot) = self.by_id.get(id) else { return Vec::new() };
        let profile = Profile::new(personality, &self.words, self.len());
        let mut shares = Vec::new();
        self.sum(*slot, &profile, |wanted, part| {
            let (term, said) = (self.words.text(wanted.term).to_owned(), profile.said(wanted).to_owned());
            shares.push(Share { term, said, part });
        });
        shares.sort_by(|one, other| other.part.total_cmp(&one.part).then_with(|| one.term.cmp(&other.term)));
        shares
    }

    /// Adds up the lists of the heaviest terms, as far as they are short enough for what may still be read.
    fn gather(&self, profile: &Profile) -> Sums {
        let mut sums = self.scratch.take(self.slots.len());
        let (drag, mut left) = (self.drag(), MOST_GATHERED);
        for wanted in &profile.wanted {
            let list = self.words.list(wanted.term);
            if list.len() > if sums.found.is_empty() { MOST_OF_ONE } else { left } {
                continue;
            }
            left = left.saturating_sub(list.len());
            for posting in list {
                let sum = &mut sums.sums[posting.slot as usize];
                if *sum == 0.0 {
                    sums.found.push(posting.slot);
                }
                *sum += (wanted.weight * drag.part(*posting)) as f32;
            }
        }
        sums
    }

    /// The slots of those gathered that come first by what is known so far.
    fn choose(&self, sums: &Sums, now_micros: i64, count: usize, skip: &impl Fn(&Id) -> bool) -> Vec<u32> {
        self.first(sums.found.iter().map(|slot| (*slot, share(sums.of(*slot).into()))), now_micros, count, skip)
    }

    /// The first of these slots by how well each suits, and by waiting.
    fn first(
        &self,
        slots: impl Iterator<Item = (u32, f64)>,
        now_micros: i64,
        count: usize,
        skip: &impl Fn(&Id) -> bool,
    ) -> Vec<u32> {
        // The better, the smaller; the heap keeps the worst on top.
        let mut heap = BinaryHeap::new();
        for (slot, suits) in slots {
            let queued_at = self.queued_at[slot as usize];
            // Scores are positive, and positive floats stand in the order of their bits.
            let so_far = (Reverse((suits + waiting(queued_at, now_micros)).to_bits()), queued_at);
            let full = heap.len() >= count;
            if full && heap.peek().is_some_and(|(worst, at, _, _)| so_far > (*worst, *at)) {
                continue;
            }
            let id = &self.job(slot).id;
            if skip(id) {
                continue;
            }
            heap.push((so_far.0, so_far.1, id, slot));
            if full {
                heap.pop();
            }
        }
        heap.into_iter().map(|(.., slot)| slot).collect()
    }

    /// The slots of the oldest jobs that were not gathered. The search ends behind so many that were: they are choice
    /// enough, and older.
    fn oldest_others(&self, sums: &Sums, count: usize, skip: &impl Fn(&Id) -> bool) -> Vec<u32> {
        let (mut others, mut passed) = (Vec::new(), 0);
        for ((_, id), slot) in &self.by_age {
            if others.len() == count || passed == MOST_PASSED {
                break;
            }
            if skip(id) {
                continue;
            }
            if sums.of(*slot) == 0.0 {
                others.push(*slot);
            } else {
                passed += 1;
            }
        }
        others
    }

    /// The slots of those that come first by meaning and waiting, among the oldest and the newest.
    fn nearest(&self, meaning: &Vector, now_micros: i64, count: usize, skip: &impl Fn(&Id) -> bool) -> Vec<u32> {
        if self.vectors.is_empty() {
            return Vec::new();
        }
        let (oldest, newest) = (self.by_age.values().take(COMPARED / 2), self.by_age.values().rev());
        let newest = newest.take(self.len().saturating_sub(COMPARED / 2).min(COMPARED / 2));
        let near = oldest.chain(newest).filter_map(|slot| Some((*slot, self.vectors.nearness(*slot, meaning)?)));
        self.first(near, now_micros, count, skip)
    }

    /// The sum of a job over all terms and phrases; each term is told with its part.
    fn sum(&self, slot: u32, profile: &Profile, mut tell: impl FnMut(&Wanted, f64)) -> f64 {
        let job = self.job(slot);
        if job.length == 0 {
            return 0.0;
        }
        let (drag, mut sum) = (self.drag(), 0.0);
        for (wanted, place) in profile.common(&job.places) {
            let part = wanted.weight * drag.part(self.words.list(place.term)[place.position as usize]);
            tell(wanted, part);
            sum += part;
        }
        let together = profile.pairs.iter().filter(|(pair, _)| job.pairs.binary_search(pair).is_ok());
        let together: f64 = together.map(|(_, weight)| weight).sum();
        sum + PHRASE * together * (K1 + 1.0) / (1.0 + drag.of(job.length))
    }

    fn drag(&self) -> Drag {
        let average = self.total_length as f64 / self.len() as f64;
        Drag { least: K1 * (1.0 - B), a_word: K1 * B / average }
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// The numbers of a queued job's terms.
    pub(super) fn numbers(&self, id: &Id) -> Option<impl Iterator<Item = u32>> {
        let slot = self.by_id.get(id)?;
        Some(self.job(*slot).places.iter().map(|place| place.term))
    }

    /// Whether the job is queued here and has all these terms.
    pub(super) fn has_all(&self, id: &Id, terms: &[u32]) -> bool {
        let Some(slot) = self.by_id.get(id) else { return false };
        let places = &self.job(*slot).places;
        terms.iter().all(|term| places.binary_search_by_key(term, |place| place.term).is_ok())
    }

    /// The jobs that have a term, if they are not more than so many.
    pub(super) fn with(&self, term: u32, most: usize) -> Option<Vec<(Id, i64)>> {
        let list = self.words.list(term);
        let job = |posting: &Posting| (self.job(posting.slot).id.clone(), self.queued_at[posting.slot as usize]);
        (list.len() <= most).then(|| list.iter().map(job).collect())
    }

    fn job(&self, slot: u32) -> &Job<Id> {
        self.slots[slot as usize].as_ref().expect("a posting leads to a filled slot")
    }

    /// The queued jobs, for the tests of searches.
    #[cfg(test)]
    pub(super) fn by_id(&self) -> impl Iterator<Item = Id> {
        self.by_id.keys().cloned()
    }

    /// Slots, terms and postings that take up memory, for the tests of churn.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (terms, postings) = self.words.sizes();
        (self.slots.len(), terms, postings)
    }

    /// Panics unless every part of the index agrees with every other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let living: Vec<_> = self.slots.iter().flatten().collect();
        assert_eq!(living.len(), self.by_id.len());
        assert_eq!(living.len(), self.by_age.len());
        assert_eq!(self.slots.len(), self.queued_at.len());
        assert_eq!(self.slots.len(), living.len() + self.free_slots.len());
        assert_eq!(self.vectors.check(), self.by_id.values().filter(|slot| self.vectors.get(**slot).is_some()).count());
        assert_eq!(self.total_length, living.iter().map(|job| u64::from(job.length)).sum::<u64>());
        assert_eq!(living.iter().map(|job| job.places.len()).sum::<usize>(), self.words.check());
        for (id, slot) in &self.by_id {
            let job = self.job(*slot);
            assert!(job.id == *id && job.places.is_sorted_by_key(|place| place.term) && job.pairs.is_sorted());
            for place in &job.places {
                let posting = self.words.list(place.term)[place.position as usize];
                assert_eq!((posting.slot, posting.length), (*slot, job.length));
            }
        }
    }
}

/// How much a text is held against its words for its length.
#[derive(Debug, Clone, Copy)]
struct Drag {
    least: f64,
    a_word: f64,
}

impl Drag {
    fn of(self, length: u16) -> f64 {
        self.least + self.a_word * f64::from(length)
    }

    /// What a term adds to a job, for a weight of 1.
    fn part(self, posting: Posting) -> f64 {
        let count = f64::from(posting.count);
        count * (K1 + 1.0) / (count + self.of(posting.length))
    }
}

/// A sum as a share of 1, in the same order.
fn share(sum: f64) -> f64 {
    sum / (1.0 + sum)
}

fn waiting(queued_at_micros: i64, now_micros: i64) -> f64 {
    let days = now_micros.saturating_sub(queued_at_micros).max(0) as f64 / FULL_WAIT;
    if days <= 1.0 { days } else { 1.0 + LONG_WAIT * days.ln() }
}
