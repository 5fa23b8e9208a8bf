//! The open jobs whose meaning is to be found out, and what was found out.

use std::collections::BTreeSet;

use clawrk_domain::JobId;
use clawrk_domain::matching::Vector;
use clawrk_store::Place;

use super::Market;

/// Open jobs whose meaning is not known.
#[derive(Default)]
pub(super) struct Wanted {
    places: BTreeSet<Place>,
    /// Those that the model did not take.
    refused: BTreeSet<Place>,
}

impl Wanted {
    pub(super) fn add(&mut self, place: Place) {
        self.places.insert(place);
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.places.remove(&place);
        self.refused.remove(&place);
    }
}

impl Market {
    /// Up to `count` jobs whose meaning is wanted, the newest first; they are wanted no more until somebody says so.
    pub(crate) fn without_meaning(&self, count: usize) -> Vec<Place> {
        let mut open = self.write();
        let Some(wanted) = &mut open.wanted else { return Vec::new() };
        std::iter::from_fn(|| wanted.places.pop_last()).take(count).collect()
    }

    /// How many jobs there are whose meaning is wanted.
    pub(crate) fn count_without_meaning(&self) -> usize {
        self.read().wanted.as_ref().map_or(0, |wanted| wanted.places.len() + wanted.refused.len())
    }

    /// The meaning of these jobs is wanted still, as far as they are open and it is not known.
    pub(crate) fn want(&self, places: &[Place]) {
        let mut open = self.write();
        let still = |place: &&Place| open.index.contains(&place.job) && open.index.meaning(&place.job).is_none();
        let still: Vec<Place> = places.iter().filter(still).copied().collect();
        if let Some(wanted) = &mut open.wanted {
            wanted.places.extend(still);
        }
    }

    /// The model does not take this job.
    pub(crate) fn refused(&self, place: Place) {
        let mut open = self.write();
        if open.index.contains(&place.job)
            && let Some(wanted) = &mut open.wanted
        {
            wanted.refused.insert(place);
        }
    }

    /// Those that the model did not take are wanted again: it may be another by now.
    pub(crate) fn want_refused_again(&self) {
        if let Some(wanted) = &mut self.write().wanted {
            wanted.places.append(&mut wanted.refused);
        }
    }

    /// What jobs mean; those that are no longer open are passed over.
    pub(crate) fn mean(&self, meanings: &[(JobId, Vector)]) {
        let mut open = self.write();
        for (job, meaning) in meanings {
            open.index.give(job, meaning);
        }
    }
}
