//! From the TUN to the WireGuard port.

use std::mem;
use std::time::Instant;

use boringtun::noise::TunnResult;
use meshd_core::data_plane::{EngineEvent, PathId};

use super::inbound::MessageKind;
use super::wire::Wire;
use super::{BATCH, BUFFER_BYTES, Worker};
use crate::engine::allowed_ips::Slot;
use crate::engine::counters::count;
use crate::engine::packet::InnerHeader;
use crate::engine::peer::Peer;
use crate::engine::segment_size::clamp_segment_size;

/// What an encrypted packet has more than its content.
const OVERHEAD_BYTES: usize = 32;
/// Packets the session layer keeps for a peer without a session.
const MAX_QUEUED: usize = 256;

impl Worker {
    /// Takes a batch of packets from the interface.
    pub(super) fn serve_tun(&mut self) {
        let mut input = mem::take(&mut self.input);
        let now = Instant::now();
        for _ in 0..BATCH {
            // Room is left behind the packet: encryption adds to it.
            let room = input.len() - OVERHEAD_BYTES;
            let Some(length) = self.tunnel.read(now, &mut input[..room]) else {
                break;
            };
            self.handle_packet(now, &mut input[..length]);
        }
        self.input = input;
    }

    /// Carries one packet from the interface to its end.
    pub(super) fn handle_packet(&mut self, now: Instant, packet: &mut [u8]) {
        let Some(header) = InnerHeader::parse(packet) else {
            return count(&self.counters.drop_not_ip);
        };
        let Some(slot) = self.peers.owner(header.destination) else {
            return count(&self.counters.drop_no_route);
        };
        let packet = &mut packet[..header.length];
        if clamp_segment_size(packet, self.tunnel.mtu()) {
            count(&self.counters.clamped_segments);
        }
        self.send_data(now, slot, packet);
    }

    fn send_data(&mut self, now: Instant, slot: Slot, packet: &[u8]) {
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        // A packet that could not leave must not use up a counter of the session.
        if peer.path.is_none() && peer.has_session() {
            return count(&self.counters.drop_no_path);
        }
        match peer.sessions.seal(packet, &mut self.output) {
            TunnResult::WriteToNetwork(message) => match MessageKind::of(message) {
                MessageKind::Data(_) => {
                    let duplicate = peer.duplicate_path(now);
                    for path in peer.path.into_iter().chain(duplicate) {
                        self.wire.send(now, peer, path, message);
                    }
                    peer.sent(now, packet.len());
                    self.silence.sent(now, peer);
                    if peer.sessions.is_outdated() {
                        wish(now, peer, &self.wire);
                    }
                }
                _ => {
                    if let Some(path) = peer.path {
                        self.wire.send(now, peer, path, message);
                    }
                    wish(now, peer, &self.wire);
                }
            },
            TunnResult::Done => wish(now, peer, &self.wire),
            _ => count(&self.counters.drop_no_session),
        }
    }

    /// Encrypts and sends a packet of the core. Never queued: a late probe is worse than none.
    pub(super) fn send_packet(
        &mut self,
        now: Instant,
        slot: Slot,
        path: Option<PathId>,
        packet: &[u8],
    ) {
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        if !peer.has_session() || packet.len() > BUFFER_BYTES - OVERHEAD_BYTES {
            return count(&self.counters.drop_no_session);
        }
        let Some(path) = path.or(peer.path) else {
            return count(&self.counters.drop_no_path);
        };
        if let TunnResult::WriteToNetwork(message) = peer.sessions.seal(packet, &mut self.output) {
            self.wire.send(now, peer, path, message);
            peer.sent(now, packet.len());
        }
    }
}

/// Sends what the session layer kept while there was no session, on the path that has just proved to
/// work.
pub(super) fn flush_queue(now: Instant, peer: &mut Peer, wire: &mut Wire, path: PathId) {
    let mut output = vec![0; BUFFER_BYTES];
    for _ in 0..MAX_QUEUED {
        let Some(message) = peer.sessions.next_kept(&mut output) else {
            return;
        };
        wire.send(now, peer, path, message);
        peer.sent(now, message.len().saturating_sub(OVERHEAD_BYTES));
    }
}

fn wish(now: Instant, peer: &mut Peer, wire: &Wire) {
    if peer.wish.pass(now) {
        wire.offer(EngineEvent::WantsSession { peer: peer.key() });
    }
}
