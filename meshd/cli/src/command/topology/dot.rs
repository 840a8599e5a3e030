//! Topology as Graphviz: a cluster for each zone, tunnels solid, native links dashed, broken ones red.

use std::fmt::Write as _;

use mesh_proto::control::{LinkKind, LinkState, Topology, TopologyLink, TopologyNode};

use super::{is_broken, zone_of};
use crate::table::clean;
use crate::units::rtt;

const HEADER: &str = "\
graph mesh {
  layout=fdp;
  overlap=false;
  splines=true;
  node [shape=box, style=rounded, fontname=\"sans-serif\"];
  edge [fontname=\"sans-serif\", fontsize=10];
";

pub(super) fn render(topology: &Topology) -> String {
    let mut out = HEADER.to_owned();
    for (index, zone) in topology.zones.iter().enumerate() {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "  subgraph cluster_{index} {{");
        let _ = writeln!(out, "    label={};", quote(&zone.name));
        out.push_str("    style=\"dashed,rounded\";\n");
        for node in &zone.nodes {
            let _ = writeln!(
                out,
                "    {} [label=\"{}\"];",
                quote(&node.name),
                label(node)
            );
        }
        out.push_str("  }\n");
    }
    let known = zone_of(topology);
    for link in &topology.links {
        if known.contains_key(link.a.as_str()) && known.contains_key(link.b.as_str()) {
            let (a, b) = (quote(&link.a), quote(&link.b));
            let _ = writeln!(out, "  {a} -- {b} [{}];", attributes(link));
        }
    }
    out.push_str("}\n");
    out
}

/// Name, first address, backend and state, a line each.
fn label(node: &TopologyNode) -> String {
    let mut lines = vec![escape(&node.name)];
    lines.extend(node.addresses.first().map(ToString::to_string));
    lines.push(format!("{}, {}", node.backend, node.state));
    lines.join("\\n")
}

fn attributes(link: &TopologyLink) -> String {
    let line = match link.kind {
        LinkKind::Tunnel => "solid",
        LinkKind::Native => "dashed",
    };
    let color = match (link.state, link.kind) {
        (LinkState::Down | LinkState::Connecting, _) => "red",
        (LinkState::Suspect, _) => "orange",
        (LinkState::Unknown, _) | (_, LinkKind::Native) => "grey",
        (LinkState::Up, LinkKind::Tunnel) => "black",
    };
    let label = if is_broken(link) {
        Some(link.state.to_string())
    } else {
        link.rtt_ms.map(|ms| rtt(Some(ms)))
    };
    let label = label.map(|text| format!(", label={}", quote(&text)));
    format!("style={line}, color={color}{}", label.unwrap_or_default())
}

fn quote(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

/// Inside a quoted string only the quote ends it; a backslash would start an escape of a label.
fn escape(text: &str) -> String {
    clean(text).replace('\\', "\\\\").replace('"', "\\\"")
}
