//! The routes of the fixed mesh, seen from fra-1.

use mesh_proto::control::{
    CONTROL_VERSION, ExplainVerdict, PeerState, RefusedRoute, RouteStatus, Routes,
};

/// One of every kind.
pub(crate) fn routes() -> Routes {
    let route = |prefix: &str, verdict, peer: Option<&str>, reason: &str| RouteStatus {
        prefix: prefix.parse().unwrap(),
        verdict,
        peer: peer.map(str::to_owned),
        peer_state: None,
        source: None,
        fail_closed: verdict != ExplainVerdict::Native,
        reason: reason.to_owned(),
    };
    let tunnel = |prefix: &str, peer, peer_state, reason: &str| RouteStatus {
        peer_state: Some(peer_state),
        source: Some("10.1.0.11".parse().unwrap()),
        ..route(prefix, ExplainVerdict::Tunnel, Some(peer), reason)
    };
    let native = ExplainVerdict::Native;
    let closed = ExplainVerdict::Unreachable;
    let node = "node address in zone ams";
    let network = "advertised network in zone ams";
    let mate = Some("fra-2");
    Routes {
        version: CONTROL_VERSION,
        interface: "mesh0".to_owned(),
        table: 5184,
        routes: vec![
            route("10.1.0.0/24", native, None, "on-link"),
            tunnel("10.2.0.11/32", "ams-1", PeerState::Up, node),
            tunnel("10.2.0.12/32", "ams-2", PeerState::Down, node),
            route("10.244.1.0/24", native, None, "advertised by this node"),
            route(
                "10.244.2.0/24",
                native,
                mate,
                "of a member in this node's zone",
            ),
            tunnel("10.244.3.0/24", "ams-1", PeerState::Up, network),
            route(
                "fd12:3456:789a:bcde::/64",
                closed,
                None,
                "mesh addresses that no tunnel has",
            ),
        ],
        rules: vec![
            "IPv4 501: ipproto udp sport 51840 lookup main".to_owned(),
            "IPv4 503: not fwmark 0x1000/0x1000 lookup 5184".to_owned(),
        ],
        refused: vec![RefusedRoute {
            prefix: "10.1.0.0/25".parse().unwrap(),
            peer: "ams-2".to_owned(),
            reason: "inside 10.1.0.0/24, which is on-link here".to_owned(),
        }],
    }
}
