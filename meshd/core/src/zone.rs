//! Zones: which label a node has, and which pairs of nodes tunnel. Says nothing of when a zone
//! change takes effect for a pair; the mesh knows what each end has seen.

use std::net::IpAddr;

use mesh_proto::MemberId;
use mesh_proto::limits::MAX_ZONE_BYTES;
use mesh_proto::record::{TopologyMode, is_label};

use crate::settings::ZoneSource;

/// One end of a pair.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Whose.
    pub member: MemberId,
    /// Its zone label; none is a zone of its own.
    pub zone: Option<&'a str>,
    /// Which pairs it wants to tunnel.
    pub mode: TopologyMode,
}

/// The zone label of this node. `zone_file` is the content of `node.zoneFile`; surrounding white space
/// does not count, and what is not a valid label (an empty file too) is no zone.
#[must_use]
pub fn resolve_zone(
    source: &ZoneSource,
    zone_file: Option<&str>,
    own: &[IpAddr],
) -> Option<String> {
    match source {
        ZoneSource::Own => None,
        ZoneSource::Label(label) => Some(label.clone()),
        ZoneSource::Rules(rules) => rules
            .iter()
            .find(|rule| {
                rule.cidrs
                    .iter()
                    .any(|cidr| own.iter().any(|address| cidr.contains(address)))
            })
            .map(|rule| rule.zone.clone()),
        ZoneSource::File => zone_file
            .map(str::trim)
            .filter(|label| is_label(label, MAX_ZONE_BYTES))
            .map(str::to_owned),
    }
}

/// How a zone is shown: its label, or `node:id6` for a node without one. `:` cannot be in a label.
#[must_use]
pub fn zone_label(zone: Option<&str>, member: &MemberId) -> String {
    zone.map_or_else(|| format!("node:{}", member.short()), str::to_owned)
}

/// True if no zone boundary lies between the two.
#[must_use]
pub fn same_zone(a: &Side<'_>, b: &Side<'_>) -> bool {
    a.member == b.member || (a.zone.is_some() && a.zone == b.zone)
}

/// True if the two form a tunnel: always across a zone boundary, inside a zone only if both say so,
/// never a node with itself. The same for both ends.
#[must_use]
pub fn wants_tunnel(a: &Side<'_>, b: &Side<'_>) -> bool {
    a.member != b.member
        && (!same_zone(a, b) || (a.mode == TopologyMode::Full && b.mode == TopologyMode::Full))
}
