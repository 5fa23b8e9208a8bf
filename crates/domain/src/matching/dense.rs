//! Meaning as numbers: what an embedding model makes of a text, how near two texts are by it, and how that joins what
//! their words have in common.
//!
//! There is no model here: vectors come from outside, and each job may have one or not. A number is kept in one byte,
//! for there may be a million jobs; that moves a cosine by less than a hundredth. Jobs and personalities must have
//! been read by the same model: vectors of another length are not taken.

/// The numbers of a vector, at most: the sum of so many products fits 32 bits.
const MOST_NUMBERS: usize = 65_536;
/// What the largest number of a vector becomes.
const LARGEST: f32 = 127.0;
/// Slots whose numbers lie together.
const BLOCK: usize = 1024;

/// What a text means, as numbers: a direction, of which the length says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    numbers: Box<[i8]>,
    /// One over the length of the numbers.
    inverse: f32,
}

impl Vector {
    /// Takes a model's numbers; nothing if they show no direction: none at all, all of them 0, or one that is not finite.
    pub fn new(numbers: &[f32]) -> Option<Self> {
        let largest = numbers.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let scale = LARGEST / largest;
        let is_sound = numbers.iter().all(|number| number.is_finite()) && scale.is_finite();
        if !is_sound || numbers.len() > MOST_NUMBERS {
            return None;
        }
        let numbers: Box<[i8]> = numbers.iter().map(|number| (number * scale).round() as i8).collect();
        let inverse = 1.0 / (product(&numbers, &numbers) as f32).sqrt();
        Some(Self { numbers, inverse })
    }

    /// How many numbers it has.
    pub fn dimensions(&self) -> usize {
        self.numbers.len()
    }

    /// How near two texts are in what they mean, from 0 to 1: the cosine, where it is positive. Nothing if the vectors
    /// are not of one length, and so not of one model.
    pub fn nearness(&self, other: &Self) -> Option<f64> {
        (self.dimensions() == other.dimensions()).then(|| self.near(&other.numbers, other.inverse))
    }

    fn near(&self, numbers: &[i8], inverse: f32) -> f64 {
        let cosine = f64::from(product(&self.numbers, numbers)) * f64::from(self.inverse) * f64::from(inverse);
        cosine.clamp(0.0, 1.0)
    }
}

/// Vectors are of one length, and short enough for the sum to fit.
fn product(one: &[i8], other: &[i8]) -> i32 {
    one.iter().zip(other).map(|(one, other)| i32::from(*one) * i32::from(*other)).sum()
}

/// The vectors of the jobs, by slot; a slot without one costs four bytes, and nothing while there is none at all.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    /// How many numbers each has.
    dimensions: usize,
    /// The numbers of [`BLOCK`] slots each, or nothing where none of them has any: to grow copies no numbers.
    blocks: Vec<Box<[i8]>>,
    /// One over the length of each slot's numbers; 0 for a slot without.
    inverses: Vec<f32>,
    count: usize,
}

impl Vectors {
    /// Whether no slot has one.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives a slot its vector; false if it is not as long as the others.
    pub(super) fn put(&mut self, slot: u32, vector: &Vector) -> bool {
        if self.is_empty() {
            *self = Self { dimensions: vector.dimensions(), ..Self::default() };
        }
        if vector.dimensions() != self.dimensions {
            return false;
        }
        let (block, from, slot) = self.place(slot);
        if self.inverses.len() <= slot {
            self.inverses.resize(slot + 1, 0.0);
        }
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, Box::default);
        }
        let numbers = &mut self.blocks[block];
        if numbers.is_empty() {
            *numbers = vec![0; BLOCK * self.dimensions].into();
        }
        numbers[from..from + self.dimensions].copy_from_slice(&vector.numbers);
        self.count += usize::from(self.inverses[slot] == 0.0);
        self.inverses[slot] = vector.inverse;
        true
    }

    /// Takes the slot's vector away.
    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(inverse) = self.inverses.get_mut(slot as usize)
            && *inverse != 0.0
        {
            *inverse = 0.0;
            self.count -= 1;
        }
    }

    /// The slot's vector.
    pub(super) fn get(&self, slot: u32) -> Option<Vector> {
        let (numbers, inverse) = self.numbers(slot)?;
        Some(Vector { numbers: numbers.into(), inverse })
    }

    /// How near the slot's vector is to this one; nothing if it has none.
    pub(super) fn nearness(&self, slot: u32, vector: &Vector) -> Option<f64> {
        let (numbers, inverse) = self.numbers(slot)?;
        (self.dimensions == vector.dimensions()).then(|| vector.near(numbers, inverse))
    }

    fn numbers(&self, slot: u32) -> Option<(&[i8], f32)> {
        let inverse = *self.inverses.get(slot as usize).filter(|inverse| **inverse != 0.0)?;
        let (block, from, _) = self.place(slot);
        Some((&self.blocks[block][from..from + self.dimensions], inverse))
    }

    /// The block of a slot, where in it its numbers begin, and the slot.
    const fn place(&self, slot: u32) -> (usize, usize, usize) {
        let slot = slot as usize;
        (slot / BLOCK, slot % BLOCK * self.dimensions, slot)
    }

    /// How many slots have one, for the tests of churn.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.inverses.iter().filter(|inverse| **inverse != 0.0).count(), self.count);
        self.count
    }
}

/// How well jobs suit, each told as how near its words are and, where it is known, its meaning: half of each. Nothing
/// is weighed anew for each personality: what a job scores does not depend on which others are there.
///
/// A job whose meaning is not known yet is taken to be as near in meaning, among those known, as it is in words, so
/// that it stands where it would without any model. While no meaning is known, words alone count.
pub(super) fn fused(parts: &[(f64, Option<f64>)]) -> Vec<f64> {
    let known = || parts.iter().filter_map(|(lexical, dense)| Some((*lexical, (*dense)?)));
    if known().next().is_none() {
        return parts.iter().map(|(lexical, _)| *lexical).collect();
    }
    let (lexical, dense) = (Span::of(known().map(|(lexical, _)| lexical)), Span::of(known().map(|(_, dense)| dense)));
    let fuse = |(words, meaning): &(f64, Option<f64>)| {
        (words + meaning.unwrap_or_else(|| dense.at(lexical.share_below(*words)))) / 2.0
    };
    parts.iter().map(fuse).collect()
}

/// From the least to the greatest.
struct Span {
    least: f64,
    greatest: f64,
}

impl Span {
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let empty = Self { least: f64::INFINITY, greatest: f64::NEG_INFINITY };
        numbers.fold(empty, |span, number| Self { least: span.least.min(number), greatest: span.greatest.max(number) })
    }

    /// How far up a number lies, from 0 to 1; in the middle where there is but one place.
    fn share_below(&self, number: f64) -> f64 {
        let size = self.greatest - self.least;
        if size > 0.0 { ((number - self.least) / size).clamp(0.0, 1.0) } else { 0.5 }
    }

    fn at(&self, share: f64) -> f64 {
        self.least + share * (self.greatest - self.least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::index::COMPARED;
    use super::super::{Index, Reading, Text};
    use super::*;

    #[test]
    fn nearness_is_the_cosine_where_it_is_positive() {
        let vector = |numbers: &[f32]| Vector::new(numbers).unwrap();
        let near = |one: &[f32], other: &[f32]| vector(one).nearness(&vector(other)).unwrap();
        assert!((near(&[3.0, 4.0], &[0.3, 0.4]) - 1.0).abs() < 1e-6);
        assert!((near(&[1.0, 0.0], &[1.0, 1.0]) - 0.5_f64.sqrt()).abs() < 1e-6);
        assert_eq!(near(&[1.0, 0.0], &[0.0, 5.0]), 0.0);
        assert_eq!(near(&[1.0, 2.0], &[-1.0, -2.0]), 0.0);
        assert_eq!(vector(&[1.0]).nearness(&vector(&[1.0, 0.0])), None);
    }

    #[test]
    fn numbers_without_a_direction_are_no_vector() {
        for numbers in [&[][..], &[0.0, 0.0], &[1.0, f32::NAN], &[f32::INFINITY, 1.0], &[1e-44, 0.0]] {
            assert_eq!(Vector::new(numbers), None, "{numbers:?}");
        }
        assert!(Vector::new(&vec![1.0; MOST_NUMBERS]).is_some());
        assert!(Vector::new(&vec![1.0; MOST_NUMBERS + 1]).is_none(), "the sum of products would not fit");
        let largest = Vector::new(&vec![-1.0; MOST_NUMBERS]).unwrap();
        assert!((largest.nearness(&largest).unwrap() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn where_the_meaning_is_not_known_a_job_stands_where_its_words_put_it() {
        let close = |one: &[f64], other: &[f64]| one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-9);
        assert_eq!(fused(&[(0.2, None), (0.7, None)]), [0.2, 0.7], "words alone");
        let parts =
            [(0.2, Some(0.8)), (0.6, Some(0.9)), (0.6, None), (0.4, None), (0.2, None), (0.9, None), (0.0, None)];
        assert!(close(&fused(&parts), &[0.5, 0.75, 0.75, 0.625, 0.5, 0.9, 0.4]), "{:?}", fused(&parts));
        assert!(close(&fused(&[(0.5, Some(0.3)), (0.5, None)]), &[0.4, 0.4]));
        assert_eq!(fused(&[]), [0.0; 0]);
    }

    /// So many jobs in the order of their age, none of which has a word in common with another.
    fn strangers(count: u32) -> Index<u32> {
        let mut index = Index::new();
        for id in 0..count {
            let title = format!("w{id}");
            index.insert(id, Reading::of(&Text { title: &title, description: None, requirements: None }), id.into());
        }
        index
    }

    fn first(index: &Index<u32>, meaning: &Vector) -> u32 {
        index.best_by_meaning(Some("nothing of that"), Some(meaning), 0, 1, |_| false)[0].id
    }

    #[test]
    fn a_job_without_a_word_in_common_is_found_by_its_meaning() {
        let mut index = strangers(500);
        let (right, wrong) = (Vector::new(&[1.0, 0.1]).unwrap(), Vector::new(&[-0.1, 1.0]).unwrap());
        (0..500).for_each(|id| assert!(index.give(&id, if id == 250 { &right } else { &wrong })));
        assert_eq!(first(&index, &right), 250);
        let best = index.best_by_meaning(Some("w3"), Some(&right), 0, 3, |id| *id == 250);
        assert_eq!((best[0].id, best.len()), (3, 3), "what pull may not hand out is passed over");
        assert!(best[0].dense.is_some_and(|dense| (best[0].relevance * 2.0 - best[0].lexical - dense).abs() < 1e-9));
        let without = index.best(Some("w3"), 0, 3, |_| false);
        assert!(without.iter().all(|ranked| ranked.dense.is_none() && ranked.relevance == ranked.lexical));
    }

    #[test]
    fn what_a_job_means_goes_with_it() {
        let mut index = strangers(3);
        let (meaning, other) = (Vector::new(&[1.0, 0.0]).unwrap(), Vector::new(&[0.0, 1.0]).unwrap());
        assert!(index.give(&0, &other) && index.give(&2, &other));
        assert!(!index.give(&9, &meaning), "there is no such job");
        assert!(index.give(&1, &meaning) && index.meaning(&1).as_ref() == Some(&meaning));
        assert_eq!(first(&index, &meaning), 1);
        index.remove(&1);
        index.insert(4, Reading::of(&Text { title: "w4", description: None, requirements: None }), 4);
        assert!([1, 4].iter().all(|id| index.meaning(id).is_none()), "the place of one is no other's");
        assert_eq!(first(&index, &meaning), 0);
        index.check();
    }

    #[test]
    fn among_very_many_the_oldest_and_the_newest_are_compared() {
        let count = u32::try_from(COMPARED).unwrap() + 2;
        let mut index = strangers(count);
        let (right, wrong) = (Vector::new(&[1.0, 0.0]).unwrap(), Vector::new(&[0.0, 1.0]).unwrap());
        (0..count).for_each(|id| assert!(index.give(&id, &wrong)));
        for (id, found) in [(count - 1, true), (count / 2, false), (count / 2 - 2, true)] {
            index.give(&id, &right);
            assert_eq!(first(&index, &right) == id, found, "{id}");
            index.give(&id, &wrong);
        }
        index.give(&(count / 2), &right);
        (0..2).for_each(|id| assert!(index.remove(&id)));
        assert_eq!(first(&index, &right), count / 2, "older ones were taken");
    }

    proptest! {
        #[test]
        fn a_byte_a_number_moves_a_cosine_by_less_than_a_hundredth(
            one in prop::collection::vec(-1.0_f32..1.0, 384),
            other in prop::collection::vec(-1.0_f32..1.0, 384),
            nearer in 0.0_f32..1.0,
        ) {
            let other: Vec<f32> = one.iter().zip(&other).map(|(one, other)| nearer * one + (1.0 - nearer) * other).collect();
            let exact = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = exact(&one, &other) / (exact(&one, &one) * exact(&other, &other)).sqrt();
            let near = Vector::new(&one).unwrap().nearness(&Vector::new(&other).unwrap()).unwrap();
            prop_assert!((near - cosine.max(0.0)).abs() < 0.01, "{near} is not {cosine}");
        }

        #[test]
        fn slots_keep_what_they_were_given(
            steps in prop::collection::vec((0_u32..3000, prop::option::weighted(0.7, -9_i8..9)), 0..50),
        ) {
            let (mut vectors, mut expected) = (Vectors::default(), std::collections::BTreeMap::new());
            for (slot, number) in steps {
                if let Some(number) = number {
                    let vector = Vector::new(&[f32::from(number), 10.0, 3.0]).unwrap();
                    prop_assert!(vectors.put(slot, &vector));
                    expected.insert(slot, vector);
                } else {
                    vectors.clear(slot);
                    expected.remove(&slot);
                }
                let other_model = Vector::new(&[1.0, 2.0]).unwrap();
                prop_assert!(vectors.is_empty() || !vectors.put(slot, &other_model));
                prop_assert_eq!(vectors.check(), expected.len());
                prop_assert!(expected.iter().all(|(slot, vector)| vectors.get(*slot).as_ref() == Some(vector)));
                prop_assert!((0..3000).all(|slot| vectors.get(slot).is_some() == expected.contains_key(&slot)));
            }
        }
    }
}
