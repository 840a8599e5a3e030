//! What happens to a packet, as the control API says it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::PeerState;

/// `GET /v1/explain/{ip}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// [`super::CONTROL_VERSION`].
    pub version: u32,
    /// The address asked about.
    pub address: IpAddr,
    /// What happens to a packet sent there.
    pub verdict: ExplainVerdict,
    /// The rule that decides, e.g. `503: not fwmark 0x1000/0x1000 lookup 5184`.
    pub rule: String,
    /// The route that decides, e.g. `10.0.2.0/24 dev mesh0`.
    pub route: Option<String>,
    /// The peer it goes to.
    pub peer: Option<String>,
    /// State of that peer.
    pub peer_state: Option<PeerState>,
    /// The endpoint its packets go to.
    pub endpoint: Option<SocketAddr>,
    /// Step by step, in words.
    pub steps: Vec<String>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExplainVerdict {
    /// Through a tunnel.
    Tunnel,
    /// By the host's own routes, untouched.
    Native,
    /// Held back: unreachable rather than in clear.
    Unreachable,
    /// This node itself.
    Local,
}
