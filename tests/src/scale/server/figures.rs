//! What a run against the server found, as it stands in the JSON. Pure.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::recovery::report::nearest_rank;

/// Percentiles of some times, milliseconds; 0 if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Median.
    pub p50: f64,
    /// 99th percentile, nearest rank.
    pub p99: f64,
    /// Longest.
    pub max: f64,
}

/// Figures beside those every run has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Clusters of that many members.
    pub clusters: usize,
    /// Watch streams of all clusters.
    pub watchers: usize,
    /// Of the first registration of everybody, each over a connection of its own.
    pub registrations_per_second: f64,
    /// One PUT during that.
    pub register_ms: Spread,
    /// Members that joined at once.
    pub storm_members: usize,
    /// From each one's PUT to its last watcher.
    pub storm_ms: Spread,
    /// The same for changed records, one after the other.
    pub change_ms: Spread,
    /// Processor time of the server for one join, renewals meanwhile included.
    pub cpu_s_per_join: f64,
    /// Renewals the idle server did.
    pub idle_renewals_per_second: f64,
    /// HTTP bytes both ways of an idle member: heartbeats and renewals.
    pub bytes_per_member_and_hour: u64,
}

impl Spread {
    /// The percentiles of `times`.
    #[must_use]
    pub fn of(times: &[Duration]) -> Self {
        let mut sorted: Vec<_> = times.iter().map(ms).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent| nearest_rank(&sorted, percent).unwrap_or(0.0);
        Self {
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, max } = self;
        write!(f, "p50 {p50} ms, p99 {p99} ms, max {max} ms")
    }
}

/// In milliseconds, to a tenth.
#[must_use]
pub fn ms(time: &Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let spread = Spread::of(&times);
        assert_eq!((spread.p50, spread.p99, spread.max), (100.0, 198.0, 200.0));
        assert_eq!(Spread::of(&[]).max, 0.0);
        let shown = Spread::of(&times[..1]).to_string();
        assert_eq!(shown, "p50 1 ms, p99 1 ms, max 1 ms");
    }
}
