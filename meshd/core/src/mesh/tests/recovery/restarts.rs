//! Restarts: a process that lost its sessions.

use super::*;
use crate::data_plane::{EngineEvent, PathId};

/// An address nobody has published.
const REFUSED_FROM: &str = "198.51.100.77:40000";

#[test]
fn peer_restart() {
    let strike = |world: &mut World| {
        world.kill(0);
        world.run(Duration::from_millis(700));
        world.start_again(0);
        // From the start of the new process.
        let now = world.now.instant;
        for (from, to) in [(0, 1), (1, 0)] {
            world.streams.start(from, to, now);
        }
    };
    let samples = sample(strike, |_| {});
    assert_numbers("peer-restart", &samples, 100, 300);
}

#[test]
fn both_restart() {
    let strike = |world: &mut World| {
        for index in [0, 1] {
            world.kill(index);
        }
        world.run(Duration::from_millis(700));
        for index in [0, 1] {
            world.start_again(index);
        }
    };
    let mut world = dual_homed();
    strike(&mut world);
    blackouts(&mut world);
    world.run_s(1);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up));
    }
}

fn initiations(world: &World, node: usize) -> usize {
    world.nodes[node].engine.initiations.len()
}

/// What a node whose clock is in the past causes at the other one.
fn refuse(world: &mut World, node: usize, peer: usize) {
    let peer = world.nodes[peer].mesh.public_key;
    let path = PathId::to(REFUSED_FROM.parse().unwrap());
    let event = EngineEvent::InitiationRefused { peer, path };
    world.input(node, Input::Engine(event));
}

#[test]
fn a_refused_initiation_brings_the_next_one_forward() {
    let mut world = dual_homed();
    world.kill(1);
    world.run_s(30);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    for _ in 0..5 {
        let before = initiations(&world, 0);
        refuse(&mut world, 0, 1);
        world.run(Duration::from_millis(1100));
        assert!(initiations(&world, 0) > before);
    }
    let before = initiations(&world, 0);
    for _ in 0..300 {
        refuse(&mut world, 0, 1);
        world.run(Duration::from_millis(10));
    }
    assert!(initiations(&world, 0) <= before + 4, "a flood of replays");
}

#[test]
fn replays_of_initiations_do_not_shake_a_peer_that_is_up() {
    let mut world = dual_homed();
    let before = [0, 1].map(|node| initiations(&world, node));
    let pings = world.nodes[0].mesh.recovery_counters().pings_sent;
    for _ in 0..500 {
        refuse(&mut world, 0, 1);
        world.run(Duration::from_millis(10));
    }
    let counters = world.nodes[0].mesh.recovery_counters();
    assert_eq!([0, 1].map(|node| initiations(&world, node)), before);
    assert_eq!((counters.suspicions, counters.switches()), (0, 0));
    assert!(counters.pings_sent - pings < 30, "one check a second");
}
