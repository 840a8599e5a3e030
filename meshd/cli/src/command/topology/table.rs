//! Topology as tables: everything for a small mesh; counts and what is broken for a large one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mesh_proto::control::{
    LinkKind, LinkState, NodeState, Topology, TopologyLink, TopologyNode, TopologyZone,
};

use super::{is_broken, zone_of};
use crate::command::peers::join;
use crate::table::Table;
use crate::units::{age, rtt};

/// With more nodes than this, zones are counted instead.
const MAX_NODES: usize = 40;
/// With more links between zones than this, pairs of zones are counted instead.
const MAX_LINKS: usize = 60;
/// Zones, pairs of zones and broken links listed in a counted view, the bad ones first.
const MAX_ROWS: usize = 40;

const LINK_COLUMNS: [&str; 6] = ["A", "B", "KIND", "STATE", "RTT", "AGE"];

/// A link and the zones of its ends; a node that is in no zone has none.
type Placed<'a> = (Option<usize>, Option<usize>, &'a TopologyLink);

/// `wide` lists everything, links inside zones as well.
pub(super) fn render(topology: &Topology, wide: bool) -> String {
    let nodes = topology.zones.iter().map(|zone| zone.nodes.len()).sum();
    let mut out = if wide || nodes <= MAX_NODES {
        node_table(topology, wide)
    } else {
        zone_table(topology)
    };
    let mut links = placed(topology);
    links.retain(|(a, b, link)| wide || a != b || is_broken(link));
    if wide || links.len() <= MAX_LINKS {
        section(
            &mut out,
            &link_table(links.iter().map(|(_, _, link)| *link)),
        );
    } else {
        section(&mut out, &pair_table(topology, &links));
        section(&mut out, &broken_table(&links));
    }
    section(&mut out, &summary(topology, nodes));
    out
}

fn section(out: &mut String, text: &str) {
    if !text.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(text);
    }
}

/// Links grouped by the zones they join.
fn placed(topology: &Topology) -> Vec<Placed<'_>> {
    let zones = zone_of(topology);
    let mut links: Vec<Placed<'_>> = topology
        .links
        .iter()
        .map(|link| {
            let a = zones.get(link.a.as_str()).copied();
            let b = zones.get(link.b.as_str()).copied();
            (a.min(b), a.max(b), link)
        })
        .collect();
    links.sort_by_key(|(a, b, _)| (*a, *b));
    links
}

fn node_table(topology: &Topology, wide: bool) -> String {
    let mut header = vec!["ZONE", "NODE", "STATE", "BACKEND", "ADDRESSES"];
    if wide {
        header.extend(["MESH-ADDRESS", "ID"]);
    }
    let mut table = Table::new(&header);
    for zone in &topology.zones {
        for node in &zone.nodes {
            let mut row = vec![
                zone.name.clone(),
                node.name.clone(),
                node.state.to_string(),
                node.backend.to_string(),
                join(&node.addresses),
            ];
            if wide {
                row.push(node.mesh_address.to_string());
                row.push(node.id.to_string());
            }
            table.row(row);
        }
    }
    table.render()
}

/// One row for each zone; those with nodes that may be gone come first.
fn zone_table(topology: &Topology) -> String {
    let lives = |node: &TopologyNode| matches!(node.state, NodeState::Alive | NodeState::Fresh);
    let mut zones: Vec<&TopologyZone> = topology.zones.iter().collect();
    zones.sort_by_key(|zone| zone.nodes.iter().all(lives));
    let mut table = Table::new(&["ZONE", "NODES", "ALIVE", "FRESH", "STALE", "UNKNOWN"]);
    for zone in zones.iter().take(MAX_ROWS) {
        let count = |state| {
            let nodes = zone.nodes.iter().filter(|node| node.state == state);
            nodes.count().to_string()
        };
        table.row([
            zone.name.clone(),
            zone.nodes.len().to_string(),
            count(NodeState::Alive),
            count(NodeState::Fresh),
            count(NodeState::Stale),
            count(NodeState::Unknown),
        ]);
    }
    table.render() + &more(zones.len(), "zones")
}

/// Empty for no links.
fn link_table<'a>(links: impl Iterator<Item = &'a TopologyLink>) -> String {
    let mut table = None;
    for link in links {
        let age = match link.age_s {
            Some(0) => "live".to_owned(),
            Some(seconds) => age(seconds),
            None => String::new(),
        };
        table.get_or_insert_with(|| Table::new(&LINK_COLUMNS)).row([
            link.a.clone(),
            link.b.clone(),
            link.kind.to_string(),
            link.state.to_string(),
            rtt(link.rtt_ms),
            age,
        ]);
    }
    table.map(Table::render).unwrap_or_default()
}

/// One row for each pair of zones; those with most broken links come first.
fn pair_table(topology: &Topology, links: &[Placed<'_>]) -> String {
    let mut pairs: BTreeMap<_, BTreeMap<LinkState, usize>> = BTreeMap::new();
    for (a, b, link) in links {
        let counts = pairs.entry((*a, *b)).or_default();
        *counts.entry(link.state).or_default() += 1;
    }
    let broken = |counts: &BTreeMap<LinkState, usize>| {
        let counts = counts.range(LinkState::Suspect..);
        counts.map(|(_, count)| count).sum::<usize>()
    };
    let mut rows: Vec<_> = pairs.iter().collect();
    rows.sort_by_key(|(_, counts)| Reverse(broken(counts)));
    let mut table = Table::new(&[
        "ZONE",
        "ZONE",
        "LINKS",
        "UP",
        "SUSPECT",
        "CONNECTING",
        "DOWN",
        "UNKNOWN",
    ]);
    let name = |zone: Option<usize>| {
        zone.map_or("?", |zone| &topology.zones[zone].name)
            .to_owned()
    };
    for ((a, b), counts) in rows.iter().take(MAX_ROWS) {
        let count = |state| counts.get(&state).copied().unwrap_or(0).to_string();
        table.row([
            name(*a),
            name(*b),
            counts.values().sum::<usize>().to_string(),
            count(LinkState::Up),
            count(LinkState::Suspect),
            count(LinkState::Connecting),
            count(LinkState::Down),
            count(LinkState::Unknown),
        ]);
    }
    table.render() + &more(rows.len(), "pairs of zones")
}

/// Worst first.
fn broken_table(links: &[Placed<'_>]) -> String {
    let links = links.iter().map(|(_, _, link)| *link);
    let mut broken: Vec<&TopologyLink> = links.filter(|link| is_broken(link)).collect();
    broken.sort_by_key(|link| Reverse(link.state));
    link_table(broken.iter().copied().take(MAX_ROWS)) + &more(broken.len(), "broken links")
}

fn more(total: usize, what: &str) -> String {
    match total.saturating_sub(MAX_ROWS) {
        0 => String::new(),
        rest => format!("... and {rest} more {what}; -o wide lists everything\n"),
    }
}

fn summary(topology: &Topology, nodes: usize) -> String {
    let mut tunnels: BTreeMap<LinkState, usize> = BTreeMap::new();
    let mut native = 0;
    for link in &topology.links {
        match link.kind {
            LinkKind::Tunnel => *tunnels.entry(link.state).or_default() += 1,
            LinkKind::Native => native += 1,
        }
    }
    let states: Vec<String> = tunnels
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let states = if states.is_empty() {
        String::new()
    } else {
        format!(" ({})", states.join(", "))
    };
    format!(
        "zones: {}, nodes: {nodes}, tunnels: {}{states}, native links: {native}\n",
        topology.zones.len(),
        tunnels.values().sum::<usize>(),
    )
}
