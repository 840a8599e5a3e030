//! What is routed where, as the control API says it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ExplainVerdict, PeerState};

/// `GET /v1/routes`: the routes and rules that meshd keeps in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// [`super::CONTROL_VERSION`].
    pub version: u32,
    /// The tunnel interface.
    pub interface: String,
    /// Number of the routing table that the routes are in.
    pub table: u32,
    /// One entry a prefix, sorted by prefix.
    pub routes: Vec<RouteStatus>,
    /// Policy rules in the order the kernel asks them, as `ip rule` words them.
    pub rules: Vec<String>,
    /// What members claim and is not routed to them, sorted by prefix.
    pub refused: Vec<RefusedRoute>,
}

/// What becomes of packets to one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The destination; a longer prefix wins over a shorter one.
    pub prefix: IpNet,
    /// Tunnel, native or unreachable; never local.
    pub verdict: ExplainVerdict,
    /// The peer it goes to, or the one whose prefix it is.
    pub peer: Option<String>,
    /// State of that peer's tunnel.
    pub peer_state: Option<PeerState>,
    /// Preferred source of packets of this host.
    pub source: Option<IpAddr>,
    /// True if an unreachable route behind it holds packets back when the interface is gone.
    pub fail_closed: bool,
    /// Why, in words.
    pub reason: String,
}

/// A claimed prefix that is not routed to the claimant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Name of the member or external peer that claims it.
    pub peer: String,
    /// Why it is refused.
    pub reason: String,
}
