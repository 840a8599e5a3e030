//! Topology: the whole mesh as nodes and links, from records, this node's own view and the reports of
//! others.

use std::collections::BTreeMap;

use mesh_proto::control::{
    CONTROL_VERSION, LinkKind, LinkState, NodeState, PeerState, Topology, TopologyLink,
    TopologyNode, TopologyZone,
};
use mesh_proto::{EnvelopeKind, MemberId, Record, Report};

use super::status::millis;
use super::{FetchedReport, Mesh};
use crate::zone::{wants_tunnel, zone_label};

/// One pair as one or both ends see it.
#[derive(Debug, Clone, Copy)]
struct View {
    state: LinkState,
    rtt_ms: Option<f64>,
    loss_percent: Option<u32>,
    age_s: u64,
    /// This node is one of the ends; nobody knows better.
    live: bool,
}

/// Views by unordered pair, the lower id first.
type Views = BTreeMap<(MemberId, MemberId), View>;

/// A node and what its links need of it.
struct Node<'a> {
    id: MemberId,
    name: String,
    record: &'a Record,
}

impl Mesh {
    pub(super) fn build_topology(&self, reports: &[FetchedReport]) -> Topology {
        let own = self.own_record();
        let mut nodes: Vec<Node<'_>> = self
            .membership
            .iter()
            .map(|(id, member)| (*id, &member.record))
            .chain(std::iter::once((self.id, &own)))
            .map(|(id, record)| Node {
                id,
                name: self.names.of(&id),
                record,
            })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let views = self.views(reports);
        let mut links = Vec::with_capacity(nodes.len() * nodes.len().saturating_sub(1) / 2);
        for (index, a) in nodes.iter().enumerate() {
            for b in &nodes[index + 1..] {
                links.push(self.link(a, b, &views));
            }
        }
        Topology {
            version: CONTROL_VERSION,
            zones: self.zones(&nodes),
            links,
        }
    }

    fn zones(&self, nodes: &[Node<'_>]) -> Vec<TopologyZone> {
        let mut zones: BTreeMap<String, Vec<TopologyNode>> = BTreeMap::new();
        for node in nodes {
            let label = zone_label(node.record.zone.as_deref(), &node.id);
            let member = self.membership.get(&node.id);
            zones.entry(label).or_default().push(TopologyNode {
                name: node.name.clone(),
                id: node.id,
                state: member.map_or(NodeState::Alive, |member| self.node_state(&node.id, member)),
                addresses: node.record.node_addresses.clone(),
                mesh_address: member.map_or(self.mesh_address, |member| member.mesh_address),
                backend: node.record.backend,
            });
        }
        zones
            .into_iter()
            .map(|(name, nodes)| TopologyZone { name, nodes })
            .collect()
    }

    fn link(&self, a: &Node<'_>, b: &Node<'_>, views: &Views) -> TopologyLink {
        let kept = (a.id == self.id && self.kept.contains(&b.id))
            || (b.id == self.id && self.kept.contains(&a.id));
        let tunnel = kept
            || wants_tunnel(
                &Self::side_of(a.id, a.record),
                &Self::side_of(b.id, b.record),
            );
        let view = views.get(&pair(a.id, b.id)).filter(|_| tunnel);
        TopologyLink {
            a: a.name.clone(),
            b: b.name.clone(),
            kind: if tunnel {
                LinkKind::Tunnel
            } else {
                LinkKind::Native
            },
            state: view.map_or(LinkState::Unknown, |view| view.state),
            rtt_ms: view.and_then(|view| view.rtt_ms),
            loss_percent: view.and_then(|view| view.loss_percent),
            age_s: view.map(|view| view.age_s),
        }
    }

    fn views(&self, reports: &[FetchedReport]) -> Views {
        let mut views = Views::new();
        for peer in self.listed_peers() {
            if let Some(id) = peer.member() {
                let view = View {
                    state: link_state(peer.state),
                    rtt_ms: peer.paths.rtt().map(millis),
                    loss_percent: peer.paths.loss(),
                    age_s: 0,
                    live: true,
                };
                views.insert(pair(self.id, id), view);
            }
        }
        for fetched in reports {
            let author = fetched.envelope.member();
            let known = author == self.id || self.membership.get(&author).is_some();
            let report = (known && fetched.envelope.kind() == EnvelopeKind::Report)
                .then(|| fetched.envelope.open(&self.cluster).ok())
                .flatten()
                .and_then(|plaintext| Report::decode(&plaintext).ok());
            for reported in report.into_iter().flat_map(|report| report.peers) {
                let view = View {
                    state: link_state(reported.state),
                    rtt_ms: reported.rtt_ms.map(f64::from),
                    loss_percent: None,
                    age_s: fetched.age_s,
                    live: false,
                };
                views
                    .entry(pair(author, reported.id))
                    .and_modify(|known| *known = worse(*known, view))
                    .or_insert(view);
            }
        }
        views
    }
}

fn pair(a: MemberId, b: MemberId) -> (MemberId, MemberId) {
    if a <= b { (a, b) } else { (b, a) }
}

/// The worse of both ends' views; a live one stands alone.
fn worse(known: View, other: View) -> View {
    if known.live {
        return known;
    }
    View {
        state: known.state.max(other.state),
        rtt_ms: match (known.rtt_ms, other.rtt_ms) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        },
        loss_percent: None,
        age_s: known.age_s.max(other.age_s),
        live: false,
    }
}

const fn link_state(state: PeerState) -> LinkState {
    match state {
        PeerState::Up => LinkState::Up,
        PeerState::Suspect => LinkState::Suspect,
        PeerState::Connecting => LinkState::Connecting,
        PeerState::Down => LinkState::Down,
    }
}
