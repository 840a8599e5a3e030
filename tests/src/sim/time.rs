//! Virtual time: one clock of the world, and what each node's own clocks make of it. Only differences
//! of instants count, so the instant a run starts at has no influence on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use meshd_core::Now;

/// Time since the world began.
pub type SimTime = Duration;

/// Wall clock at the beginning: some time in 2026, milliseconds since 1970.
pub(super) const WALL_START_MS: u64 = 1_780_000_000_000;

/// A node's clocks: a monotonic one that stands still while the node sleeps, as `CLOCK_MONOTONIC` does,
/// and a wall clock that may be wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    base: Instant,
    asleep: Duration,
    /// Added to the true wall clock, milliseconds.
    pub(super) skew_ms: i64,
}

impl Clocks {
    pub(super) const fn new(base: Instant, skew_ms: i64) -> Self {
        Self {
            base,
            asleep: Duration::ZERO,
            skew_ms,
        }
    }

    /// What the node's clocks say at `at`.
    pub(super) fn now(&self, at: SimTime) -> Now {
        Now {
            instant: self.base + at.saturating_sub(self.asleep),
            unix_ms: (WALL_START_MS + millis(at)).saturating_add_signed(self.skew_ms),
        }
    }

    /// When the node's monotonic clock shows `instant`, if it does not sleep any more.
    pub(super) fn world_time(&self, instant: Instant) -> SimTime {
        instant.saturating_duration_since(self.base) + self.asleep
    }

    /// The node slept for that long.
    pub(super) fn slept(&mut self, time: Duration) {
        self.asleep += time;
    }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What happens when, in order; what was queued first comes first among equals. The heap orders small
/// entries; what they stand for stays where it is until its time comes.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry>>,
    queued: u64,
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

/// Time, number in the order of queueing, slot.
type Entry = (SimTime, u64, usize);

impl<T> Agenda<T> {
    pub(super) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            queued: 0,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, at: SimTime, what: T) {
        self.queued += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(what);
        self.heap.push(Reverse((at, self.queued, slot)));
    }

    /// Takes what is due until `end`.
    pub(super) fn pop_until(&mut self, end: SimTime) -> Option<(SimTime, T)> {
        let Reverse((at, ..)) = self.heap.peek()?;
        if *at > end {
            return None;
        }
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        Some((at, self.slots[slot].take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agenda_keeps_the_order_of_time_and_then_of_queueing() {
        let mut agenda = Agenda::new();
        for (at, what) in [(3, 'c'), (1, 'a'), (3, 'd'), (2, 'b'), (9, 'z')] {
            agenda.push(Duration::from_secs(at), what);
        }
        let mut seen = String::new();
        while let Some((_, what)) = agenda.pop_until(Duration::from_secs(3)) {
            seen.push(what);
            if what == 'a' {
                agenda.push(Duration::from_secs(3), 'e');
            }
        }
        assert_eq!(seen, "abcde");
    }
}
