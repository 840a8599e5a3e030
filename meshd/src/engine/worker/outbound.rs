//! From the TUN to the WireGuard port.

use std::mem;
use std::time::Instant;

use boringtun::noise::TunnResult;
use meshd_core::data_plane::{EngineEvent, PathId, TrafficClass};

use super::inbound::MessageKind;
use super::wire::Wire;
use super::{BATCH, BUFFER_BYTES, Worker};
use crate::engine::allowed_ips::Slot;
use crate::engine::counters::count;
use crate::engine::packet::InnerHeader;
use crate::engine::peer::Peer;
use crate::engine::response_cache::INITIATION_BYTES;
use crate::engine::segment_size::clamp_segment_size;
use crate::engine::segments::{Cut, complete_checksum};
use crate::engine::too_big::{is_too_big, too_big_answer};
use crate::linux::tun::{SegmentKind, VnetHeader};

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
            let Some((offload, packet)) = self.tunnel.read(now, &mut input) else {
                break;
            };
            self.take_packet(now, &offload, packet);
        }
        self.input = input;
        self.wire.send_queued(now, &mut self.peers);
    }

    /// Carries one packet from the interface to its end.
    #[cfg(test)]
    pub(super) fn handle_packet(&mut self, now: Instant, packet: &mut [u8]) {
        self.take_packet(now, &VnetHeader::default(), packet);
        self.wire.send_queued(now, &mut self.peers);
    }

    /// Encrypts one packet from the interface, or all that it is to be cut into, and queues them.
    pub(super) fn take_packet(&mut self, now: Instant, offload: &VnetHeader, packet: &mut [u8]) {
        let Some(header) = InnerHeader::parse(packet) else {
            return count(&self.counters.drop_not_ip);
        };
        let Some(slot) = self.peers.owner(header.destination) else {
            return count(&self.counters.drop_no_route);
        };
        let packet = &mut packet[..header.length];
        let mtu = self.mtu_of(slot);
        if offload.kind == SegmentKind::Whole {
            if !complete_checksum(offload, packet) {
                return count(&self.counters.drop_not_ip);
            }
            if clamp_segment_size(packet, mtu) {
                count(&self.counters.clamped_segments);
            }
            if is_too_big(packet, packet.len(), mtu) {
                return self.refuse_large(now, packet, mtu);
            }
            return self.send_data(now, slot, packet);
        }
        let Some(cut) = Cut::new(offload, packet) else {
            return count(&self.counters.drop_not_ip);
        };
        if is_too_big(packet, cut.largest(), mtu) {
            return self.refuse_large(now, packet, mtu);
        }
        let mut headers = mem::take(&mut self.headers);
        let mut segments = cut.segments(packet, &mut headers);
        while let Some(segment) = segments.next() {
            self.send_data(now, slot, segment);
        }
        self.headers = headers;
    }

    /// The largest inner packet that reaches this peer.
    pub(super) fn mtu_of(&mut self, slot: Slot) -> u16 {
        let limit = self.peers.get(slot).and_then(|peer| peer.path_mtu);
        limit.map_or(self.tunnel.mtu(), |limit| limit.min(self.tunnel.mtu()))
    }

    /// Drops a packet that would vanish on the way, and tells its sender.
    fn refuse_large(&mut self, now: Instant, packet: &[u8], mtu: u16) {
        count(&self.counters.drop_too_big);
        let Some(answer) = too_big_answer(packet, mtu).filter(|_| self.too_big.pass(now)) else {
            return;
        };
        self.tunnel.room(now, answer.len())[..answer.len()].copy_from_slice(&answer);
        self.tunnel.deliver(now, answer.len());
        self.tunnel.flush(now);
    }

    fn send_data(&mut self, now: Instant, slot: Slot, packet: &[u8]) {
        let room = (packet.len() + OVERHEAD_BYTES).max(INITIATION_BYTES);
        self.wire.make_room(now, &mut self.peers, room);
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        // A packet that could not leave must not use up a counter of the session.
        if peer.path.is_none() && peer.has_session() {
            return count(&self.counters.drop_no_path);
        }
        let (is_data, length) = match peer.sessions.seal(packet, self.wire.room()) {
            TunnResult::WriteToNetwork(message) => {
                let is_data = matches!(MessageKind::of(message), MessageKind::Data(_));
                (is_data, message.len())
            }
            TunnResult::Done => return wish(now, peer, &self.wire),
            _ => return count(&self.counters.drop_no_session),
        };
        let duplicate = if is_data {
            peer.duplicate_path(now)
        } else {
            None
        };
        self.wire.enqueue(now, peer, peer.path, duplicate, length);
        if !is_data {
            return wish(now, peer, &self.wire);
        }
        peer.sent(now, packet.len());
        self.silence.sent(now, peer);
        if peer.sessions.is_outdated() {
            wish(now, peer, &self.wire);
        }
    }

    /// Encrypts and sends a packet of the core. Never queued: a late probe is worse than none.
    pub(super) fn send_packet(
        &mut self,
        now: Instant,
        slot: Slot,
        path: Option<PathId>,
        (class, packet): (TrafficClass, &[u8]),
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
            self.wire.send(now, peer, path, class, message);
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
        wire.send(now, peer, path, TrafficClass::Data, message);
        peer.sent(now, message.len().saturating_sub(OVERHEAD_BYTES));
    }
}

fn wish(now: Instant, peer: &mut Peer, wire: &Wire) {
    if peer.wish.pass(now) {
        wire.offer(EngineEvent::WantsSession { peer: peer.key() });
    }
}
