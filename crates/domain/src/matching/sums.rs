//! What a ranking adds up in, kept for the next one.

use std::sync::{Mutex, PoisonError};

/// The sum of what was gathered for each slot, 0 where nothing was; and the slots above 0.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) sums: Vec<f32>,
    pub(super) found: Vec<u32>,
}

impl Sums {
    pub(super) fn of(&self, slot: u32) -> f32 {
        self.sums[slot as usize]
    }
}

/// Sums that are all 0, for the next to use: to make them anew for a million slots costs more than to add up.
#[derive(Debug, Default)]
pub(super) struct Scratch(Mutex<Vec<Sums>>);

impl Scratch {
    pub(super) fn take(&self, slots: usize) -> Sums {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        sums.sums.resize(slots, 0.0);
        sums
    }

    pub(super) fn put_back(&self, mut sums: Sums) {
        for slot in sums.found.drain(..) {
            sums.sums[slot as usize] = 0.0;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sums);
    }
}
