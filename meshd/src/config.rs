//! The configuration file: its keys, their defaults, and what is refused or surprising in it.
//!
//! Reading is in `config/`: YAML to a tree with lines, the tree to a [`Config`], a [`Config`] to the
//! core's settings. It changes nothing on the host and reads no keys but those it is asked for.

mod advertise_file;
mod fields;
mod file;
mod issue;
mod keys;
mod networks;
mod reader;
mod remote;
mod sections;
mod settings;
mod tree;
mod warnings;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_proto::ClusterId;
use mesh_proto::record::{BackendKind, TopologyMode};
use meshd_core::settings::{ExternalPeer, Filters, Networks, RoutingSettings, ZoneRule};
use reqwest::Url;

pub use self::advertise_file::read_advertise_file;
pub use self::file::{
    CheckReport, Loaded, SecretError, check, load, load_secret, load_token, parse, read_ca,
    read_zone_file,
};
pub use self::issue::{ConfigError, Issue, MAX_ISSUES};
pub use self::keys::{Key, KeyDefault, KeyType, keys, keys_as_markdown, keys_as_text};
pub(crate) use self::networks::routable;
pub use self::remote::{Remote, RemoteListen};
use crate::resolve::Announced;

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/meshd/meshd.yaml";
/// Default of `wireguard.interface`.
pub const DEFAULT_INTERFACE: &str = "mesh0";
/// Default of `wireguard.listenPort`.
pub const DEFAULT_LISTEN_PORT: u16 = 51840;
/// Default of `stateDir`.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/meshd";
/// Default of `controlSocket`.
pub const DEFAULT_CONTROL_SOCKET: &str = "/run/meshd/meshd.sock";
/// Default of `log`.
pub const DEFAULT_LOG: &str = "info";
/// Default of `routing`: chosen not to collide with KubeSpan, Cilium, kube-proxy, AWS CNI, Calico,
/// Tailscale.
pub const DEFAULT_ROUTING: RoutingSettings = RoutingSettings {
    table: 5184,
    rule_priority: 500,
    mark: 0x1000,
    mask: 0x1000,
    protocol: 84,
    bypass: Vec::new(),
};

/// A configuration file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `cluster`
    pub cluster: Cluster,
    /// `node`
    pub node: Node,
    /// `discovery`
    pub discovery: Discovery,
    /// `wireguard`
    pub wireguard: Wireguard,
    /// `topology.mode`
    pub mode: TopologyMode,
    /// `filters`
    pub filters: Filters,
    /// `networks`
    pub networks: Networks,
    /// `networks.advertiseFile`: see [`read_advertise_file`].
    pub advertise_file: Option<PathBuf>,
    /// `extraAnnouncedEndpoints`
    pub extra_announced_endpoints: Vec<Announced>,
    /// `allowDownPeerBypass`
    pub allow_down_peer_bypass: bool,
    /// `routing`
    pub routing: RoutingSettings,
    /// `externalPeers`; [`load`] has filled in the preshared keys, [`parse`] has not.
    pub external_peers: Vec<ConfiguredPeer>,
    /// `stateDir`
    pub state_dir: PathBuf,
    /// `controlSocket`
    pub control_socket: PathBuf,
    /// `metrics.listen`; none: no metrics.
    pub metrics_listen: Option<SocketAddr>,
    /// `remote`; none: the control socket only.
    pub remote: Option<Remote>,
    /// `log`: a filter as of `tracing_subscriber::EnvFilter`.
    pub log: String,
}

/// `cluster`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `cluster.secretFile`
    pub secret_file: PathBuf,
    /// `cluster.id`: the secret must be of this cluster.
    pub id: Option<ClusterId>,
}

/// `node`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `node.name`; the hostname by default.
    pub name: String,
    /// `node.zone`, `node.zoneRules` or `node.zoneFile`.
    pub zone: Zone,
    /// `node.kubernetes`: zone and pod networks are those of the Node object of this name.
    pub kubernetes: bool,
    /// `node.ignoreInterfaces`
    pub ignore_interfaces: Vec<String>,
}

/// Where the zone comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// Nowhere: a zone of its own.
    Own,
    /// `node.zone`
    Label(String),
    /// `node.zoneRules`
    Rules(Vec<ZoneRule>),
    /// `node.zoneFile`: see [`read_zone_file`].
    File(PathBuf),
    /// The label of the Kubernetes node.
    Kubernetes,
}

/// `discovery`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// `discovery.servers`, as written. Never empty.
    pub servers: Vec<String>,
    /// The same, parsed: scheme http or https, a host, no path.
    pub urls: Vec<Url>,
    /// `discovery.caFile`: PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// `wireguard`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wireguard {
    /// `wireguard.interface`
    pub interface: String,
    /// `wireguard.listenPort`
    pub listen_port: u16,
    /// `wireguard.backend`
    pub backend: Backend,
    /// What it comes to on this host; none until the daemon has looked.
    pub chosen: Option<ChosenBackend>,
    /// `wireguard.mtu`; none: auto.
    pub mtu: Option<u32>,
}

/// The backend of a running daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenBackend {
    /// Which.
    pub kind: BackendKind,
    /// Why, in words.
    pub reason: String,
}

/// `wireguard.backend`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The best this version has.
    Auto,
    /// meshd's own engine.
    Userspace,
    /// WireGuard in the kernel.
    Kernel,
}

/// One entry of `externalPeers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredPeer {
    /// The peer.
    pub peer: ExternalPeer,
    /// `presharedKeyFile`
    pub preshared_key_file: Option<PathBuf>,
}
