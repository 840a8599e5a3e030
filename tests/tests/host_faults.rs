//! What happens to a host while meshd runs on it: no IPv6, an interface that somebody deletes, another MTU.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::classify::Kind;
use mesh_tests::lab::fixture::Fixture;
use mesh_tests::lab::network::BACKBONE;
use mesh_tests::lab::ping::Ping;
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use nix::sys::signal::Signal;

const MARKER: [u8; 16] = *b"never-in-clear!!";
const LIMIT: Duration = Duration::from_secs(10);

fn ping<'a>(lab: &'a Lab, from: &str, to: &str) -> Ping<'a> {
    Ping {
        marker: Some(MARKER),
        ..Ping::quick(
            lab.machine(from).unwrap(),
            lab.plan.node(to).unwrap().address.into(),
        )
    }
}

#[test]
fn a_host_without_ipv6_tunnels_ipv4() {
    let Some(fixture) = Fixture::build(Plan::new(2, 2).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    for scope in ["all", "default"] {
        let key = format!("net.ipv6.conf.{scope}.disable_ipv6=1");
        machine.run("sysctl", &["-qw", &key]).unwrap();
    }
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    assert!(ping(lab, "a1", "b1").run().unwrap().perfect());
    assert!(ping(lab, "b2", "a1").run().unwrap().perfect());
    assert!(ping(lab, "a1", "a2").run().unwrap().perfect());
    // The addresses and routes that IPv6 would need are no reason to go down, also after a while.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(meshctl::status(machine).unwrap().peers_up, 2);
    assert!(lab.stop("a1").unwrap().success());
    let rules = machine.run("ip", &["rule", "show"]).unwrap();
    assert!(!rules.contains("5184"), "{rules}");
}

#[test]
fn an_interface_deleted_again_and_again_comes_back_and_opens_nothing() {
    let Some(fixture) = Fixture::running(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| ping(lab, "a1", "b1").run());
        for _ in 0..20 {
            wait::until("mesh0", LIMIT, || {
                machine
                    .run("ip", &["link", "delete", "mesh0"])
                    .map_err(|error| error.to_string())
            })
            .unwrap();
        }
        pinging.join().unwrap().unwrap();
    });
    let answered = |score: mesh_tests::lab::ping::Score| match score.perfect() {
        true => Ok(()),
        false => Err(format!("{score:?}")),
    };
    wait::until("traffic", LIMIT, || {
        let score = ping(lab, "a1", "b1").run();
        score.map_err(|error| error.to_string()).and_then(answered)
    })
    .unwrap();
    let frames = capture.finish().unwrap();
    assert_eq!(frames.containing(&MARKER).count(), 0);
    let counts = frames.count(lab.plan.discovery_address());
    assert_eq!(counts.get(&Kind::Foreign), None, "{counts:?}");
}

#[test]
fn the_mtu_follows_the_underlay_and_reloads_do_not_disturb() {
    let Some(fixture) = Fixture::running(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = lab.machine("a1").unwrap();
    for (underlay, tunnel) in [("1400", "mtu 1320 "), ("1500", "mtu 1420 ")] {
        let set = ["link", "set", "eth0", "mtu", underlay];
        machine.run("ip", &set).unwrap();
        wait::until(tunnel, LIMIT, || {
            let shown = machine.run("ip", &["link", "show", "mesh0"]).unwrap();
            if shown.contains(tunnel) {
                Ok(())
            } else {
                Err(shown)
            }
        })
        .unwrap();
        lab.signal("a1", Signal::SIGHUP).unwrap();
        assert!(ping(lab, "a1", "b1").run().unwrap().perfect());
    }
}
