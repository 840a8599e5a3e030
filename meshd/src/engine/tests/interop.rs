//! The engine against another implementation: wireguard-go, where it is installed.

use super::*;
use std::process::{Child, Command, Stdio};

/// A running wireguard-go; killed when dropped.
struct WireguardGo<'a> {
    namespace: &'a Namespace,
    process: Child,
    interface: String,
}

impl<'a> WireguardGo<'a> {
    fn start(namespace: &'a Namespace, number: u8) -> Option<Self> {
        let interface = format!("wg{}", std::process::id());
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
