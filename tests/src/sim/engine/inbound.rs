//! What arrives at an engine: handshakes are answered, data is opened, the core is told.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use mesh_proto::WgPublicKey;
use mesh_proto::probe::probe_payload;
use meshd_core::data_plane::{EngineEvent, PathId};

use super::session::{Opened, Session};
use super::{Engine, Mode, Purpose, Slot, Tick};
use crate::sim::packet::{Packet, user_tag};
use crate::sim::seam;

impl Engine {
    /// A packet that came to `local` from `remote`.
    pub(in crate::sim) fn receive(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        packet: Packet,
        tick: Tick,
    ) {
        let path = seam::arrival(local, remote);
        match packet {
            Packet::Initiation {
                from,
                to,
                id,
                index,
                stamp,
            } if to == self.key => self.initiation((from, id, stamp), index, (local, path), tick),
            Packet::Initiation { .. } => {}
            Packet::Response {
                initiation,
                session,
                indices,
            } => self.response((initiation, session), indices, (local, path), tick),
            Packet::Data {
                session,
                index,
                counter,
                bytes,
            } => self.data(index, (session, counter, &bytes), (local, path), tick),
            Packet::Datagram(bytes) => self.out.events.push(EngineEvent::Datagram {
                path,
                bytes: bytes.to_vec(),
            }),
        }
        self.arm(tick.now);
    }

    fn initiation(
        &mut self,
        (from, id, stamp): (WgPublicKey, u64, u64),
        theirs: Slot,
        (local, path): (IpAddr, PathId),
        tick: Tick,
    ) {
        let session = self.chance.number();
        let kernel = self.mode == Mode::Kernel;
        let Some(slot) = self.slots.get(&from).copied() else {
            return;
        };
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if !peer.allows(path.remote.ip()) {
            return;
        }
        if !kernel && let Some(packet) = peer.repeated(id, tick.now) {
            peer.arrived_at(path.remote, local);
            self.emit(slot, path, packet, Purpose::Control, tick.now);
            return;
        }
        if stamp <= peer.stamp_seen {
            if !kernel {
                let event = EngineEvent::InitiationRefused { peer: from, path };
                self.out.events.push(event);
            }
            return;
        }
        peer.stamp_seen = stamp;
        if kernel {
            // One handshake at a time: the far end's takes the place of the own.
            peer.pending.clear();
            peer.path = Some(path);
        }
        peer.arrived_at(path.remote, local);
        peer.heard(path, 0, tick.now);
        let packet = peer.answer(id, session, theirs, tick.now);
        self.emit(slot, path, packet, Purpose::Control, tick.now);
    }

    fn response(
        &mut self,
        (initiation, session): (u64, u64),
        (slot, theirs): (Slot, Slot),
        (local, path): (IpAddr, PathId),
        tick: Tick,
    ) {
        let kernel = self.mode == Mode::Kernel;
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if !peer.pending.contains(&initiation) || !peer.allows(path.remote.ip()) {
            return;
        }
        peer.arrived_at(path.remote, local);
        peer.heard(path, 0, tick.now);
        if kernel {
            peer.path = Some(path);
        }
        peer.established(Session::new(session, theirs, tick.now), tick.now);
        peer.initiated = true;
        let confirm = peer.seal(Bytes::new(), tick.now);
        let key = peer.key();
        if let Some(packet) = confirm {
            self.emit(slot, path, packet, Purpose::Control, tick.now);
        }
        self.out.events.push(EngineEvent::HandshakeDone {
            peer: key,
            path,
            initiator: true,
        });
    }

    fn data(
        &mut self,
        slot: Slot,
        (session, counter, bytes): (u64, u64, &Bytes),
        (local, path): (IpAddr, PathId),
        tick: Tick,
    ) {
        let kernel = self.mode == Mode::Kernel;
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        if !peer.allows(path.remote.ip()) {
            return;
        }
        let opened = peer.open(session, counter, tick.now);
        if opened == Opened::No {
            return;
        }
        peer.arrived_at(path.remote, local);
        if kernel && !bytes.is_empty() && user_tag(bytes).is_none() {
            peer.watch.probe_came(tick.now);
        }
        let in_use = peer.heard(path, bytes.len(), tick.now);
        if kernel {
            peer.path = Some(path);
        }
        let key = peer.key();
        if opened == Opened::Confirms {
            self.out.events.push(EngineEvent::HandshakeDone {
                peer: key,
                path,
                initiator: false,
            });
        }
        if !seam::is_same(in_use, path) && peer.may_tell(path, tick.now) {
            let event = EngineEvent::OtherPath { peer: key, path };
            self.out.events.push(event);
        }
        if let Some(tag) = user_tag(bytes) {
            peer.last_data = Some(tick.now);
            self.out.users.push((key, tag));
            return;
        }
        let theirs = peer.spec.mesh_address;
        let probe = theirs.and_then(|theirs| probe_payload(bytes, theirs, self.mesh_address));
        if let Some(payload) = probe {
            self.out.events.push(EngineEvent::Probe {
                peer: key,
                path,
                payload: payload.to_vec(),
            });
        }
    }
}
