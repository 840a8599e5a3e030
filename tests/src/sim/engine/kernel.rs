//! What meshd knows of a kernel peer: what it reads of the device every now and then. And how it looks
//! for another way there: the kernel sends by one endpoint a peer, so a probe of another path takes all
//! packets with it, which is done only when nothing comes back on the one in use. Follows the kernel
//! backend of `meshd`; it has no probes outside the tunnel yet.

use std::time::{Duration, Instant};

use meshd_core::data_plane::PathId;

use super::peer::Peer;
use super::{Engine, Slot};

/// Between two readings of a busy device.
const POLL: Duration = Duration::from_millis(100);
/// So long without an answer, and packets may go another way to look for one.
const SILENCE: Duration = Duration::from_millis(100);
/// So long an endpoint is tried before the next.
const HOP: Duration = Duration::from_millis(120);

/// When the device is read: every so often from `first` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readings {
    first: Instant,
}

impl Readings {
    pub(super) const fn from(first: Instant) -> Self {
        Self { first }
    }

    /// The first reading after `at`.
    fn after(self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.first);
        let rounds = since.as_nanos() / POLL.as_nanos() + 1;
        self.first + POLL * u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}

/// Silence of a peer as the readings show it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The reading before the first that showed it, and when it is told of next.
    silent: Option<(Instant, Instant)>,
    hopped: Option<Instant>,
}

impl Watch {
    /// Something authenticated came.
    pub(super) fn heard(&mut self) {
        *self = Self::default();
    }

    /// Something was sent. If the reading that shows it also shows what came before, nothing is odd.
    pub(super) fn sent(&mut self, heard: Option<Instant>, now: Instant, readings: Readings) {
        let shown = readings.after(now);
        if self.silent.is_none() && heard.is_none_or(|at| readings.after(at) < shown) {
            let before = shown.checked_sub(POLL).unwrap_or(now);
            self.silent = Some((before, shown));
        }
    }

    /// When the next reading has something to tell.
    pub(super) fn next(&self) -> Option<Instant> {
        self.silent.map(|(_, next)| next)
    }

    /// Since when the peer is silent, if a reading shows it now.
    pub(super) fn read(&mut self, now: Instant) -> Option<Instant> {
        let (since, next) = self.silent.as_mut()?;
        if now < *next {
            return None;
        }
        *next += POLL;
        Some(*since)
    }

    fn may_hop(&mut self, now: Instant) -> bool {
        let shown = self.silent.filter(|(since, next)| *next > *since + POLL);
        let silent = shown.is_some_and(|(since, _)| now >= since + SILENCE);
        let rested = self.hopped.is_none_or(|at| now >= at + HOP);
        if silent && rested {
            self.hopped = Some(now);
        }
        silent && rested
    }
}

impl Engine {
    /// True if a packet may leave for `path` now, which is in use then.
    pub(super) fn hop(&mut self, slot: Slot, path: Option<PathId>, now: Instant) -> bool {
        let Some(peer) = self.peer_mut(slot) else {
            return false;
        };
        let Some(path) = path else {
            return true;
        };
        if peer.path.map(|path| path.remote) == Some(path.remote) {
            return true;
        }
        let hops =
            peer.has_session(now) && peer.allows(path.remote.ip()) && peer.watch.may_hop(now);
        if hops {
            peer.path = Some(path);
        }
        hops
    }
}

impl Peer {
    /// Forgets everything but what the core said, as removing and adding a kernel peer does.
    pub(super) fn recreate(&mut self) {
        let mut new = Self::new(self.spec.clone(), self.slot);
        new.path = self.path;
        new.stamp_sent = self.stamp_sent;
        new.armed = self.armed;
        *self = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_shows_at_the_first_reading_without_an_answer() {
        let first = Instant::now();
        let at = |ms| first + Duration::from_millis(ms);
        let readings = Readings::from(first);
        let mut watch = Watch::default();
        watch.sent(Some(at(120)), at(130), readings);
        assert_eq!(watch.next(), None, "the same reading shows both");
        watch.sent(Some(at(120)), at(230), readings);
        assert_eq!(watch.next(), Some(at(300)));
        assert!(!watch.may_hop(at(299)));
        assert_eq!(watch.read(at(299)), None);
        assert_eq!(watch.read(at(300)), Some(at(200)));
        assert_eq!(watch.next(), Some(at(400)));
        assert!(watch.may_hop(at(301)));
        assert!(!watch.may_hop(at(420)), "the first try has its time");
        assert!(watch.may_hop(at(421)));
        watch.heard();
        assert_eq!(watch.next(), None);
        assert!(!watch.may_hop(at(900)));
    }
}
