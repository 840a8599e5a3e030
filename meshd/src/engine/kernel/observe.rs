//! Reads the device and tells what changed: handshakes, endpoints, silence; and puts right what somebody
//! else did to it.

use std::time::{Duration, Instant};

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::EngineEvent;

use super::super::counters::count;
use super::super::silence::SilenceWatch;
use super::peer::KernelPeer;
use super::reading::{PeerReading, Reading};
use super::{KernelWorker, message};

/// Between two reports of what others changed.
const TELL_GAP: Duration = Duration::from_secs(1);

impl KernelWorker {
    /// Reads and compares, except peers that the kernel is yet to be told about.
    pub(super) fn poll(&mut self, now: Instant) {
        match self.read() {
            Ok(reading) => {
                self.heal_device(&reading);
                self.compare(now, &reading);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => self.make_again(),
            Err(error) => tracing::warn!(%error, "the WireGuard interface cannot be read"),
        }
    }

    pub(super) fn poll_unless_fresh(&mut self, now: Instant) {
        if now >= self.fresh_until {
            self.poll(now);
        }
    }

    fn make_again(&mut self) {
        tracing::warn!("somebody deleted the WireGuard interface");
        if let Err(error) = self.make_device() {
            tracing::debug!(%error, "the WireGuard interface is still missing");
            return;
        }
        self.pending.clear();
        for (key, peer) in &mut self.peers {
            peer.added_again();
            let endpoint = peer.in_use().map(|path| path.remote);
            self.pending.hurry(*key, message::add(&peer.spec, endpoint));
        }
        self.sink.insist(EngineEvent::InterfaceRecreated);
    }

    fn heal_device(&mut self, reading: &Reading) {
        let right = reading.is_of(&self.private_key)
            && reading.listen_port == self.listen_port
            && reading.mark == self.mark;
        if !right {
            self.put_right("changed key, port or mark of the interface".to_owned());
            if let Err(error) = self.configure_device() {
                tracing::warn!(%error, "they cannot be set back");
            }
        }
        if Instant::now() < self.patient_until {
            return;
        }
        self.left.clear();
        for stranger in reading.peers.keys() {
            if !self.peers.contains_key(stranger) && !self.pending.holds(stranger) {
                self.put_right(format!("added the peer {stranger}"));
                self.pending.hurry(*stranger, message::remove(stranger));
            }
        }
    }

    /// Counts what somebody did, and tells of it unless that was done a moment ago: two programs that undo
    /// each other's work do so at every reading.
    fn put_right(&mut self, what: String) {
        count(&self.counters.healed);
        let now = Instant::now();
        if self.told_healed.is_none_or(|at| now >= at + TELL_GAP) {
            self.told_healed = Some(now);
            self.sink.insist(EngineEvent::InterfaceHealed(what));
        }
    }

    fn compare(&mut self, now: Instant, reading: &Reading) {
        let known = self.peers.keys().filter(|key| !self.pending.holds(key));
        let known: Vec<_> = known.copied().collect();
        for key in known {
            match reading.peers.get(&key) {
                Some(shown) => self.compare_peer(now, key, shown),
                None => self.missing(key),
            }
        }
    }

    fn missing(&mut self, key: WgPublicKey) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.added_again();
            let endpoint = peer.in_use().map(|path| path.remote);
            self.pending.hurry(key, message::add(&peer.spec, endpoint));
            self.put_right(format!("removed the peer {key}"));
        }
    }

    fn compare_peer(&mut self, now: Instant, key: WgPublicKey, shown: &PeerReading) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let changed = message::update(&peer.spec, shown);
        let before = std::mem::replace(&mut peer.shown, shown.clone());
        if shown.rx_bytes > before.rx_bytes {
            peer.heard(now);
        } else if shown.tx_bytes > before.tx_bytes
            && peer.spec.mesh_address.is_some()
            && peer.has_session(now)
        {
            // Sent since the last reading, perhaps just now.
            peer.silent_since.get_or_insert(now);
        }
        if let Some(since) = peer.silent_since
            && now >= since + SilenceWatch::PATIENCE
        {
            self.sink
                .offer(EngineEvent::Unanswered { peer: key, since });
        }
        if let Some(change) = changed {
            self.pending.hurry(key, change);
            self.put_right(format!("changed the peer {key}"));
        }
        self.follow(key, shown);
        if shown.handshake > before.handshake {
            self.handshake_done(now, key);
        }
    }

    /// The kernel goes where packets come from; not to where the filter forbids.
    fn follow(&mut self, key: WgPublicKey, shown: &PeerReading) {
        let Some(endpoint) = shown.endpoint else {
            return;
        };
        let before = self.peers.get(&key).and_then(KernelPeer::in_use);
        if before.map(|path| path.remote) == Some(endpoint) {
            return;
        }
        let path = self.path_to(endpoint);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.allows(endpoint.ip()) {
            peer.set_path(Some(path));
            if before.is_some() {
                self.sink.offer(EngineEvent::OtherPath { peer: key, path });
            }
            return;
        }
        count(&self.counters.drop_endpoint_filter);
        if let Some(path) = before {
            let change = message::set_endpoint(&key, path.remote);
            self.pending.hurry(key, change);
        } else {
            // Without an endpoint only a new peer sends nowhere.
            peer.added_again();
            self.pending.hurry(key, message::remove(&key));
            self.pending.hurry(key, message::add(&peer.spec, None));
        }
    }

    fn handshake_done(&mut self, now: Instant, key: WgPublicKey) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.last_handshake = Some(now);
        peer.other_secret = false;
        peer.copies.clear();
        let initiator = std::mem::take(&mut peer.dialled);
        if let Some(path) = peer.in_use() {
            self.sink.insist(EngineEvent::HandshakeDone {
                peer: key,
                path,
                initiator,
            });
        }
    }
}
