//! Watches for silence: peers that data was sent to and that have not answered. Says so; what follows is
//! the core's business.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::allowed_ips::Slot;
use super::peer::Peer;

/// When to look at which peer. A peer is in here at most once, and only while it has traffic.
#[derive(Debug, Default)]
pub(super) struct SilenceWatch {
    /// The earliest on top. Keeps its memory: this is on the way of packets.
    due: BinaryHeap<Reverse<(Instant, Slot)>>,
}

impl SilenceWatch {
    /// Nothing authenticated for so long after data was sent is worth a ping. Most round trips are
    /// shorter, and a stream in both directions is never so quiet.
    pub(super) const PATIENCE: Duration = Duration::from_millis(50);

    /// Data went out.
    pub(super) fn sent(&mut self, now: Instant, peer: &mut Peer) {
        peer.last_data = Some(now);
        if peer.unanswered.is_some() || peer.spec.mesh_address.is_none() {
            return;
        }
        peer.unanswered = Some(now);
        if !peer.watched {
            peer.watched = true;
            self.due.push(Reverse((now + Self::PATIENCE, peer.slot)));
        }
    }

    /// When to look again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        Some(self.due.peek()?.0.0)
    }

    /// Takes a peer that is to be looked at.
    pub(super) fn next(&mut self, now: Instant) -> Option<Slot> {
        if self.next_due()? > now {
            return None;
        }
        Some(self.due.pop()?.0.1)
    }

    /// Since when `peer`, just taken, has been silent, if for too long.
    pub(super) fn verdict(&mut self, now: Instant, peer: &mut Peer) -> Option<Instant> {
        let Some(since) = peer.unanswered else {
            peer.watched = false;
            return None;
        };
        let too_long = now >= since + Self::PATIENCE;
        let again = if too_long { now } else { since };
        self.due.push(Reverse((again + Self::PATIENCE, peer.slot)));
        too_long.then_some(since)
    }
}
