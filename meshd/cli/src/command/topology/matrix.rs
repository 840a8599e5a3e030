//! The zone-by-zone matrix of a page: state, median round trip and loss of each pair of zones.

use std::fmt::Write as _;

use mesh_proto::control::Topology;

use super::ascii::cell;
use super::pairs::{Pair, by_trouble, pairs};
use super::shade;
use super::svg::escape;

/// Zones shown; those with broken links come first.
const MAX_ZONES: usize = 60;

pub(super) fn render(topology: &Topology) -> String {
    let pairs = pairs(topology);
    let order = by_trouble(topology, &pairs);
    let shown = &order[..order.len().min(MAX_ZONES)];
    let mut out = String::from("<table id=\"matrix\"><thead><tr><td></td>");
    for zone in shown {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            out,
            "<th scope=\"col\"><span>{}</span></th>",
            escape(&topology.zones[*zone].name)
        );
    }
    out.push_str("</tr></thead><tbody>\n");
    for a in shown {
        let name = escape(&topology.zones[*a].name);
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th>");
        for b in shown {
            let pair = pairs.get(&(*a.min(b), *a.max(b)));
            out.push_str(&field(topology, *a, *b, pair));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
    if let more @ 1.. = order.len().saturating_sub(MAX_ZONES) {
        let _ = writeln!(
            out,
            "<p class=\"soft\">{more} more zones, none with more broken links than these</p>"
        );
    }
    out
}

fn field(topology: &Topology, a: usize, b: usize, pair: Option<&Pair>) -> String {
    let Some(pair) = pair else {
        return "<td></td>".to_owned();
    };
    let title = format!(
        "{} – {}: {}",
        topology.zones[a].name,
        topology.zones[b].name,
        pair.words()
    );
    let text = match pair.tunnels {
        0 if pair.broken == 0 => "·".to_owned(),
        _ => cell(pair),
    };
    format!(
        "<td class=\"{}\" title=\"{}\">{text}</td>",
        shade::classes(pair.worst, pair.rtt_ms(), pair.loss_percent),
        escape(&title)
    )
}
