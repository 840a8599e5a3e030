//! A peer that is down is held back, unless both ends say `allowDownPeerBypass`: then its prefixes take
//! the native route, and the tunnel again when it is back.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::{BACKBONE, router_name};
use mesh_tests::lab::ping::{Ping, Score};
use mesh_tests::lab::{Lab, Plan, wait};
use serde_json::json;

const MARKER: [u8; 16] = *b"bypass-is-a-risk";
/// More than any time a peer takes to be believed down.
const DOWN: Duration = Duration::from_secs(90);

const BLOCK: &str = "nft -f - <<END
table ip block {
  chain forward {
    type filter hook forward priority filter
    udp dport 51840 drop
    udp sport 51840 drop
  }
}
END
";

/// Score of a ping, and whether it was seen in clear.
fn ping(lab: &Lab) -> (Score, bool) {
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    let ping = Ping {
        marker: Some(MARKER),
        ..Ping::quick(
            lab.machine("a1-pod").unwrap(),
            lab.plan.node("b1").unwrap().pod_address().into(),
        )
    };
    let score = ping.run().unwrap();
    (
        score,
        capture.finish().unwrap().containing(&MARKER).count() > 0,
    )
}

fn build(bypass: bool) -> Option<Fixture> {
    let mut plan = Plan::new(2, 1).unwrap();
    for name in ["a1", "b1"] {
        plan.node_mut(name).unwrap().settings = json!({ "allowDownPeerBypass": bypass });
    }
    Fixture::running(plan)
}

#[test]
fn goes_native_when_allowed_and_comes_back() {
    let Some(fixture) = build(true) else { return };
    let lab = &fixture.lab;
    let router = lab.machine(&router_name("b")).unwrap();
    router.script(BLOCK).unwrap();
    wait::until("the native route", DOWN, || match ping(lab) {
        (score, true) if score.perfect() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
    router.script("nft delete table ip block").unwrap();
    wait::until("the tunnel", PATIENCE, || match ping(lab) {
        (score, false) if score.perfect() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
}

#[test]
fn stays_closed_when_not_allowed() {
    let Some(fixture) = build(false) else { return };
    let lab = &fixture.lab;
    lab.machine(&router_name("b"))
        .unwrap()
        .script(BLOCK)
        .unwrap();
    let wait_down = || {
        let peers = mesh_tests::lab::meshctl::peers(lab.machine("a1").unwrap())
            .unwrap()
            .peers;
        match peers[0].state {
            mesh_proto::control::PeerState::Down => Ok(()),
            state => Err(format!("{state:?}")),
        }
    };
    wait::until("a peer that is down", DOWN, wait_down).unwrap();
    // Longer than the bypass waits.
    std::thread::sleep(Duration::from_secs(12));
    let (score, clear) = ping(lab);
    assert_eq!((score.received, clear), (0, false));
}
