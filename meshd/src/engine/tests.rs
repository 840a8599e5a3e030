//! Whole engines with real interfaces, in network namespaces of their own: nothing outside is touched,
//! and everything is gone with the threads that hold the namespaces. Root only.

mod interop;
pub(super) mod namespace;
mod scenarios;
pub(super) mod transfer;

use super::*;
use ipnet::IpNet;
use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{HandshakeCopy, PathId, PeerSpec};
use namespace::{Namespace, namespaces};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, Receiver};

const PORT: u16 = 51840;
/// Generous: other work on the machine may be in the way.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine in a namespace, with addresses and routes.
struct Node<'a> {
    namespace: &'a Namespace,
    engine: Engine,
    events: Receiver<EngineEvent>,
    number: u8,
    interface: String,
}

impl<'a> Node<'a> {
    /// `number` 1 or 2; its network is 10.`number`.0.0/16.
    fn start(namespace: &'a Namespace, number: u8, name: &str) -> Self {
        Self::start_with(namespace, number, name, 1420, Offloads::ALL)
    }

    fn start_with(
        namespace: &'a Namespace,
        number: u8,
        name: &str,
        mtu: u32,
        offloads: Offloads,
    ) -> Self {
        let interface = format!("{name}{}", std::process::id());
        let (sender, events) = mpsc::channel(1000);
        let config = EngineConfig {
            interface: interface.clone(),
            mtu,
            listen_port: PORT,
            mark: 0x1000,
            private_key: private_key(number),
            mesh_address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)),
            peers_hint: 1,
            offloads,
        };
        let engine = namespace.run(move || Engine::start(config, sender).unwrap());
        let node = Self {
            namespace,
            engine,
            events,
            number,
            interface,
        };
        node.configure();
        node
    }

    fn configure(&self) {
        configure(self.namespace, self.number, &self.interface);
    }

    fn add_peer(&self, number: u8) {
        let spec = Box::new(spec(number));
        self.engine.send(EngineCommand::SetPeer(spec));
    }

    fn handshake(&self, with: u8) {
        self.engine.send(EngineCommand::Handshake {
            peer: public_key(with),
            copies: vec![HandshakeCopy {
                path: PathId::to(underlay(with)),
                after: Duration::ZERO,
            }],
        });
    }

    /// Waits for an event; panics if it does not come.
    fn wait(&mut self, what: &str, is_it: impl Fn(&EngineEvent) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.events.try_recv() {
                Ok(event) if is_it(&event) => return,
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        panic!(
            "no {what}; counters {:?}",
            self.engine.counters().snapshot()
        );
    }

    fn wait_for_handshake(&mut self, as_initiator: bool) {
        self.wait("handshake", |event| {
            matches!(event, EngineEvent::HandshakeDone { initiator, .. }
                if *initiator == as_initiator)
        });
    }
}

pub(super) fn configure(namespace: &Namespace, number: u8, interface: &str) {
    let other = 3 - number;
    namespace.ip(&format!("address add 10.{number}.0.1/32 dev {interface}"));
    namespace.ip(&format!(
        "address add fd10::{number}/128 dev {interface} nodad"
    ));
    namespace.ip(&format!("link set {interface} up"));
    namespace.ip(&format!("route add 10.{other}.0.0/16 dev {interface}"));
    namespace.ip(&format!("route add fd10::{other}/128 dev {interface}"));
}

/// One ping both ways through the tunnel, full-sized and small.
fn assert_pings(from: &Namespace, to: u8) {
    for bytes in ["56", "1392"] {
        let target = format!("10.{to}.0.1");
        let arguments = ["-c", "3", "-i", "0.2", "-W", "5", "-s", bytes, &target];
        from.command("ping", &arguments);
    }
}

/// What others must know of a node.
fn spec(number: u8) -> PeerSpec {
    PeerSpec {
        public_key: public_key(number),
        preshared_key: None,
        allowed_ips: vec![
            network(number),
            format!("fd10::{number}/128").parse().unwrap(),
        ],
        mesh_address: None,
        keepalive: Some(Duration::from_secs(25)),
        endpoint_filter: None,
    }
}

fn private_key(number: u8) -> WgPrivateKey {
    WgPrivateKey::from_bytes([number; 32])
}

fn public_key(number: u8) -> WgPublicKey {
    private_key(number).public_key()
}

fn network(number: u8) -> IpNet {
    format!("10.{number}.0.0/16").parse().unwrap()
}

fn underlay(number: u8) -> SocketAddr {
    ([192, 0, 2, number], PORT).into()
}

#[test]
fn two_engines_carry_packets_and_show_in_wg() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let mut a = Node::start(&left, 1, "ea");
    let mut b = Node::start(&right, 2, "eb");
    a.add_peer(2);
    b.add_peer(1);
    a.handshake(2);
    a.wait_for_handshake(true);
    b.wait_for_handshake(false);
    assert_pings(&left, 2);
    assert_pings(&right, 1);

    let dump = left.command("wg", &["show", &a.interface, "dump"]);
    let peer = dump.lines().nth(1).unwrap();
    let fields: Vec<_> = peer.split('\t').collect();
    assert_eq!(fields[0], public_key(2).to_string());
    assert_eq!(fields[2], underlay(2).to_string());
    assert_eq!(fields[3], "10.2.0.0/16,fd10::2/128");
    assert!(fields[4].parse::<u64>().unwrap() > 1_600_000_000, "{peer}");
    assert!(fields[5].parse::<u64>().unwrap() > 1000, "{peer}");
    assert_eq!(fields[7], "25");
    let refusal = left.failing_command("wg", &["set", &a.interface, "listen-port", "1"]);
    assert!(refusal.contains("Operation not permitted"), "{refusal}");

    let (interface, socket) = (
        a.interface.clone(),
        format!("/var/run/wireguard/{}.sock", a.interface),
    );
    a.engine.stop();
    left.failing_command("ip", &["link", "show", &interface]);
    assert!(!Path::new(&socket).exists());
}

#[test]
fn a_session_moves_to_another_family_without_a_handshake() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let mut a = Node::start(&left, 1, "ev");
    let mut b = Node::start(&right, 2, "ew");
    a.add_peer(2);
    b.add_peer(1);
    a.handshake(2);
    a.wait_for_handshake(true);
    b.wait_for_handshake(false);
    let v6 = |number: u16| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
        PathId::to(SocketAddr::from((address, PORT)))
    };
    for (node, other) in [(&a, 2), (&b, 1)] {
        node.engine.send(EngineCommand::SetPath {
            peer: public_key(other),
            path: v6(other.into()),
        });
    }
    right.ip("address del 192.0.2.2/24 dev right");
    assert_pings(&left, 2);
    a.engine.send(EngineCommand::ReadSessions);
    a.wait("v6 path", |event| match event {
        EngineEvent::Sessions(states) => states[0].path == Some(v6(2)),
        EngineEvent::HandshakeDone { .. } => panic!("a handshake was not needed"),
        _ => false,
    });
}

#[test]
fn a_deleted_interface_is_made_again() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let mut a = Node::start(&left, 1, "ec");
    let mut b = Node::start(&right, 2, "ed");
    a.add_peer(2);
    b.add_peer(1);
    a.handshake(2);
    b.wait_for_handshake(false);
    left.ip(&format!("link delete {}", a.interface));
    a.wait("new interface", |event| {
        *event == EngineEvent::InterfaceRecreated
    });
    a.configure();
    assert_pings(&left, 2);
    // The interface is only down: it comes back with nothing done here.
    left.ip(&format!("link set {} down", a.interface));
    right.failing_command("ping", &["-c", "1", "-W", "1", "10.1.0.1"]);
    left.ip(&format!("link set {} up", a.interface));
    left.ip(&format!("route add 10.2.0.0/16 dev {}", a.interface));
    assert_pings(&right, 1);
}

#[test]
fn errors_of_the_start_are_told_apart() {
    let Some((left, _right)) = namespaces() else {
        return;
    };
    let first = Node::start(&left, 1, "ee");
    let config = |interface: &str, listen_port| EngineConfig {
        interface: interface.to_owned(),
        mtu: 1420,
        listen_port,
        mark: 0,
        private_key: private_key(1),
        mesh_address: Ipv6Addr::LOCALHOST,
        peers_hint: 1,
        offloads: Offloads::ALL,
    };
    let start = |config| {
        let (sender, _events) = mpsc::channel(1);
        left.run(move || Engine::start(config, sender).unwrap_err())
    };
    let error = start(config("ef0", PORT));
    assert!(matches!(error, EngineError::PortInUse(PORT)), "{error}");
    let error = start(config(&first.interface, PORT + 1));
    assert!(
        matches!(error, EngineError::Tun(TunError::Busy(_))),
        "{error}"
    );
    assert_eq!(error.exit_code(), 2);
    let error = start(config("a name that is too long", PORT + 1));
    assert!(
        matches!(error, EngineError::Tun(TunError::Name(_))),
        "{error}"
    );
}
