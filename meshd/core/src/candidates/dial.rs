//! Candidates of a peer: which of them this node dials, and in which order.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::candidate::{Candidate, is_private, is_usable_endpoint};

use super::{in_any, in_mesh};
use crate::filter::FilterProgram;

/// What decides about dialling, besides the filter.
#[derive(Debug, Clone, Copy)]
pub struct DialContext<'a> {
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// Addresses of this host, ignored interfaces included: sending there reaches nobody else.
    pub own_addresses: &'a [IpAddr],
    /// Prefixes that routes of somebody else send into our tunnel interface.
    pub via_tunnel: &'a [IpNet],
    /// This host has an IPv4 address to send from.
    pub has_v4: bool,
    /// This host has an IPv6 address (not link-local, not the mesh's) to send from.
    pub has_v6: bool,
}

/// A candidate of a peer with this node's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedEndpoint {
    /// The candidate.
    pub candidate: Candidate,
    /// May be dialled.
    pub usable: bool,
    /// Class of preference, lower first: the position in this side's filter, 0 without one. Round trip
    /// times decide only between endpoints of one class. `usize::MAX` for refused ones.
    pub class: usize,
    /// Why, in words.
    pub reason: String,
}

/// A peer's candidates in order of preference: position in this side's filter, then the advertiser's
/// order (which puts private before public where its own filter says nothing); refused ones last. Of
/// duplicates the first stays.
#[must_use]
pub fn endpoints(
    candidates: &[Candidate],
    peer_filter: Option<&FilterProgram>,
    context: &DialContext<'_>,
) -> Vec<RankedEndpoint> {
    let mut ranked: Vec<RankedEndpoint> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if ranked
            .iter()
            .all(|one| one.candidate.address != candidate.address)
        {
            ranked.push(rank(candidate, peer_filter, context));
        }
    }
    ranked.sort_by_key(|one| (!one.usable, one.class));
    ranked
}

fn rank(
    candidate: &Candidate,
    filter: Option<&FilterProgram>,
    context: &DialContext<'_>,
) -> RankedEndpoint {
    let ip = candidate.address.ip();
    let (class, reason) = match (unfit(candidate, context), filter) {
        (Some(reason), _) => (None, reason.to_owned()),
        (None, None) => {
            let reach = if is_private(ip) { "private" } else { "public" };
            (Some(0), format!("{reach} address, no filter"))
        }
        (None, Some(filter)) => (filter.position(ip), filter_reason(filter, ip)),
    };
    RankedEndpoint {
        candidate: *candidate,
        usable: class.is_some(),
        class: class.unwrap_or(usize::MAX),
        reason,
    }
}

fn filter_reason(filter: &FilterProgram, ip: IpAddr) -> String {
    match filter.deciding_entry(ip) {
        None => "refused: no entry of filters.peerEndpoints includes it".to_owned(),
        Some((index, entry)) => {
            let verdict = if entry.negated { "refused" } else { "kept" };
            format!("{verdict} by filters.peerEndpoints[{index}]: {entry}")
        }
    }
}

fn unfit(candidate: &Candidate, context: &DialContext<'_>) -> Option<&'static str> {
    let ip = candidate.address.ip();
    if candidate.address.port() == 0 || !is_usable_endpoint(ip) {
        Some("not an address that can be sent to")
    } else if in_mesh(context.mesh_prefix, ip) {
        Some("inside the mesh's own address range: it is reached through a tunnel itself")
    } else if context.own_addresses.contains(&ip) {
        Some("an address of this host as well: packets would not leave it")
    } else if in_any(context.via_tunnel, ip) {
        Some("its route leaves by the tunnel interface")
    } else if ip.is_ipv4() && !context.has_v4 {
        Some("this host has no IPv4 address to send from")
    } else if ip.is_ipv6() && !context.has_v6 {
        Some("this host has no IPv6 address to send from")
    } else {
        None
    }
}
