//! Waiting times between attempts: doubling, bounded, jittered so that a thousand nodes do not come back
//! in one moment.

use std::time::Duration;

/// Doubles from `first` to `last`.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            next: first,
        }
    }

    /// The next wait.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.last);
        jittered(wait)
    }

    /// Begins again at the first wait.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `duration` times 0.75 to 1.25.
pub(super) fn jittered(duration: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without random bytes there is no jitter, which only matters with many nodes.
    let part = match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u16::from_ne_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 0.5,
    };
    duration.mul_f64(0.75 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_last_and_begins_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(200), ms(1000));
        for expected in [200, 400, 800, 1000, 1000] {
            let wait = backoff.wait();
            assert!(
                wait >= ms(expected * 3 / 4) && wait <= ms(expected * 5 / 4 + 1),
                "{wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(251));
    }
}
