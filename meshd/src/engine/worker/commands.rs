//! Carries out what the core asks and answers the wg(8) socket.

use std::time::{Instant, SystemTime};

use mesh_proto::{WgPrivateKey, WgPublicKey};
use meshd_core::data_plane::{
    EngineCommand, EngineEvent, HandshakeCopy, PathId, PeerSpec, TrafficClass,
};

use super::Worker;
use crate::engine::counters::count;
use crate::engine::path::Route;
use crate::engine::peer::Peer;
use crate::engine::queue::Message;
use crate::engine::sessions::{DeviceKeys, is_low_order};
use crate::engine::snapshot::DeviceSnapshot;

impl Worker {
    /// Carries out up to `limit` commands. True if there may be more; none if told to stop.
    pub(super) fn serve_commands(&mut self, limit: usize) -> Option<bool> {
        self.inbox.clear_wake();
        for _ in 0..limit {
            match self.inbox.next() {
                None => return Some(false),
                Some(Message::Stop | Message::Leave) => return None,
                Some(Message::Mtu(mtu)) => self.tunnel.set_mtu(mtu),
                Some(Message::Command(command)) => self.carry_out(Instant::now(), command),
                Some(Message::Snapshot(reply)) => {
                    // Whoever asked may have given up.
                    let _ = reply.try_send(self.snapshot(Instant::now(), SystemTime::now()));
                }
            }
        }
        Some(true)
    }

    /// Carries out one command.
    pub(super) fn carry_out(&mut self, now: Instant, command: EngineCommand) {
        match command {
            EngineCommand::SetPeer(spec) => self.set_peer(*spec),
            EngineCommand::RemovePeer(key) => self.remove_peer(&key),
            EngineCommand::ReplaceKey { former, spec } => self.replace_key(&former, *spec),
            EngineCommand::SetPrivateKey(key) => self.set_private_key(key),
            EngineCommand::Handshake { peer, copies } => self.handshake(now, &peer, &copies),
            EngineCommand::SetPath { peer, path } => {
                self.change_path(&peer, path, |peer| peer.path = Some(path));
            }
            EngineCommand::SetPathMtu { peer, mtu } => {
                if let Some(peer) = self.peers.by_key(&peer) {
                    peer.path_mtu = mtu;
                }
            }
            EngineCommand::Duplicate { peer, path, until } => {
                self.change_path(&peer, path, |peer| peer.duplicate = Some((path, until)));
            }
            EngineCommand::Send {
                peer,
                path,
                class,
                packet,
            } => match self.peers.slot_of(&peer) {
                // Both classes leave at once: nothing is queued here that data could stand in. Where the
                // socket has no room, control packets wait for it.
                Some(slot) => self.send_packet(now, slot, path, (class, &packet)),
                None => count(&self.counters.drop_no_session),
            },
            EngineCommand::SendDatagram { path, bytes } => {
                let route = Route {
                    remote: path.remote,
                    local: path.local,
                };
                self.wire.send_datagram(now, route, &bytes);
            }
            // A handshake leaves the session that there is in place anyway.
            EngineCommand::SessionLost(_) => {}
            EngineCommand::SetSources(sources) => self.wire.set_sources(sources),
            EngineCommand::ReadSessions => {
                let states = self.peers.sorted().map(Peer::state).collect();
                self.wire.insist(EngineEvent::Sessions(states));
            }
        }
    }

    fn set_peer(&mut self, spec: PeerSpec) {
        let key = spec.public_key;
        if is_low_order(&key.0) {
            tracing::warn!("refused a peer whose key has no private key: {key}");
            return;
        }
        let known = self.peers.by_key(&key);
        let renewed = known.is_some_and(|peer| peer.has_other_keys(&spec));
        match self.peers.set(spec, &self.keys) {
            // Answers under the former key would only mislead.
            Some(slot) if renewed => self.responses.forget(slot),
            Some(_) => {}
            None => tracing::warn!("no room for peer {key}"),
        }
    }

    /// A peer goes on under another public key, with its path and sessions.
    fn replace_key(&mut self, former: &WgPublicKey, spec: PeerSpec) {
        if !is_low_order(&spec.public_key.0) {
            if let Some(slot) = self.peers.rename(former, spec.public_key) {
                // Copies of an initiation under the former key lead nowhere.
                self.copies.cancel(slot);
            }
        } else {
            self.remove_peer(former);
        }
        self.set_peer(spec);
    }

    /// This node goes on under another private key.
    fn set_private_key(&mut self, key: WgPrivateKey) {
        self.keys = DeviceKeys::new(&key, self.peers.sorted().count());
        self.private_key = key;
        for peer in self.peers.iter_mut() {
            peer.renew(&self.keys);
            self.copies.cancel(peer.slot);
            self.responses.forget(peer.slot);
        }
    }

    fn remove_peer(&mut self, key: &WgPublicKey) {
        if let Some(slot) = self.peers.remove(key) {
            self.copies.cancel(slot);
            self.responses.forget(slot);
        }
    }

    fn change_path(&mut self, key: &WgPublicKey, path: PathId, change: impl FnOnce(&mut Peer)) {
        let Some(peer) = self.peers.by_key(key) else {
            return;
        };
        if peer.allows(path.remote.ip()) {
            change(peer);
        } else {
            count(&self.counters.drop_endpoint_filter);
        }
    }

    fn handshake(&mut self, now: Instant, key: &WgPublicKey, copies: &[HandshakeCopy]) {
        let Some(slot) = self.peers.slot_of(key) else {
            return count(&self.counters.drop_no_session);
        };
        self.copies.cancel(slot);
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        let Some(initiation) = peer.initiate(&self.keys, &mut self.output) else {
            return;
        };
        for copy in copies {
            if copy.after.is_zero() {
                self.wire
                    .send(now, peer, copy.path, TrafficClass::Control, initiation);
            } else if !self.copies.add(now + copy.after, slot, copy.path) {
                count(&self.counters.drop_commands);
            }
        }
    }

    fn snapshot(&self, now: Instant, wall: SystemTime) -> DeviceSnapshot {
        DeviceSnapshot {
            private_key: self.private_key.clone(),
            listen_port: self.wire.port(),
            mark: self.mark,
            peers: self
                .peers
                .sorted()
                .map(|peer| peer.snapshot(now, wall))
                .collect(),
        }
    }
}
