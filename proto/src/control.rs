//! Control API: what meshd says over its control socket and `meshctl -o json` prints.
//!
//! HTTP over the Unix socket; every answer carries `version` ([`CONTROL_VERSION`]). Fields are only
//! ever added. Times are RFC 3339, null when unknown.

mod changes;
mod events;
mod explain;
mod ping;
mod routes;
mod words;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::candidate::CandidateKind;
use crate::ids::{ClusterId, MemberId};
use crate::key::WgPublicKey;
use crate::record::BackendKind;

pub use changes::{KeyRotated, Left, Remove, RemovedMember, RemovedMembers};
pub use events::{EventCost, EventLevel, EventRecord, Events};
pub use explain::{Explain, ExplainVerdict};
pub use ping::Pinged;
pub use routes::{RefusedRoute, RouteStatus, Routes};

/// Version of every JSON document below.
pub const CONTROL_VERSION: u32 = 1;

/// State of a tunnel, ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Data passes.
    Up,
    /// It did a moment ago; being checked.
    Suspect,
    /// No session yet.
    Connecting,
    /// No candidate answers.
    Down,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// Version of the daemon.
    pub daemon_version: String,
    /// This node's name.
    pub node: String,
    /// This node's member id.
    pub id: MemberId,
    /// The cluster it is in.
    pub cluster: ClusterId,
    /// Zone label, or `node:id6` for a node without one.
    pub zone: String,
    /// WireGuard implementation in use.
    pub backend: BackendKind,
    /// Why this one, in words.
    pub backend_reason: String,
    /// Name of the tunnel interface.
    pub interface: String,
    /// UDP port of the tunnels.
    pub listen_port: u16,
    /// MTU of the tunnel interface.
    pub mtu: u32,
    /// What the userspace data plane leaves to the kernel and the network cards; none for the kernel
    /// backend.
    #[serde(default)]
    pub offloads: Option<OffloadStatus>,
    /// This node's mesh address.
    pub mesh_address: Ipv6Addr,
    /// This node's WireGuard public key.
    pub public_key: WgPublicKey,
    /// What this node publishes, after its filter.
    pub candidates: Vec<CandidateStatus>,
    /// One entry per configured server.
    pub discovery: Vec<DiscoveryStatus>,
    /// Members known, this node not counted.
    pub members: usize,
    /// Tunnels that pass data.
    pub peers_up: usize,
    /// Tunnels that do not.
    pub peers_down: usize,
    /// What is wrong or will surprise, worst first.
    pub problems: Vec<Problem>,
}

/// Offloads in `status`, by name: `tun-tcp`, `tun-udp`, `udp-gso`, `udp-gro`. Everything works without them,
/// but slower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffloadStatus {
    /// Those in use now.
    pub in_use: Vec<String>,
    /// Those that the kernel or a network card lacks or has refused.
    pub missing: Vec<String>,
}

/// A candidate in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// Address and port.
    pub address: SocketAddr,
    /// Where it comes from.
    pub kind: CandidateKind,
}

/// One discovery server in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryStatus {
    /// As configured.
    pub url: String,
    /// True while the watch stream is live.
    pub connected: bool,
    /// Members this server knows.
    pub members: usize,
    /// When the last message came.
    pub last_contact: Option<String>,
    /// Why it is not connected.
    pub error: Option<String>,
}

/// One thing that is wrong, with what to do. Codes are documented in `docs/problems.md`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Stable snake_case code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// Sorted by zone, name, id.
    pub peers: Vec<Peer>,
}

/// One peer: a member across a zone boundary, or an external peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Display name; `name~id6` if two members share it.
    pub name: String,
    /// Member id; none for an external peer.
    pub id: Option<MemberId>,
    /// Zone label or `node:id6`; `external` for an external peer.
    pub zone: String,
    /// State of the tunnel.
    pub state: PeerState,
    /// Where packets go now.
    pub endpoint: Option<SocketAddr>,
    /// Kind of that endpoint; none if it was learned from a packet.
    pub path_kind: Option<CandidateKind>,
    /// Round trip time inside the tunnel, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Time of the last handshake.
    pub last_handshake: Option<String>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// What is routed to it.
    pub allowed_ips: Vec<IpNet>,
    /// WireGuard public key.
    pub public_key: WgPublicKey,
    /// Its mesh address; none for an external peer.
    pub mesh_address: Option<Ipv6Addr>,
    /// Prefixes it claims that are not routed to it, and why.
    pub refused: Vec<RefusedPrefix>,
}

/// A claimed prefix that is not routed to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// Why not, in words.
    pub reason: String,
}

/// `GET /v1/paths/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paths {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// Name of the peer.
    pub name: String,
    /// State of the tunnel.
    pub state: PeerState,
    /// Every candidate of the peer, in order of preference; unusable ones last.
    pub paths: Vec<Path>,
}

/// One candidate of a peer as this node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Address and port.
    pub endpoint: SocketAddr,
    /// Own address that packets leave from; null lets the host's routes choose.
    #[serde(default)]
    pub local: Option<IpAddr>,
    /// Where the peer knows it from; none if learned from a packet.
    pub kind: Option<CandidateKind>,
    /// True for the one in use.
    pub in_use: bool,
    /// What is thought of it.
    #[serde(default)]
    pub state: PathState,
    /// Lost probes of the last 32, per cent; null before the first.
    #[serde(default)]
    pub loss_percent: Option<u32>,
    /// Round trip time, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Time of the last authenticated packet on it.
    pub last_receive: Option<String>,
    /// Why it is or is not used, in words.
    pub reason: String,
}

/// What is thought of a path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathState {
    /// Has not answered yet.
    #[default]
    Unknown,
    /// Answers.
    Good,
    /// The last probes were not answered.
    Suspect,
    /// Does not answer, or the host cannot send there.
    Dead,
    /// Failed in use a short while ago: not preferred for a time.
    HeldDown,
    /// A filter or the situation of this host forbids it.
    Refused,
}

/// `GET /v1/topology`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// Sorted by name.
    pub zones: Vec<TopologyZone>,
    /// One per unordered pair, `a` < `b`, sorted.
    pub links: Vec<TopologyLink>,
}

/// One zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyZone {
    /// Zone label, or `node:id6`.
    pub name: String,
    /// Sorted by name.
    pub nodes: Vec<TopologyNode>,
}

/// State of a node in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// This node, or the data plane says it is alive.
    Alive,
    /// Its lease is live at a server; this node has no tunnel to it that proves more.
    Fresh,
    /// Registered once, lease over.
    Stale,
    /// Known only from the disk cache.
    Unknown,
    /// Removed by the administrator; in `members` only.
    Removed,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// Display name, made unique.
    pub name: String,
    /// Member id.
    pub id: MemberId,
    /// What is known of its life.
    pub state: NodeState,
    /// Node addresses.
    pub addresses: Vec<IpAddr>,
    /// Mesh address.
    pub mesh_address: Ipv6Addr,
    /// WireGuard implementation.
    pub backend: BackendKind,
}

/// Tunnel or native.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// Encrypted, across a zone boundary.
    Tunnel,
    /// Untouched, inside a zone.
    Native,
}

/// State of a link: a tunnel state, or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Data passes.
    Up,
    /// Nobody says, or native and not probed.
    Unknown,
    /// Being checked.
    Suspect,
    /// No session yet.
    Connecting,
    /// Broken.
    Down,
}

/// One link between two nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyLink {
    /// Name of one end; the smaller one.
    pub a: String,
    /// Name of the other end.
    pub b: String,
    /// Tunnel or native.
    pub kind: LinkKind,
    /// The worse of both ends' views.
    pub state: LinkState,
    /// Milliseconds.
    pub rtt_ms: Option<f64>,
    /// Lost probes of the last 32 on the path in use, per cent; known for tunnels of the node asked.
    #[serde(default)]
    pub loss_percent: Option<u32>,
    /// Age of the older of the views used, seconds; 0 for a live view.
    pub age_s: Option<u64>,
}

/// `GET /v1/showconf[?as_peer=NAME]`: material for a `wg`/`wg-quick` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowConf {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// The file, private keys left out.
    pub text: String,
}

/// `GET /v1/members`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// Everybody, this node included; sorted by zone, name, id.
    pub members: Vec<MemberStatus>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Display name, made unique.
    pub name: String,
    /// Member id.
    pub id: MemberId,
    /// Zone label or `node:id6`.
    pub zone: String,
    /// What is known of its life.
    pub state: NodeState,
    /// Sequence of the record in use.
    pub sequence: u64,
    /// Node addresses.
    pub addresses: Vec<IpAddr>,
    /// Networks it advertises.
    pub networks: Vec<IpNet>,
    /// Its mesh address.
    pub mesh_address: Ipv6Addr,
    /// True if this node tunnels to it.
    pub tunnel: bool,
}

/// Error body of the control API: status 4xx or 5xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlError {
    /// What was tried, what went wrong, what to do.
    pub error: String,
}
