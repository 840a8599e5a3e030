//! Carries out what the core asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mesh_proto::probe::{Probe, ProbeKind};
use mesh_proto::{WgPrivateKey, WgPublicKey};
use meshd_core::data_plane::{EngineCommand, EngineEvent, HandshakeCopy, PathId, PeerSpec};
use meshd_core::timing::HIGHER_KEY_WAITS;

use super::super::counters::count;
use super::super::endpoint_gate::EndpointGate;
use super::super::queue::Message;
use super::peer::{KernelPeer, RECENT};
use super::probe_socket::HEADER_BYTES;
use super::reading::PeerReading;
use super::{KernelWorker, message};

/// Between endpoints that are dialled one after the other: dialling the next forgets the handshake
/// under way, so an answer must have had time to come.
const DIAL_STEP: Duration = Duration::from_millis(300);

impl KernelWorker {
    /// Carries out up to `limit` commands; false if told to stop.
    pub(super) fn serve_commands(&mut self, limit: usize) -> bool {
        self.inbox.clear_wake();
        for _ in 0..limit {
            match self.inbox.next() {
                None => break,
                Some(Message::Leave) => return false,
                Some(Message::Stop) => {
                    self.remove_at_end = true;
                    return false;
                }
                // The kernel's interface keeps its own MTU; wg(8) asks the kernel.
                Some(Message::Mtu(_) | Message::Snapshot(_)) => {}
                Some(Message::Command(command)) => self.carry_out(Instant::now(), command),
            }
        }
        true
    }

    fn carry_out(&mut self, now: Instant, command: EngineCommand) {
        match command {
            EngineCommand::SetPeer(spec) => self.set_peer(*spec),
            EngineCommand::RemovePeer(key) => {
                if let Some(peer) = self.peers.remove(&key) {
                    self.forget_address(&peer);
                    self.pending.forget(&BTreeSet::from([key]));
                    self.pending.gather(key, message::remove(&key));
                }
            }
            EngineCommand::ReplaceKey { former, spec } => self.replace_key(&former, *spec),
            EngineCommand::SetPrivateKey(key) => self.set_private_key(key),
            EngineCommand::Handshake { peer, copies } => self.handshake(now, &peer, &copies),
            EngineCommand::SessionLost(key) => {
                self.poll(now);
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.lost(now);
                }
            }
            EngineCommand::SetPath { peer, path } => {
                self.set_path(&peer, path);
            }
            EngineCommand::Send {
                peer, path, packet, ..
            } => self.send(now, &peer, path, &packet),
            EngineCommand::SendDatagram { path, bytes } => {
                let remote = path.remote;
                // The checksum of IPv6 has to know it.
                let routed = || self.path_to(remote).local.filter(|_| remote.is_ipv6());
                let local = path.local.or_else(routed);
                let sent = self.stun.as_ref();
                let sent = sent.map(|stun| stun.send(remote, local, &bytes));
                if !matches!(sent, Some(Ok(()))) {
                    count(&self.counters.drop_send_error);
                }
            }
            // The kernel has one path a peer, and chooses source addresses by its routes.
            EngineCommand::Duplicate { .. }
            | EngineCommand::SetSources(_)
            | EngineCommand::SetPathMtu { .. } => {}
            EngineCommand::ReadSessions => {
                let states = self.peers.values().map(KernelPeer::state).collect();
                self.sink.insist(EngineEvent::Sessions(states));
            }
        }
    }

    fn set_peer(&mut self, spec: PeerSpec) {
        let key = spec.public_key;
        if let Some(known) = self.peers.remove(&key) {
            self.forget_address(&known);
            let mut known = known;
            let shown = message::as_shown(&known.spec);
            known.other_secret |= shown.preshared_key != message::as_shown(&spec).preshared_key;
            self.update(&spec, &shown);
            known.gate = EndpointGate::new(spec.endpoint_filter.clone());
            known.spec = spec;
            self.remember(known);
        } else if let Some(shown) = self.left.remove(&key) {
            self.update(&spec, &shown);
            let path = shown.endpoint.map(|endpoint| self.path_to(endpoint));
            let mut peer = KernelPeer::new(spec);
            let allowed = path.filter(|path| peer.allows(path.remote.ip()));
            peer.set_path(allowed);
            peer.adopt(shown);
            self.remember(peer);
        } else {
            self.pending.gather(key, message::add(&spec, None));
            self.remember(KernelPeer::new(spec));
        }
    }

    fn update(&mut self, spec: &PeerSpec, shown: &PeerReading) {
        if let Some(change) = message::update(spec, shown) {
            self.pending.hurry(spec.public_key, change);
        }
    }

    /// The kernel cannot carry a session over to another key. What is sent meanwhile waits in its queue.
    fn replace_key(&mut self, former: &WgPublicKey, spec: PeerSpec) {
        let Some(known) = self.peers.remove(former) else {
            return self.set_peer(spec);
        };
        self.forget_address(&known);
        let mut peer = KernelPeer::new(spec);
        let path = known.in_use().filter(|path| peer.allows(path.remote.ip()));
        peer.set_path(path);
        self.pending.forget(&BTreeSet::from([*former]));
        self.pending.hurry(*former, message::remove(former));
        let endpoint = path.map(|path| path.remote);
        let added = message::add(&peer.spec, endpoint);
        self.pending.hurry(peer.spec.public_key, added);
        self.remember(peer);
    }

    /// The kernel goes on receiving under its sessions, and makes new ones for what it has to send.
    fn set_private_key(&mut self, key: WgPrivateKey) {
        self.flush();
        self.public_key = key.public_key();
        self.private_key = key;
        if let Err(error) = self.configure_device() {
            // The next reading finds the wrong key and sets it.
            tracing::warn!(%error, "the kernel did not take the new private key");
        }
    }

    fn remember(&mut self, peer: KernelPeer) {
        let key = peer.spec.public_key;
        if let Some(address) = peer.spec.mesh_address {
            self.addresses.insert(address, key);
        }
        self.peers.insert(key, peer);
    }

    fn forget_address(&mut self, peer: &KernelPeer) {
        if let Some(address) = &peer.spec.mesh_address {
            self.addresses.remove(address);
        }
    }

    fn set_path(&mut self, key: &WgPublicKey, path: PathId) -> bool {
        let Some(peer) = self.peers.get_mut(key) else {
            return false;
        };
        if !peer.allows(path.remote.ip()) {
            count(&self.counters.drop_endpoint_filter);
            return false;
        }
        let moved = peer.in_use().map(|old| old.remote) != Some(path.remote);
        peer.set_path(Some(path));
        if moved {
            let change = message::set_endpoint(key, path.remote);
            self.pending.hurry(*key, change);
        }
        true
    }

    /// Probes leave by the path in use. To look at another one the kernel's packets all have to go there,
    /// so that is done only when nothing comes back on this one.
    fn send(&mut self, now: Instant, key: &WgPublicKey, path: Option<PathId>, packet: &[u8]) {
        let Some(peer) = self.peers.get(key) else {
            return count(&self.counters.drop_no_session);
        };
        let (in_use, has_session) = (peer.in_use(), peer.has_session(now));
        if !has_session {
            return count(&self.counters.drop_no_session);
        }
        if let Some(path) = path
            && in_use.map(|path| path.remote) != Some(path.remote)
            && !(self.may_hop(now, key) && self.set_path(key, path))
        {
            return count(&self.counters.drop_no_path);
        }
        if self.pending.holds(key) {
            self.flush();
        }
        if is_ping(packet)
            && let Some(peer) = self.peers.get_mut(key)
        {
            peer.ask(now);
        }
        if let Err(error) = self.probes.send(packet) {
            tracing::debug!(%error, "a probe was not sent");
            count(&self.counters.drop_send_error);
        }
    }

    /// True if the peer's packets may try another path. Whoever answers probes may be held up while the kernels
    /// go on: so not while anything comes from there.
    fn may_hop(&mut self, now: Instant, key: &WgPublicKey) -> bool {
        if !self.peers.get(key).is_some_and(|peer| peer.is_silent(now)) {
            return false;
        }
        self.poll_unless_fresh(now);
        self.peers
            .get_mut(key)
            .is_some_and(|peer| peer.may_hop(now))
    }

    fn handshake(&mut self, now: Instant, key: &WgPublicKey, copies: &[HandshakeCopy]) {
        // What happened since the last reading may have made it needless; not if the kernel is yet to learn of
        // the peer.
        if !self.pending.holds(key) {
            self.poll_unless_fresh(now);
        }
        let Some(peer) = self.peers.get_mut(key) else {
            return count(&self.counters.drop_no_session);
        };
        peer.copies.clear();
        let done = peer.last_handshake.is_some_and(|at| now < at + RECENT);
        let adopted = std::mem::take(&mut peer.adopted) && peer.has_session(now);
        if let (true, Some(path)) = (done || adopted, peer.in_use()) {
            return self.sink.insist(EngineEvent::HandshakeDone {
                peer: *key,
                path,
                initiator: false,
            });
        }
        if peer.is_worth_keeping(now) {
            return;
        }
        // The kernel forgets its own initiation when another comes: were both ends to begin at once,
        // neither would get an answer for five seconds.
        let mut at = if self.public_key < *key {
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
        self.dial_due(now);
    }

    /// Dials the endpoints whose time has come. Removing and adding a peer in one message is what makes
    /// the kernel send an initiation whenever the last one was.
    pub(super) fn dial_due(&mut self, now: Instant) {
        let is_due = |peer: &KernelPeer| peer.next_copy().is_some_and(|at| at <= now);
        if !self.pending.is_open(now) || !self.peers.values().any(is_due) {
            return;
        }
        // The far end may have begun meanwhile.
        self.poll_unless_fresh(now);
        let mut due = BTreeMap::new();
        for (key, peer) in &mut self.peers {
            if peer.is_active(now) {
                peer.copies.retain(|(at, _)| *at > now);
                continue;
            }
            let ready: Vec<_> = peer.copies.extract_if(.., |(at, _)| *at <= now).collect();
            let Some((_, path)) = ready.last() else {
                continue;
            };
            if peer.allows(path.remote.ip()) {
                due.insert(*key, *path);
            } else {
                count(&self.counters.drop_endpoint_filter);
            }
        }
        // What waits for these peers is in what is sent now.
        self.pending.forget(&due.keys().copied().collect());
        for (key, path) in due {
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            peer.set_path(Some(path));
            peer.added_again();
            peer.dialled = true;
            self.pending.gather(key, message::remove(&key));
            let add = message::add(&peer.spec, Some(path.remote));
            self.pending.gather(key, add);
        }
    }
}

/// True for what will be answered.
fn is_ping(packet: &[u8]) -> bool {
    let probe = packet.get(HEADER_BYTES..).and_then(Probe::decode);
    probe.is_some_and(|probe| probe.kind == ProbeKind::Ping)
}
