//! From the WireGuard port to the TUN.

use std::mem;
use std::time::Instant;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Packet, TunnResult};
use mesh_proto::WgPublicKey;
use mesh_proto::probe::probe_payload;
use meshd_core::data_plane::EngineEvent;

use super::outbound::flush_queue;
use super::{RECEIVES, Worker};
use crate::engine::MAX_FOREIGN_BYTES;
use crate::engine::allowed_ips::Slot;
use crate::engine::counters::{EngineCounters, count};
use crate::engine::packet::InnerHeader;
use crate::engine::path::Route;
use crate::engine::segment_size::clamp_segment_size;
use crate::engine::sessions::slot_of;
use crate::engine::sockets::UdpFamily;

/// Counters from here on are never used (the WireGuard paper, section 6.1).
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Room for a cookie reply.
const COOKIE_BYTES: usize = 64;

/// What a datagram is, by its first bytes and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// Handshake initiation.
    Initiation,
    /// Handshake response, for this receiver index.
    Response(u32),
    /// Cookie reply, for this receiver index.
    Cookie(u32),
    /// Encrypted packet, for this receiver index.
    Data(u32),
    /// Not WireGuard.
    Foreign,
    /// WireGuard's type with a wrong length.
    Malformed,
}

impl MessageKind {
    /// Classifies a datagram.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let receiver_at = |at| word(at).unwrap_or(u32::MAX);
        match (word(0), bytes.len()) {
            (Some(1), 148) => Self::Initiation,
            (Some(2), 92) => Self::Response(receiver_at(8)),
            (Some(3), 64) => Self::Cookie(receiver_at(4)),
            (Some(4), 32..) => Self::Data(receiver_at(4)),
            (Some(1..=4), _) => Self::Malformed,
            _ => Self::Foreign,
        }
    }
}

impl Worker {
    /// Takes what has arrived on one socket.
    pub(super) fn serve_udp(&mut self, family: UdpFamily) {
        let mut arrivals = mem::take(&mut self.arrivals);
        for _ in 0..RECEIVES {
            if !self.wire.receive(family, &mut arrivals) {
                break;
            }
            let now = Instant::now();
            for (route, datagram) in arrivals.iter() {
                self.handle_datagram(now, route, datagram);
            }
            self.tunnel.flush(now);
        }
        self.arrivals = arrivals;
    }

    /// Carries one datagram to its end.
    pub(super) fn handle_datagram(&mut self, now: Instant, arrival: Route, bytes: &[u8]) {
        match MessageKind::of(bytes) {
            MessageKind::Data(index) => self.handle_data(now, arrival, index, bytes),
            MessageKind::Initiation => self.handle_initiation(now, arrival, bytes),
            MessageKind::Response(index) => self.handle_response(now, arrival, index, bytes),
            MessageKind::Cookie(index) => self.handle_cookie(now, arrival, index, bytes),
            MessageKind::Foreign => self.handle_foreign(now, arrival, bytes),
            MessageKind::Malformed => count(&self.counters.drop_malformed),
        }
    }

    fn handle_data(&mut self, now: Instant, arrival: Route, index: u32, bytes: &[u8]) {
        let slot = slot_of(index);
        let counter = message_counter(bytes);
        if counter >= REJECT_AFTER_MESSAGES {
            return count(&self.counters.drop_malformed);
        }
        if !self.may_come_from(slot, arrival) {
            return;
        }
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        let room = self.tunnel.room(now, bytes.len());
        let length = match peer.sessions.open(index, bytes, room) {
            TunnResult::Done => 0,
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                packet.len()
            }
            TunnResult::Err(error) => return count_error(&self.counters, &error),
            TunnResult::WriteToNetwork(_) => return,
        };
        self.handle_plain(now, arrival, (index, counter), length);
    }

    /// An authenticated packet, decrypted to the first `length` bytes of the tunnel's room; none if it is
    /// a keepalive.
    fn handle_plain(
        &mut self,
        now: Instant,
        arrival: Route,
        (index, counter): (u32, u64),
        length: usize,
    ) {
        let slot = slot_of(index);
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        let (key, mesh_address, path) = (peer.key(), peer.spec.mesh_address, arrival.path());
        peer.received(length);
        let confirmed = peer.confirm(now, index);
        let is_newest = peer.newest.take(index, counter);
        let is_other = peer.authenticated(now, arrival, is_newest);
        if confirmed {
            self.handshake_done(now, slot, arrival, false);
        }
        if is_other {
            self.wire.offer(EngineEvent::OtherPath { peer: key, path });
        }
        let packet = self.tunnel.decrypted(length);
        let probe =
            mesh_address.and_then(|source| probe_payload(packet, source, self.mesh_address));
        if let Some(payload) = probe {
            self.wire.offer(EngineEvent::Probe {
                peer: key,
                path,
                payload: payload.to_vec(),
            });
        } else if length > 0 {
            self.deliver(now, slot, length);
        }
    }

    /// Cryptokey routing's other half: a peer speaks only for its own addresses.
    fn deliver(&mut self, now: Instant, slot: Slot, length: usize) {
        let mtu = self.mtu_of(slot);
        let packet = self.tunnel.decrypted(length);
        let Some(header) = InnerHeader::parse(packet) else {
            return count(&self.counters.drop_malformed);
        };
        if self.peers.owner(header.source) != Some(slot) {
            return count(&self.counters.drop_source);
        }
        if let Some(peer) = self.peers.get(slot) {
            peer.last_data = Some(now);
        }
        if clamp_segment_size(&mut packet[..header.length], mtu) {
            count(&self.counters.clamped_segments);
        }
        self.tunnel.deliver(now, header.length);
    }

    fn handle_initiation(&mut self, now: Instant, arrival: Route, bytes: &[u8]) {
        if let Some((slot, response)) = self.responses.repeat(now, bytes) {
            if self.may_come_from(slot, arrival)
                && let Some(peer) = self.peers.get(slot)
            {
                count(&self.counters.repeated_responses);
                self.wire.answer(now, peer, arrival, &response);
            }
            return;
        }
        let Some(slot) = self.initiator(now, arrival, bytes) else {
            return;
        };
        if !self.may_come_from(slot, arrival) {
            return;
        }
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        let source = arrival.remote.ip();
        match peer
            .sessions
            .take_handshake(source, bytes, &mut self.output)
        {
            TunnResult::WriteToNetwork(answer) => {
                if let MessageKind::Response(_) = MessageKind::of(answer)
                    && let Some(index) = sender_index(answer)
                {
                    peer.heard(now, arrival);
                    peer.answered(index);
                    self.responses.insert(now, slot, bytes, answer);
                } else {
                    count(&self.counters.cookies_sent);
                }
                self.wire.answer(now, peer, arrival, answer);
            }
            TunnResult::Err(error) => {
                if matches!(error, WireGuardError::WrongTai64nTimestamp) {
                    let (peer, path) = (peer.key(), arrival.path());
                    self.wire
                        .offer(EngineEvent::InitiationRefused { peer, path });
                }
                count_error(&self.counters, &error);
            }
            _ => {}
        }
    }

    /// Who sent this initiation. Answers with a cookie instead if there are too many; that goes to an
    /// address no filter has seen, since only the rest of the work tells whose it is.
    fn initiator(&mut self, now: Instant, arrival: Route, bytes: &[u8]) -> Option<Slot> {
        let mut cookie = [0; COOKIE_BYTES];
        let source = Some(arrival.remote.ip());
        let packet = match self.keys.limiter.verify_packet(source, bytes, &mut cookie) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(reply)) => {
                count(&self.counters.cookies_sent);
                self.wire.send_datagram(now, arrival, reply);
                return None;
            }
            Err(_) => {
                count(&self.counters.drop_not_authentic);
                return None;
            }
        };
        let Packet::HandshakeInit(initiation) = packet else {
            return None;
        };
        if !self.initiations.pass(now, arrival.remote.ip()) {
            count(&self.counters.drop_initiation_bound);
            return None;
        }
        let Ok(half) = parse_handshake_anon(&self.keys.secret, &self.keys.public, &initiation)
        else {
            count(&self.counters.drop_not_authentic);
            return None;
        };
        let slot = self.peers.slot_of(&WgPublicKey(half.peer_static_public));
        if slot.is_none() {
            count(&self.counters.drop_unknown_peer);
        }
        slot
    }

    fn handle_response(&mut self, now: Instant, arrival: Route, index: u32, bytes: &[u8]) {
        let slot = slot_of(index);
        if !self.may_come_from(slot, arrival) {
            return;
        }
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        let source = arrival.remote.ip();
        match peer
            .sessions
            .take_handshake(source, bytes, &mut self.output)
        {
            TunnResult::WriteToNetwork(answer) => {
                if let MessageKind::Data(_) = MessageKind::of(answer) {
                    peer.heard(now, arrival);
                    peer.established(now, index);
                    peer.sent(now, 0);
                    self.wire.answer(now, peer, arrival, answer);
                    self.handshake_done(now, slot, arrival, true);
                } else {
                    count(&self.counters.cookies_sent);
                    self.wire.answer(now, peer, arrival, answer);
                }
            }
            TunnResult::Err(error) => count_error(&self.counters, &error),
            _ => {}
        }
    }

    /// A cookie is of use only in the next initiation, so that goes out at once; waiting copies of
    /// the former one become copies of it.
    fn handle_cookie(&mut self, now: Instant, arrival: Route, index: u32, bytes: &[u8]) {
        let slot = slot_of(index);
        if !self.may_come_from(slot, arrival) {
            return;
        }
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        let source = arrival.remote.ip();
        match peer
            .sessions
            .take_handshake(source, bytes, &mut self.output)
        {
            TunnResult::Done if peer.cookie.pass(now) => {
                if let Some(initiation) = peer.initiate(&self.keys, &mut self.output) {
                    self.wire.answer(now, peer, arrival, initiation);
                }
            }
            TunnResult::Err(error) => count_error(&self.counters, &error),
            _ => {}
        }
    }

    fn handle_foreign(&mut self, now: Instant, arrival: Route, bytes: &[u8]) {
        if bytes.len() > MAX_FOREIGN_BYTES || bytes.is_empty() || !self.foreign.pass(now) {
            return count(&self.counters.drop_datagram_bound);
        }
        self.wire.offer(EngineEvent::Datagram {
            path: arrival.path(),
            bytes: bytes.to_vec(),
        });
    }

    fn handshake_done(&mut self, now: Instant, slot: Slot, arrival: Route, initiator: bool) {
        self.copies.cancel(slot);
        let Some(peer) = self.peers.get(slot) else {
            return;
        };
        self.wire.insist(EngineEvent::HandshakeDone {
            peer: peer.key(),
            path: arrival.path(),
            initiator,
        });
        flush_queue(now, peer, &mut self.wire, arrival.path());
    }

    /// True if the slot has a peer whose filter allows the remote address; counts if not.
    fn may_come_from(&mut self, slot: Slot, arrival: Route) -> bool {
        let Some(peer) = self.peers.get(slot) else {
            count(&self.counters.drop_unknown_index);
            return false;
        };
        let allowed = peer.allows(arrival.remote.ip());
        if !allowed {
            count(&self.counters.drop_endpoint_filter);
        }
        allowed
    }
}

/// The sender's index in a handshake message.
fn sender_index(message: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(message.get(4..8)?.try_into().ok()?))
}

/// Counter of a data message, which is at least 16 bytes long.
fn message_counter(message: &[u8]) -> u64 {
    let bytes = message.get(8..16).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(u64::MAX, u64::from_le_bytes)
}

fn count_error(counters: &EngineCounters, error: &WireGuardError) {
    count(match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => {
            &counters.drop_replayed
        }
        WireGuardError::InvalidPacket => &counters.drop_malformed,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => {
            &counters.drop_unknown_index
        }
        _ => &counters.drop_not_authentic,
    });
}
