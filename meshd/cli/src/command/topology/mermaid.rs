//! Topology as a Mermaid flow chart, which Markdown viewers draw.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mesh_proto::control::{LinkKind, LinkState, Topology, TopologyLink};

use super::is_broken;
use crate::table::clean;
use crate::units::rtt;

pub(super) fn render(topology: &Topology) -> String {
    let mut out = String::from("graph LR\n");
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, zone) in topology.zones.iter().enumerate() {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "  subgraph z{index}[\"{}\"]", escape(&zone.name));
        for node in &zone.nodes {
            let next = ids.len();
            let id = *ids.entry(&node.name).or_insert(next);
            let _ = writeln!(out, "    n{id}[\"{}\"]", escape(&node.name));
        }
        out.push_str("  end\n");
    }
    let known = topology
        .links
        .iter()
        .filter_map(|link| Some((link, ids.get(link.a.as_str())?, ids.get(link.b.as_str())?)));
    let mut styles = String::new();
    for (number, (link, a, b)) in known.enumerate() {
        let _ = writeln!(out, "  n{a} {} n{b}", arrow(link));
        if let Some(color) = color(link) {
            let _ = writeln!(styles, "  linkStyle {number} stroke:{color}");
        }
    }
    out + &styles
}

fn arrow(link: &TopologyLink) -> String {
    let line = match link.kind {
        LinkKind::Tunnel => "---",
        LinkKind::Native => "-.-",
    };
    match (is_broken(link), link.rtt_ms) {
        (true, _) => format!("{line}|{}|", link.state),
        (false, Some(ms)) => format!("{line}|{}|", rtt(Some(ms))),
        (false, None) => line.to_owned(),
    }
}

const fn color(link: &TopologyLink) -> Option<&'static str> {
    match (link.state, link.kind) {
        (LinkState::Down | LinkState::Connecting, _) => Some("red"),
        (LinkState::Suspect, _) => Some("orange"),
        (LinkState::Unknown, _) | (_, LinkKind::Native) => Some("grey"),
        (LinkState::Up, LinkKind::Tunnel) => None,
    }
}

/// Mermaid's entity codes for what would end a quoted text or be read as markup.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | ';' | '\\' | '`' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}
