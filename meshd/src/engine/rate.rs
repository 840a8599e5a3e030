//! Bounds on how often something outside can make the engine speak.

use std::time::{Duration, Instant};

use meshd_core::data_plane::PathId;

/// Lets one thing per path and interval pass. Remembers a bounded number of paths;
/// when they are used up, new ones wait for the interval to end.
#[derive(Debug, Default)]
pub(super) struct PathLimiter {
    recent: Vec<(PathId, Instant)>,
}

impl PathLimiter {
    const INTERVAL: Duration = Duration::from_millis(100);
    const MAX_PATHS: usize = 16;

    /// True if nothing has passed for `path` in the last 100 ms.
    pub(super) fn pass(&mut self, now: Instant, path: PathId) -> bool {
        self.recent
            .retain(|(_, since)| now.saturating_duration_since(*since) < Self::INTERVAL);
        if self.recent.len() >= Self::MAX_PATHS
            || self.recent.iter().any(|(known, _)| *known == path)
        {
            return false;
        }
        self.recent.push((path, now));
        true
    }
}

/// Lets one thing per interval pass.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    last: Option<Instant>,
}

impl Pace {
    /// One per `interval`.
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    /// True if the last one passed at least an interval ago.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// At most so many in each second.
#[derive(Debug)]
pub(super) struct PerSecond {
    limit: u32,
    passed: u32,
    since: Option<Instant>,
}

impl PerSecond {
    /// `limit` in each second.
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            limit,
            passed: 0,
            since: None,
        }
    }

    /// True if the limit is not reached in this second.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= second)
        {
            self.since = Some(now);
            self.passed = 0;
        }
        self.passed = self.passed.saturating_add(1);
        self.passed <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> PathId {
        PathId::to(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn one_per_path_and_interval() {
        let start = Instant::now();
        let mut limiter = PathLimiter::default();
        assert!(limiter.pass(start, path(1)));
        assert!(!limiter.pass(start, path(1)));
        assert!(limiter.pass(start, path(2)));
        assert!(limiter.pass(start + PathLimiter::INTERVAL, path(1)));
        for port in 0..1000 {
            let _ = limiter.pass(start + PathLimiter::INTERVAL, path(port));
        }
        assert_eq!(limiter.recent.len(), PathLimiter::MAX_PATHS);
    }

    #[test]
    fn pace_and_window() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut pace = Pace::new(Duration::from_secs(1));
        assert_eq!(
            [start, start, later].map(|now| pace.pass(now)),
            [true, false, true]
        );
        let mut window = PerSecond::new(2);
        let passed = [start, start, start, later].map(|now| window.pass(now));
        assert_eq!(passed, [true, true, false, true]);
    }
}
