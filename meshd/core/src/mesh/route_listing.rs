//! Listing of routes: `meshctl routes`, the planned kernel state prefix by prefix with its owner and
//! reason. What becomes of one packet is `explaining`'s; what the kernel really holds is the shell's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_proto::control::{CONTROL_VERSION, ExplainVerdict, RefusedRoute, RouteStatus, Routes};

use super::Mesh;
use super::peer::Peer;
use crate::network::{Family, NetworkState, Route, RouteKind, Rule};

impl Mesh {
    /// `meshctl routes`.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let empty = NetworkState::default();
        let network = self.network.as_ref().unwrap_or(&empty);
        let owners = self.prefix_owners();
        // A prefix has up to two routes, the one that counts first.
        let mut planned: Vec<&Route> = network.routes.iter().collect();
        planned.sort_by_key(|route| (route.prefix, route.metric));
        let mut routes: Vec<RouteStatus> = planned
            .chunk_by(|one, other| one.prefix == other.prefix)
            .map(|same| self.route_status(same, &owners))
            .collect();
        routes.extend(self.bypassed_prefixes(&owners, network));
        routes.sort_by_key(|route| route.prefix);
        Routes {
            version: CONTROL_VERSION,
            interface: self.settings.wireguard.interface.clone(),
            table: self.settings.routing.table,
            routes,
            rules: rule_texts(network),
            refused: self.refused_routes(),
        }
    }

    /// The peer whose allowed IP each prefix is.
    fn prefix_owners(&self) -> BTreeMap<IpNet, &Peer> {
        let prefixes = |peer| {
            let Peer { spec, .. }: &Peer = peer;
            spec.allowed_ips.iter().map(move |prefix| (*prefix, peer))
        };
        let peers: Vec<&Peer> = self.listed_peers().collect();
        peers.into_iter().flat_map(prefixes).collect()
    }

    /// `same`: the routes of one prefix, the lowest metric first; never empty.
    fn route_status(&self, same: &[&Route], owners: &BTreeMap<IpNet, &Peer>) -> RouteStatus {
        let route = same[0];
        let owner = owners.get(&route.prefix).copied();
        let mut status = RouteStatus {
            prefix: route.prefix,
            verdict: ExplainVerdict::Tunnel,
            peer: owner.map(|peer| peer.label.clone()),
            peer_state: owner.map(|peer| peer.state),
            source: None,
            fail_closed: same
                .iter()
                .any(|route| route.kind == RouteKind::Unreachable),
            reason: String::new(),
        };
        match route.kind {
            RouteKind::Tunnel { source } => {
                status.source = source;
                status.reason = owner.map_or_else(
                    || "allowed IP of a peer that is going".to_owned(),
                    |peer| self.claim_of(peer, route.prefix),
                );
            }
            RouteKind::Throw => {
                status.verdict = ExplainVerdict::Native;
                (status.peer, status.peer_state) = (None, None);
                status.reason = self.why_native(route.prefix, &mut status.peer);
            }
            RouteKind::Unreachable => {
                status.verdict = ExplainVerdict::Unreachable;
                status.reason = self.why_closed(route.prefix, &mut status.peer);
            }
        }
        status
    }

    fn claim_of(&self, peer: &Peer, prefix: IpNet) -> String {
        let zone = self.peer_zone(peer);
        let record = peer
            .member()
            .and_then(|id| self.membership.get(&id))
            .map(|member| &member.record);
        let what = match record {
            None => return "allowedIPs of the external peer".to_owned(),
            Some(_) if IpNet::V6(self.mesh_prefix).contains(&prefix) => "mesh address",
            Some(record)
                if record
                    .node_addresses
                    .iter()
                    .any(|one| is_host(*one, prefix)) =>
            {
                "node address"
            }
            Some(_) => "advertised network",
        };
        format!("{what} in zone {zone}")
    }

    fn why_native(&self, prefix: IpNet, member: &mut Option<String>) -> String {
        if self.settings.networks.advertise.contains(&prefix) {
            return "advertised by this node".to_owned();
        }
        if self.host.links().on_link.contains(&prefix) {
            return "on-link".to_owned();
        }
        let owner = self.membership.iter().find(|(id, member)| {
            let record = &member.record;
            let address = record
                .node_addresses
                .iter()
                .any(|one| is_host(*one, prefix));
            let network = record.networks.iter().any(|one| one.contains(&prefix));
            !self.tunnels_to(id) && (address || network)
        });
        *member = owner.map(|(id, _)| self.names.of(id));
        "of a member in this node's zone".to_owned()
    }

    fn why_closed(&self, prefix: IpNet, member: &mut Option<String>) -> String {
        if prefix == IpNet::V6(self.mesh_prefix).trunc() {
            return "mesh addresses that no tunnel has".to_owned();
        }
        if self.settings.networks.protected.contains(&prefix) {
            return "networks.protected".to_owned();
        }
        let owner = self
            .membership
            .iter()
            .find(|(_, member)| is_host(IpAddr::V6(member.mesh_address), prefix));
        *member = owner.map(|(id, _)| self.names.of(id));
        "mesh address of a member in this node's zone: use its node address".to_owned()
    }

    /// What `allowDownPeerBypass` sends in clear now: it has no route of ours at all.
    fn bypassed_prefixes(
        &self,
        owners: &BTreeMap<IpNet, &Peer>,
        network: &NetworkState,
    ) -> Vec<RouteStatus> {
        let routed = |prefix| network.routes.iter().any(|route| route.prefix == prefix);
        let bypassed = owners
            .iter()
            .filter(|(prefix, peer)| peer.bypass.is_active() && !routed(**prefix));
        bypassed
            .map(|(prefix, peer)| RouteStatus {
                prefix: *prefix,
                verdict: ExplainVerdict::Native,
                peer: Some(peer.label.clone()),
                peer_state: Some(peer.state),
                source: None,
                fail_closed: false,
                reason: "in clear: the peer is down and allowDownPeerBypass is set".to_owned(),
            })
            .collect()
    }

    fn refused_routes(&self) -> Vec<RefusedRoute> {
        let members = self.resolution.refused.iter();
        let members = members.map(|(id, refused)| (self.names.of(id), refused));
        let external = self.resolution.external_refused.iter();
        let external = external.map(|(name, refused)| (name.clone(), refused));
        let mut all: Vec<RefusedRoute> = members
            .chain(external)
            .flat_map(|(peer, refused)| {
                refused.iter().map(move |one| RefusedRoute {
                    prefix: one.prefix,
                    peer: peer.clone(),
                    reason: one.reason.clone(),
                })
            })
            .collect();
        all.sort_by(|a, b| (a.prefix, &a.peer).cmp(&(b.prefix, &b.peer)));
        all
    }
}

fn is_host(address: IpAddr, prefix: IpNet) -> bool {
    IpNet::from(address) == prefix
}

fn rule_texts(network: &NetworkState) -> Vec<String> {
    let mut rules: Vec<_> = network.rules.iter().collect();
    rules.sort_by_key(|rule| (rule.priority, rule.family));
    let text = |rule: &&Rule| match rule.family {
        Family::V4 => format!("IPv4 {rule}"),
        Family::V6 => format!("IPv6 {rule}"),
    };
    rules.iter().map(text).collect()
}
