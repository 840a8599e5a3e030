//! Bounds on how often something outside can make the engine speak.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Lets one thing per remote address and interval pass. Remembers a bounded number of addresses;
/// when they are used up, new ones wait for the interval to end.
#[derive(Debug, Default)]
pub(super) struct PathLimiter {
    recent: Vec<(SocketAddr, Instant)>,
}

impl PathLimiter {
    const INTERVAL: Duration = Duration::from_millis(100);
    const MAX_ADDRESSES: usize = 16;

    /// True if nothing has passed for `remote` in the last 100 ms.
    pub(super) fn pass(&mut self, now: Instant, remote: SocketAddr) -> bool {
        self.recent
            .retain(|(_, since)| now.saturating_duration_since(*since) < Self::INTERVAL);
        if self.recent.len() >= Self::MAX_ADDRESSES
            || self.recent.iter().any(|(known, _)| *known == remote)
        {
            return false;
        }
        self.recent.push((remote, now));
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

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn one_per_address_and_interval() {
        let start = Instant::now();
        let mut limiter = PathLimiter::default();
        assert!(limiter.pass(start, address(1)));
        assert!(!limiter.pass(start, address(1)));
        assert!(limiter.pass(start, address(2)));
        assert!(limiter.pass(start + PathLimiter::INTERVAL, address(1)));
        for port in 0..1000 {
            let _ = limiter.pass(start + PathLimiter::INTERVAL, address(port));
        }
        assert_eq!(limiter.recent.len(), PathLimiter::MAX_ADDRESSES);
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
