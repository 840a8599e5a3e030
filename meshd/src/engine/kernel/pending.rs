//! Changes of peers that wait to go out together, and when. Many peers begin at once: were each change sent when
//! it is known, five hundred peers would take a thousand messages.
//!
//! What a working peer waits for goes out in the turn in which it is known. Peers that come, go or are dialled
//! wait for one another, but only while others went before them a moment ago.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mesh_proto::WgPublicKey;
use netlink_packet_wireguard::WireguardPeer;
use rtnetlink::packet_core::Emitable as _;

/// Between two rounds of changes that may wait.
const GATHER: Duration = Duration::from_millis(20);
/// The same in times of what the last round cost: a kernel takes long to add many peers.
const GATHER_SHARE: u32 = 8;
/// Never longer than that: a handshake waits.
const GATHER_MAX: Duration = Duration::from_millis(250);
/// One attribute holds 64 KiB, its header and all peers.
const MESSAGE_BYTES: usize = 60_000;

/// The changes, in order.
#[derive(Debug)]
pub(super) struct Pending {
    changes: Vec<(WgPublicKey, WireguardPeer)>,
    /// How many of them each peer has.
    peers: BTreeMap<WgPublicKey, usize>,
    urgent: bool,
    /// What may wait does until then.
    closed_until: Instant,
}

impl Pending {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            changes: Vec::new(),
            peers: BTreeMap::new(),
            urgent: false,
            closed_until: now,
        }
    }

    /// A change that may wait for others.
    pub(super) fn gather(&mut self, key: WgPublicKey, change: WireguardPeer) {
        self.changes.push((key, change));
        *self.peers.entry(key).or_default() += 1;
    }

    /// A change to be made in this turn. Those before it are made with it: their order matters where a prefix
    /// goes from one peer to another.
    pub(super) fn hurry(&mut self, key: WgPublicKey, change: WireguardPeer) {
        self.gather(key, change);
        self.urgent = true;
    }

    /// Forgets what waits for these peers.
    pub(super) fn forget(&mut self, keys: &BTreeSet<WgPublicKey>) {
        if keys.iter().any(|key| self.peers.contains_key(key)) {
            self.changes.retain(|(key, _)| !keys.contains(key));
            self.peers.retain(|key, _| !keys.contains(key));
            self.urgent &= !self.changes.is_empty();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.changes.clear();
        self.peers.clear();
        self.urgent = false;
    }

    /// True if the kernel does not know all of that peer yet.
    pub(super) fn holds(&self, key: &WgPublicKey) -> bool {
        self.peers.contains_key(key)
    }

    /// True if what may wait need not wait now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        now >= self.closed_until
    }

    /// True if there is something to send now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.changes.is_empty() && (self.urgent || self.is_open(now))
    }

    /// When to look again for what is there and for what comes `at`; none if nothing waits.
    pub(super) fn next_due(&self, at: Option<Instant>) -> Option<Instant> {
        if self.changes.is_empty() {
            return at.map(|at| at.max(self.closed_until));
        }
        Some(self.closed_until)
    }

    /// Takes the first changes, as many as one message holds.
    pub(super) fn take_message(&mut self) -> Option<Vec<WireguardPeer>> {
        let mut bytes = 0;
        let fit = self.changes.iter().take_while(|(_, change)| {
            bytes += change.buffer_len();
            bytes <= MESSAGE_BYTES
        });
        let fit = fit.count().max(1).min(self.changes.len());
        let taken: Vec<_> = self.changes.drain(..fit).collect();
        for (key, _) in &taken {
            if let Some(count) = self.peers.get_mut(key) {
                *count -= 1;
            }
        }
        self.peers.retain(|_, count| *count > 0);
        self.urgent &= !self.changes.is_empty();
        let message: Vec<_> = taken.into_iter().map(|(_, change)| change).collect();
        (!message.is_empty()).then_some(message)
    }

    /// Everything was sent by `now`, which took so long.
    pub(super) fn sent(&mut self, now: Instant, took: Duration) {
        let rest = (took * GATHER_SHARE).clamp(GATHER, GATHER_MAX);
        self.closed_until = now + rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernel::message;
    use meshd_core::data_plane::PeerSpec;

    fn key(number: u16) -> WgPublicKey {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        WgPublicKey(key)
    }

    fn add(number: u16, prefixes: usize) -> WireguardPeer {
        let spec = PeerSpec {
            public_key: key(number),
            preshared_key: None,
            allowed_ips: vec!["10.1.0.0/16".parse().unwrap(); prefixes],
            mesh_address: None,
            keepalive: None,
            endpoint_filter: None,
        };
        message::add(&spec, Some(([192, 0, 2, 1], number).into()))
    }

    fn messages(pending: &mut Pending) -> Vec<usize> {
        std::iter::from_fn(|| pending.take_message())
            .map(|message| message.len())
            .collect()
    }

    #[test]
    fn five_hundred_dialled_peers_make_two_messages() {
        let mut pending = Pending::new(Instant::now());
        for number in 0..500 {
            pending.gather(key(number), message::remove(&key(number)));
            pending.gather(key(number), add(number, 1));
        }
        assert_eq!(messages(&mut pending).len(), 2);
        assert!(!pending.holds(&key(3)));
        for number in 0..3 {
            pending.gather(key(number), add(number, 1500));
        }
        assert_eq!(messages(&mut pending), [1, 1, 1], "too much for one");
    }

    #[test]
    fn what_may_wait_waits_after_others_and_what_is_urgent_takes_it_along() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pending = Pending::new(start);
        assert_eq!(pending.next_due(None), None);
        pending.gather(key(1), add(1, 1));
        assert!(pending.is_due(at(0)), "the first does not wait");
        assert_eq!(messages(&mut pending), [1]);
        pending.sent(at(0), Duration::from_millis(10));
        pending.gather(key(2), add(2, 1));
        assert!(!pending.is_due(at(79)));
        assert_eq!(pending.next_due(None), Some(at(80)));
        assert!(pending.is_due(at(80)));
        pending.hurry(key(3), add(3, 1));
        assert!(pending.is_due(at(1)));
        assert_eq!(messages(&mut pending), [2]);
        pending.gather(key(4), add(4, 1));
        assert!(!pending.is_due(at(1)), "urgency ends with the message");
        pending.sent(at(100), Duration::from_secs(1));
        assert!(pending.is_due(at(350)), "never longer");
    }

    #[test]
    fn a_dial_waits_for_the_end_of_the_pause() {
        let start = Instant::now();
        let mut pending = Pending::new(start);
        pending.sent(start, Duration::ZERO);
        let soon = start + Duration::from_millis(5);
        assert_eq!(pending.next_due(Some(soon)), Some(start + GATHER));
        let late = start + Duration::from_secs(1);
        assert_eq!(pending.next_due(Some(late)), Some(late));
    }

    #[test]
    fn a_forgotten_peer_leaves_the_others() {
        let mut pending = Pending::new(Instant::now());
        for number in [1, 2, 1] {
            pending.gather(key(number), add(number, 1));
        }
        pending.forget(&BTreeSet::from([key(1)]));
        assert!(!pending.holds(&key(1)) && pending.holds(&key(2)));
        assert_eq!(messages(&mut pending), [1]);
    }
}
