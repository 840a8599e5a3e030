//! The cluster secret is replaced while hosts talk through every tunnel: no packet is lost, and who is not
//! given the new one is out.

#![cfg(test)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mesh_proto::control::Problem;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use nix::sys::signal::Signal;
use serde_json::json;

const NODES: [&str; 3] = ["a1", "b1", "c1"];

fn secret_of(lab: &Lab, name: &str) -> PathBuf {
    lab.machine_dir(name).join("cluster.secret")
}

/// Changes the administrator's copy.
fn rotate(lab: &Lab, arguments: &[&str]) {
    let mut command = Command::new(lab.bin_dir().join("meshctl"));
    command.args(["cluster", "rotate", "--secret"]);
    command
        .arg(lab.dir().join("cluster.secret"))
        .args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Gives the administrator's copy to a running node.
fn hand_out(lab: &Lab, name: &str) {
    std::fs::copy(lab.dir().join("cluster.secret"), secret_of(lab, name)).unwrap();
    lab.signal(name, Signal::SIGHUP).unwrap();
}

fn rotation(lab: &Lab, name: &str) -> Result<Option<Problem>, String> {
    let status = meshctl::status(lab.machine(name).unwrap()).map_err(|error| error.to_string())?;
    let mut problems = status.problems.into_iter();
    Ok(problems.find(|problem| problem.code == "secret_rotation"))
}

/// Waits until the node says of the rotation what `fits`.
fn wait_rotation(lab: &Lab, name: &str, fits: impl Fn(Option<&Problem>) -> bool) {
    wait::until("the rotation", PATIENCE, || {
        let said = rotation(lab, name)?;
        if fits(said.as_ref()) {
            Ok(())
        } else {
            Err(format!("{name}: {said:?}"))
        }
    })
    .unwrap();
}

/// The latest handshakes of a node, RFC 3339, by peer.
fn handshakes(lab: &Lab, name: &str) -> Vec<Option<String>> {
    let peers = meshctl::peers(lab.machine(name).unwrap()).unwrap().peers;
    peers.into_iter().map(|peer| peer.last_handshake).collect()
}

fn wait_new_handshakes(lab: &Lab, before: &[Vec<Option<String>>]) {
    wait::until("handshakes under the new secret", PATIENCE, || {
        for (name, before) in NODES.iter().zip(before) {
            let now = handshakes(lab, name);
            if now.len() != 2 || now.iter().zip(before).any(|(now, before)| now <= before) {
                return Err(format!("{name}: {before:?} {now:?}"));
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn no_packet_is_lost_and_who_keeps_the_old_secret_is_out() {
    let Some(fixture) = Fixture::build(Plan::new(3, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    for name in NODES {
        let secret = json!({ "cluster": { "secretFile": secret_of(lab, name) } });
        lab.configure(name, &secret).unwrap();
        std::fs::copy(lab.dir().join("cluster.secret"), secret_of(lab, name)).unwrap();
    }
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    let pairs = [("a1", "b1"), ("b1", "c1"), ("c1", "a1")];
    let streams = pairs.map(|(from, to)| {
        let to = lab.plan.node(to).unwrap().address.into();
        let ping = Ping::quick(lab.machine(from).unwrap(), to);
        let interval = Duration::from_millis(20);
        Stream::start(&Ping { interval, ..ping }).unwrap()
    });
    let before = NODES.map(|name| handshakes(lab, name));
    rotate(lab, &[]);
    for name in NODES {
        hand_out(lab, name);
        wait_rotation(lab, name, |problem| problem.is_some());
    }
    for name in NODES {
        wait_rotation(lab, name, |problem| {
            problem.is_some_and(|problem| problem.message.starts_with("every known member"))
        });
    }
    wait_new_handshakes(lab, &before);
    rotate(lab, &["--finish"]);
    for name in NODES {
        hand_out(lab, name);
        wait_rotation(lab, name, |problem| problem.is_none());
    }
    fixture.wait_all().unwrap();
    for (stream, pair) in streams.into_iter().zip(pairs) {
        let score = stream.finish().unwrap();
        println!("{pair:?}: {score:?}");
        assert!(score.perfect(), "{pair:?}: {score:?}");
    }
    left_out(lab);
}

/// Two nodes replace their secret again and do not give it to the third, as if that were stolen.
fn left_out(lab: &Lab) {
    for arguments in [&[][..], &["--finish"]] {
        rotate(lab, arguments);
        for name in ["a1", "b1"] {
            hand_out(lab, name);
            wait_rotation(lab, name, |problem| {
                problem.is_some() == arguments.is_empty()
            });
        }
    }
    // Its sessions would end by themselves within three minutes.
    lab.kill("c1").unwrap();
    lab.start("c1").unwrap();
    let to_b: Vec<_> = ["a1", "c1"]
        .into_iter()
        .map(|from| {
            let to = lab.plan.node("b1").unwrap().address.into();
            Ping::quick(lab.machine(from).unwrap(), to).run().unwrap()
        })
        .collect();
    assert!(to_b[0].perfect(), "{to_b:?}");
    assert_eq!(to_b[1].received, 0, "{to_b:?}");
}
