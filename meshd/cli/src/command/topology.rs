//! `meshctl topology`: the whole mesh, as a table, JSON, Graphviz or Mermaid.

mod dot;
mod mermaid;
mod table;

use std::collections::BTreeMap;

use mesh_proto::control::{LinkState, Topology, TopologyLink};

use super::Session;
use crate::cli::TopologyFormat;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(super) fn run(session: &Session, format: Option<TopologyFormat>) -> Result<(), Failure> {
    let mut topology: Topology = session.client.get("/v1/topology")?;
    sort(&mut topology);
    let wide = session.format == Format::Wide;
    output::data(&match format {
        None => session
            .format
            .render(&topology, |wide| table::render(&topology, wide))?,
        Some(TopologyFormat::Table) => table::render(&topology, wide),
        Some(TopologyFormat::Json) => output::json(&topology)?,
        Some(TopologyFormat::Dot) => dot::render(&topology),
        Some(TopologyFormat::Mermaid) => mermaid::render(&topology),
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
    use crate::sample;

    #[test]
    fn every_form_of_a_small_mesh() {
        let topology = sample::topology();
        insta::assert_snapshot!("topology", table::render(&topology, false));
        insta::assert_snapshot!("topology_wide", table::render(&topology, true));
        insta::assert_snapshot!("topology_json", output::json(&topology).unwrap());
        insta::assert_snapshot!("topology_dot", dot::render(&topology));
        insta::assert_snapshot!("topology_mermaid", mermaid::render(&topology));
    }

    #[test]
    fn a_large_mesh_stays_readable() {
        let topology = sample::large_topology(6, 50);
        let text = table::render(&topology, false);
        assert!(text.lines().count() < 100, "{text}");
        insta::assert_snapshot!("topology_large", text);
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
        ] {
            assert!(!text.is_empty());
        }
    }
}
