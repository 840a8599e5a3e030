//! Traffic: packets between the nodes of a world, through its networks, NATs, cuts and losses.

use mesh_proto::candidate_probe::CandidateTag;

use super::*;

impl World {
    pub(super) fn deliver(&mut self, from: SocketAddr, to: SocketAddr, packet: Packet) {
        let cut = self.cut.contains(&from.ip()) || self.cut.contains(&to.ip());
        let lost = self.loss > 0 && self.rng.next_u32() % 100 < self.loss;
        let cut = cut
            || self
                .lans
                .is_some_and(|lans| !passes(lans, from.ip(), to.ip()));
        let vanishes = matches!(&packet, Packet::Data { bytes, .. } if bytes.len() > self.largest);
        let vanishes = vanishes
            || matches!(&packet, Packet::Datagram(bytes) if self.outside_lost && CandidateTag::read(bytes).is_some());
        if cut || lost || vanishes || self.cut_from == Some(from.ip()) {
            return;
        }
        if to == SERVER.into() {
            if let (Packet::Datagram(bytes), true) = (&packet, self.server.up)
                && let Some(id) = stun::decode_request(bytes)
            {
                let answer = Packet::Datagram(stun::encode_response(id, from));
                let delivery = Delivery::Packet {
                    from: to,
                    to: from,
                    packet: answer,
                };
                self.schedule(LATENCY, delivery);
            }
            return;
        }
        let mut nodes = self.nodes.iter().enumerate();
        let receiver = nodes.find_map(|(index, node)| Some((index, node.takes(from, to)?)));
        if let Some((index, local)) = receiver.filter(|(index, _)| self.nodes[*index].running) {
            let now = self.now.instant;
            let node = &mut self.nodes[index];
            if let Packet::Data { bytes, .. } = &packet
                && node.engine.accepts(&packet)
            {
                self.streams.received(index, bytes, now);
            }
            let path = PathId {
                local: Some(local),
                remote: from,
            };
            let (out, events) = node.engine.receive(path, packet, now);
            self.send(index, out);
            self.engine_events(index, events);
        }
    }

    pub(super) fn send(&mut self, index: usize, out: Vec<Outgoing>) {
        for (after, path, packet) in out {
            let node = &mut self.nodes[index];
            let to = path.remote;
            let own = path.local.unwrap_or(node.source_for(to.ip()));
            let from = node.seen_from(own, to);
            self.schedule(after + self.latency, Delivery::Packet { from, to, packet });
        }
    }

    pub(super) fn send_streams(&mut self) {
        let now = self.now.instant;
        for (from, to, bytes) in self.streams.due(now) {
            if self.nodes[from].running {
                let address = self.nodes[to].engine.mesh_address();
                let engine = &mut self.nodes[from].engine;
                if let Some(key) = engine.owner(address) {
                    let out = engine.data(key, bytes, now);
                    self.send(from, out);
                }
            }
        }
    }

    pub(super) fn engine_events(&mut self, index: usize, events: Vec<EngineEvent>) {
        for event in events {
            self.input(index, Input::Engine(event));
        }
    }
}

fn passes(lans: [(bool, bool); 2], from: IpAddr, to: IpAddr) -> bool {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else {
        return false;
    };
    let ([10, lan, a, _], [10, other, b, _]) = (from.octets(), to.octets()) else {
        // The server is everywhere.
        return true;
    };
    let (up, down) = lans[usize::from(lan) % 2];
    lan == other && if a < b { up } else { down }
}
