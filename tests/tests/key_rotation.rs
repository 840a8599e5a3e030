//! WireGuard keys of nodes are replaced while hosts talk through every tunnel: in userspace no packet is lost, and
//! what is on disk afterwards is what the others know.

#![cfg(test)]

use std::time::Duration;

use mesh_proto::WgPublicKey;
use mesh_proto::control::KeyRotated;
use mesh_proto::record::BackendKind;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::DISCOVERY;
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::{Lab, LabError, Plan, meshctl, wait};

const NODES: [&str; 3] = ["a1", "b1", "c1"];

fn rotate(lab: &Lab, name: &str) -> Result<KeyRotated, LabError> {
    meshctl::query(lab.machine(name)?, &["key", "rotate"])
}

/// The key that node `at` knows node `of` by, and the time of their last handshake.
fn known(lab: &Lab, at: &str, of: &str) -> Result<(WgPublicKey, Option<String>), String> {
    let machine = lab.machine(at).map_err(|error| error.to_string())?;
    let peers = meshctl::peers(machine).map_err(|error| error.to_string())?;
    let mut peers = peers.peers.into_iter();
    let peer = peers.find(|peer| peer.name == of).ok_or("no peer")?;
    Ok((peer.public_key, peer.last_handshake))
}

/// Waits until all others know the node by `key` and have made a session with it after `since`.
fn wait_known(lab: &Lab, of: &str, key: WgPublicKey, since: &[Option<String>; 3]) {
    wait::until("sessions under the new key", PATIENCE, || {
        for (at, since) in NODES.iter().zip(since).filter(|(at, _)| **at != of) {
            let now = known(lab, at, of)?;
            if now.0 != key || now.1 <= *since {
                return Err(format!("{at}: {now:?} since {since:?}"));
            }
        }
        Ok(())
    })
    .unwrap();
}

fn handshakes(lab: &Lab, of: &str) -> [Option<String>; 3] {
    NODES.map(|at| (at != of).then(|| known(lab, at, of).unwrap().1).flatten())
}

#[test]
fn keys_are_replaced_under_traffic() {
    let Some(fixture) = Fixture::running(Plan::new(3, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    // The kernel cannot keep a session over a new key: docs/kernel-backend.md.
    let all_keep = NODES.iter().all(|name| {
        let status = meshctl::status(lab.machine(name).unwrap()).unwrap();
        status.backend == BackendKind::Userspace
    });
    let bearable = if all_keep { 0 } else { 10 };
    let pairs = [("a1", "b1"), ("b1", "c1"), ("c1", "a1")];
    let streams = pairs.map(|(from, to)| {
        let to = lab.plan.node(to).unwrap().address.into();
        let ping = Ping::quick(lab.machine(from).unwrap(), to);
        let interval = Duration::from_millis(10);
        Stream::start(&Ping { interval, ..ping }).unwrap()
    });
    let before = handshakes(lab, "a1");
    let a1 = rotate(lab, "a1").unwrap();
    assert_ne!(a1.former, a1.public_key);
    wait_known(lab, "a1", a1.public_key, &before);
    // Two at once.
    let before = ["b1", "c1"].map(|name| handshakes(lab, name));
    let both = ["b1", "c1"].map(|name| rotate(lab, name).unwrap());
    for (name, (key, before)) in ["b1", "c1"].iter().zip(both.iter().zip(&before)) {
        wait_known(lab, name, key.public_key, before);
    }
    fixture.wait_all().unwrap();
    for (stream, pair) in streams.into_iter().zip(pairs) {
        let score = stream.finish().unwrap();
        println!("{pair:?}: {score:?}");
        assert!(
            score.sent - score.received <= bearable,
            "{pair:?}: {score:?}"
        );
    }

    // What is on disk is what the others know.
    assert!(
        !lab.machine_dir("a1")
            .join("state/wireguard.key.next")
            .exists()
    );
    lab.kill("a1").unwrap();
    lab.kill(DISCOVERY).unwrap();
    lab.start("a1").unwrap();
    fixture.wait_all().unwrap();
    assert_eq!(known(lab, "b1", "a1").unwrap().0, a1.public_key);
    let refused = rotate(lab, "a1").unwrap_err().to_string();
    assert!(
        refused.contains("no discovery server is connected"),
        "{refused}"
    );
}
