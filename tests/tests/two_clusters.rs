//! Two clusters on the same hosts, with the same server: both form, and neither touches what is the
//! other's.

#![cfg(test)]

use std::process::{Command, Stdio};

use mesh_proto::control::{PeerState, Peers};
use mesh_tests::lab::config::{merge, node_config, write};
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::ping::Ping;
use mesh_tests::lab::process::Daemon;
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use serde_json::json;

const SOCKET: &str = "/run/meshd/second.sock";

/// Starts the second cluster's daemon on a node.
fn start_second(lab: &Lab, name: &str) -> Daemon {
    let node = lab.plan.node(name).unwrap();
    let dir = lab.machine_dir(name);
    let secret = lab.dir().join("second/cluster.secret");
    let mut config = node_config(&lab.plan, node, &secret, &dir.join("second"));
    let settings = json!({
        "wireguard": { "interface": "mesh1", "listenPort": 51850 },
        "routing": { "table": 5185, "rulePriority": 510, "mark": "0x2000/0x2000", "protocol": 85, "bypass": [] },
        "networks": { "advertise": null },
        "controlSocket": SOCKET,
    });
    merge(&mut config, &settings);
    let path = dir.join("second.yaml");
    write(&path, &config).unwrap();
    let log = std::fs::File::create(dir.join("second.log")).unwrap();
    let mut command = lab.machine(name).unwrap().command("meshd");
    command
        .arg("--config")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Daemon::spawn("second meshd", command).unwrap()
}

fn second_peers(lab: &Lab, name: &str) -> Result<Peers, String> {
    let machine = lab.machine(name).unwrap();
    meshctl::query(machine, &["--socket", SOCKET, "peers"]).map_err(|error| error.to_string())
}

fn wait_second(lab: &Lab) -> Peers {
    let up = || {
        for name in ["a1", "b1"] {
            let peers = second_peers(lab, name)?;
            if peers.peers.len() != 1 || peers.peers[0].state != PeerState::Up {
                return Err(format!("{name}: {peers:?}"));
            }
        }
        second_peers(lab, "a1")
    };
    wait::until("the second mesh", PATIENCE, up).unwrap().0
}

#[test]
fn both_form_and_one_ends_without_the_other() {
    let mut plan = Plan::new(2, 1).unwrap();
    for name in ["a1", "b1"] {
        // Each cluster leaves the other's outer packets alone.
        let bypass = json!([{ "proto": "udp", "port": 51850 }]);
        plan.node_mut(name).unwrap().settings = json!({ "routing": { "bypass": bypass } });
    }
    let Some(fixture) = Fixture::build(plan) else {
        return;
    };
    let lab = &fixture.lab;
    let mut init = Command::new(lab.bin_dir().join("meshctl"));
    init.args(["cluster", "init", "--dir"])
        .arg(lab.dir().join("second"));
    assert!(init.output().unwrap().status.success());
    lab.start_all().unwrap();
    let second: Vec<_> = ["a1", "b1"]
        .into_iter()
        .map(|name| start_second(lab, name))
        .collect();
    fixture.wait_all().unwrap();
    let peers = wait_second(lab);

    let a1 = lab.machine("a1").unwrap();
    let other = peers.peers[0].mesh_address.unwrap();
    let first = meshctl::peers(a1).unwrap().peers[0].mesh_address.unwrap();
    assert_ne!(first, other);
    for address in [first, other] {
        assert!(
            Ping::quick(a1, address.into()).run().unwrap().perfect(),
            "{address}"
        );
    }
    for daemon in second {
        assert!(
            daemon
                .stop(mesh_tests::lab::running::STOP_LIMIT)
                .unwrap()
                .success()
        );
    }
    let links = a1.run("ip", &["-o", "link"]).unwrap();
    assert!(
        links.contains("mesh0") && !links.contains("mesh1"),
        "{links}"
    );
    assert!(Ping::quick(a1, first.into()).run().unwrap().perfect());
    fixture.wait_all().unwrap();
}
