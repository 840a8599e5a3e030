//! Control packets that found the socket's send buffer full of data. They wait here and go out before
//! any more data does. Holds bytes; sends nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::path::Route;

/// Packets that wait at most; the oldest go first.
const MAX_PACKETS: usize = 256;
/// Largest packet worth it: all control packets are smaller.
const MAX_BYTES: usize = 2048;
/// After so long a packet is of no use any more: whoever sent it has sent another.
const MAX_AGE: Duration = Duration::from_millis(250);

/// A packet that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    since: Instant,
    /// Where to and where from.
    pub(super) route: Route,
    /// Content.
    pub(super) bytes: Vec<u8>,
}

/// Packets that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Postponed {
    packets: VecDeque<Waiting>,
}

impl Postponed {
    /// How soon to try again.
    pub(super) const RETRY: Duration = Duration::from_millis(1);

    /// Lets a packet wait. How many were lost for it: this one if it is too large, or the oldest.
    pub(super) fn push(&mut self, now: Instant, route: Route, bytes: &[u8]) -> usize {
        if bytes.len() > MAX_BYTES {
            return 1;
        }
        let is_full = self.packets.len() >= MAX_PACKETS;
        if is_full {
            self.packets.pop_front();
        }
        self.packets.push_back(Waiting {
            since: now,
            route,
            bytes: bytes.to_vec(),
        });
        usize::from(is_full)
    }

    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Forgets what has waited for too long; how many that were.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let before = self.packets.len();
        let is_old = |first: &mut Waiting| now.saturating_duration_since(first.since) >= MAX_AGE;
        while self.packets.pop_front_if(is_old).is_some() {}
        before - self.packets.len()
    }

    /// Offers each packet to `send`, which says if it is done with; the others wait on, in order.
    pub(super) fn retry(&mut self, mut send: impl FnMut(&Waiting) -> bool) {
        self.packets.retain(|packet| !send(packet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(port: u16) -> Route {
        Route {
            remote: ([192, 0, 2, 1], port).into(),
            local: None,
        }
    }

    #[test]
    fn packets_wait_in_order_and_not_for_ever() {
        let start = Instant::now();
        let mut postponed = Postponed::default();
        for port in 0..3 {
            assert_eq!(postponed.push(start, route(port), b"x"), 0);
        }
        let mut offered = Vec::new();
        postponed.retry(|packet| {
            offered.push(packet.route.remote.port());
            packet.route.remote.port() == 1
        });
        assert_eq!(offered, [0, 1, 2]);
        assert_eq!(postponed.expire(start), 0);
        assert_eq!(postponed.expire(start + MAX_AGE), 2);
        assert!(postponed.is_empty());
    }

    #[test]
    fn is_bounded() {
        let now = Instant::now();
        let mut postponed = Postponed::default();
        assert_eq!(postponed.push(now, route(0), &[0; MAX_BYTES + 1]), 1);
        let lost = (0..300).map(|port| postponed.push(now, route(port), b"x"));
        assert_eq!(lost.sum::<usize>(), 300 - MAX_PACKETS);
        assert_eq!(postponed.packets.len(), MAX_PACKETS);
    }
}
