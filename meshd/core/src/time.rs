//! Time as an input: a monotonic instant for decisions, the wall clock for people and sequences.

use std::time::{Duration, Instant};

/// The time at which something happens. The core never asks for the time itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; every decision uses this one.
    pub instant: Instant,
    /// Wall clock, milliseconds since 1970; may jump. For sequences and for display only.
    pub unix_ms: u64,
}

impl Now {
    /// The wall clock time of an earlier (or later) instant, milliseconds since 1970.
    #[must_use]
    pub fn unix_ms_of(&self, instant: Instant) -> u64 {
        let ago = |earlier: Instant, later: Instant| {
            u64::try_from(later.saturating_duration_since(earlier).as_millis()).unwrap_or(u64::MAX)
        };
        self.unix_ms
            .saturating_sub(ago(instant, self.instant))
            .saturating_add(ago(self.instant, instant))
    }

    /// The wall clock time as RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        crate::mesh::timestamp::rfc3339(self.unix_ms)
    }
}

impl std::ops::Add<Duration> for Now {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            instant: self.instant + duration,
            unix_ms: self.unix_ms.saturating_add(ms),
        }
    }
}
