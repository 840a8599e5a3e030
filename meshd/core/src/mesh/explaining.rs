//! Explaining: `meshctl explain`, the answer of the routing plan joined with what is known of the peer.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_proto::control::{CONTROL_VERSION, Explain, ExplainVerdict};

use super::Mesh;
use super::peer::Peer;
use crate::explain::{self, Lookup};
use crate::network::NetworkState;
use crate::zone::zone_label;

/// What is said when our rules do not decide.
const HOST_RULES: &str = "the host's own rules (none of ours has a route to this address)";

impl Mesh {
    pub(super) fn build_explain(&self, address: IpAddr) -> Explain {
        let empty = NetworkState::default();
        let network = self.network.as_ref().unwrap_or(&empty);
        let mut answer = Explain {
            version: CONTROL_VERSION,
            address,
            verdict: ExplainVerdict::Local,
            rule: "0: lookup local".to_owned(),
            route: None,
            peer: None,
            peer_state: None,
            endpoint: None,
            steps: Vec::new(),
        };
        if address == IpAddr::V6(self.mesh_address) || self.host.links().is_own(address) {
            answer
                .steps
                .push(format!("{address} is an address of this node"));
            return answer;
        }
        let lookup = explain::lookup(network, address);
        answer.verdict = lookup.verdict;
        answer.rule = lookup
            .rule
            .map_or_else(|| HOST_RULES.to_owned(), ToString::to_string);
        let interface = &self.settings.wireguard.interface;
        answer.route = lookup.route.map(|route| {
            route
                .to_string()
                .replacen("dev tunnel", &format!("dev {interface}"), 1)
        });
        answer.steps = self.rule_steps(&lookup, &answer);
        if let Some(peer) = self.routed_to(address) {
            self.peer_steps(peer, &mut answer);
        }
        self.member_steps(address, &mut answer);
        answer
    }

    fn rule_steps(&self, lookup: &Lookup<'_>, answer: &Explain) -> Vec<String> {
        let mut steps = vec![format!("rule {}", answer.rule)];
        if let Some(route) = &answer.route {
            steps.push(format!("route {route}"));
        }
        for rule in &lookup.exceptions {
            steps.push(format!("except packets that rule {rule} takes"));
        }
        steps.push(match lookup.verdict {
            ExplainVerdict::Tunnel => {
                format!("goes into {}", self.settings.wireguard.interface)
            }
            ExplainVerdict::Native => "goes by the host's own routes, untouched".to_owned(),
            ExplainVerdict::Unreachable => {
                "is refused with ICMP unreachable rather than sent in clear".to_owned()
            }
            ExplainVerdict::Local => "stays on this node".to_owned(),
        });
        steps
    }

    /// The peer with the longest matching allowed prefix.
    fn routed_to(&self, address: IpAddr) -> Option<&Peer> {
        let length = |peer: &Peer| {
            let matching = peer.spec.allowed_ips.iter();
            matching
                .filter(|prefix| prefix.contains(&address))
                .map(IpNet::prefix_len)
                .max()
        };
        self.listed_peers()
            .filter_map(|peer| Some((length(peer)?, peer)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, peer)| peer)
    }

    fn peer_steps(&self, peer: &Peer, answer: &mut Explain) {
        if answer.verdict == ExplainVerdict::Native && !peer.bypass.is_active() {
            return;
        }
        answer.peer = Some(peer.label.clone());
        answer.peer_state = Some(peer.state);
        answer.endpoint = peer.path().map(|path| path.remote);
        answer.steps.push(format!(
            "peer {} in zone {} is {}",
            peer.label,
            self.peer_zone(peer),
            format!("{:?}", peer.state).to_lowercase()
        ));
        if peer.bypass.is_active() {
            let why = "it is down and allowDownPeerBypass lets its prefixes go in clear";
            answer.steps.push(why.to_owned());
        } else if let Some(path) = peer.path() {
            answer.steps.push(format!("encrypted, to {path}"));
        } else {
            let why = "no path yet: packets wait for a handshake, then are dropped";
            answer.steps.push(why.to_owned());
        }
    }

    /// What to know if the address belongs to a member without a tunnel, or was refused to one.
    fn member_steps(&self, address: IpAddr, answer: &mut Explain) {
        for (id, member) in self.membership.iter() {
            let name = self.names.of(id);
            if IpAddr::V6(member.mesh_address) == address && !self.tunnels_to(id) {
                let zone = zone_label(member.record.zone.as_deref(), id);
                let node = member.record.node_addresses.first();
                let instead =
                    node.map_or_else(String::new, |node| format!(": use the node address {node}"));
                answer.steps.push(format!(
                    "it is the mesh address of {name}, which is in this node's zone {zone}{instead}"
                ));
            } else if member.record.node_addresses.contains(&address) && !self.tunnels_to(id) {
                answer
                    .steps
                    .push(format!("it is an address of {name}, in this node's zone"));
            }
            for refused in self.resolution.refused.get(id).into_iter().flatten() {
                if refused.prefix.contains(&address) {
                    answer.steps.push(format!(
                        "{name} claims {}, refused: {}",
                        refused.prefix, refused.reason
                    ));
                }
            }
        }
    }
}
