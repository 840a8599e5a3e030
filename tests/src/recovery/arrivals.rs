//! Arrivals: when the packets of a stream came, and the gaps between them. Pure.

use std::time::{Duration, Instant};

/// Instants of arrival, in order.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Vec<Instant>);

impl Arrivals {
    /// A packet came.
    pub fn note(&mut self, at: Instant) {
        self.0.push(at);
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.0.last().copied()
    }

    /// The first one after `start`.
    #[must_use]
    pub fn first_after(&self, start: Instant) -> Option<Instant> {
        let index = self.0.partition_point(|at| *at <= start);
        self.0.get(index).copied()
    }

    /// The longest time without an arrival that ends after `start`, up to `end`. The time before the
    /// first arrival of all counts from `start`.
    #[must_use]
    pub fn longest_gap(&self, start: Instant, end: Instant) -> Duration {
        let from = self.0.partition_point(|at| *at <= start);
        let mut last = match from.checked_sub(1) {
            Some(before) => self.0[before],
            None => start,
        };
        let mut longest = Duration::ZERO;
        let within = self.0[from..].iter().take_while(|at| **at <= end);
        for at in within.copied().chain(std::iter::once(end)) {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.longest_gap(at(5), at(50)), ms(45));
        for time in [0, 5, 10, 200, 205, 260, 265] {
            arrivals.note(at(time));
        }
        // The gap that was open when it began counts whole.
        assert_eq!(arrivals.longest_gap(at(100), at(265)), ms(190));
        assert_eq!(arrivals.longest_gap(at(203), at(265)), ms(55));
        // The end of a window is no arrival: silence up to it counts.
        assert_eq!(arrivals.longest_gap(at(262), at(400)), ms(135));
        assert_eq!(arrivals.longest_gap(at(0), at(100)), ms(90));
        assert_eq!(arrivals.first_after(at(10)), Some(at(200)));
        assert_eq!(arrivals.first_after(at(265)), None);
        assert_eq!(arrivals.last(), Some(at(265)));
    }
}
