//! Status: answers to `status`, `peers`, `members` and `paths`.

use mesh_proto::control::{
    CONTROL_VERSION, CandidateStatus, DiscoveryStatus, MemberStatus, Members, NodeState, Paths,
    Peer as PeerStatus, Peers, RefusedPrefix, Status,
};
use mesh_proto::{MemberId, Sequence};

use super::Mesh;
use super::membership::Member;
use super::paths::words;
use super::peer::{Peer, PeerKind};
use super::timestamp;
use crate::Now;
use crate::mtu::tunnel_mtu;
use crate::zone::zone_label;

/// Zone of external peers in lists.
const EXTERNAL_ZONE: &str = "external";

impl Mesh {
    pub(super) fn build_status(&self, now: Now) -> Status {
        let wireguard = &self.settings.wireguard;
        let up = self.listed_peers().filter(|peer| peer.is_alive()).count();
        let candidates = self
            .gathered
            .advertised
            .iter()
            .map(|candidate| CandidateStatus {
                address: candidate.address,
                kind: candidate.kind,
            });
        Status {
            version: CONTROL_VERSION,
            daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.settings.name.clone(),
            id: self.id,
            cluster: self.cluster[0].cluster_id(),
            zone: zone_label(self.own_record().zone.as_deref(), &self.id),
            backend: wireguard.backend,
            backend_reason: wireguard.backend_reason.clone(),
            interface: wireguard.interface.clone(),
            listen_port: wireguard.listen_port,
            mtu: self.network.as_ref().map_or_else(
                || tunnel_mtu(&self.host.links(), wireguard.mtu),
                |network| network.mtu,
            ),
            // The data plane's own knowledge; whoever runs one fills it in.
            offloads: None,
            mesh_address: self.mesh_address,
            public_key: self.public_key,
            candidates: candidates.collect(),
            discovery: self.discovery_status(now),
            members: self.membership.len(),
            peers_up: up,
            peers_down: self.listed_peers().count() - up,
            problems: self.problems(now),
        }
    }

    pub(super) fn build_peers(&self, now: Now) -> Peers {
        let mut peers: Vec<PeerStatus> = self
            .listed_peers()
            .map(|peer| self.peer_status(peer, now))
            .collect();
        peers.sort_by(|a, b| (&a.zone, &a.name, a.id).cmp(&(&b.zone, &b.name, b.id)));
        Peers {
            version: CONTROL_VERSION,
            peers,
        }
    }

    pub(super) fn build_members(&self) -> Members {
        let mut members: Vec<MemberStatus> = self
            .membership
            .iter()
            .map(|(id, member)| self.member_status(id, member))
            .collect();
        let own = self.own_record();
        members.push(MemberStatus {
            name: self.names.of(&self.id),
            id: self.id,
            zone: zone_label(own.zone.as_deref(), &self.id),
            state: NodeState::Alive,
            sequence: self.publisher.sequence().0,
            addresses: own.node_addresses,
            networks: own.networks,
            mesh_address: self.mesh_address,
            tunnel: false,
        });
        members.extend(self.removed_statuses());
        members.sort_by(|a, b| (&a.zone, &a.name, a.id).cmp(&(&b.zone, &b.name, b.id)));
        Members {
            version: CONTROL_VERSION,
            members,
        }
    }

    pub(super) fn build_paths(&self, name: &str, now: Now) -> Option<Paths> {
        self.peer_called(name).map(|peer| paths_of(peer, now))
    }

    /// Every candidate path of every peer, as `meshctl paths` shows it; peers in no order.
    #[must_use]
    pub fn every_path(&self, now: Now) -> Vec<Paths> {
        self.listed_peers()
            .map(|peer| paths_of(peer, now))
            .collect()
    }

    /// The peer of this name or id.
    pub(super) fn peer_called(&self, name: &str) -> Option<&Peer> {
        self.listed_peers().find(|peer| {
            let by_id = |id: MemberId| id.to_string().eq_ignore_ascii_case(name);
            peer.label == name || peer.member().is_some_and(by_id)
        })
    }

    /// What is known of a member's life.
    pub(super) fn node_state(&self, id: &MemberId, member: &Member) -> NodeState {
        if self.tunnels_to(id) && self.peer_of(id).is_some_and(Peer::is_alive) {
            NodeState::Alive
        } else if member.leases.is_fresh() {
            NodeState::Fresh
        } else if member.leases.is_unknown() {
            NodeState::Unknown
        } else {
            NodeState::Stale
        }
    }

    /// Peers that people see: those that only still may send are native already.
    pub(super) fn listed_peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers
            .values()
            .map(AsRef::as_ref)
            .filter(|peer: &&Peer| !peer.boundary.is_closing())
    }

    pub(super) fn refused_of(&self, peer: &Peer) -> &[RefusedPrefix] {
        let refused = match peer.member() {
            Some(id) => self.resolution.refused.get(&id),
            None => self.resolution.external_refused.get(&peer.label),
        };
        refused.map_or(&[], Vec::as_slice)
    }

    pub(super) fn peer_zone(&self, peer: &Peer) -> String {
        peer.member().map_or_else(
            || EXTERNAL_ZONE.to_owned(),
            |id| {
                let member = self.membership.get(&id);
                zone_label(member.and_then(|member| member.record.zone.as_deref()), &id)
            },
        )
    }

    fn peer_status(&self, peer: &Peer, now: Now) -> PeerStatus {
        PeerStatus {
            name: peer.label.clone(),
            id: peer.member(),
            zone: self.peer_zone(peer),
            state: peer.state,
            endpoint: peer.path().map(|path| path.remote),
            path_kind: peer.path_kind(),
            rtt_ms: peer.paths.rtt().map(millis),
            last_handshake: peer.session.last_handshake.map(|at| timestamp::of(at, now)),
            rx_bytes: peer.session.rx_bytes,
            tx_bytes: peer.session.tx_bytes,
            allowed_ips: peer.spec.allowed_ips.clone(),
            public_key: peer.key,
            mesh_address: match peer.kind {
                PeerKind::Member { mesh_address, .. } => Some(mesh_address),
                PeerKind::External => None,
            },
            refused: self.refused_of(peer).to_vec(),
        }
    }

    fn member_status(&self, id: &MemberId, member: &Member) -> MemberStatus {
        let record = &member.record;
        let Sequence(sequence) = member.sequence;
        MemberStatus {
            name: self.names.of(id),
            id: *id,
            zone: zone_label(record.zone.as_deref(), id),
            state: self.node_state(id, member),
            sequence,
            addresses: record.node_addresses.clone(),
            networks: record.networks.clone(),
            mesh_address: member.mesh_address,
            tunnel: self.tunnels_to(id),
        }
    }

    fn discovery_status(&self, now: Now) -> Vec<DiscoveryStatus> {
        let known_by = |index| {
            let known = |(_, member): &(&MemberId, &Member)| member.leases.known_by(index);
            self.membership.iter().filter(known).count()
        };
        let servers = self.servers.iter().enumerate();
        servers
            .map(|(index, server)| DiscoveryStatus {
                url: server.url.clone(),
                connected: server.connected,
                members: known_by(index),
                last_contact: server.last_contact.map(|at| timestamp::of(at, now)),
                error: server.error.clone(),
            })
            .collect()
    }
}

/// Milliseconds with three decimals: microseconds are what the clock is good for.
pub(super) fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn paths_of(peer: &Peer, now: Now) -> Paths {
    Paths {
        version: CONTROL_VERSION,
        name: peer.label.clone(),
        state: peer.state,
        paths: words::paths(peer, now),
    }
}
