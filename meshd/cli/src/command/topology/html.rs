//! Topology as a page: one file with everything in it, which asks the network for nothing. What is wrong
//! comes first, then the matrix of zones and the map. The shapes are drawn here; the script only searches,
//! zooms and shows details.

use std::fmt::Write as _;

use mesh_proto::control::{LinkKind, Topology};

use super::svg::{self, PALETTE, describe, escape};
use super::trouble::{Trouble, trouble};
use super::{matrix, shade};
use crate::cli::ColorBy;

/// Broken links listed on a page.
const MAX_LISTED: usize = 500;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a page is told besides the mesh.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// Colouring to begin with.
    pub(crate) color: ColorBy,
    /// Says in the content security policy which script may run; unguessable.
    pub(crate) nonce: &'a str,
    /// Where a live page asks for its content again; none for a file.
    pub(crate) live: Option<&'a str>,
    /// Where the picture comes from, for people.
    pub(crate) source: &'a str,
}

/// The whole page.
pub(crate) fn render(topology: &Topology, page: &Page<'_>) -> String {
    let connect = if page.live.is_some() {
        "'self'"
    } else {
        "'none'"
    };
    let options: String = ["state", "rtt", "loss"]
        .iter()
        .map(|name| {
            let selected = if *name == page.color.name() {
                " selected"
            } else {
                ""
            };
            format!("<option{selected}>{name}</option>")
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src {connect}; base-uri 'none'; form-action 'none'\">\n\
         <title>Mesh topology</title>\n<style>\n{PALETTE}{map}{STYLE}</style></head>\n\
         <body class=\"{class}\" data-live=\"{live}\">\n\
         <header><h1>Mesh</h1><span id=\"source\" class=\"soft\">{source}</span>\
         <input id=\"search\" type=\"search\" placeholder=\"Search node, zone, address\" aria-label=\"Search\">\
         <label>Colour <select id=\"color\">{options}</select></label>\
         <span class=\"zoom\"><button id=\"in\" title=\"Zoom in\">+</button><button id=\"out\" title=\"Zoom out\">−</button><button id=\"fit\" title=\"Whole map\">Fit</button></span></header>\n\
         <div id=\"view\">\n{content}</div>\n<pre id=\"details\" hidden></pre>\n\
         <script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body></html>\n",
        nonce = page.nonce,
        map = svg::style(),
        class = page.color.class(),
        live = escape(page.live.unwrap_or_default()),
        source = escape(page.source),
        content = content(topology),
    )
}

/// What a live page replaces.
pub(crate) fn content(topology: &Topology) -> String {
    let trouble = trouble(topology);
    let mut out = banner(&trouble);
    out.push_str("<div class=\"split\"><section><h2>Zones</h2>\n");
    out.push_str(&matrix::render(topology));
    out.push_str(LEGEND);
    out.push_str("</section>\n<section class=\"wide\"><h2>Map</h2>\n");
    out.push_str(&svg::map(topology, &trouble));
    out.push_str("</section></div>\n");
    let nodes: usize = topology.zones.iter().map(|zone| zone.nodes.len()).sum();
    let native = topology
        .links
        .iter()
        .filter(|l| l.kind == LinkKind::Native)
        .count();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<p class=\"soft\">{} zones, {nodes} nodes, {} tunnels, {native} native links</p>",
        topology.zones.len(),
        trouble.tunnels,
    );
    out
}

const LEGEND: &str = "<p class=\"legend color-state\"><i class=\"s-up\"></i>up <i class=\"s-suspect\"></i>suspect \
    <i class=\"s-connecting\"></i>connecting <i class=\"s-down\"></i>down <i class=\"s-unknown\"></i>not reported \
    <i class=\"s-native\"></i>native</p>\n";

fn banner(trouble: &Trouble<'_>) -> String {
    let class = if !trouble.links.is_empty() {
        "bad"
    } else if trouble.tunnels > 0 && trouble.unknown == trouble.tunnels {
        "unsure"
    } else {
        "good"
    };
    let mut out = format!(
        "<section id=\"banner\" class=\"{class}\" role=\"status\"><strong>{}</strong>",
        escape(&trouble.headline())
    );
    for (name, broken, all) in &trouble.nodes {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            out,
            "<button class=\"suspect\" data-find=\"{name}\">{name}: {broken} of its {all} tunnels</button>",
            name = escape(name)
        );
    }
    out.push_str("</section>\n");
    if trouble.links.is_empty() {
        return out;
    }
    out.push_str("<section id=\"broken\"><table><tbody>\n");
    for link in trouble.links.iter().take(MAX_LISTED) {
        let _ = writeln!(
            out,
            "<tr data-a=\"{a}\" data-b=\"{b}\"><td class=\"mark {}\"></td><td><b>{a}</b> – <b>{b}</b></td><td>{}</td><td class=\"soft\">{}</td></tr>",
            shade::classes(Some(link.state), None, None),
            link.state,
            escape(
                describe(link)
                    .rsplit_once(&link.state.to_string())
                    .map_or("", |(_, rest)| rest.trim_start_matches(", "))
            ),
            a = escape(&link.a),
            b = escape(&link.b),
        );
    }
    out.push_str("</tbody></table>\n");
    if let more @ 1.. = trouble.links.len().saturating_sub(MAX_LISTED) {
        let _ = writeln!(out, "<p>and {more} more</p>");
    }
    out.push_str("</section>\n");
    out
}
