//! Topology as a picture: zones as boxes, nodes in them, tunnels between them, broken ones on top and
//! listed first. Large meshes show one line for a pair of zones, and each broken link.

use std::fmt::Write as _;

use mesh_proto::control::{LinkKind, Topology, TopologyLink, TopologyNode};

use super::layout::{self, Layout, MAX_TITLE};
use super::pairs::{Pair, pairs};
use super::trouble::{Trouble, trouble};
use super::{is_broken, shade};
use crate::cli::ColorBy;
use crate::table::clean;
use crate::units::{age, rtt};

/// With more lines than this, one stands for all links of two zones.
const MAX_LINES: usize = 150;
/// With more lines than this even so, those of healthy pairs of zones are left out.
const MAX_PAIRS: usize = 600;
/// Lines with more than this many have no text.
const MAX_LABELS: usize = 30;
/// Broken links drawn.
const MAX_BROKEN: usize = 2_000;
/// Broken links listed above a picture.
const MAX_LISTED: usize = 8;
const LINE_HEIGHT: f64 = 22.0;

/// Colours, for pictures and pages alike.
pub(super) const PALETTE: &str = include_str!("palette.css");
const STYLE: &str = include_str!("map.css");

/// A file of its own: with style, and a list of what is broken above the map.
pub(super) fn render(topology: &Topology, color: ColorBy) -> String {
    let trouble = trouble(topology);
    let layout = layout::layout(topology);
    let list = headlines(&trouble);
    let top = (list.len() + 1) as f64 * LINE_HEIGHT;
    let (width, height) = (layout.width.max(640.0), layout.height + top);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map {}\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{PALETTE}{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
        color.class()
    );
    for (index, line) in list.iter().enumerate() {
        let class = match (index, trouble.links.is_empty()) {
            (0, true) => "headline good",
            (0, false) => "headline bad",
            _ => "listed",
        };
        let y = (index + 1) as f64 * LINE_HEIGHT;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"16\" y=\"{y:.0}\">{}</text>",
            escape(line)
        );
    }
    let _ = writeln!(out, "<g transform=\"translate(0 {top:.0})\">");
    draw(&mut out, topology, &layout, &trouble);
    out.push_str("</g>\n</svg>\n");
    out
}

/// The map for a page, which has style and list itself.
pub(super) fn map(topology: &Topology, trouble: &Trouble<'_>) -> String {
    let layout = layout::layout(topology);
    let (width, height) = (layout.width, layout.height);
    let mut out = format!(
        "<svg id=\"map\" class=\"map\" role=\"img\" aria-label=\"Map of the mesh\" viewBox=\"0 0 {width:.0} {height:.0}\">\n"
    );
    draw(&mut out, topology, &layout, trouble);
    out.push_str("</svg>\n");
    out
}

/// Style of the map alone.
pub(super) const fn style() -> &'static str {
    STYLE
}

fn headlines(trouble: &Trouble<'_>) -> Vec<String> {
    let mut list = vec![trouble.headline()];
    list.extend(
        trouble
            .nodes
            .iter()
            .map(|(name, broken, all)| format!("{name}: {broken} of its {all} tunnels are broken")),
    );
    let links = trouble.links.iter().take(MAX_LISTED);
    list.extend(links.map(|link| format!("{} – {}: {}", link.a, link.b, link.state)));
    match trouble.links.len().saturating_sub(MAX_LISTED) {
        0 => {}
        more => list.push(format!("and {more} more")),
    }
    list
}

fn draw(out: &mut String, topology: &Topology, layout: &Layout<'_>, trouble: &Trouble<'_>) {
    if topology.links.len() <= MAX_LINES {
        zones(out, topology, layout);
        let labelled = topology.links.len() <= MAX_LABELS;
        for link in topology.links.iter().filter(|link| !is_broken(link)) {
            line(out, link, layout, labelled);
        }
    } else {
        // Lines between zones end at their borders: boxes lie on top.
        bundles(out, topology, layout);
        zones(out, topology, layout);
    }
    for link in trouble.links.iter().take(MAX_BROKEN) {
        line(out, link, layout, trouble.links.len() <= MAX_LABELS);
    }
    for zone in &topology.zones {
        for node in &zone.nodes {
            dot(out, node, &zone.name, layout, trouble);
        }
    }
}

fn zones(out: &mut String, topology: &Topology, layout: &Layout<'_>) {
    for (zone, area) in topology.zones.iter().zip(&layout.zones) {
        let mut title: String = zone.name.chars().take(MAX_TITLE).collect();
        if zone.name.chars().count() > MAX_TITLE {
            title.push('…');
        }
        let _ = writeln!(
            out,
            "<g class=\"zone\"><title>zone {}: {} nodes</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(&zone.name),
            zone.nodes.len(),
            area.x,
            area.y,
            area.width,
            area.height,
            area.center().0,
            area.y + 18.0,
            escape(&title),
        );
    }
}

/// One line for all links of two zones.
fn bundles(out: &mut String, topology: &Topology, layout: &Layout<'_>) {
    let pairs = pairs(topology);
    let many = pairs.len() > MAX_PAIRS;
    let shown = |pair: &Pair| !many || pair.broken > 0;
    for ((a, b), pair) in pairs.iter().filter(|((a, b), pair)| a != b && shown(pair)) {
        let ((x1, y1), (x2, y2)) = (layout.zones[*a].center(), layout.zones[*b].center());
        // A pair in which one of a thousand is broken is not broken: that link has a line of its own.
        let state = match pair.broken < pair.tunnels && pair.broken > 0 {
            true => Some(mesh_proto::control::LinkState::Up),
            false => pair.worst,
        };
        let _ = writeln!(
            out,
            "<g class=\"link bundle {}\"><title>{} – {}: {}</title><line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/></g>",
            shade::classes(state, pair.rtt_ms(), pair.loss_percent),
            escape(&topology.zones[*a].name),
            escape(&topology.zones[*b].name),
            pair.words(),
        );
    }
}

fn line(out: &mut String, link: &TopologyLink, layout: &Layout<'_>, labelled: bool) {
    let ends = (
        layout.nodes.get(link.a.as_str()),
        layout.nodes.get(link.b.as_str()),
    );
    let (Some((x1, y1)), Some((x2, y2))) = ends else {
        return;
    };
    let broken = is_broken(link);
    let state = (link.kind == LinkKind::Tunnel || broken).then_some(link.state);
    let _ = write!(
        out,
        "<g class=\"link{} {}\"><title>{}</title><line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>",
        if broken { " broken" } else { "" },
        shade::classes(state, link.rtt_ms, link.loss_percent),
        escape(&describe(link)),
    );
    let text = if broken {
        Some(link.state.to_string())
    } else {
        link.rtt_ms.map(|ms| rtt(Some(ms)))
    };
    if let Some(text) = text.filter(|_| labelled) {
        // Off the middle, where lines cross.
        let (x, y) = (x1 + (x2 - x1) * 0.42, y1 + (y2 - y1) * 0.42);
        let _ = write!(out, "<text x=\"{x:.1}\" y=\"{:.1}\">{text}</text>", y - 4.0);
    }
    out.push_str("</g>\n");
}

/// A link in words, for a pointer that rests on it.
pub(super) fn describe(link: &TopologyLink) -> String {
    let mut text = format!("{} – {}: {} {}", link.a, link.b, link.kind, link.state);
    if let Some(ms) = link.rtt_ms {
        let _ = write!(text, ", RTT {}", rtt(Some(ms)));
    }
    if let Some(loss) = link.loss_percent {
        let _ = write!(text, ", loss {loss} %");
    }
    match link.age_s {
        Some(0) => text.push_str(", live"),
        Some(seconds) => {
            let _ = write!(text, ", as of {} ago", age(seconds));
        }
        None => {}
    }
    text
}

fn dot(
    out: &mut String,
    node: &TopologyNode,
    zone: &str,
    layout: &Layout<'_>,
    trouble: &Trouble<'_>,
) {
    let Some((x, y)) = layout.nodes.get(node.name.as_str()) else {
        return;
    };
    let broken = trouble
        .links
        .iter()
        .filter(|l| l.a == node.name || l.b == node.name);
    let broken: Vec<_> = broken.collect();
    let class = if broken.is_empty() { "" } else { " touched" };
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    let mut title = format!(
        "{}\nzone {}, {}, {}\n{}\n{}\nid {}",
        clean(&node.name),
        clean(zone),
        node.state,
        node.backend,
        addresses.join(", "),
        node.mesh_address,
        node.id,
    );
    for link in broken.iter().take(MAX_LISTED) {
        let _ = write!(title, "\n{}", clean(&describe(link)));
    }
    let _ = write!(
        out,
        "<g class=\"node {}{class}\" data-node=\"{}\"><title>{}</title>",
        shade::node(node.state),
        escape(&node.name),
        lines(&title)
    );
    if layout.named {
        let (width, height) = layout::cell(true);
        let (width, height) = (width - 12.0, height - 12.0);
        let _ = write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/><text x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            x - width / 2.0,
            y - height / 2.0,
            y + 4.5,
            escape(&short(&node.name)),
        );
    } else {
        let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>");
    }
    out.push_str("</g>\n");
}

fn short(name: &str) -> String {
    const MAX: usize = 16;
    match name.chars().count() {
        0..=MAX => name.to_owned(),
        _ => name.chars().take(MAX - 1).chain(['…']).collect(),
    }
}

/// Text for XML and HTML, between tags or in double quotes; control characters are replaced.
pub(crate) fn escape(text: &str) -> String {
    lines(&clean(text))
}

/// The same for text made here, whose line breaks are meant.
fn lines(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
