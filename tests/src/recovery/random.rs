//! Randomness for moments: seeded from the clock, good enough to hit every part of a cycle.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Another sequence in every run.
    #[must_use]
    pub fn new() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = time.unwrap_or_default().as_nanos();
        Self(u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default())
    }

    /// A number from 0 to `bound` - 1; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
