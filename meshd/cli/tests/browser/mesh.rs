//! A simulated mesh of any size, as the control socket would tell it.

use mesh_proto::MemberId;
use mesh_proto::control::{
    CONTROL_VERSION, LinkKind, LinkState, NodeState, Topology, TopologyLink, TopologyNode,
    TopologyZone,
};
use mesh_proto::record::BackendKind;

/// Names of zones, as operators choose them.
const ZONES: [&str; 12] = [
    "ams", "ber", "blr", "fra", "home", "iad", "lhr", "nrt", "ord", "sfo", "sin", "syd",
];

/// `zones` zones of `nodes` nodes each, all tunnels up; round trips grow with the distance of names.
pub(crate) fn mesh(zones: usize, nodes: usize) -> Topology {
    let mut topology = Topology {
        version: CONTROL_VERSION,
        zones: Vec::new(),
        links: Vec::new(),
    };
    let mut all: Vec<(String, usize)> = Vec::new();
    for (index, zone) in ZONES.iter().take(zones).enumerate() {
        let mut members = Vec::new();
        for number in 1..=nodes {
            let name = format!("{zone}-{number:02}");
            let (high, low) = (u8::try_from(index).unwrap(), u8::try_from(number).unwrap());
            let mut id = [7; 32];
            id[..2].copy_from_slice(&[high, low]);
            members.push(TopologyNode {
                name: name.clone(),
                id: MemberId(id),
                state: NodeState::Alive,
                addresses: vec![format!("10.{high}.0.{low}").parse().unwrap()],
                mesh_address: format!("fd12::{high}:{low}").parse().unwrap(),
                backend: BackendKind::Userspace,
            });
            all.push((name, index));
        }
        topology.zones.push(TopologyZone {
            name: (*zone).to_owned(),
            nodes: members,
        });
    }
    for (index, (a, zone_a)) in all.iter().enumerate() {
        for (number, (b, zone_b)) in all[index + 1..].iter().enumerate() {
            let tunnel = zone_a != zone_b;
            let rtt = 0.6 + 14.0 * zone_a.abs_diff(*zone_b) as f64 + (number % 7) as f64 * 0.3;
            topology.links.push(TopologyLink {
                a: a.clone(),
                b: b.clone(),
                kind: if tunnel {
                    LinkKind::Tunnel
                } else {
                    LinkKind::Native
                },
                state: if tunnel {
                    LinkState::Up
                } else {
                    LinkState::Unknown
                },
                rtt_ms: tunnel.then_some(rtt),
                loss_percent: tunnel.then_some(u32::from(number % 50 == 49)),
                age_s: tunnel.then_some(20),
            });
        }
    }
    topology
}

/// Breaks the tunnel between two nodes.
pub(crate) fn break_link(topology: &mut Topology, a: &str, b: &str) {
    let mut links = topology.links.iter_mut();
    let link = links.find(|link| link.a == a && link.b == b).unwrap();
    link.state = LinkState::Down;
    link.rtt_ms = None;
    link.loss_percent = None;
}
