//! Claims that are refused whatever anybody else claims.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Claim, LocalView};

/// The shortest IPv4 prefix a peer may claim without `networks.acceptWide`.
const MIN_LENGTH_V4: u8 = 8;
/// The shortest IPv6 prefix a peer may claim without `networks.acceptWide`.
const MIN_LENGTH_V6: u8 = 16;

/// Addresses that never belong to one other host: this-network, loopback, link-local, multicast,
/// broadcast, unspecified and IPv4-mapped ones.
const RESERVED: [IpNet; 10] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([255, 255, 255, 255], 32),
    v6(Ipv6Addr::UNSPECIFIED, 128),
    v6(Ipv6Addr::LOCALHOST, 128),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    v6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
];

/// Why this node does not take the prefix from this member; none if it takes part in the contest.
/// Same-zone members' prefixes normally are on-link here, so that does not count for them.
pub(super) fn refusal(prefix: IpNet, claim: &Claim<'_>, view: &LocalView<'_>) -> Option<String> {
    if let Some(reserved) = RESERVED.iter().find(|range| range.contains(&prefix)) {
        return Some(format!(
            "inside {reserved}, which belongs to no single host"
        ));
    }
    if in_mesh(prefix, view) {
        return Some("a mesh address that is not its own".to_owned());
    }
    if is_wide(prefix) && !inside_any(prefix, view.accept_wide) {
        return Some(format!(
            "wider than /{MIN_LENGTH_V4} (/{MIN_LENGTH_V6} for IPv6); add it to \
             networks.acceptWide if it is meant"
        ));
    }
    if is_own_address(prefix, view) {
        return Some("an address of this node".to_owned());
    }
    if inside_any(prefix, view.own_networks) {
        return Some("inside a network this node advertises itself".to_owned());
    }
    if claim.tunnel && inside_any(prefix, view.on_link) {
        return Some("inside a network this node is directly connected to".to_owned());
    }
    let filter = view.peer_networks?;
    (!filter.allows_prefix(prefix)).then(|| "refused by filters.peerNetworks".to_owned())
}

/// Why a configured prefix of an external peer cannot be routed to it.
pub(super) fn external_refusal(prefix: IpNet, view: &LocalView<'_>) -> Option<String> {
    if in_mesh(prefix, view) {
        Some("inside the mesh's own address range".to_owned())
    } else if is_own_address(prefix, view) {
        Some("an address of this node".to_owned())
    } else {
        None
    }
}

fn in_mesh(prefix: IpNet, view: &LocalView<'_>) -> bool {
    IpNet::V6(view.mesh_prefix).contains(&prefix)
}

/// True for prefixes, default routes among them, that nobody gets without being asked for.
pub(crate) fn is_wide(prefix: IpNet) -> bool {
    let shortest = match prefix {
        IpNet::V4(_) => MIN_LENGTH_V4,
        IpNet::V6(_) => MIN_LENGTH_V6,
    };
    prefix.prefix_len() < shortest
}

fn is_own_address(prefix: IpNet, view: &LocalView<'_>) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len() && view.own_addresses.contains(&prefix.addr())
}

fn inside_any(prefix: IpNet, ranges: &[IpNet]) -> bool {
    ranges.iter().any(|range| range.contains(&prefix))
}

const fn v4(octets: [u8; 4], length: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(address: Ipv6Addr, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, length))
}
