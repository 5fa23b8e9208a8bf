//! Which queued job suits an agent: text becomes terms, terms become a score, scores become an order.
//!
//! [`Index`] keeps the queued jobs in memory and answers [`Index::best`]: the jobs nearest to a
//! personality first, then all others, oldest first. Where a model was asked what the texts mean, jobs have [`Vector`]s,
//! and [`Index::best_by_meaning`] goes by words and meaning. Nothing here reads a clock or depends on the
//! order of a hash map: the same jobs and the same personality always give the same list.

mod dense;
mod frequency;
mod index;
mod profile;
mod reading;
mod search;
mod sums;
mod terms;
mod words;

pub use dense::Vector;
pub use index::{Index, Ranked, Share};
pub use reading::Reading;
pub use search::{Finder, Marks, Search};
pub use terms::{spellings, terms};

/// The words of a job that matching reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The short line on the board.
    pub title: &'a str,
    /// What is to be done, at length.
    pub description: Option<&'a str>,
    /// The skills needed, in prose.
    pub requirements: Option<&'a str>,
}

#[cfg(test)]
mod tests;
