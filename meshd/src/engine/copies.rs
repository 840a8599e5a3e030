//! When copies of handshake initiations are due. Holds times and paths; the bytes are the peer's.

use std::collections::BTreeMap;
use std::time::Instant;

use meshd_core::data_plane::PathId;

use super::allowed_ips::Slot;

/// Copies that are not sent yet, by time.
#[derive(Debug, Default)]
pub(super) struct CopySchedule {
    due: BTreeMap<(Instant, u64), (Slot, PathId)>,
    by_peer: BTreeMap<Slot, Vec<(Instant, u64)>>,
    sequence: u64,
}

impl CopySchedule {
    /// Copies that one peer may have waiting; more are not sent.
    const MAX_PER_PEER: usize = 64;

    /// Adds a copy for `slot`, due at `at`. False if the peer has too many.
    pub(super) fn add(&mut self, at: Instant, slot: Slot, path: PathId) -> bool {
        let keys = self.by_peer.entry(slot).or_default();
        if keys.len() >= Self::MAX_PER_PEER {
            return false;
        }
        self.sequence += 1;
        keys.push((at, self.sequence));
        self.due.insert((at, self.sequence), (slot, path));
        true
    }

    /// Forgets all copies of a peer.
    pub(super) fn cancel(&mut self, slot: Slot) {
        for key in self.by_peer.remove(&slot).unwrap_or_default() {
            self.due.remove(&key);
        }
    }

    /// Takes a copy that is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Slot, PathId)> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let (key, (slot, path)) = entry.remove_entry();
        if let Some(keys) = self.by_peer.get_mut(&slot) {
            keys.retain(|known| *known != key);
            if keys.is_empty() {
                self.by_peer.remove(&slot);
            }
        }
        Some((slot, path))
    }

    /// When the next copy is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        Some(self.due.first_key_value()?.0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn path(port: u16) -> PathId {
        PathId::to(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn due_in_order_and_cancelled_by_peer() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut copies = CopySchedule::default();
        copies.add(after(50), 1, path(1));
        copies.add(after(10), 2, path(2));
        copies.add(after(50), 2, path(3));
        assert_eq!(copies.next_due(), Some(after(10)));
        assert_eq!(copies.next(after(9)), None);
        assert_eq!(copies.next(after(60)), Some((2, path(2))));
        copies.cancel(1);
        assert_eq!(copies.next(after(60)), Some((2, path(3))));
        assert_eq!(copies.next(after(60)), None);
        assert!(copies.by_peer.is_empty());
    }

    #[test]
    fn is_bounded() {
        let mut copies = CopySchedule::default();
        for _ in 0..100 {
            copies.add(Instant::now(), 1, path(1));
        }
        assert_eq!(copies.due.len(), CopySchedule::MAX_PER_PEER);
    }
}
