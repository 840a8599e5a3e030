//! A node is stolen and removed: the others drop it at once, whatever it goes on publishing, and lose
//! nothing among themselves; it comes back when the administrator says so, and not under another name once
//! the secret it had is replaced.

#![cfg(test)]

use std::time::{Duration, Instant};

use mesh_proto::control::{Members, NodeState, RemovedMembers};
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::rotation::{hand_out, is_everywhere, own_secrets, rotate, wait_said};
use mesh_tests::lab::{Lab, LabError, Plan, meshctl, wait};
use nix::sys::signal::Signal;

const STOLEN: &str = "c1";
const OTHERS: [&str; 2] = ["a1", "b1"];

/// `meshctl member …` on node a1 with the admin key of this name.
fn member(lab: &Lab, verb: &str, admin: &str) -> Result<RemovedMembers, LabError> {
    let path = |name: &str| lab.dir().join(name).display().to_string();
    let (admin, secret) = (path(admin), path("cluster.secret"));
    let arguments = [
        "member",
        verb,
        STOLEN,
        "--admin-key",
        &admin,
        "--secret",
        &secret,
    ];
    meshctl::query(lab.machine("a1")?, &arguments)
}

fn has_problem(lab: &Lab, name: &str, code: &str) -> Result<(), String> {
    let status = meshctl::status(lab.machine(name).unwrap()).map_err(|error| error.to_string())?;
    let codes: Vec<_> = status.problems.into_iter().map(|p| p.code).collect();
    if codes.iter().any(|found| found == code) {
        Ok(())
    } else {
        Err(format!("{name}: {codes:?}"))
    }
}

/// The node has no tunnel to the stolen one and lists it as removed.
fn has_dropped(lab: &Lab, name: &str) -> Result<(), String> {
    let machine = lab.machine(name).unwrap();
    let peers = meshctl::peers(machine).map_err(|error| error.to_string())?;
    let members: Members =
        meshctl::query(machine, &["members"]).map_err(|error| error.to_string())?;
    let listed = members.members.into_iter().find(|m| m.name == STOLEN);
    let state = listed.map(|member| member.state);
    let peer = peers.peers.iter().find(|peer| peer.name == STOLEN);
    if peer.is_none() && state == Some(NodeState::Removed) {
        Ok(())
    } else {
        Err(format!("{name}: {state:?}, {peer:?}"))
    }
}

fn wait_dropped(lab: &Lab) {
    wait::until("the removal", PATIENCE, || {
        has_dropped(lab, "a1")?;
        has_dropped(lab, "b1")
    })
    .unwrap();
}

/// Pings from the stolen node that a node answers.
fn answered(lab: &Lab, by: &str) -> u32 {
    let to = lab.plan.node(by).unwrap().address.into();
    let from = lab.machine(STOLEN).unwrap();
    Ping::quick(from, to).run().unwrap().received
}

/// Pings that go on.
fn stream(lab: &Lab, from: &str, to: &str) -> Stream {
    let to = lab.plan.node(to).unwrap().address.into();
    let ping = Ping::quick(lab.machine(from).unwrap(), to);
    let interval = Duration::from_millis(20);
    Stream::start(&Ping { interval, ..ping }).unwrap()
}

/// What the node says of a member that is called like the stolen one, removed ones left out.
fn members_called(lab: &Lab, name: &str) -> Vec<NodeState> {
    let machine = lab.machine(name).unwrap();
    let members: Members = meshctl::query(machine, &["members"]).unwrap();
    let called = |name: &str| name.split('~').next() == Some(STOLEN);
    let found = members.members.into_iter().filter(|m| called(&m.name));
    let states = found.map(|member| member.state);
    states
        .filter(|state| *state != NodeState::Removed)
        .collect()
}

#[test]
fn a_stolen_node_is_out_at_once_and_stays_out() {
    let Some(fixture) = Fixture::running(Plan::new(3, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    assert!(answered(lab, "b1") > 0);
    let stream = stream(lab, "a1", "b1");
    let begun = Instant::now();
    member(lab, "remove", "cluster.admin").unwrap();
    wait_dropped(lab);
    println!("dropped by all after {:?}", begun.elapsed());
    assert_eq!(answered(lab, "b1"), 0);
    has_problem(lab, "a1", "removed_has_secret").unwrap();
    wait::until("its own status", PATIENCE, || {
        has_problem(lab, STOLEN, "removed")
    })
    .unwrap();
    let again = member(lab, "remove", "cluster.admin").unwrap_err();
    assert!(again.to_string().contains("removed already"), "{again}");

    let score = stream.finish().unwrap();
    assert!(score.perfect(), "{score:?}");

    // The thief starts it again, and one of the others comes back from its disk.
    for name in [STOLEN, "b1"] {
        lab.kill(name).unwrap();
        lab.start(name).unwrap();
    }
    wait::until("its own status", PATIENCE, || {
        has_problem(lab, STOLEN, "removed")
    })
    .unwrap();
    wait_dropped(lab);
    assert_eq!(answered(lab, "a1"), 0);

    member(lab, "restore", "cluster.admin").unwrap();
    lab.kill(STOLEN).unwrap();
    lab.start(STOLEN).unwrap();
    fixture.wait_all().unwrap();
}

#[test]
fn after_a_rotation_the_thief_is_out_under_any_name() {
    let Some(fixture) = Fixture::build(Plan::new(3, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    own_secrets(lab).unwrap();
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    assert!(answered(lab, "b1") > 0);
    let streams = [("a1", "b1"), ("b1", "a1")].map(|(from, to)| stream(lab, from, to));

    member(lab, "remove", "cluster.admin").unwrap();
    wait_dropped(lab);
    for step in [&[][..], &["--finish"]] {
        rotate(lab, step).unwrap();
        for name in OTHERS {
            hand_out(lab, name).unwrap();
        }
        for name in OTHERS {
            // It counts as everybody that the removed one has no new secret.
            wait_said(lab, name, |said| {
                if step.is_empty() {
                    is_everywhere(said)
                } else {
                    said.is_none()
                }
            })
            .unwrap();
        }
        // The thief publishes on.
        lab.signal(STOLEN, Signal::SIGHUP).unwrap();
    }
    wait_dropped(lab);
    for name in OTHERS {
        assert!(has_problem(lab, name, "removed_has_secret").is_err());
    }
    assert_eq!(answered(lab, "b1"), 0);

    // With another identity, but the secret that was on the stolen disk.
    lab.kill(STOLEN).unwrap();
    std::fs::remove_dir_all(lab.machine_dir(STOLEN).join("state")).unwrap();
    lab.start(STOLEN).unwrap();
    wait::until("old records at the server", PATIENCE, || {
        let machine = lab.machine(STOLEN).unwrap();
        let peers = meshctl::peers(machine).map_err(|error| error.to_string())?;
        (peers.peers.len() == OTHERS.len())
            .then_some(())
            .ok_or_else(|| format!("{peers:?}"))
    })
    .unwrap();
    for name in OTHERS {
        assert_eq!(answered(lab, name), 0);
        assert_eq!(members_called(lab, name), [], "{name}");
    }
    fixture.lab.wait_tunnels(&OTHERS, PATIENCE).unwrap();
    for stream in streams {
        let score = stream.finish().unwrap();
        println!("{score:?}");
        assert!(score.perfect(), "{score:?}");
    }
}
