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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ZoneRule;

    fn side(id: u8, zone: Option<&str>, mode: TopologyMode) -> Side<'_> {
        Side {
            member: MemberId([id; 32]),
            zone,
            mode,
        }
    }

    #[test]
    fn tunnels_across_zones_and_inside_only_if_both_want() {
        use TopologyMode::{Cross, Full};
        for (zone_a, mode_a, zone_b, mode_b, tunnel) in [
            (Some("fra"), Cross, Some("fra"), Cross, false),
            (Some("fra"), Full, Some("fra"), Cross, false),
            (Some("fra"), Full, Some("fra"), Full, true),
            (Some("fra"), Cross, Some("ams"), Cross, true),
            (Some("fra"), Full, Some("ams"), Cross, true),
            (Some("fra"), Cross, None, Cross, true),
            (None, Cross, None, Cross, true),
        ] {
            let (a, b) = (side(1, zone_a, mode_a), side(2, zone_b, mode_b));
            assert_eq!(wants_tunnel(&a, &b), tunnel, "{a:?} {b:?}");
            assert_eq!(wants_tunnel(&b, &a), tunnel, "{a:?} {b:?}");
        }
        let own = side(1, None, Full);
        assert!(!wants_tunnel(&own, &own) && same_zone(&own, &own));
    }

    #[test]
    fn zone_sources() {
        let own: Vec<IpAddr> = vec!["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let rule = |zone: &str, cidrs: &[&str]| ZoneRule {
            zone: zone.to_owned(),
            cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        };
        let rules = ZoneSource::Rules(vec![
            rule("none", &["192.0.2.0/24", "10.1.0.4/32"]),
            rule("home", &["10.1.0.0/16"]),
            rule("later", &["fd00::/8"]),
        ]);
        assert_eq!(resolve_zone(&rules, None, &own).as_deref(), Some("home"));
        assert_eq!(resolve_zone(&rules, None, &[]), None);
        assert_eq!(resolve_zone(&ZoneSource::Own, Some("x"), &own), None);
        let label = ZoneSource::Label("fra".to_owned());
        assert_eq!(resolve_zone(&label, None, &own).as_deref(), Some("fra"));
        let too_long = "x".repeat(MAX_ZONE_BYTES + 1);
        for (content, zone) in [
            (None, None),
            (Some(""), None),
            (Some(" eu-west/1 \n"), Some("eu-west/1")),
            (Some("two words"), None),
            (Some("node:abcdef"), None),
            (Some(too_long.as_str()), None),
        ] {
            let found = resolve_zone(&ZoneSource::File, content, &own);
            assert_eq!(found.as_deref(), zone, "{content:?}");
        }
    }

    #[test]
    fn labels() {
        let member = MemberId([0xab; 32]);
        assert_eq!(zone_label(Some("fra"), &member), "fra");
        assert_eq!(zone_label(None, &member), "node:ababab");
    }
}
