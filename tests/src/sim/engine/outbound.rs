//! What leaves an engine: initiations and their copies, and data.

use std::time::Instant;

use bytes::Bytes;
use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{EngineEvent, HandshakeCopy, PathId};

use super::kernel::Readings;
use super::peer::REKEY_TIMEOUT;
use super::{Engine, Mode, Outgoing, Purpose, Tick};
use crate::sim::packet::Packet;

impl Engine {
    pub(super) fn handshake(&mut self, key: WgPublicKey, copies: &[HandshakeCopy], tick: Tick) {
        for copy in copies {
            self.check_path(key, copy.path, "dialled");
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.copies = copies
            .iter()
            .filter(|copy| !copy.after.is_zero())
            .map(|copy| (tick.now + copy.after, copy.path))
            .collect();
        let at_once = copies.iter().filter(|copy| copy.after.is_zero());
        match self.mode {
            Mode::Userspace => {
                self.initiate(key, tick);
                for copy in at_once {
                    self.send_copy(key, copy.path, tick.now);
                }
            }
            Mode::Kernel => {
                for copy in at_once.take(1) {
                    self.kernel_handshake(key, copy.path, tick);
                }
            }
        }
        self.arm_peer(key, tick.now, false);
    }

    pub(super) fn initiate(&mut self, key: WgPublicKey, tick: Tick) {
        let id = self.chance.number();
        if let Some(peer) = self.peers.get_mut(&key) {
            if self.mode == Mode::Kernel {
                peer.pending.clear();
            }
            peer.initiate(self.key, id, tick.wall_ns, tick.now);
            self.own(id, key);
        }
    }

    /// The endpoint is set; the kernel sends an initiation if its limiter lets it, or if the peer is
    /// removed and added again, which costs a session and so is only done without one.
    pub(super) fn kernel_handshake(&mut self, key: WgPublicKey, path: PathId, tick: Tick) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.path = Some(path);
        let limited = peer
            .last_message
            .is_some_and(|at| tick.now < at + REKEY_TIMEOUT);
        if limited && peer.has_session(tick.now) {
            return;
        }
        if limited {
            let copies = std::mem::take(&mut peer.copies);
            peer.recreate();
            peer.copies = copies;
        }
        self.initiate(key, tick);
        self.send_copy(key, path, tick.now);
    }

    pub(super) fn send_copy(&mut self, key: WgPublicKey, path: PathId, now: Instant) {
        let Some(packet) = self
            .peers
            .get(&key)
            .and_then(|peer| peer.initiation.clone())
        else {
            return;
        };
        self.emit(key, path, packet, Purpose::Control, now);
    }

    pub(super) fn send(
        &mut self,
        key: WgPublicKey,
        path: Option<PathId>,
        purpose: Purpose,
        bytes: Bytes,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if !peer.has_session(now) {
            if purpose == Purpose::User {
                if self.mode == Mode::Kernel {
                    peer.start_trying(now);
                }
                if peer.may_wish(now) {
                    let wish = EngineEvent::WantsSession { peer: key };
                    self.out.events.push(wish);
                }
                self.arm_peer(key, now, false);
            }
            return;
        }
        let Some(first) = path.or(peer.path) else {
            return;
        };
        let duplicate = peer
            .duplicate
            .filter(|(other, until)| purpose == Purpose::User && now < *until && *other != first);
        let Some(packet) = peer.seal(bytes, now) else {
            return;
        };
        if self.mode == Mode::Kernel {
            let start = &mut self.chance;
            let readings = *self.readings.get_or_insert_with(|| {
                Readings::from(now + start.up_to(std::time::Duration::from_millis(100)))
            });
            if peer.spec.mesh_address.is_some() {
                peer.watch.sent(peer.last_receive, now, readings);
            }
        } else if purpose == Purpose::User {
            peer.sent_data(now);
        }
        if let Some((other, _)) = duplicate {
            self.emit(key, other, packet.clone(), purpose, now);
        }
        self.emit(key, first, packet, purpose, now);
    }

    /// Hands a packet to the network, from the address where this remote was last heard if the core
    /// left the choice.
    pub(super) fn emit(
        &mut self,
        key: WgPublicKey,
        path: PathId,
        packet: Packet,
        purpose: Purpose,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if !peer.allows(path.remote.ip()) {
            return;
        }
        let learned = peer.local_of(path.remote, now);
        self.out.packets.push(Outgoing {
            path: PathId {
                local: path.local.or(learned),
                remote: path.remote,
            },
            packet,
            purpose,
            peer: Some(key),
            learned: path.local.is_none(),
        });
    }
}
