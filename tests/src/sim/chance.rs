//! Chance: the one source of randomness of a world. The same seed gives the same run.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Parts of a million.
pub(super) const MILLION: u32 = 1_000_000;

/// A seeded generator.
#[derive(Debug, Clone)]
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    /// A generator for one purpose (`stream`) of a run.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&stream.to_le_bytes());
        Self(ChaCha8Rng::from_seed(bytes))
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From nothing to one below `end`; 0 if `end` is.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % end).unwrap_or(0)
    }

    /// True in so many of a million cases.
    pub(super) fn happens(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.number() % u64::from(MILLION) < u64::from(ppm)
    }

    /// Evenly between nothing and `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.number() % nanos.saturating_add(1))
    }

    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// One of `choices`.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
