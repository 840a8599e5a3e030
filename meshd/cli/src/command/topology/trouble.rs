//! What is wrong in a mesh, worst first: the broken links, and the nodes that most of them have in common.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mesh_proto::control::{LinkKind, LinkState, Topology, TopologyLink};

use super::is_broken;

/// A node named as the common end of broken links has at least so many.
const MIN_SHARED: usize = 3;
/// Nodes named so.
const MAX_SHARED: usize = 10;

/// Broken links and their totals.
#[derive(Debug)]
pub(super) struct Trouble<'a> {
    /// Worst first, else by name.
    pub(super) links: Vec<&'a TopologyLink>,
    /// Tunnels of the mesh.
    pub(super) tunnels: usize,
    /// Tunnels that neither end reports.
    pub(super) unknown: usize,
    /// Nodes at the end of several broken links: name, broken, all tunnels. Worst first.
    pub(super) nodes: Vec<(&'a str, usize, usize)>,
}

impl Trouble<'_> {
    /// The mesh in one sentence.
    pub(super) fn headline(&self) -> String {
        let unknown = match self.unknown {
            0 => String::new(),
            count => format!("; {count} not reported by either end"),
        };
        match self.links.len() {
            0 if self.tunnels == 0 => "No tunnels".to_owned(),
            0 if self.unknown == self.tunnels => {
                format!("None of the {} tunnels is reported by an end", self.tunnels)
            }
            0 => format!("No broken link among {} tunnels{unknown}", self.tunnels),
            1 => format!("1 broken link among {} tunnels{unknown}", self.tunnels),
            count => format!(
                "{count} broken links among {} tunnels{unknown}",
                self.tunnels
            ),
        }
    }
}

pub(super) fn trouble(topology: &Topology) -> Trouble<'_> {
    let mut links: Vec<&TopologyLink> = topology.links.iter().filter(|l| is_broken(l)).collect();
    links.sort_by_key(|link| Reverse(link.state));
    let tunnels = || topology.links.iter().filter(|l| l.kind == LinkKind::Tunnel);
    let mut ends: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for link in tunnels() {
        for end in [&link.a, &link.b] {
            let (broken, all) = ends.entry(end.as_str()).or_default();
            *broken += usize::from(is_broken(link));
            *all += 1;
        }
    }
    let mut nodes: Vec<_> = ends
        .into_iter()
        .filter(|(_, (broken, _))| *broken >= MIN_SHARED)
        .map(|(name, (broken, all))| (name, broken, all))
        .collect();
    nodes.sort_by_key(|(_, broken, _)| Reverse(*broken));
    // The far ends of one dead node have one broken link each: only those like the worst are to blame.
    let worst = nodes.first().map_or(0, |(_, broken, _)| *broken);
    nodes.retain(|(_, broken, _)| broken * 2 >= worst);
    nodes.truncate(MAX_SHARED);
    Trouble {
        links,
        tunnels: tunnels().count(),
        unknown: tunnels().filter(|l| l.state == LinkState::Unknown).count(),
        nodes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn one_dead_node_is_named_and_its_far_ends_are_not() {
        let mut topology = sample::large_topology(3, 10);
        for link in &mut topology.links {
            let dead = link.a == "zone002-4" || link.b == "zone002-4";
            if link.kind == LinkKind::Tunnel {
                link.state = if dead { LinkState::Down } else { LinkState::Up };
            }
        }
        let trouble = trouble(&topology);
        assert_eq!(trouble.nodes, [("zone002-4", 20, 20)]);
        assert_eq!(trouble.headline(), "20 broken links among 300 tunnels");
    }

    #[test]
    fn the_worst_link_is_first() {
        let topology = sample::topology();
        let trouble = trouble(&topology);
        let states: Vec<_> = trouble.links.iter().map(|link| link.state).collect();
        let wanted = [LinkState::Down, LinkState::Connecting, LinkState::Suspect];
        assert_eq!(states, wanted);
    }
}
