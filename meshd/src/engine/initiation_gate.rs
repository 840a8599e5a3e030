//! Bounds the work that one source address can cause by initiations while there are many. Cookies keep
//! those out who lie about their address; this keeps one who does not from using up the thread with
//! key agreements.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Initiations that pass from one source in a second under load: as many as the kernel lets through.
const PER_SOURCE: u32 = 20;
/// Sources remembered in one second; more have to wait for the next.
const MAX_SOURCES: usize = 8192;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts initiations by second and source.
#[derive(Debug)]
pub(super) struct InitiationGate {
    /// Initiations in a second that are no load yet.
    free: u32,
    since: Option<Instant>,
    passed: u32,
    sources: HashMap<IpAddr, u32>,
}

impl InitiationGate {
    /// A gate that stands open until `free` initiations have come in a second.
    pub(super) fn new(free: u32) -> Self {
        Self {
            free,
            since: None,
            passed: 0,
            sources: HashMap::new(),
        }
    }

    /// True if an initiation from `source`, whose address is proven, may be worked on.
    pub(super) fn pass(&mut self, now: Instant, source: IpAddr) -> bool {
        let is_over = |since| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.passed = 0;
            self.sources.clear();
        }
        if self.passed < self.free {
            self.passed += 1;
            return true;
        }
        let source = network_of(source);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            return false;
        }
        let count = self.sources.entry(source).or_default();
        *count = count.saturating_add(1);
        *count <= PER_SOURCE
    }
}

/// Who has one IPv6 address has a /64 of them.
fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_load_each_source_has_its_own_bound() {
        let start = Instant::now();
        let mut gate = InitiationGate::new(100);
        let pass = |gate: &mut InitiationGate, now, source: &str, times: usize| {
            let source = source.parse().unwrap();
            (0..times).filter(|_| gate.pass(now, source)).count()
        };
        assert_eq!(pass(&mut gate, start, "192.0.2.1", 1000), 120);
        assert_eq!(pass(&mut gate, start, "192.0.2.2", 10), 10);
        assert_eq!(pass(&mut gate, start, "2001:db8::1", 15), 15);
        assert_eq!(pass(&mut gate, start, "2001:db8::2", 15), 5, "the same /64");
        assert_eq!(pass(&mut gate, start + WINDOW, "192.0.2.1", 50), 50);
    }

    #[test]
    fn is_bounded() {
        let now = Instant::now();
        let mut gate = InitiationGate::new(0);
        let all = (0..2 * MAX_SOURCES as u32)
            .filter(|source| gate.pass(now, source.to_be_bytes().into()));
        assert_eq!(all.count(), MAX_SOURCES);
        assert_eq!(gate.sources.len(), MAX_SOURCES);
    }
}
