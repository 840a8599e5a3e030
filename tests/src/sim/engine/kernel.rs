//! What meshd knows of a kernel peer: what it reads of the device every now and then. And how it looks
//! for another way there when none answered outside the tunnel: the kernel sends by one endpoint a peer, so a
//! probe of another path takes all packets with it, which is done only when nothing comes back on the one in use.
//! Follows the kernel backend of `meshd`, which begins handshakes by removing and adding a peer.

use std::time::{Duration, Instant};

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{EngineEvent, HandshakeCopy, PathId};

use super::peer::Peer;
use super::{Engine, Slot, Tick};

/// Between two readings of a busy device.
const POLL: Duration = Duration::from_millis(100);
/// A ping so long without an answer, and packets may go another way to look for one; longer where answers take
/// long.
const SILENCE: Duration = Duration::from_millis(100);
/// The same in round trips.
const SILENCE_TRIPS: u32 = 3;
/// So long an endpoint is tried before the next.
const HOP: Duration = Duration::from_millis(120);
/// Round trips above are not believed.
const TRIP_MAX: Duration = Duration::from_millis(300);
/// Between endpoints that are dialled one after the other.
const DIAL_STEP: Duration = Duration::from_millis(300);
/// A handshake so recent is not made again, and a peer heard so recently is left to finish its own.
const RECENT: Duration = Duration::from_secs(1);
/// A session that so long nothing came through may be gone at the other end.
const DOUBT: Duration = Duration::from_secs(5);
/// A session that something came through so recently is not lost, whatever the core thinks.
const LIVELY: Duration = Duration::from_millis(300);
/// Of two ends that begin, the one with the higher key waits.
const HIGHER_KEY_WAITS: Duration = Duration::from_millis(250);
/// Most that the kernel's own initiations come later than [`REKEY_TIMEOUT`](super::peer::REKEY_TIMEOUT).
pub(super) const REKEY_JITTER: Duration = Duration::from_millis(333);

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

/// Silence of a peer as the readings show it, and as pings do.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The first reading that showed it, and when it is told of next.
    silent: Option<(Instant, Instant)>,
    hopped: Option<Instant>,
    /// The first ping that nothing came after.
    asked: Option<Instant>,
    /// The core says that the far end has no session any more.
    pub(super) is_lost: bool,
    /// About the longest round trip of late.
    trip: Duration,
}

impl Watch {
    /// Something authenticated came.
    pub(super) fn heard(&mut self) {
        (self.silent, self.hopped, self.asked) = (None, None, None);
        self.is_lost = false;
    }

    /// A ping goes out.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// A probe came: an answer, if something was asked.
    pub(super) fn probe_came(&mut self, now: Instant) {
        if let Some(asked) = self.asked {
            let trip = now.saturating_duration_since(asked).min(TRIP_MAX);
            self.trip = trip.max(self.trip * 3 / 4);
        }
    }

    /// Something was sent. If the reading that shows it also shows what came before, nothing is odd.
    pub(super) fn sent(&mut self, heard: Option<Instant>, now: Instant, readings: Readings) {
        let shown = readings.after(now);
        if self.silent.is_none() && heard.is_none_or(|at| readings.after(at) < shown) {
            self.silent = Some((shown, shown + POLL));
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
        let patience = SILENCE.max(self.trip * SILENCE_TRIPS);
        let silent = self.asked.is_some_and(|at| now >= at + patience);
        let rest = HOP.max(self.trip * 2);
        let rested = self.hopped.is_none_or(|at| now >= at + rest);
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

    pub(super) fn session_lost(&mut self, key: &WgPublicKey, now: Instant) {
        let slot = self.slots.get(key).copied();
        if let Some(peer) = slot.and_then(|slot| self.peer_mut(slot)) {
            peer.watch.is_lost = peer.last_receive.is_none_or(|at| now >= at + LIVELY);
        }
    }

    /// Dials one endpoint after the other, unless there is a session that is worth keeping: to begin a handshake
    /// throws it away.
    pub(super) fn kernel_handshake(&mut self, slot: Slot, copies: &[HandshakeCopy], tick: Tick) {
        let (own, now) = (self.key, tick.now);
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        peer.copies.clear();
        let (key, done) = (peer.key(), peer.last_handshake);
        if let Some(path) = peer.path
            && done.is_some_and(|at| now < at + RECENT)
        {
            return self.out.events.push(EngineEvent::HandshakeDone {
                peer: key,
                path,
                initiator: false,
            });
        }
        if !peer.watch.is_lost
            && peer.has_session(now)
            && peer.last_receive.is_some_and(|at| now < at + DOUBT)
        {
            return;
        }
        let mut at = if own < key {
            now
        } else {
            now + HIGHER_KEY_WAITS
        };
        for copy in copies {
            let remote = copy.path.remote;
            if peer.copies.iter().all(|(_, path)| path.remote != remote) {
                peer.copies.push((at, copy.path));
                at += DIAL_STEP;
            }
        }
        self.dial_due(slot, tick);
    }

    /// Dials the endpoint whose time has come. Removing and adding the peer is what makes the kernel send an
    /// initiation whenever the last one was.
    pub(super) fn dial_due(&mut self, slot: Slot, tick: Tick) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        let due = peer.copies.extract_if(.., |(at, _)| *at <= tick.now);
        let Some((_, path)) = due.last() else {
            return;
        };
        let is_recent = peer.last_receive.is_some_and(|at| tick.now < at + RECENT);
        if (is_recent && !peer.watch.is_lost) || !peer.allows(path.remote.ip()) {
            return;
        }
        peer.path = Some(path);
        peer.recreate();
        self.initiate(slot, tick);
        self.send_copy(slot, path, tick.now);
    }
}

impl Peer {
    /// Forgets everything but what the core said and meshd knows, as removing and adding a kernel peer does.
    pub(super) fn recreate(&mut self) {
        let mut new = Self::new(self.spec.clone(), self.slot);
        new.path = self.path;
        new.stamp_sent = self.stamp_sent;
        new.armed = self.armed;
        new.last_receive = self.last_receive;
        new.copies = std::mem::take(&mut self.copies);
        new.watch = std::mem::take(&mut self.watch);
        *self = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_of_at_the_reading_after_the_first_without_an_answer() {
        let first = Instant::now();
        let at = |ms| first + Duration::from_millis(ms);
        let readings = Readings::from(first);
        let mut watch = Watch::default();
        watch.sent(Some(at(120)), at(130), readings);
        assert_eq!(watch.next(), None, "the same reading shows both");
        watch.sent(Some(at(120)), at(230), readings);
        assert_eq!(watch.next(), Some(at(400)));
        assert_eq!(watch.read(at(399)), None);
        assert_eq!(watch.read(at(400)), Some(at(300)));
        assert_eq!(watch.next(), Some(at(500)));
        watch.heard();
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn packets_go_another_way_only_when_a_ping_is_long_without_an_answer() {
        let first = Instant::now();
        let at = |ms| first + Duration::from_millis(ms);
        let mut watch = Watch::default();
        assert!(!watch.may_hop(at(5000)), "nobody asked");
        watch.ask(at(5000));
        assert!(!watch.may_hop(at(5099)));
        assert!(watch.may_hop(at(5100)));
        assert!(!watch.may_hop(at(5219)), "the first try has its time");
        assert!(watch.may_hop(at(5220)));
        watch.probe_came(at(5250));
        watch.heard();
        watch.ask(at(6000));
        assert!(!watch.may_hop(at(6749)), "answers take long here");
        assert!(watch.may_hop(at(6750)));
    }
}
