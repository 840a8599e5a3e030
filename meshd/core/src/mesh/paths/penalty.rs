//! Penalty: a path that failed in use is held down, longer each time, so that a flapping path cannot
//! take the traffic along.

use std::time::{Duration, Instant};

use crate::timing::{HOLD_DOWN, HOLD_DOWN_FORGET, HOLD_DOWN_MAX};

#[derive(Debug, Default, Clone, Copy)]
pub(in crate::mesh) struct Penalty {
    failures: u32,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Penalty {
    /// The path failed while it was in use.
    pub(in crate::mesh) fn failed(&mut self, now: Instant) {
        let forgotten = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= HOLD_DOWN_FORGET);
        self.failures = if forgotten { 1 } else { self.failures + 1 };
        self.last = Some(now);
        self.until = Some(now + hold(self.failures));
    }

    /// Failures that are not forgotten.
    pub(in crate::mesh) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when the path is not preferred; none if it may be.
    pub(in crate::mesh) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

fn hold(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (HOLD_DOWN * (1 << doublings)).min(HOLD_DOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_is_bounded_and_forgets() {
        let start = crate::mesh::tests::base_instant();
        let mut penalty = Penalty::default();
        assert_eq!(penalty.held_until(start), None);
        for doublings in 0..4 {
            penalty.failed(start);
            let until = start + HOLD_DOWN * (1 << doublings);
            assert_eq!(penalty.held_until(start), Some(until));
            assert_eq!(penalty.held_until(until), None);
        }
        for _ in 0..40 {
            penalty.failed(start);
        }
        assert_eq!(penalty.held_until(start), Some(start + HOLD_DOWN_MAX));
        let later = start + HOLD_DOWN_FORGET;
        penalty.failed(later);
        assert_eq!(penalty.held_until(later), Some(later + HOLD_DOWN));
    }
}
