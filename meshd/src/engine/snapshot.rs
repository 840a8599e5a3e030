//! The device as wg(8) sees it: a copy, made by the worker on request. Data only.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use mesh_proto::{PresharedKey, WgPrivateKey, WgPublicKey};

/// The whole device.
#[derive(Debug, Clone)]
pub(super) struct DeviceSnapshot {
    /// Own key.
    pub(super) private_key: WgPrivateKey,
    /// UDP port.
    pub(super) listen_port: u16,
    /// Mark of outer packets; 0 for none.
    pub(super) mark: u32,
    /// Sorted by key.
    pub(super) peers: Vec<PeerSnapshot>,
}

/// One peer.
#[derive(Debug, Clone)]
pub(super) struct PeerSnapshot {
    /// Its key.
    pub(super) public_key: WgPublicKey,
    /// Preshared key.
    pub(super) preshared_key: Option<PresharedKey>,
    /// Remote address of the path in use.
    pub(super) endpoint: Option<SocketAddr>,
    /// Cryptokey routing.
    pub(super) allowed_ips: Vec<IpNet>,
    /// Time of the last handshake since the Unix epoch.
    pub(super) last_handshake: Option<Duration>,
    /// Bytes received.
    pub(super) rx_bytes: u64,
    /// Bytes sent.
    pub(super) tx_bytes: u64,
    /// Persistent keepalive, seconds; 0 for none.
    pub(super) keepalive: u64,
}
