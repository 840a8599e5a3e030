//! `meshctl topology`: the whole mesh, in forms for people, pictures and programs.

mod ascii;
mod dot;
mod group;
mod html;
mod layout;
mod matrix;
mod mermaid;
mod pairs;
mod shade;
mod svg;
mod table;
mod trouble;

use std::collections::BTreeMap;
use std::path::Path;

use mesh_proto::control::{LinkState, Topology, TopologyLink};

pub(super) use html::{Page, content, render as page};
pub(super) use svg::escape;

use super::Session;
use crate::cli::{GroupBy, TopologyArgs, TopologyFormat};
use crate::failure::Failure;
use crate::output::{self, Format};

pub(super) fn run(session: &Session, args: &TopologyArgs) -> Result<(), Failure> {
    let (mut topology, source) = match &args.from {
        Some(file) => {
            let name = file.file_name().unwrap_or(file.as_os_str());
            (read(file)?, name.to_string_lossy().into_owned())
        }
        None => (fetch(session)?, "as meshd of this node sees it".to_owned()),
    };
    if args.group == Some(GroupBy::Zone) {
        topology = group::by_zone(&topology);
    }
    output::data(&draw(session, args, &topology, &source)?)
}

/// Asks the daemon.
pub(super) fn fetch(session: &Session) -> Result<Topology, Failure> {
    let mut topology: Topology = session.client.get("/v1/topology")?;
    sort(&mut topology);
    Ok(topology)
}

/// Reads what `topology --format json` printed.
fn read(file: &Path) -> Result<Topology, Failure> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    }
    .map_err(Failure::file("read", file))?;
    let mut topology: Topology = serde_json::from_str(&text).map_err(|error| {
        let file = file.display();
        Failure::Invalid(format!("{file} is not a topology as JSON: {error}"))
    })?;
    sort(&mut topology);
    Ok(topology)
}

fn draw(
    session: &Session,
    args: &TopologyArgs,
    topology: &Topology,
    source: &str,
) -> Result<String, Failure> {
    let wide = session.format == Format::Wide;
    Ok(match args.format {
        None => session
            .format
            .render(topology, |wide| table::render(topology, wide))?,
        Some(TopologyFormat::Table) => table::render(topology, wide),
        Some(TopologyFormat::Ascii) => ascii::render(topology),
        Some(TopologyFormat::Json) => output::json(topology)?,
        Some(TopologyFormat::Dot) => dot::render(topology),
        Some(TopologyFormat::Mermaid) => mermaid::render(topology),
        Some(TopologyFormat::Svg) => svg::render(topology, args.color),
        Some(TopologyFormat::Html) => html::render(
            topology,
            &Page {
                color: args.color,
                nonce: &super::ui::random_word()?,
                live: None,
                source,
            },
        ),
    })
}

/// The daemon sorts already; output must be stable with any daemon.
fn sort(topology: &mut Topology) {
    topology.zones.sort_by(|x, y| x.name.cmp(&y.name));
    for zone in &mut topology.zones {
        zone.nodes
            .sort_by(|x, y| (&x.name, x.id).cmp(&(&y.name, y.id)));
    }
    topology
        .links
        .sort_by(|x, y| (&x.a, &x.b).cmp(&(&y.a, &y.b)));
}

/// Index of the zone of each node.
fn zone_of(topology: &Topology) -> BTreeMap<&str, usize> {
    topology
        .zones
        .iter()
        .enumerate()
        .flat_map(|(index, zone)| {
            zone.nodes
                .iter()
                .map(move |node| (node.name.as_str(), index))
        })
        .collect()
}

/// A link that somebody should look at.
fn is_broken(link: &TopologyLink) -> bool {
    link.state >= LinkState::Suspect
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorBy;
    use crate::sample;

    #[test]
    fn every_form_of_a_small_mesh() {
        let topology = sample::topology();
        insta::assert_snapshot!("topology", table::render(&topology, false));
        insta::assert_snapshot!("topology_wide", table::render(&topology, true));
        insta::assert_snapshot!("topology_json", output::json(&topology).unwrap());
        insta::assert_snapshot!("topology_dot", dot::render(&topology));
        insta::assert_snapshot!("topology_mermaid", mermaid::render(&topology));
        insta::assert_snapshot!("topology_ascii", ascii::render(&topology));
        insta::assert_snapshot!("topology_svg", svg::render(&topology, ColorBy::State));
        insta::assert_snapshot!(
            "topology_by_zone",
            table::render(&group::by_zone(&topology), false)
        );
    }

    #[test]
    fn a_large_mesh_stays_readable() {
        let topology = sample::large_topology(6, 50);
        let text = table::render(&topology, false);
        assert!(text.lines().count() < 100, "{text}");
        insta::assert_snapshot!("topology_large", text);
        for text in [
            ascii::render(&topology),
            ascii::render(&sample::large_topology(300, 1)),
        ] {
            assert!(text.lines().count() < 70, "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() < 160),
                "{text}"
            );
        }
        for text in [svg::render(&topology, ColorBy::State), content(&topology)] {
            assert!(text.len() < 1_000_000, "{} bytes", text.len());
        }
        let zoneless = sample::large_topology(300, 1);
        let text = table::render(&zoneless, false);
        assert!(text.lines().count() < 200, "{} lines", text.lines().count());
        let wide = table::render(&topology, true);
        assert!(wide.lines().count() > topology.links.len());
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let mut topology = sample::topology();
        let evil = "x\"]; \\ <b>#\n\u{1b}[2J";
        let old = std::mem::replace(&mut topology.zones[0].nodes[0].name, evil.to_owned());
        for link in &mut topology.links {
            if link.a == old {
                link.a = evil.to_owned();
            }
        }
        evil.clone_into(&mut topology.zones[0].name);
        insta::assert_snapshot!("topology_hostile_dot", dot::render(&topology));
        insta::assert_snapshot!("topology_hostile_mermaid", mermaid::render(&topology));
        let tables = table::render(&topology, true);
        for text in [svg::render(&topology, ColorBy::Rtt), content(&topology)] {
            assert!(!text.contains("<b>#") && !text.contains('\u{1b}'));
            assert!(text.contains("x&quot;]; \\ &lt;b&gt;#??[2J"));
        }
        assert!(!tables.contains('\u{1b}') && tables.contains("x\"]; \\ <b>#??[2J"));
    }

    #[test]
    fn order_does_not_depend_on_the_daemon() {
        let sorted = sample::topology();
        let mut topology = sorted.clone();
        topology.zones.reverse();
        topology.links.reverse();
        topology.zones[0].nodes.reverse();
        sort(&mut topology);
        assert_eq!(topology, sorted);
    }

    #[test]
    fn an_empty_mesh_and_links_of_unknown_nodes_are_survived() {
        let mut topology = sample::topology();
        topology.zones.clear();
        for text in [
            table::render(&topology, false),
            dot::render(&topology),
            mermaid::render(&topology),
            ascii::render(&topology),
            svg::render(&topology, ColorBy::Loss),
            content(&topology),
            table::render(&group::by_zone(&topology), true),
        ] {
            assert!(!text.is_empty());
        }
    }
}
