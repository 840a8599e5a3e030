//! Settings of the core: validated, no file names but for display, no YAML.

use std::net::SocketAddr;

use ipnet::IpNet;
use mesh_proto::record::{BackendKind, TopologyMode};
use mesh_proto::{PresharedKey, WgPublicKey};

use crate::filter::FilterProgram;
use crate::network::IpProtocol;

/// How one node takes part in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Display name.
    pub name: String,
    /// Where the zone comes from.
    pub zone: ZoneSource,
    /// Which pairs this node wants to tunnel.
    pub mode: TopologyMode,
    /// The WireGuard side.
    pub wireguard: WireguardSettings,
    /// Endpoint and network filters.
    pub filters: Filters,
    /// Networks.
    pub networks: Networks,
    /// Interfaces (shell-style patterns with `*`) whose addresses are neither node addresses nor
    /// candidates.
    pub ignore_interfaces: Vec<String>,
    /// `extraAnnouncedEndpoints` as written, for messages; resolved ones come as an input.
    pub static_endpoints: Vec<String>,
    /// Discovery servers as written, in order.
    pub discovery_servers: Vec<String>,
    /// Let a peer's prefixes fall back to native routes, in clear, after it was down for 10 s.
    pub allow_down_peer_bypass: bool,
    /// Policy routing numbers.
    pub routing: RoutingSettings,
    /// Stock WireGuard peers.
    pub external_peers: Vec<ExternalPeer>,
}

/// Where a node's zone label comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneSource {
    /// None: a zone of its own.
    Own,
    /// `node.zone`.
    Label(String),
    /// `node.zoneRules`: the first whose CIDRs contain a node address.
    Rules(Vec<ZoneRule>),
    /// `node.zoneFile`: its content comes as an input.
    File,
}

/// One entry of `node.zoneRules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneRule {
    /// The label.
    pub zone: String,
    /// Matches a node with an address in one of these.
    pub cidrs: Vec<IpNet>,
}

/// Settings of the tunnel interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireguardSettings {
    /// Interface name.
    pub interface: String,
    /// UDP port, the same for IPv4 and IPv6.
    pub listen_port: u16,
    /// Fixed MTU; none means underlay minus 80.
    pub mtu: Option<u32>,
    /// Implementation in use (already chosen).
    pub backend: BackendKind,
    /// Why this one, in words.
    pub backend_reason: String,
}

/// Filters of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    /// What this node advertises of its candidates.
    pub endpoints: Option<FilterProgram>,
    /// Which candidates of peers this node dials.
    pub peer_endpoints: Option<FilterProgram>,
    /// Which prefixes peers may claim.
    pub peer_networks: Option<FilterProgram>,
    /// Published; subtracted from what is routed, by both ends.
    pub exclude_advertised_networks: Vec<IpNet>,
}

/// Networks of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    /// Networks behind this node.
    pub advertise: Vec<IpNet>,
    /// Unreachable until a peer serves them, from the first moment.
    pub protected: Vec<IpNet>,
    /// Wide prefixes (shorter than /8, /16 for IPv6, default routes) that peers may claim.
    pub accept_wide: Vec<IpNet>,
}

/// Policy routing numbers and bypasses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingSettings {
    /// Routing table.
    pub table: u32,
    /// First rule priority; four from here on are used.
    pub rule_priority: u32,
    /// Mark of our own outer packets.
    pub mark: u32,
    /// Its mask.
    pub mask: u32,
    /// Route protocol number: tells what is ours.
    pub protocol: u8,
    /// Local services whose traffic stays native.
    pub bypass: Vec<Bypass>,
}

/// One entry of `routing.bypass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bypass {
    /// Protocol.
    pub protocol: IpProtocol,
    /// Local port.
    pub port: u16,
}

/// A stock WireGuard peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalPeer {
    /// Display name.
    pub name: String,
    /// Its public key.
    pub public_key: WgPublicKey,
    /// Preshared key, read from its file.
    pub preshared_key: Option<PresharedKey>,
    /// What is routed to it.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is; none if it dials us.
    pub endpoint: Option<SocketAddr>,
}
