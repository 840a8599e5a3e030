//! MTU of the tunnel interface from the MTU of what carries it. Does not measure paths.

use crate::candidates::{DEFAULT_IGNORE_INTERFACES, is_ignored};
use crate::links::{Link, LinkSnapshot};

/// Bytes WireGuard adds over IPv6: 40 IPv6, 8 UDP, 16 header, 16 tag.
pub const OVERHEAD: u32 = 80;
/// The smallest MTU IPv6 works with (RFC 8200 section 5).
pub const MIN_MTU: u32 = 1280;
/// The largest tunnel MTU whose outer packets still fit IP's 16-bit length.
pub const MAX_MTU: u32 = 65_455;
/// Assumed while the host has no link of use: Ethernet.
const ASSUMED_UNDERLAY: u32 = 1500;

/// The MTU in bytes: the configured one, or underlay minus [`OVERHEAD`], always within
/// [`MIN_MTU`] and [`MAX_MTU`]. The underlay is the links of the default routes; without default
/// routes every link that is up and has an address peers could use. The smallest counts.
#[must_use]
pub fn tunnel_mtu(links: &LinkSnapshot, configured: Option<u32>) -> u32 {
    configured
        .unwrap_or_else(|| underlay_mtu(links).saturating_sub(OVERHEAD))
        .clamp(MIN_MTU, MAX_MTU)
}

fn underlay_mtu(links: &LinkSnapshot) -> u32 {
    let smallest = |used: &dyn Fn(&&Link) -> bool| {
        let mtus = links.links.iter().filter(used).map(|link| link.mtu);
        mtus.min()
    };
    let default = |link: &&Link| links.is_default(link.index);
    let ignore: Vec<String> = DEFAULT_IGNORE_INTERFACES
        .iter()
        .map(|&pattern| pattern.to_owned())
        .collect();
    let used = |link: &&Link| {
        link.up
            && !is_ignored(links, link, &ignore)
            && link.addresses.iter().any(|address| address.global)
    };
    smallest(&default)
        .or_else(|| smallest(&used))
        .unwrap_or(ASSUMED_UNDERLAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::LinkAddress;

    fn link(index: u32, name: &str, mtu: u32) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: None,
            up: true,
            mtu,
            addresses: vec![LinkAddress {
                address: format!("192.0.2.{index}/24").parse().unwrap(),
                global: true,
                temporary: false,
                unusable: false,
            }],
        }
    }

    #[test]
    fn underlay_minus_overhead() {
        let mut links = LinkSnapshot {
            links: vec![
                link(1, "eth0", 1500),
                link(2, "eth1", 9000),
                link(3, "docker0", 1400),
            ],
            default_v4: Some(2),
            default_v6: Some(2),
            ..LinkSnapshot::default()
        };
        assert_eq!(tunnel_mtu(&links, None), 8920);
        links.default_v6 = Some(1);
        assert_eq!(tunnel_mtu(&links, None), 1420);
        (links.default_v4, links.default_v6) = (None, None);
        assert_eq!(tunnel_mtu(&links, None), 1420, "docker0 carries nothing");
        links.links.clear();
        assert_eq!(tunnel_mtu(&links, None), 1420);
        links.links.push(link(1, "eth0", 1300));
        assert_eq!(tunnel_mtu(&links, None), 1280);
        links.links[0].mtu = 65_536;
        assert_eq!(tunnel_mtu(&links, None), 65_455);
    }

    #[test]
    fn configured_wins_within_bounds() {
        let links = LinkSnapshot::default();
        for (configured, mtu) in [(1380, 1380), (100, 1280), (100_000, 65_455)] {
            assert_eq!(tunnel_mtu(&links, Some(configured)), mtu);
        }
    }
}
