//! What leaves an engine: initiations and their copies, and data.

use std::time::Instant;

use bytes::Bytes;
use mesh_proto::WgPublicKey;
use mesh_proto::probe::{PROBE_BYTES, PROBE_PACKET_BYTES, Probe, ProbeKind};
use meshd_core::data_plane::{EngineEvent, HandshakeCopy, PathId};

use super::kernel::{REKEY_JITTER, Readings};
use super::{Engine, Mode, Outgoing, Purpose, Slot, Tick};
use crate::sim::packet::Packet;

impl Engine {
    pub(super) fn handshake(&mut self, key: WgPublicKey, copies: &[HandshakeCopy], tick: Tick) {
        for copy in copies {
            self.checked(key, copy.path, "dialled");
        }
        let Some(slot) = self.slots.get(&key).copied() else {
            return;
        };
        if self.mode == Mode::Kernel {
            self.kernel_handshake(slot, copies, tick);
        } else if let Some(peer) = self.peer_mut(slot) {
            let (at_once, later): (Vec<&HandshakeCopy>, Vec<&HandshakeCopy>) =
                copies.iter().partition(|copy| copy.after.is_zero());
            let later = later.iter().map(|copy| (tick.now + copy.after, copy.path));
            peer.copies = later.collect();
            self.initiate(slot, tick);
            for copy in at_once {
                self.send_copy(slot, copy.path, tick.now);
            }
        }
        self.arm_peer(slot, tick.now, false);
    }

    pub(super) fn initiate(&mut self, slot: Slot, tick: Tick) {
        let id = self.chance.number();
        let kernel = self.mode == Mode::Kernel;
        let jitter = kernel.then(|| self.chance.up_to(REKEY_JITTER));
        let own = self.key;
        if let Some(peer) = self.peer_mut(slot) {
            if kernel {
                peer.pending.clear();
            }
            peer.jitter = jitter.unwrap_or_default();
            peer.initiate(own, id, tick.wall_ns, tick.now);
        }
    }

    pub(super) fn send_copy(&mut self, slot: Slot, path: PathId, now: Instant) {
        let packet = self.peer_mut(slot);
        let Some(packet) = packet.and_then(|peer| peer.initiation.clone()) else {
            return;
        };
        self.emit(slot, path, packet, Purpose::Control, now);
    }

    pub(super) fn send(
        &mut self,
        slot: Slot,
        path: Option<PathId>,
        purpose: Purpose,
        bytes: Bytes,
        now: Instant,
    ) {
        let kernel = self.mode == Mode::Kernel;
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        if !peer.has_session(now) {
            if purpose == Purpose::User {
                if kernel {
                    peer.start_trying(now);
                }
                if peer.may_wish(now) {
                    let peer = peer.key();
                    self.out.events.push(EngineEvent::WantsSession { peer });
                }
                self.arm_peer(slot, now, false);
            }
            return;
        }
        let Some(first) = path.or(peer.path) else {
            return;
        };
        let duplicate = peer
            .duplicate
            .filter(|(other, until)| purpose == Purpose::User && now < *until && *other != first);
        let asks = kernel && is_ping(&bytes);
        let Some(packet) = peer.seal(bytes, now) else {
            return;
        };
        if kernel {
            let start = &mut self.chance;
            let readings = *self.readings.get_or_insert_with(|| {
                Readings::from(now + start.up_to(std::time::Duration::from_millis(100)))
            });
            if asks {
                peer.watch.ask(now);
            }
            if peer.spec.mesh_address.is_some() {
                peer.watch.sent(peer.last_receive, now, readings);
            }
        } else if purpose == Purpose::User {
            peer.sent_data(now);
        }
        if let Some((other, _)) = duplicate {
            self.emit(slot, other, packet.clone(), purpose, now);
        }
        self.emit(slot, first, packet, purpose, now);
    }

    /// Hands a packet to the network, from the address where this remote was last heard if the core
    /// left the choice.
    pub(super) fn emit(
        &mut self,
        slot: Slot,
        path: PathId,
        packet: Packet,
        purpose: Purpose,
        now: Instant,
    ) {
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if !peer.allows(path.remote.ip()) {
            return;
        }
        let learned = peer.local_of(path.remote, now);
        let key = peer.key();
        self.out.packets.push(Outgoing {
            path: PathId {
                local: path.local.or(learned),
                remote: path.remote,
            },
            packet,
            purpose,
            peer: Some((slot, key)),
            learned: path.local.is_none(),
        });
    }
}

/// True for what will be answered.
fn is_ping(packet: &[u8]) -> bool {
    let payload = packet.get(PROBE_PACKET_BYTES - PROBE_BYTES..);
    let probe = payload.and_then(Probe::decode);
    probe.is_some_and(|probe| probe.kind == ProbeKind::Ping)
}
