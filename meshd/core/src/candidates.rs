//! Candidates: where this node can be reached, and in which order it dials a peer's. Filters decide
//! only about endpoints; what is routed is settled in [`crate::allowed_ips`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::candidate::Candidate;

use crate::filter::FilterProgram;
use crate::links::LinkSnapshot;

/// Interfaces whose addresses are neither node addresses nor candidates, unless configured otherwise:
/// those of containers, bridges, CNIs and tunnels. `*` stands for any text.
pub const DEFAULT_IGNORE_INTERFACES: &[&str] = &["docker*", "wg*"];

/// The node's own addresses: global, permanent, usable, on links that are up and not ignored, outside
/// the mesh's ULA. Sorted, IPv4 first, at most [`mesh_proto::limits::MAX_NODE_ADDRESSES`].
#[must_use]
pub fn node_addresses(
    links: &LinkSnapshot,
    ignore: &[String],
    mesh_prefix: Ipv6Net,
) -> Vec<IpAddr> {
    let _ = (links, ignore, mesh_prefix);
    Vec::new()
}

/// Everything candidates of this node come from.
#[derive(Debug, Clone, Copy)]
pub struct CandidateSources<'a> {
    /// From [`node_addresses`].
    pub node_addresses: &'a [IpAddr],
    /// The WireGuard port.
    pub listen_port: u16,
    /// What STUN servers saw on the WireGuard port.
    pub reflexive: &'a [SocketAddr],
    /// What discovery servers saw; without a port of WireGuard's.
    pub observed: &'a [IpAddr],
    /// `extraAnnouncedEndpoints`, resolved.
    pub static_endpoints: &'a [SocketAddr],
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// What this node advertises: its local addresses there are no candidates.
    pub own_networks: &'a [IpNet],
    /// Prefixes that routes of somebody else send into our tunnel interface.
    pub via_tunnel: &'a [IpNet],
}

/// Candidates of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathered {
    /// What is published, in order of preference.
    pub advertised: Vec<Candidate>,
    /// What is not, and why.
    pub dropped: Vec<(Candidate, DropReason)>,
}

/// Why a candidate is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Loopback, link-local, multicast, unspecified, or port 0.
    Unusable,
    /// In the mesh's own ULA: it would be reached through the tunnel.
    MeshAddress,
    /// A local address in a network this node advertises: it is reached through the tunnel.
    OwnNetwork,
    /// Its route leaves by the tunnel interface.
    ViaTunnel,
    /// `filters.endpoints` does not keep it.
    Filtered,
    /// Over the bound of [`mesh_proto::limits::MAX_CANDIDATES`].
    TooMany,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unusable => "not an address others can send to",
            Self::MeshAddress => "inside the mesh's own address range",
            Self::OwnNetwork => "inside a network this node advertises",
            Self::ViaTunnel => "its route leaves by the tunnel interface",
            Self::Filtered => "removed by filters.endpoints",
            Self::TooMany => "over the bound of candidates per node",
        })
    }
}

/// The candidates to publish: local (sorted), reflexive, observed, run through the filter, then static
/// ones unfiltered. Of duplicates the first stays.
#[must_use]
pub fn gather(sources: &CandidateSources<'_>, filter: Option<&FilterProgram>) -> Gathered {
    let _ = (sources, filter);
    Gathered::default()
}

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
    /// Class of preference, lower first: the position in this side's filter. Round trip times decide
    /// only between endpoints of one class.
    pub class: usize,
    /// Why, in words.
    pub reason: String,
}

/// A peer's candidates in order of preference: position in this side's filter, then the advertiser's
/// order, then private before public; refused ones last.
#[must_use]
pub fn endpoints(
    candidates: &[Candidate],
    peer_filter: Option<&FilterProgram>,
    context: &DialContext<'_>,
) -> Vec<RankedEndpoint> {
    let _ = (peer_filter, context);
    candidates
        .iter()
        .map(|candidate| RankedEndpoint {
            candidate: *candidate,
            usable: true,
            class: 0,
            reason: String::new(),
        })
        .collect()
}
