//! `networks.protected`: never in clear, from the first moment of a start, with no other member known and
//! no server to ask.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::BACKBONE;
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use serde_json::json;

const MARKER: [u8; 16] = *b"protected-prefix";

fn to_b1_pod(lab: &Lab) -> Ping<'_> {
    Ping {
        marker: Some(MARKER),
        interval: Duration::from_millis(20),
        ..Ping::quick(
            lab.machine("a1-pod").unwrap(),
            lab.plan.node("b1").unwrap().pod_address().into(),
        )
    }
}

/// Markers seen on the backbone while pings go to b1's pod.
fn seen(lab: &Lab) -> usize {
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    to_b1_pod(lab).run().unwrap();
    capture.finish().unwrap().containing(&MARKER).count()
}

#[test]
fn nothing_leaves_in_clear_before_the_mesh_forms() {
    let mut plan = Plan::new(2, 1).unwrap();
    let protected = json!({ "networks": { "protected": ["10.244.0.0/16"] } });
    plan.node_mut("a1").unwrap().settings = protected;
    let Some(fixture) = Fixture::build(plan) else {
        return;
    };
    let lab = &fixture.lab;
    assert!(
        seen(lab) > 0,
        "the control fails: it goes in clear without meshd"
    );
    lab.start("a1").unwrap();
    wait::until("a1", PATIENCE, || {
        meshctl::status(lab.machine("a1").unwrap()).map_err(|error| error.to_string())
    })
    .unwrap();
    assert_eq!(seen(lab), 0);

    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    let stream = Stream::start(&to_b1_pod(lab)).unwrap();
    lab.start_discovery().unwrap();
    lab.start("b1").unwrap();
    fixture.wait_all().unwrap();
    wait::until(
        "answers through the tunnel",
        PATIENCE,
        || match to_b1_pod(lab).run() {
            Ok(score) if score.perfect() => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .unwrap();
    // Its own pods are inside the protected range and stay reachable.
    let own = lab.plan.node("a1").unwrap().pod_address();
    assert!(
        Ping::quick(lab.machine("a1").unwrap(), own.into())
            .run()
            .unwrap()
            .perfect()
    );
    stream.finish().unwrap();
    assert_eq!(capture.finish().unwrap().containing(&MARKER).count(), 0);
}
