//! A node that crashes again and again stays the same node and leaves nothing twice; what stays behind
//! on the way keeps traffic from going out in clear.

#![cfg(test)]

use std::time::Duration;

use mesh_proto::record::BackendKind;
use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::classify::Kind;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::{BACKBONE, DISCOVERY};
use mesh_tests::lab::ping::Ping;
use mesh_tests::lab::snapshot::Snapshot;
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use nix::sys::signal::Signal;

const MARKER: [u8; 16] = *b"never-in-clear!!";
const LIMIT: Duration = Duration::from_secs(10);

fn to_b1(lab: &Lab) -> Ping<'_> {
    Ping {
        marker: Some(MARKER),
        ..Ping::quick(
            lab.machine("a1").unwrap(),
            lab.plan.node("b1").unwrap().address.into(),
        )
    }
}

/// Pings that must not be answered, and must not be seen on the backbone.
fn assert_held_back(lab: &Lab) {
    assert_never_in_clear(lab, 0);
}

/// The same while nothing of meshd runs: the kernel's WireGuard answers all of them then.
fn assert_closed_without_a_daemon(lab: &Lab, backend: BackendKind) {
    let answered = match backend {
        BackendKind::Kernel => to_b1(lab).count,
        BackendKind::Userspace => 0,
    };
    assert_never_in_clear(lab, answered);
}

fn assert_never_in_clear(lab: &Lab, answered: u32) {
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    assert_eq!(to_b1(lab).run().unwrap().received, answered);
    let frames = capture.finish().unwrap();
    assert_eq!(frames.containing(&MARKER).count(), 0);
    let counts = frames.count(lab.plan.discovery_address());
    assert_eq!(counts.get(&Kind::Foreign), None, "{counts:?}");
}

#[test]
fn ten_crashes_leave_the_same_node_and_nothing_twice() {
    let Some(fixture) = Fixture::running(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    let identity = || {
        let status = meshctl::status(machine).unwrap();
        (status.id, status.public_key, status.mesh_address)
    };
    let (before, same) = (Snapshot::of(machine).unwrap(), identity());
    for _ in 0..10 {
        lab.kill("a1").unwrap();
        lab.start("a1").unwrap();
        fixture.wait_all().unwrap();
        assert_eq!(identity(), same);
        wait::until("the same network state", LIMIT, || {
            let changes = Snapshot::of(machine)
                .map_err(|error| error.to_string())?
                .changes_since(&before);
            if changes.is_empty() {
                Ok(())
            } else {
                Err(changes.join("; "))
            }
        })
        .unwrap();
    }
    assert!(to_b1(lab).run().unwrap().perfect());
}

#[test]
fn a_crash_with_a_lost_cache_opens_nothing() {
    let Some(fixture) = Fixture::running(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    lab.kill(DISCOVERY).unwrap();
    lab.kill("a1").unwrap();
    std::fs::remove_file(lab.machine_dir("a1").join("state/state.json")).unwrap();
    lab.start("a1").unwrap();
    // It knows nobody, and nobody tells it; what was closed stays so.
    let machine = lab.machine("a1").unwrap();
    wait::until("a1", LIMIT, || {
        meshctl::status(machine).map_err(|error| error.to_string())
    })
    .unwrap();
    assert_held_back(lab);
    lab.start_discovery().unwrap();
    fixture.wait_all().unwrap();
    assert!(to_b1(lab).run().unwrap().perfect());
    // The leftovers of b1's prefixes are routes of ours now, and nothing else was kept.
    let routes = || machine.run("ip", &["route", "show", "table", "5184"]);
    let closed = routes().unwrap().matches("unreachable").count();
    lab.stop("a1").unwrap();
    lab.start("a1").unwrap();
    fixture.wait_all().unwrap();
    assert_eq!(routes().unwrap().matches("unreachable").count(), closed);
}

#[test]
fn what_each_way_to_stop_leaves() {
    let Some(mut fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &mut fixture.lab;
    let bare = Snapshot::of(lab.machine("a1").unwrap()).unwrap();
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    let changes = || Snapshot::of(machine).unwrap().changes_since(&bare);
    let backend = meshctl::status(machine).unwrap().backend;

    // For a restart or an upgrade: fails closed meanwhile, comes back.
    lab.signal("a1", Signal::SIGUSR2).unwrap();
    assert!(lab.wait_end("a1", LIMIT).unwrap().success());
    assert_closed_without_a_daemon(lab, backend);
    lab.start("a1").unwrap();
    fixture.wait_all().unwrap();
    assert!(to_b1(lab).run().unwrap().perfect());

    // After a crash, `cleanup` finds everything.
    lab.kill("a1").unwrap();
    assert!(!changes().is_empty());
    assert_closed_without_a_daemon(lab, backend);
    let config = lab.machine_dir("a1").join("meshd.yaml");
    let cleanup = ["cleanup", "--config", config.to_str().unwrap()];
    machine.run("meshd", &cleanup).unwrap();
    assert_eq!(changes(), Vec::<String>::new());
    machine.run("meshd", &cleanup).unwrap();

    // A stop removes everything, and the others keep the node in mind.
    lab.start("a1").unwrap();
    fixture.wait_all().unwrap();
    assert!(lab.stop("a1").unwrap().success());
    assert_eq!(changes(), Vec::<String>::new());
    let b1 = lab.machine("b1").unwrap();
    assert_eq!(meshctl::peers(b1).unwrap().peers.len(), 1);

    // A leave does too, and the others forget it.
    lab.start("a1").unwrap();
    fixture.wait_all().unwrap();
    machine.run("meshctl", &["leave", "--yes"]).unwrap();
    assert!(lab.wait_end("a1", LIMIT).unwrap().success());
    assert_eq!(changes(), Vec::<String>::new());
    wait::until("the end of a1 on b1", PATIENCE, || {
        let peers = meshctl::peers(b1).map_err(|error| error.to_string())?.peers;
        if peers.is_empty() {
            Ok(())
        } else {
            Err(format!("{peers:?}"))
        }
    })
    .unwrap();
}
