//! The words of the queued jobs, and the list of those that each stands in.

use std::collections::HashMap;
use std::sync::Arc;

/// The terms of all jobs, each with a number and its list. Numbers are used again once free, so there are as many as
/// there were different terms at once.
#[derive(Debug, Default)]
pub(super) struct Words {
    numbers: HashMap<Arc<str>, u32>,
    terms: Vec<Term>,
    free: Vec<u32>,
    /// Terms of letters alone, by the first ones.
    by_start: HashMap<Start, Vec<u32>>,
}

#[derive(Debug)]
struct Term {
    text: Arc<str>,
    postings: Vec<Posting>,
}

/// One job in the list of one term; all that its part of a score needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posting {
    pub(super) slot: u32,
    /// How often the term stands in the job, weighted.
    pub(super) count: u16,
    /// How long the job is, weighted.
    pub(super) length: u16,
}

/// Where a job stands in the list of one of its terms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) term: u32,
    pub(super) position: u32,
}

/// The first letters of a word; shorter ones have no relatives.
type Start = [char; 4];

/// The first letters of a term that is nothing but letters.
fn start(term: &str) -> Option<Start> {
    let mut letters = term.chars();
    let start = [letters.next()?, letters.next()?, letters.next()?, letters.next()?];
    term.chars().all(char::is_alphabetic).then_some(start)
}

impl Words {
    pub(super) fn number(&self, term: &str) -> Option<u32> {
        self.numbers.get(term).copied()
    }

    /// The jobs that a term stands in.
    pub(super) fn list(&self, term: u32) -> &[Posting] {
        &self.terms[term as usize].postings
    }

    /// The terms that begin as this one does, itself among them, if it is a word of some letters.
    pub(super) fn beginning_like(&self, term: &str) -> impl ExactSizeIterator<Item = (u32, &str)> {
        let same = start(term).and_then(|start| self.by_start.get(&start)).map_or(&[][..], Vec::as_slice);
        same.iter().map(|term| (*term, self.text(*term)))
    }

    pub(super) fn text(&self, term: u32) -> &str {
        &self.terms[term as usize].text
    }

    /// Adds a posting to a term's list and says where it stands.
    pub(super) fn post(&mut self, text: &str, posting: Posting) -> Place {
        let term = self.number(text).unwrap_or_else(|| self.take_in(text));
        let postings = &mut self.terms[term as usize].postings;
        postings.push(posting);
        Place { term, position: number(postings.len() - 1) }
    }

    fn take_in(&mut self, text: &str) -> u32 {
        let text: Arc<str> = text.into();
        let fresh = Term { text: Arc::clone(&text), postings: Vec::new() };
        let term = match self.free.pop() {
            Some(term) => {
                self.terms[term as usize] = fresh;
                term
            }
            None => {
                self.terms.push(fresh);
                number(self.terms.len() - 1)
            }
        };
        if let Some(start) = start(&text) {
            self.by_start.entry(start).or_default().push(term);
        }
        self.numbers.insert(text, term);
        term
    }

    /// Takes a posting out. The last of the list moves into the gap: its slot, if there is one.
    pub(super) fn unpost(&mut self, place: Place) -> Option<u32> {
        let Place { term, position } = place;
        let postings = &mut self.terms[term as usize].postings;
        postings.swap_remove(position as usize);
        let moved = postings.get(position as usize).map(|moved| moved.slot);
        if postings.is_empty() {
            self.let_go(term);
        } else if postings.len() < postings.capacity() / 4 {
            postings.shrink_to(postings.len() * 2);
        }
        moved
    }

    fn let_go(&mut self, term: u32) {
        let gone = &mut self.terms[term as usize];
        gone.postings = Vec::new();
        let text = std::mem::take(&mut gone.text);
        self.numbers.remove(&text);
        if let Some(start) = start(&text)
            && let Some(same) = self.by_start.get_mut(&start)
        {
            same.retain(|other| *other != term);
            if same.is_empty() {
                self.by_start.remove(&start);
            }
        }
        self.free.push(term);
    }

    /// Terms and postings that take up memory, for the tests of churn.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.terms.len(), self.terms.iter().map(|term| term.postings.capacity()).sum())
    }

    /// Panics unless every part agrees with every other; how many postings there are.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.terms.len(), self.numbers.len() + self.free.len());
        let words = self.numbers.keys().filter(|text| start(text).is_some()).count();
        assert_eq!(words, self.by_start.values().map(Vec::len).sum::<usize>());
        assert!(self.numbers.iter().all(|(text, term)| self.terms[*term as usize].text == *text));
        self.terms.iter().map(|term| term.postings.len()).sum()
    }
}

pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends long before four billion slots")
}
