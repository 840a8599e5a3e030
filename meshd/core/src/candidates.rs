//! Candidates: where this node can be reached, and in which order it dials a peer's. Filters decide
//! only about endpoints; what is routed is settled in [`crate::allowed_ips`].

mod dial;
mod gather;
mod ignore;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::candidate::is_usable_endpoint;
use mesh_proto::limits::MAX_NODE_ADDRESSES;

use crate::links::LinkSnapshot;

pub use dial::{DialContext, RankedEndpoint, endpoints};
pub use gather::{CandidateSources, DropReason, Gathered, gather};
pub use ignore::{DEFAULT_IGNORE_INTERFACES, is_ignored};

/// The node's own addresses: global, permanent, usable, on links that are up and not ignored, outside
/// the mesh's ULA. Sorted, IPv4 first, at most [`MAX_NODE_ADDRESSES`]: the rest is left out, those of
/// links without a default route first.
#[must_use]
pub fn node_addresses(
    links: &LinkSnapshot,
    ignore: &[String],
    mesh_prefix: Ipv6Net,
) -> Vec<IpAddr> {
    let mut found: Vec<(bool, IpAddr)> = links
        .links
        .iter()
        .filter(|link| link.up && !is_ignored(links, link, ignore))
        .flat_map(|link| {
            let other = !links.is_default(link.index);
            link.addresses.iter().map(move |own| (other, own))
        })
        .filter(|(_, own)| own.global && !own.temporary && !own.unusable)
        .map(|(other, own)| (other, own.address.addr()))
        .filter(|(_, address)| is_usable_endpoint(*address) && !in_mesh(mesh_prefix, *address))
        .collect();
    found.sort_unstable();
    found.truncate(MAX_NODE_ADDRESSES);
    let mut addresses: Vec<IpAddr> = found.into_iter().map(|(_, address)| address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// True for an address of the mesh's ULA.
fn in_mesh(mesh_prefix: Ipv6Net, address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if mesh_prefix.contains(&v6))
}

/// True if one of the prefixes contains the address.
fn in_any(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}
