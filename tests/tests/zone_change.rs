//! A node moves to another zone while it runs, and back: tunnel, native, tunnel.

#![cfg(test)]

use mesh_tests::lab::capture::Capture;
use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::network::BACKBONE;
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};
use serde_json::json;

const MARKER: [u8; 16] = *b"zone-change-test";

fn seen_in_clear(lab: &Lab) -> bool {
    let capture = Capture::start(lab.machine(BACKBONE).unwrap()).unwrap();
    let ping = Ping {
        marker: Some(MARKER),
        ..Ping::quick(
            lab.machine("a1").unwrap(),
            lab.plan.node("b1").unwrap().address.into(),
        )
    };
    assert!(ping.run().unwrap().perfect());
    capture.finish().unwrap().containing(&MARKER).count() > 0
}

fn wait_peers(lab: &Lab, count: usize) {
    for name in ["a1", "b1"] {
        wait::until("the zone change on both ends", PATIENCE, || {
            let peers =
                meshctl::peers(lab.machine(name).unwrap()).map_err(|error| error.to_string())?;
            if peers.peers.len() == count {
                Ok(())
            } else {
                Err(format!("{name}: {peers:?}"))
            }
        })
        .unwrap();
    }
}

#[test]
fn tunnel_native_tunnel() {
    let Some(fixture) = Fixture::build(Plan::new(2, 1).unwrap()) else {
        return;
    };
    let lab = &fixture.lab;
    let zone_file = lab.machine_dir("b1").join("zone");
    std::fs::write(&zone_file, "b\n").unwrap();
    lab.configure(
        "b1",
        &json!({ "node": { "zone": null, "zoneFile": zone_file } }),
    )
    .unwrap();
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    assert!(!seen_in_clear(lab));
    let stream = Stream::start(&Ping::quick(
        lab.machine("a1").unwrap(),
        lab.plan.node("b1").unwrap().address.into(),
    ))
    .unwrap();

    std::fs::write(&zone_file, "a\n").unwrap();
    wait_peers(lab, 0);
    wait::until("native traffic", PATIENCE, || {
        if seen_in_clear(lab) {
            Ok(())
        } else {
            Err("still tunnelled".to_owned())
        }
    })
    .unwrap();

    std::fs::write(&zone_file, "b\n").unwrap();
    wait_peers(lab, 1);
    fixture.wait_all().unwrap();
    wait::until("tunnelled traffic", PATIENCE, || {
        if seen_in_clear(lab) {
            Err("still native".to_owned())
        } else {
            Ok(())
        }
    })
    .unwrap();
    let score = stream.finish().unwrap();
    assert!(
        score.received > 0 && score.received * 10 >= score.sent * 9,
        "{score:?}"
    );
}
