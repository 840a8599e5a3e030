//! Packets between the nodes' engines and the network.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use mesh_proto::stun;
use meshd_core::data_plane::EngineEvent;

use super::{Happening, World};
use crate::sim::NodeId;
use crate::sim::discovery::{SERVER_PORT, server_address};
use crate::sim::engine::{Outgoing, Purpose};
use crate::sim::net::Place;
use crate::sim::packet::Packet;

impl World {
    /// Sends one packet; an event if the host refuses to.
    pub(super) fn emit(&mut self, node: NodeId, out: Outgoing) -> Option<EngineEvent> {
        let Outgoing {
            path,
            packet,
            purpose,
            peer,
            learned,
        } = out;
        let chosen = path
            .local
            .and_then(|local| self.net.interface_of(node, local));
        let chosen = if path.local.is_some() && chosen.is_none() && !learned {
            None
        } else {
            chosen.or_else(|| self.net.default_interface(node, path.remote.ip()))
        };
        let Some(index) = chosen else {
            return Some(EngineEvent::SendFailed {
                peer: peer.map(|(_, key)| key),
                path,
                error: "network is unreachable".to_owned(),
            });
        };
        if purpose == Purpose::Control {
            let bytes = packet.wire_bytes();
            self.checks.sent(self.now, node, bytes);
        }
        let way = self.net.route(node, index, path.remote, self.now)?;
        let from = Place::Host(node, index);
        if !self.net.passes(from, way.to, packet.wire_bytes()) {
            return None;
        }
        let (delay, copies) = self.net.delay(from, way.to, &mut self.chance);
        for packet in std::iter::repeat_n(packet, copies) {
            let happening = match (way.to, packet) {
                (Place::Host(node, index), packet) => Happening::Arrive {
                    node,
                    index,
                    address: way.addressed.ip(),
                    from: way.seen_from,
                    packet,
                },
                (Place::Server(server), Packet::Datagram(bytes)) => Happening::Stun {
                    server,
                    from: way.seen_from,
                    bytes,
                },
                (Place::Server(_), _) => continue,
            };
            self.agenda.push(self.now + delay, happening);
        }
        None
    }

    pub(super) fn arrive(
        &mut self,
        at: (NodeId, usize),
        address: IpAddr,
        from: SocketAddr,
        packet: Packet,
    ) {
        let (node, index) = at;
        let here = self.net.interfaces(node).get(index);
        let still = here.is_some_and(|one| one.up && one.address == address);
        if !still || !self.nodes[node].is_awake() {
            return;
        }
        self.checks
            .trace
            .note(self.now, node, packet.kind(), u64::from(from.port()));
        let tick = self.nodes[node].tick(self.now);
        self.nodes[node].engine.receive(address, from, packet, tick);
        self.drain(node);
    }

    pub(super) fn stun(&mut self, server: usize, from: SocketAddr, bytes: &[u8]) {
        let Some(id) = stun::decode_request(bytes).filter(|_| self.servers[server].up) else {
            return;
        };
        let own = SocketAddr::new(server_address(server), SERVER_PORT);
        let Some(way) = self.net.route_back(server, own, from, self.now) else {
            return;
        };
        let answer = Bytes::from(stun::encode_response(id, from));
        let place = Place::Server(server);
        let (delay, copies) = self.net.delay(place, way.to, &mut self.chance);
        for _ in 0..copies {
            if let Place::Host(node, index) = way.to {
                let happening = Happening::Arrive {
                    node,
                    index,
                    address: way.addressed.ip(),
                    from: own,
                    packet: Packet::Datagram(answer.clone()),
                };
                self.agenda.push(self.now + delay, happening);
            }
        }
    }
}
