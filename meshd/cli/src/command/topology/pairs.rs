//! What all links between two zones come to. Shared by the matrix, the map and the ASCII form.

use std::collections::BTreeMap;

use mesh_proto::control::{LinkKind, LinkState, Topology, TopologyLink};

use super::{is_broken, zone_of};

/// The links between two zones, or inside one.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) tunnels: usize,
    pub(super) native: usize,
    /// Links that somebody should look at.
    pub(super) broken: usize,
    /// Tunnels that neither end reports.
    pub(super) unknown: usize,
    /// The worst state of a tunnel; none without tunnels.
    pub(super) worst: Option<LinkState>,
    /// Highest loss known, per cent.
    pub(super) loss_percent: Option<u32>,
    /// All round trips known, milliseconds.
    rtts: Vec<f64>,
}

impl Pair {
    fn add(&mut self, link: &TopologyLink) {
        self.broken += usize::from(is_broken(link));
        self.loss_percent = self.loss_percent.max(link.loss_percent);
        self.rtts
            .extend(link.rtt_ms.filter(|rtt| rtt.is_finite() && *rtt >= 0.0));
        match link.kind {
            LinkKind::Native => self.native += 1,
            LinkKind::Tunnel => {
                self.tunnels += 1;
                self.unknown += usize::from(link.state == LinkState::Unknown);
                self.worst = self.worst.max(Some(link.state));
            }
        }
        if is_broken(link) {
            self.worst = self.worst.max(Some(link.state));
        }
    }

    /// Median round trip, milliseconds: one slow link does not colour a pair of zones.
    pub(super) fn rtt_ms(&self) -> Option<f64> {
        self.rtts.get(self.rtts.len() / 2).copied()
    }

    /// The whole in words.
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        if self.tunnels > 0 {
            parts.push(format!("{} tunnels", self.tunnels));
        }
        if self.native > 0 {
            parts.push(format!("{} native links, not probed", self.native));
        }
        if self.broken > 0 {
            parts.push(format!("{} BROKEN", self.broken));
        }
        if self.unknown > 0 {
            parts.push(format!("{} not reported", self.unknown));
        }
        if let Some(rtt) = self.rtt_ms() {
            parts.push(format!("median RTT {}", crate::units::rtt(Some(rtt))));
        }
        if let Some(loss) = self.loss_percent {
            parts.push(format!("loss up to {loss} %"));
        }
        parts.join(", ")
    }
}

/// By indexes of zones, the lower first. Links of nodes in no zone are left out.
pub(super) fn pairs(topology: &Topology) -> BTreeMap<(usize, usize), Pair> {
    let zones = zone_of(topology);
    let mut pairs: BTreeMap<(usize, usize), Pair> = BTreeMap::new();
    for link in &topology.links {
        let ends = (zones.get(link.a.as_str()), zones.get(link.b.as_str()));
        if let (Some(a), Some(b)) = ends {
            let key = (*a.min(b), *a.max(b));
            pairs.entry(key).or_default().add(link);
        }
    }
    for pair in pairs.values_mut() {
        pair.rtts.sort_by(f64::total_cmp);
    }
    pairs
}

/// Zones in the order to show them in: those with broken links first, else by name.
pub(super) fn by_trouble(
    topology: &Topology,
    pairs: &BTreeMap<(usize, usize), Pair>,
) -> Vec<usize> {
    let mut broken = vec![0; topology.zones.len()];
    for ((a, b), pair) in pairs {
        broken[*a] += pair.broken;
        if a != b {
            broken[*b] += pair.broken;
        }
    }
    let mut order: Vec<usize> = (0..topology.zones.len()).collect();
    order.sort_by_key(|zone| std::cmp::Reverse(broken[*zone]));
    order
}
