//! Routing plan: the interface, routes and rules that the kernel shall have. Pure; the difference to
//! what it has is [`crate::diff`]'s work.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};

use crate::links::LinkSnapshot;
use crate::network::NetworkState;
use crate::settings::RoutingSettings;

/// Metric of throw routes: they win over everything else of the same prefix.
pub const METRIC_THROW: u32 = 5;
/// Metric of routes into the tunnel.
pub const METRIC_TUNNEL: u32 = 10;
/// Metric of unreachable routes: they count when the tunnel's route is gone.
pub const METRIC_UNREACHABLE: u32 = 20;

/// What is routed to one peer.
#[derive(Debug, Clone, Copy)]
pub struct TunnelRoutes<'a> {
    /// Its allowed IPs.
    pub prefixes: &'a [IpNet],
    /// Both ends' `excludeAdvertisedNetworks`: no address in there is a source towards this peer.
    pub exclude: &'a [IpNet],
    /// `allowDownPeerBypass` is in effect: the host's own routes decide, in clear.
    pub bypassed: bool,
}

/// Everything the plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct RoutingInput<'a> {
    /// Table, priorities, mark, bypasses.
    pub settings: &'a RoutingSettings,
    /// The WireGuard port.
    pub listen_port: u16,
    /// MTU of the tunnel interface.
    pub mtu: u32,
    /// This node's addresses, from [`crate::candidates::node_addresses`].
    pub own_node_addresses: &'a [IpAddr],
    /// `networks.advertise`.
    pub own_networks: &'a [IpNet],
    /// This node's mesh address.
    pub mesh_address: Ipv6Addr,
    /// The mesh's ULA.
    pub mesh_prefix: Ipv6Net,
    /// One entry per peer, external ones included.
    pub tunnels: &'a [TunnelRoutes<'a>],
    /// Prefixes of same-zone members.
    pub native: &'a BTreeSet<IpNet>,
    /// Mesh addresses of same-zone members.
    pub same_zone_mesh: &'a [Ipv6Addr],
    /// `networks.protected`.
    pub protected: &'a [IpNet],
    /// The host's links: on-link prefixes and the links of the default routes.
    pub links: &'a LinkSnapshot,
    /// Resolved addresses of discovery servers.
    pub discovery: &'a [SocketAddr],
}

/// The desired kernel state.
#[must_use]
pub fn plan(input: &RoutingInput<'_>) -> NetworkState {
    NetworkState {
        mtu: input.mtu,
        ..NetworkState::default()
    }
}
