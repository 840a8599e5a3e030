//! Topology as plain text for a narrow terminal or a chat: what is broken, then a matrix of the zones.

use std::fmt::Write as _;

use mesh_proto::control::Topology;

use super::pairs::{Pair, by_trouble, pairs};
use super::svg::describe;
use super::trouble::trouble;
use crate::table::{Table, clean};

/// Zones in the matrix; those with broken links come first.
const MAX_ZONES: usize = 16;
/// Broken links listed.
const MAX_BROKEN: usize = 20;
/// Nodes named for a zone.
const MAX_NODES: usize = 6;

pub(super) fn render(topology: &Topology) -> String {
    let trouble = trouble(topology);
    let mut out = format!("{}\n", trouble.headline());
    for (name, broken, all) in &trouble.nodes {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "  {}: {broken} of its {all} tunnels", clean(name));
    }
    for link in trouble.links.iter().take(MAX_BROKEN) {
        let _ = writeln!(out, "  {}", clean(&describe(link)));
    }
    if let more @ 1.. = trouble.links.len().saturating_sub(MAX_BROKEN) {
        let _ = writeln!(out, "  ... and {more} more");
    }
    let pairs = pairs(topology);
    let order = by_trouble(topology, &pairs);
    out.push('\n');
    for zone in order.iter().take(MAX_ZONES) {
        let _ = writeln!(out, "{}", nodes(topology, *zone));
    }
    if let more @ 1.. = order.len().saturating_sub(MAX_ZONES) {
        let _ = writeln!(out, "... and {more} more zones");
    }
    out.push('\n');
    out + &matrix(topology, &order[..order.len().min(MAX_ZONES)], &pairs)
}

fn nodes(topology: &Topology, zone: usize) -> String {
    let zone = &topology.zones[zone];
    let names: Vec<&str> = zone
        .nodes
        .iter()
        .take(MAX_NODES)
        .map(|n| n.name.as_str())
        .collect();
    let more = match zone.nodes.len().saturating_sub(MAX_NODES) {
        0 => String::new(),
        more => format!(" +{more}"),
    };
    clean(&format!("[{}] {}{more}", zone.name, names.join(" ")))
}

fn matrix(
    topology: &Topology,
    order: &[usize],
    pairs: &std::collections::BTreeMap<(usize, usize), Pair>,
) -> String {
    let mut header = vec![String::new()];
    header.extend((1..=order.len()).map(|number| number.to_string()));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = Table::new(&header);
    for (number, a) in order.iter().enumerate() {
        let mut row = vec![format!("{} {}", number + 1, topology.zones[*a].name)];
        row.extend(order.iter().map(|b| {
            let pair = pairs.get(&(*a.min(b), *a.max(b)));
            pair.map_or_else(String::new, cell)
        }));
        table.row(row);
    }
    table.render() + "numbers: median RTT in ms; !N: N broken links; ?: not reported; =: native\n"
}

/// `!3`, `12`, `=`, `?`.
pub(super) fn cell(pair: &Pair) -> String {
    match (pair.broken, pair.tunnels, pair.rtt_ms()) {
        (broken @ 1.., _, _) => format!("!{broken}"),
        (_, 0, _) => "=".to_owned(),
        (_, _, Some(rtt)) if rtt < 9.95 => format!("{rtt:.1}"),
        (_, _, Some(rtt)) => format!("{rtt:.0}"),
        (_, tunnels, None) if pair.unknown < tunnels => "up".to_owned(),
        _ => "?".to_owned(),
    }
}
