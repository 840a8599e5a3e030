//! `--group zone`: every zone becomes one node, and all links between two zones one link in the worst of
//! their states. Works before any form is drawn, so all forms can.

use mesh_proto::control::{
    LinkKind, LinkState, NodeState, Topology, TopologyLink, TopologyNode, TopologyZone,
};

use super::pairs::pairs;

/// The mesh as if each zone were one node. Links inside zones are left out unless they are broken.
pub(super) fn by_zone(topology: &Topology) -> Topology {
    let names: Vec<String> = topology.zones.iter().map(label).collect();
    let zones = topology.zones.iter().zip(&names);
    let mut grouped = Topology {
        version: topology.version,
        zones: zones.filter_map(|(zone, name)| one(zone, name)).collect(),
        links: Vec::new(),
    };
    for ((a, b), pair) in pairs(topology) {
        if a == b && pair.broken == 0 {
            continue;
        }
        let (a, b) = (names[a].clone(), names[b].clone());
        grouped.links.push(TopologyLink {
            a: a.clone().min(b.clone()),
            b: a.max(b),
            kind: if pair.tunnels > 0 {
                LinkKind::Tunnel
            } else {
                LinkKind::Native
            },
            state: pair.worst.unwrap_or(LinkState::Unknown),
            rtt_ms: pair.rtt_ms(),
            loss_percent: pair.loss_percent,
            age_s: None,
        });
    }
    super::sort(&mut grouped);
    grouped
}

fn label(zone: &TopologyZone) -> String {
    match zone.nodes.len() {
        1 => format!("{} (1 node)", zone.name),
        count => format!("{} ({count} nodes)", zone.name),
    }
}

/// A zone as one node; none for an empty zone.
fn one(zone: &TopologyZone, name: &str) -> Option<TopologyZone> {
    let first = zone.nodes.first()?;
    let state = zone.nodes.iter().map(|node| node.state).max();
    Some(TopologyZone {
        name: zone.name.clone(),
        nodes: vec![TopologyNode {
            name: name.to_owned(),
            state: state.unwrap_or(NodeState::Unknown),
            addresses: Vec::new(),
            ..first.clone()
        }],
    })
}
