//! The cluster secret is replaced while hosts talk through every tunnel: no packet is lost, and who is not
//! given the new one is out.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::fixture::{Fixture, PATIENCE};
use mesh_tests::lab::ping::{Ping, Stream};
use mesh_tests::lab::rotation::{hand_out, is_everywhere, own_secrets, rotate, wait_said};
use mesh_tests::lab::{Lab, Plan, meshctl, wait};

const NODES: [&str; 3] = ["a1", "b1", "c1"];

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
    own_secrets(lab).unwrap();
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
    rotate(lab, &[]).unwrap();
    for name in NODES {
        hand_out(lab, name).unwrap();
        wait_said(lab, name, |said| said.is_some()).unwrap();
    }
    for name in NODES {
        wait_said(lab, name, is_everywhere).unwrap();
    }
    wait_new_handshakes(lab, &before);
    rotate(lab, &["--finish"]).unwrap();
    for name in NODES {
        hand_out(lab, name).unwrap();
        wait_said(lab, name, |said| said.is_none()).unwrap();
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
        rotate(lab, arguments).unwrap();
        for name in ["a1", "b1"] {
            hand_out(lab, name).unwrap();
            wait_said(lab, name, |said| said.is_some() == arguments.is_empty()).unwrap();
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
