//! Many peers of one kernel device: how many netlink messages they take. The test itself is marked as
//! ignored: the last one runs it in the virtual machine, whose kernel has WireGuard.

#![cfg(test)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Duration;

use mesh_proto::WgPrivateKey;
use mesh_tests::lab::fixture::PATIENCE;
use mesh_tests::lab::wait;
use mesh_tests::vm::run_ignored_tests;
use meshd::engine::{Engine, EngineConfig, Offloads};
use meshd_core::data_plane::{EngineCommand, HandshakeCopy, PathId, PeerSpec};

const WITHIN: Duration = Duration::from_secs(300);

fn many_peers(count: u16) -> Vec<PeerSpec> {
    let one = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut key = [7; 32];
        // Not in the first byte: the curve ignores part of it.
        key[1..3].copy_from_slice(&[high, low]);
        PeerSpec {
            public_key: WgPrivateKey::from_bytes(key).public_key(),
            preshared_key: None,
            allowed_ips: vec![format!("10.{high}.{low}.0/24").parse().unwrap()],
            mesh_address: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number + 2)),
            keepalive: None,
            endpoint_filter: None,
        }
    };
    (0..count).map(one).collect()
}

fn config() -> EngineConfig {
    EngineConfig {
        interface: "many0".to_owned(),
        mtu: 1420,
        listen_port: 51840,
        mark: 0,
        private_key: WgPrivateKey::from_bytes([9; 32]),
        mesh_address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        peers_hint: 500,
        offloads: Offloads::ALL,
    }
}

/// What `wg show` says, line by line; nothing without a device.
fn shown(what: &str) -> Vec<String> {
    let output = Command::new("wg").args(["show", "many0", what]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

fn wait_lines(what: &str, with: &str, count: usize) {
    wait::until(with, PATIENCE, || {
        let found = shown(what)
            .iter()
            .filter(|line| line.contains(with))
            .count();
        (found == count)
            .then_some(())
            .ok_or_else(|| found.to_string())
    })
    .unwrap();
}

/// In a network namespace of its own, which ends with the thread.
#[test]
#[ignore = "needs WireGuard in the kernel: run by the virtual machine"]
fn many_peers_take_few_messages_and_one_change_takes_one() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let (events, _receiver) = tokio::sync::mpsc::channel(4096);
    let engine = Engine::start_kernel(config(), false, events).unwrap();
    let counters = engine.counters();
    let messages = || counters.snapshot().netlink_peers;
    // A reading that misses a peer, or something of it, is followed by an attempt to put that right.
    let assert_read_back = || {
        let reads = || counters.snapshot().netlink_read;
        let before = reads();
        wait::until("readings", PATIENCE, || {
            let more = reads() - before;
            (more >= 3).then_some(()).ok_or_else(|| more.to_string())
        })
        .unwrap();
        assert_eq!(counters.snapshot().healed, 0);
    };
    // A handshake for each as well: as at the start in a large mesh.
    let mut peers = many_peers(500);
    let keys: BTreeSet<_> = peers.iter().map(|spec| spec.public_key).collect();
    assert_eq!(keys.len(), 500);
    for (spec, port) in peers.iter().zip(20_000..) {
        engine.send(EngineCommand::SetPeer(Box::new(spec.clone())));
        engine.send(EngineCommand::Handshake {
            peer: spec.public_key,
            copies: vec![HandshakeCopy {
                path: PathId::to(([192, 0, 2, 1], port).into()),
                after: Duration::ZERO,
            }],
        });
    }
    wait_lines("endpoints", "192.0.2.1:", 500);
    wait_lines("allowed-ips", "/24", 500);
    let after = messages();
    let _ = writeln!(
        std::io::stderr(),
        "500 peers, 500 handshakes: {after} messages"
    );
    assert!(after <= 10, "{after}");
    assert_read_back();
    assert_eq!(messages(), after, "nothing changed");

    peers[3].allowed_ips.push("172.16.0.0/16".parse().unwrap());
    engine.send(EngineCommand::SetPeer(Box::new(peers[3].clone())));
    wait_lines("allowed-ips", "172.16.0.0/16", 1);
    assert_read_back();
    assert_eq!(messages(), after + 1);
    engine.stop();
    assert!(shown("allowed-ips").is_empty(), "the device is gone");
}

#[test]
fn in_the_virtual_machine() {
    run_ignored_tests(WITHIN);
}
