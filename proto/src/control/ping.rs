//! What became of one ping, as the control API says it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::PeerState;
use crate::candidate::CandidateKind;

/// `GET /v1/ping/{name}`: one question through the tunnel, and the path its answer came by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pinged {
    /// [`super::CONTROL_VERSION`].
    pub version: u32,
    /// Name of the peer.
    pub name: String,
    /// State of the tunnel.
    pub state: PeerState,
    /// Round trip time, milliseconds; null if no answer came within a second.
    pub rtt_ms: Option<f64>,
    /// Address and port of the peer that the answer came from.
    pub endpoint: Option<SocketAddr>,
    /// Own address it came to, if the engine tells.
    pub local: Option<IpAddr>,
    /// Kind of that endpoint; null if it was learned from a packet.
    pub path_kind: Option<CandidateKind>,
}
