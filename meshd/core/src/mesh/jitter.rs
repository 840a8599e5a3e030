//! Jitter: random parts of waits, from the seeded generator.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

/// Between nothing and `most`, evenly.
pub(super) fn up_to(rng: &mut ChaCha20Rng, most: Duration) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.next_u64() % nanos.saturating_add(1))
}

/// `wait`, ten per cent shorter to ten per cent longer.
pub(super) fn about(rng: &mut ChaCha20Rng, wait: Duration) -> Duration {
    wait - wait / 10 + up_to(rng, wait / 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;

    #[test]
    fn stays_in_range_and_varies() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let wait = Duration::from_secs(1);
        let samples: Vec<_> = (0..100).map(|_| about(&mut rng, wait)).collect();
        assert!(
            samples
                .iter()
                .all(|s| *s >= wait * 9 / 10 && *s <= wait * 11 / 10)
        );
        assert!(samples.iter().min() < samples.iter().max());
        assert_eq!(up_to(&mut rng, Duration::ZERO), Duration::ZERO);
    }
}
