//! What a test leaves to chance: dice with a seed, and for how long they are thrown.

use std::time::Duration;

use crate::exchange::variable;

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// Somewhere between the two.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(to - from))
    }
}

/// How many rounds a test goes: few, or as many as `CLAWRK_TEST_ROUNDS` says.
pub(crate) fn rounds(few: usize) -> usize {
    variable("CLAWRK_TEST_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}
