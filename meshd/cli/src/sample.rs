//! Fixed documents for tests: a mesh of three zones with two nodes each, seen from fra-1.

mod events;
mod routes;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_proto::control::{
    CONTROL_VERSION, CandidateStatus, DiscoveryStatus, Explain, ExplainVerdict, LinkKind,
    LinkState, MemberStatus, Members, NodeState, OffloadStatus, Path, PathState, Paths, Peer,
    PeerState, Peers, Pinged, Problem, RefusedPrefix, Status, Topology, TopologyLink, TopologyNode,
    TopologyZone,
};
use mesh_proto::record::BackendKind;
use mesh_proto::{CandidateKind, ClusterId, MemberId, WgPublicKey};

pub(crate) use self::events::events;
pub(crate) use self::routes::routes;

/// 2026-11-21T02:10:00Z.
pub(crate) const NOW: i64 = 1_795_227_000;

const VERSION: u32 = CONTROL_VERSION;

fn mesh_address(node: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd12, 0x3456, 0x789a, 0xbcde, 0, 0, 0, node)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn status() -> Status {
    let address = |text: &str, kind| CandidateStatus {
        address: text.parse().unwrap(),
        kind,
    };
    Status {
        version: VERSION,
        daemon_version: "0.1.0".to_owned(),
        node: "fra-1".to_owned(),
        id: MemberId([1; 32]),
        cluster: ClusterId([0xc1; 32]),
        zone: "fra".to_owned(),
        backend: BackendKind::Userspace,
        backend_reason: "the kernel has no WireGuard".to_owned(),
        interface: "mesh0".to_owned(),
        listen_port: 51840,
        mtu: 1420,
        offloads: Some(OffloadStatus {
            in_use: names(&["tun-tcp", "tun-udp", "udp-gso", "udp-gro"]),
            missing: Vec::new(),
        }),
        mesh_address: mesh_address(1),
        public_key: WgPublicKey([0x11; 32]),
        candidates: vec![
            address("203.0.113.7:51840", CandidateKind::Reflexive),
            address("[2001:db8::7]:51840", CandidateKind::Local),
        ],
        discovery: vec![DiscoveryStatus {
            url: "https://discovery.example.net:7400".to_owned(),
            connected: true,
            members: 6,
            last_contact: Some("2026-11-21T02:09:58Z".to_owned()),
            error: None,
        }],
        members: 5,
        peers_up: 4,
        peers_down: 0,
        problems: Vec::new(),
    }
}

pub(crate) fn problem(code: &str) -> Problem {
    Problem {
        code: code.to_owned(),
        message: format!("message of {code}"),
        remedy: format!("remedy of {code}"),
    }
}

pub(crate) fn degraded() -> Status {
    let mut status = status();
    status.offloads = Some(OffloadStatus {
        in_use: names(&["tun-tcp", "udp-gro"]),
        missing: names(&["tun-udp", "udp-gso"]),
    });
    status.discovery.push(DiscoveryStatus {
        url: "http://10.0.0.9:7400".to_owned(),
        connected: false,
        members: 0,
        last_contact: None,
        error: Some("connection refused".to_owned()),
    });
    status.candidates.clear();
    status.peers_up = 3;
    status.peers_down = 1;
    status.problems = vec![
        problem("discovery_unreachable"),
        problem("filter_excludes_all"),
    ];
    status
}

fn peer(name: &str, zone: &str, state: PeerState, id: u8) -> Peer {
    Peer {
        name: name.to_owned(),
        id: Some(MemberId([id; 32])),
        zone: zone.to_owned(),
        state,
        endpoint: Some(format!("203.0.113.{id}:51840").parse().unwrap()),
        path_kind: Some(CandidateKind::Reflexive),
        rtt_ms: Some(0.4217),
        last_handshake: Some("2026-11-21T02:09:48Z".to_owned()),
        rx_bytes: 1_258_291,
        tx_bytes: 512,
        allowed_ips: vec![
            format!("10.0.{id}.1/32").parse().unwrap(),
            format!("10.244.{id}.0/24").parse().unwrap(),
        ],
        public_key: WgPublicKey([id; 32]),
        mesh_address: Some(mesh_address(u16::from(id))),
        refused: Vec::new(),
    }
}

pub(crate) fn peers() -> Peers {
    let mut refused = peer("ber-1", "ber", PeerState::Up, 3);
    refused.refused.push(RefusedPrefix {
        prefix: "10.0.0.0/8".parse().unwrap(),
        reason: "shorter than /16".to_owned(),
    });
    let mut roamed = peer("ber-2", "ber", PeerState::Suspect, 4);
    roamed.path_kind = None;
    roamed.rtt_ms = Some(123.4);
    let mut down = peer("home-1", "home", PeerState::Down, 5);
    down.endpoint = None;
    down.path_kind = None;
    down.rtt_ms = None;
    down.last_handshake = None;
    (down.rx_bytes, down.tx_bytes) = (0, 3_221_225_472);
    let mut external = peer("laptop", "external", PeerState::Connecting, 7);
    external.id = None;
    external.mesh_address = None;
    external.allowed_ips.clear();
    Peers {
        version: VERSION,
        peers: vec![refused, roamed, external, down],
    }
}

pub(crate) fn members() -> Members {
    let member = |name: &str, zone: &str, id: u8, state, tunnel| MemberStatus {
        name: name.to_owned(),
        id: MemberId([id; 32]),
        zone: zone.to_owned(),
        state,
        sequence: 1_795_226_000_000 + u64::from(id),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, id, 1))],
        networks: if tunnel {
            vec![format!("10.244.{id}.0/24").parse().unwrap()]
        } else {
            Vec::new()
        },
        mesh_address: mesh_address(u16::from(id)),
        tunnel,
    };
    Members {
        version: VERSION,
        members: vec![
            member("ber-1", "ber", 3, NodeState::Alive, true),
            member("fra-1", "fra", 1, NodeState::Alive, false),
            member("fra-2", "fra", 2, NodeState::Fresh, false),
            member("cloud", "node:040404", 4, NodeState::Stale, true),
        ],
    }
}

pub(crate) fn paths() -> Paths {
    let path =
        |endpoint: &str, kind, in_use: bool, rtt_ms, received: Option<&str>, reason: &str| Path {
            endpoint: endpoint.parse().unwrap(),
            local: in_use.then(|| [10, 0, 1, 5].into()),
            kind,
            in_use,
            state: if in_use {
                PathState::Good
            } else {
                PathState::Unknown
            },
            loss_percent: in_use.then_some(3),
            rtt_ms,
            last_receive: received.map(str::to_owned),
            reason: reason.to_owned(),
        };
    Paths {
        version: VERSION,
        name: "ber-1".to_owned(),
        state: PeerState::Up,
        paths: vec![
            path(
                "203.0.113.3:51840",
                Some(CandidateKind::Reflexive),
                true,
                Some(12.34),
                Some("2026-11-21T02:09:59.5Z"),
                "in use: first that answered",
            ),
            path(
                "198.51.100.9:4000",
                None,
                false,
                None,
                None,
                "learned from a packet",
            ),
            path(
                "192.168.1.3:51840",
                Some(CandidateKind::Local),
                false,
                None,
                None,
                "refused by filters.peerEndpoints",
            ),
        ],
    }
}

pub(crate) fn pinged() -> [Pinged; 2] {
    let answered = Pinged {
        version: VERSION,
        name: "ber-1".to_owned(),
        state: PeerState::Up,
        rtt_ms: Some(0.42),
        endpoint: Some("203.0.113.3:51840".parse().unwrap()),
        local: Some("192.0.2.9".parse().unwrap()),
        path_kind: Some(CandidateKind::Reflexive),
    };
    let silent = Pinged {
        state: PeerState::Suspect,
        rtt_ms: None,
        endpoint: None,
        local: None,
        path_kind: None,
        ..answered.clone()
    };
    [answered, silent]
}

pub(crate) fn explain() -> Explain {
    Explain {
        version: VERSION,
        address: "10.244.3.7".parse().unwrap(),
        verdict: ExplainVerdict::Tunnel,
        rule: "503: not fwmark 0x1000/0x1000 lookup 5184".to_owned(),
        route: Some("10.244.3.0/24 dev mesh0".to_owned()),
        peer: Some("ber-1".to_owned()),
        peer_state: Some(PeerState::Up),
        endpoint: Some("203.0.113.3:51840".parse().unwrap()),
        steps: vec![
            "10.244.3.0/24 is advertised by ber-1".to_owned(),
            "ber-1 is in zone ber, this node in fra: a tunnel".to_owned(),
        ],
    }
}

fn node(name: String, id: u16) -> TopologyNode {
    let [high, low] = id.to_be_bytes();
    let mut bytes = [0x1d; 32];
    bytes[..2].copy_from_slice(&[high, low]);
    TopologyNode {
        name,
        id: MemberId(bytes),
        state: NodeState::Alive,
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, high, low))],
        mesh_address: mesh_address(id),
        backend: BackendKind::Userspace,
    }
}

/// Zones `zones` of `nodes` nodes each; every hundredth tunnel is not up.
fn grid(zones: &[String], nodes: u16) -> Topology {
    let mut out = Topology {
        version: VERSION,
        zones: Vec::new(),
        links: Vec::new(),
    };
    let mut all: Vec<(String, usize)> = Vec::new();
    for (index, zone) in zones.iter().enumerate() {
        let mut members = Vec::new();
        for number in 1..=nodes {
            let name = format!("{zone}-{number}");
            let id = u16::try_from(all.len() + 1).unwrap();
            members.push(node(name.clone(), id));
            all.push((name, index));
        }
        members.sort_by(|x, y| x.name.cmp(&y.name));
        out.zones.push(TopologyZone {
            name: zone.clone(),
            nodes: members,
        });
    }
    all.sort();
    for (index, (a, zone_a)) in all.iter().enumerate() {
        for (b, zone_b) in &all[index + 1..] {
            let native = zone_a == zone_b;
            out.links.push(TopologyLink {
                a: a.clone(),
                b: b.clone(),
                kind: if native {
                    LinkKind::Native
                } else {
                    LinkKind::Tunnel
                },
                state: if native {
                    LinkState::Unknown
                } else {
                    LinkState::Up
                },
                rtt_ms: (!native).then_some(0.42),
                loss_percent: (!native && a.ends_with('1')).then_some(0),
                age_s: (!native).then_some(30),
            });
        }
    }
    out
}

pub(crate) fn topology() -> Topology {
    let zones = ["ber", "fra", "node:0001ff"].map(str::to_owned);
    let mut topology = grid(&zones, 2);
    topology.zones[0].nodes[1].state = NodeState::Fresh;
    topology.zones[2].nodes[0].backend = BackendKind::Kernel;
    let mut tunnels = topology
        .links
        .iter_mut()
        .filter(|link| link.kind == LinkKind::Tunnel);
    let mut set = |state, age_s| {
        let link = tunnels.next().unwrap();
        link.state = state;
        link.rtt_ms = None;
        link.age_s = age_s;
    };
    set(LinkState::Down, Some(75));
    set(LinkState::Unknown, None);
    set(LinkState::Connecting, Some(0));
    set(LinkState::Suspect, Some(0));
    topology
}

/// A mesh in which every hundredth tunnel is down.
pub(crate) fn large_topology(zones: u16, nodes: u16) -> Topology {
    let zones: Vec<String> = (1..=zones)
        .map(|number| format!("zone{number:03}"))
        .collect();
    let mut topology = grid(&zones, nodes);
    for link in topology.links.iter_mut().step_by(100) {
        if link.kind == LinkKind::Tunnel {
            link.state = LinkState::Down;
            link.rtt_ms = None;
        }
    }
    topology
}
