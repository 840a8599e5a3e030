//! What the answers mean, and what to do. Pure.

use mesh_proto::control::{PeerState, Peers, Status};

use super::probe::Server;
use super::{Finding, Nat};

/// Codes of the clock.
const CLOCK: [&str; 2] = ["clock_behind", "clock_ahead"];

/// What lies between this host and the servers.
pub(super) fn nat(servers: &[Server]) -> Nat {
    let answered: Vec<&Server> = servers.iter().filter(|s| s.reflexive.is_some()).collect();
    if answered.is_empty() {
        return Nat::Unknown;
    }
    let translated: Vec<_> = answered
        .iter()
        .filter(|server| server.reflexive.map(|address| address.ip()) != server.local)
        .collect();
    let Some(first) = translated.first() else {
        return Nat::None;
    };
    // Servers of one family only: IPv4 and IPv6 have no mapping in common.
    let family = |server: &Server| server.reflexive.is_some_and(|a| a.is_ipv4());
    let mut same = translated
        .iter()
        .filter(|server| family(server) == family(first));
    // Two ports of one host tell nothing of destinations by address.
    let hosts = |server: &Server| server.address.map(|address| address.ip());
    if translated
        .iter()
        .all(|server| hosts(server) == hosts(first))
    {
        return Nat::Some;
    }
    if same.all(|server| server.reflexive == first.reflexive) {
        Nat::EndpointIndependent
    } else {
        Nat::DestinationDependent
    }
}

pub(super) fn findings(
    status: &Status,
    peers: &Peers,
    servers: &[Server],
    nat: Nat,
) -> Vec<Finding> {
    vec![
        discovery(status, servers),
        udp(servers),
        mapping(nat, status.listen_port),
        addresses(status),
        clock(status),
        port(status, peers, servers),
        mtu(status),
    ]
}

fn finding(
    name: &'static str,
    ok: Option<bool>,
    message: impl Into<String>,
    remedy: Option<&str>,
) -> Finding {
    Finding {
        name,
        ok,
        message: message.into(),
        remedy: remedy.map(str::to_owned),
    }
}

fn discovery(status: &Status, servers: &[Server]) -> Finding {
    let reached = servers.iter().filter(|server| server.tcp).count();
    let connected = status
        .discovery
        .iter()
        .filter(|server| server.connected)
        .count();
    let message = format!(
        "{reached} of {} servers reached over TCP, meshd connected to {connected}",
        servers.len()
    );
    let problem = |code: &str| status.problems.iter().find(|problem| problem.code == code);
    if let Some(problem) = problem("wrong_secret") {
        return finding(
            "discovery",
            Some(false),
            &problem.message,
            Some(&problem.remedy),
        );
    }
    if reached == 0 {
        let why = servers
            .iter()
            .find_map(|server| server.tcp_error.as_deref());
        return finding(
            "discovery",
            Some(false),
            format!("{message}: {}", why.unwrap_or("no server is configured")),
            Some(
                "check that the servers run, discovery.servers, DNS, and that a firewall lets TCP to their port out",
            ),
        );
    }
    finding(
        "discovery",
        Some(connected > 0),
        message,
        (connected == 0).then_some(
            "TCP connects and meshd does not: `meshctl status` has its error, often TLS or a proxy",
        ),
    )
}

fn udp(servers: &[Server]) -> Finding {
    let answered = servers
        .iter()
        .filter(|server| server.reflexive.is_some())
        .count();
    let reached = servers.iter().any(|server| server.tcp);
    let message = format!("{answered} of {} servers answered STUN", servers.len());
    match (answered, reached) {
        (1.., _) => finding("udp", Some(true), message, None),
        (0, true) => finding(
            "udp",
            Some(false),
            format!("{message}, though TCP reaches them: UDP is blocked"),
            Some(
                "let UDP out, to the port of the discovery servers (STUN) and to the WireGuard ports of peers; if only STUN is off (--stun-listen), this cannot be told",
            ),
        ),
        _ => finding(
            "udp",
            None,
            format!("{message}; no server is reached at all"),
            None,
        ),
    }
}

fn mapping(nat: Nat, port: u16) -> Finding {
    match nat {
        Nat::None => finding(
            "nat",
            Some(true),
            "none: servers see this host's own address",
            None,
        ),
        Nat::EndpointIndependent => finding(
            "nat",
            Some(true),
            "a NAT with one mapping for all destinations: peers can dial the reflexive address",
            None,
        ),
        Nat::DestinationDependent => {
            let remedy = format!(
                "peers behind such a NAT too cannot be reached: forward UDP port {port} here and name the public address in extraAnnouncedEndpoints, on one side at least"
            );
            finding(
                "nat",
                Some(false),
                "a NAT with another mapping for each destination (symmetric)",
                Some(&remedy),
            )
        }
        Nat::Some => finding(
            "nat",
            None,
            "a NAT; with servers at two addresses its kind could be told",
            None,
        ),
        Nat::Unknown => finding("nat", None, "not known: no STUN answer", None),
    }
}

fn addresses(status: &Status) -> Finding {
    if !status.candidates.is_empty() {
        let message = format!("{} endpoints published", status.candidates.len());
        return finding("endpoints", Some(true), message, None);
    }
    let problem = status
        .problems
        .iter()
        .find(|problem| ["filter_excludes_all", "no_endpoints"].contains(&problem.code.as_str()));
    match problem {
        Some(problem) => finding(
            "endpoints",
            Some(false),
            &problem.message,
            Some(&problem.remedy),
        ),
        None => finding("endpoints", None, "none published yet", None),
    }
}

fn clock(status: &Status) -> Finding {
    let problem = status
        .problems
        .iter()
        .find(|problem| CLOCK.contains(&problem.code.as_str()));
    match problem {
        Some(problem) => finding(
            "clock",
            Some(false),
            &problem.message,
            Some(&problem.remedy),
        ),
        None if status.discovery.iter().any(|server| server.connected) => {
            finding("clock", Some(true), "agrees with the servers'", None)
        }
        None => finding("clock", None, "not known: no server is connected", None),
    }
}

fn port(status: &Status, peers: &Peers, servers: &[Server]) -> Finding {
    let up = |state| matches!(state, PeerState::Up | PeerState::Suspect);
    let answering = peers.peers.iter().filter(|peer| up(peer.state)).count();
    let (all, port) = (peers.peers.len(), status.listen_port);
    let message = format!("{answering} of {all} peers answer on UDP port {port}");
    let passes = servers.iter().any(|server| server.reflexive.is_some());
    match (answering, all) {
        (_, 0) => finding("port", None, "there are no peers to tell by", None),
        (0, _) if passes => {
            let remedy = format!(
                "UDP passes otherwise: a firewall here or at the peers blocks the WireGuard port. Let UDP port {port} in and out; `meshctl test` names a cause for each peer"
            );
            finding("port", Some(false), message, Some(&remedy))
        }
        (0, _) => finding(
            "port",
            Some(false),
            message,
            Some("let UDP in and out first, see udp above"),
        ),
        (n, all) if n < all => finding(
            "port",
            Some(true),
            message,
            Some("`meshctl test` says why the others do not"),
        ),
        _ => finding("port", Some(true), message, None),
    }
}

fn mtu(status: &Status) -> Finding {
    let problem = status
        .problems
        .iter()
        .find(|problem| problem.code == "mtu_hole");
    match problem {
        Some(problem) => finding("mtu", Some(false), &problem.message, Some(&problem.remedy)),
        None => finding(
            "mtu",
            Some(true),
            format!("{} inside tunnels, no hole found", status.mtu),
            None,
        ),
    }
}
