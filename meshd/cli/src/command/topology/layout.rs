//! Where zones and nodes go on the map: few zones in a ring, so that lines between them cross little;
//! many in a grid. Pure arithmetic, the same for the same mesh.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use mesh_proto::control::{Topology, TopologyZone};

/// With more nodes than this, nodes are dots without names.
const MAX_NAMED: usize = 40;
/// With more zones than this, a ring would be mostly empty.
const MAX_RING: usize = 20;
/// Longest title of a zone, characters.
pub(super) const MAX_TITLE: usize = 24;
/// Free space between zones and around the map.
const GAP: f64 = 46.0;
const PADDING: f64 = 14.0;
const TITLE_HEIGHT: f64 = 26.0;
/// The map is wider than high, as screens are.
const STRETCH: f64 = 1.4;

/// A rectangle: upper left corner and size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) const fn center(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// The whole map.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) width: f64,
    pub(super) height: f64,
    /// One for each zone of the topology.
    pub(super) zones: Vec<Area>,
    /// Centres of nodes.
    pub(super) nodes: BTreeMap<&'a str, (f64, f64)>,
    /// True if nodes are large enough for their names.
    pub(super) named: bool,
}

/// Size of the place of a node.
pub(super) const fn cell(named: bool) -> (f64, f64) {
    if named { (138.0, 44.0) } else { (20.0, 20.0) }
}

pub(super) fn layout(topology: &Topology) -> Layout<'_> {
    let count: usize = topology.zones.iter().map(|zone| zone.nodes.len()).sum();
    let named = count <= MAX_NAMED;
    let mut zones: Vec<Area> = topology
        .zones
        .iter()
        .map(|zone| size(zone, named))
        .collect();
    if zones.len() <= MAX_RING {
        ring(&mut zones);
    } else {
        grid(&mut zones);
    }
    let (width, height) = normalise(&mut zones);
    let mut nodes = BTreeMap::new();
    for (zone, area) in topology.zones.iter().zip(&zones) {
        let (cell_width, cell_height) = cell(named);
        let columns = columns(zone.nodes.len(), named);
        // A title may be wider than the nodes below it.
        let used = columns as f64 * cell_width;
        let left = area.x + (area.width - used) / 2.0;
        for (index, node) in zone.nodes.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let x = left + (column as f64 + 0.5) * cell_width;
            let y = area.y + TITLE_HEIGHT + (row as f64 + 0.5) * cell_height;
            nodes.insert(node.name.as_str(), (x, y));
        }
    }
    Layout {
        width,
        height,
        zones,
        nodes,
        named,
    }
}

fn columns(nodes: usize, named: bool) -> usize {
    let square = (nodes as f64).sqrt().ceil() as usize;
    // Names are wide: fewer columns keep a zone about square.
    let columns = if named { square.div_ceil(2) } else { square };
    columns.max(1)
}

fn size(zone: &TopologyZone, named: bool) -> Area {
    let (cell_width, cell_height) = cell(named);
    let columns = columns(zone.nodes.len(), named);
    let rows = zone.nodes.len().div_ceil(columns);
    let title = zone.name.chars().count().min(MAX_TITLE) as f64 * 8.5;
    Area {
        x: 0.0,
        y: 0.0,
        width: (columns as f64 * cell_width).max(title) + 2.0 * PADDING,
        height: rows as f64 * cell_height + TITLE_HEIGHT + PADDING,
    }
}

/// Centres on an ellipse, each zone with an angle in proportion to its size.
fn ring(zones: &mut [Area]) {
    let across = |area: &Area| area.width.hypot(area.height) + GAP;
    let around: f64 = zones.iter().map(across).sum();
    let largest = zones.iter().map(across).fold(0.0, f64::max);
    let radius = if zones.len() < 2 {
        0.0
    } else {
        (around / TAU).max(largest * 0.62)
    };
    let mut angle = -TAU / 4.0;
    for area in zones {
        let share = across(area) / around * TAU;
        angle += share / 2.0;
        area.x = angle.cos() * radius * STRETCH - area.width / 2.0;
        area.y = angle.sin() * radius - area.height / 2.0;
        angle += share / 2.0;
    }
}

/// Rows of zones, in order.
fn grid(zones: &mut [Area]) {
    let width: f64 = zones.iter().map(|area| area.width + GAP).sum();
    let height = zones
        .iter()
        .map(|area| area.height + GAP)
        .fold(0.0, f64::max);
    let limit = (width * height * STRETCH).sqrt();
    let (mut x, mut y, mut tallest) = (0.0, 0.0, 0.0_f64);
    for area in zones {
        if x > 0.0 && x + area.width > limit {
            (x, y, tallest) = (0.0, y + tallest + GAP, 0.0);
        }
        (area.x, area.y) = (x, y);
        x += area.width + GAP;
        tallest = tallest.max(area.height);
    }
}

/// Moves everything so that the map begins at (0, 0) with a margin; returns its size.
fn normalise(zones: &mut [Area]) -> (f64, f64) {
    let left = zones.iter().map(|area| area.x).fold(f64::MAX, f64::min);
    let top = zones.iter().map(|area| area.y).fold(f64::MAX, f64::min);
    let (mut width, mut height) = (0.0_f64, 0.0_f64);
    for area in zones {
        area.x += GAP - left;
        area.y += GAP - top;
        width = width.max(area.x + area.width);
        height = height.max(area.y + area.height);
    }
    (width + GAP, height + GAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn apart(one: &Area, two: &Area) -> bool {
        one.x + one.width < two.x
            || two.x + two.width < one.x
            || one.y + one.height < two.y
            || two.y + two.height < one.y
    }

    #[test]
    fn zones_never_overlap_and_nodes_are_inside_theirs() {
        for (zones, nodes) in [
            (1, 1),
            (1, 300),
            (2, 1),
            (2, 3),
            (3, 2),
            (6, 50),
            (12, 25),
            (20, 15),
            (300, 1),
        ] {
            let topology = sample::large_topology(zones, nodes);
            let layout = layout(&topology);
            for (index, one) in layout.zones.iter().enumerate() {
                for two in &layout.zones[index + 1..] {
                    assert!(apart(one, two), "{zones} x {nodes}: {one:?} {two:?}");
                }
                for node in &topology.zones[index].nodes {
                    let (x, y) = layout.nodes[node.name.as_str()];
                    assert!(x > one.x && x < one.x + one.width, "{x} {one:?}");
                    assert!(y > one.y && y < one.y + one.height, "{y} {one:?}");
                }
            }
        }
    }

    #[test]
    fn an_empty_mesh_has_a_size() {
        let mut topology = sample::topology();
        topology.zones.clear();
        let layout = layout(&topology);
        assert!(layout.width > 0.0 && layout.width.is_finite() && layout.height.is_finite());
    }
}
