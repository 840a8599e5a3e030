//! Virtual time: one clock of the world, and what each node's own clocks make of it. Only differences
//! of instants count, so the instant a run starts at has no influence on it.

use std::cmp::{Ordering, Reverse};
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

/// What happens when, in order; what was queued first comes first among equals.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    queued: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: SimTime,
    number: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(super) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            queued: 0,
        }
    }

    pub(super) fn push(&mut self, at: SimTime, what: T) {
        self.queued += 1;
        let number = self.queued;
        self.heap.push(Reverse(Entry { at, number, what }));
    }

    /// Takes what is due until `end`.
    pub(super) fn pop_until(&mut self, end: SimTime) -> Option<(SimTime, T)> {
        let Reverse(next) = self.heap.peek()?;
        if next.at > end {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
