//! The engine against another implementation: wireguard-go, where it is installed.

use super::transfer::{inner, relay, transfer};
use super::*;
use mesh_proto::PresharedKey;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32};

/// A running wireguard-go; killed when dropped.
struct WireguardGo<'a> {
    namespace: &'a Namespace,
    process: Child,
    interface: String,
}

impl<'a> WireguardGo<'a> {
    fn start(namespace: &'a Namespace, number: u8) -> Option<Self> {
        // Their sockets lie in one directory.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let count = NUMBER.fetch_add(1, Ordering::Relaxed);
        let interface = format!("wg{count}x{}", std::process::id());
        let name = interface.clone();
        let spawned = namespace.run(move || {
            Command::new("wireguard-go")
                .args(["-f", &name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        let Ok(process) = spawned else {
            println!("SKIPPED: wireguard-go is not installed");
            return None;
        };
        let go = Self {
            namespace,
            process,
            interface,
        };
        go.wait_for_socket();
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, private_key(number).expose_base64().as_bytes()).unwrap();
        go.set(&[
            "listen-port",
            &PORT.to_string(),
            "private-key",
            key.to_str().unwrap(),
        ]);
        configure(namespace, number, &go.interface);
        Some(go)
    }

    fn wait_for_socket(&self) {
        let socket = format!("/var/run/wireguard/{}.sock", self.interface);
        let deadline = Instant::now() + PATIENCE;
        while !Path::new(&socket).exists() {
            assert!(Instant::now() < deadline, "wireguard-go did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn set(&self, arguments: &[&str]) {
        let arguments = [&["set", &self.interface], arguments].concat();
        self.namespace.command("wg", &arguments);
    }

    fn add_peer(&self, number: u8) {
        let (key, endpoint) = (public_key(number).to_string(), underlay(number).to_string());
        let network = network(number).to_string();
        self.set(&["peer", &key, "endpoint", &endpoint, "allowed-ips", &network]);
    }

    fn remove_peer(&self, number: u8) {
        self.set(&["peer", &public_key(number).to_string(), "remove"]);
    }
}

impl Drop for WireguardGo<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Killed processes leave theirs behind.
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.interface));
    }
}

#[test]
fn wireguard_go_and_the_engine_join_whoever_starts() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let Some(go) = WireguardGo::start(&right, 2) else {
        return;
    };
    let mut node = Node::start(&left, 1, "eg");
    go.add_peer(1);
    node.add_peer(2);
    node.handshake(2);
    node.wait_for_handshake(true);
    assert_pings(&left, 2);
    assert_pings(&right, 1);

    // Without its session the other end has to start.
    go.remove_peer(1);
    go.add_peer(1);
    assert_pings(&right, 1);
    node.wait_for_handshake(false);
    assert_pings(&left, 2);
}

/// A pair under a preshared key whose outer packets go by `endpoint`, as the other implementation knows it.
fn pair<'a>(
    (left, right): (&'a Namespace, &'a Namespace),
    (name, mtu): (&str, u32),
    endpoint: SocketAddr,
) -> Option<(Node<'a>, WireguardGo<'a>)> {
    let go = WireguardGo::start(right, 2)?;
    right.ip(&format!("link set {} mtu {mtu}", go.interface));
    let psk = PresharedKey::from_bytes([77; 32]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("psk");
    // 32 bytes of 77 in base64.
    let text = format!("{}TU0=\n", "TU1N".repeat(10));
    std::fs::write(&file, text).unwrap();
    go.set(&[
        "peer",
        &public_key(1).to_string(),
        "preshared-key",
        file.to_str().unwrap(),
        "endpoint",
        &endpoint.to_string(),
        "allowed-ips",
        "10.1.0.0/16,fd10::1/128",
    ]);
    let node = Node::start_with(left, 1, name, mtu, Offloads::ALL);
    let mut peer = spec(2);
    peer.preshared_key = Some(psk);
    node.engine.send(EngineCommand::SetPeer(Box::new(peer)));
    Some((node, go))
}

#[test]
fn wireguard_go_with_preshared_key_rekeys_under_load_at_every_size() {
    let v6 = |number: u16| -> SocketAddr {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
        (address, PORT).into()
    };
    let cases = [
        ("ga", 1280, underlay(1), underlay(2)),
        ("gb", 8920, v6(1), v6(2)),
    ];
    for (name, mtu, here, there) in cases {
        let Some((left, right)) = namespaces() else {
            return;
        };
        left.ip("link set left mtu 9000");
        right.ip("link set right mtu 9000");
        let Some((mut node, _go)) = pair((&left, &right), (name, mtu), here) else {
            return;
        };
        let dial = |node: &Node<'_>| {
            node.engine.send(EngineCommand::Handshake {
                peer: public_key(2),
                copies: vec![HandshakeCopy {
                    path: PathId::to(there),
                    after: Duration::ZERO,
                }],
            });
        };
        dial(&node);
        node.wait_for_handshake(true);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                for v6 in [false, true] {
                    transfer(&left, &right, inner(2, v6), 4 * 1024 * 1024);
                    transfer(&right, &left, inner(1, v6), 4 * 1024 * 1024);
                }
            });
            while !work.is_finished() {
                // An implementation may refuse initiations that come faster.
                std::thread::sleep(Duration::from_millis(100));
                dial(&node);
            }
        });
        // Packets that are fragments inside.
        left.command("ping", &["-c", "2", "-i", "0.2", "-s", "20000", "10.2.0.1"]);
        assert_eq!(node.engine.counters().snapshot().drop_malformed, 0);
    }
}

#[test]
fn wireguard_go_by_a_way_that_loses_reorders_and_repeats() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let between = SocketAddr::from(([192, 0, 2, 1], 7002));
    let Some((mut node, _go)) = pair((&left, &right), ("gc", 1420), between) else {
        return;
    };
    let socket = left.run(move || UdpSocket::bind(between).unwrap());
    let timeout = Some(Duration::from_millis(100));
    socket.set_read_timeout(timeout).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| relay(&socket, &stop));
        node.engine.send(EngineCommand::Handshake {
            peer: public_key(2),
            copies: (0..20)
                .map(|step| HandshakeCopy {
                    path: PathId::to(between),
                    after: Duration::from_millis(100 * step),
                })
                .collect(),
        });
        node.wait_for_handshake(true);
        transfer(&left, &right, inner(2, false), 1024 * 1024);
        transfer(&right, &left, inner(1, true), 1024 * 1024);
        assert!(node.engine.counters().snapshot().drop_replayed > 0);
        stop.store(true, Ordering::Relaxed);
    });
}
