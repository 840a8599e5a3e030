//! Candidate probes: nodes whose engine goes where packets come from look at other paths outside the tunnel,
//! and change over to one without a handshake.

use mesh_proto::candidate_probe::CandidateTag;

use super::*;
use crate::data_plane::{EngineEvent, PathId};

/// The same two nodes, with the kernel's WireGuard.
fn kernels() -> World {
    let mut world = dual_homed_on([BackendKind::Kernel; 2]);
    forget(&mut world);
    world
}

fn forget(world: &mut World) {
    for node in &mut world.nodes {
        node.engine.strayed = 0;
        node.engine.given_up.clear();
        node.engine.datagrams.clear();
        node.engine.initiations.clear();
    }
}

fn asked_outside(world: &World, node: usize) -> Vec<(PathId, Vec<u8>)> {
    let sent = world.nodes[node].engine.datagrams.iter();
    sent.filter(|(_, bytes)| CandidateTag::read(bytes).is_some())
        .cloned()
        .collect()
}

fn used(world: &World) -> usize {
    lan(world, 0, 1)
}

#[test]
fn other_paths_are_looked_at_without_a_packet_of_the_tunnel() {
    let mut world = kernels();
    world.run_s(120);
    for node in 0..2 {
        assert_eq!(world.nodes[node].engine.strayed, 0);
        let asked = asked_outside(&world, node);
        assert!((4..200).contains(&asked.len()), "{}", asked.len());
    }
    let paths = world.nodes[0].mesh.paths("b", world.now).unwrap().paths;
    let measured = paths.iter().filter(|path| path.rtt_ms.is_some()).count();
    assert!(measured >= 2, "{paths:#?}");
}

#[test]
fn a_dead_path_is_left_for_one_that_answers_outside_without_a_handshake() {
    let mut samples = Vec::new();
    for moment in 0..20 {
        let mut world = kernels();
        world.run(Duration::from_millis(10_000 + moment * 137));
        blackouts(&mut world);
        forget(&mut world);
        let dead = used(&world);
        world.lans.as_mut().unwrap()[dead] = (false, false);
        world.run_s(3);
        assert_ne!(used(&world), dead);
        assert_eq!(world.state(0, 1), Some(PeerState::Up));
        for node in &world.nodes {
            assert_eq!(node.engine.initiations, [], "no handshake");
            assert_eq!(node.engine.strayed, 0, "packets stayed on one path");
        }
        samples.extend(blackouts(&mut world));
    }
    samples.sort();
    assert_numbers("blackhole outside", &samples, 350, 700);
}

#[test]
fn a_peer_that_pauses_keeps_its_path_and_its_packets() {
    let mut world = kernels();
    world.run_s(10);
    forget(&mut world);
    let before = used(&world);
    let addresses: Vec<_> = [0, 1].map(|lan| IpAddr::from([10, lan, 2, 1])).into();
    world.cut.extend(addresses);
    world.run(Duration::from_millis(220));
    world.cut.clear();
    world.run_s(3);
    assert_eq!(used(&world), before, "nothing speaks for another path");
    for node in &world.nodes {
        assert_eq!(node.engine.strayed, 0);
        assert_eq!(node.engine.initiations, []);
    }
}

/// It has the node's paths and its daemon, but not its sessions: no path is better than another.
#[test]
fn a_session_that_the_far_end_lost_is_given_up_and_no_path_is_blamed() {
    let mut world = kernels();
    world.run_s(10);
    forget(&mut world);
    let before = world.nodes[0].mesh.recovery_counters();
    blackouts(&mut world);
    world.nodes[1].engine.forget_sessions();
    world.run_s(2);
    let lost = world.nodes[1].mesh.public_key;
    assert_eq!(world.nodes[0].engine.given_up, [lost], "once");
    assert!(!world.nodes[0].engine.initiations.is_empty());
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    let now = world.nodes[0].mesh.recovery_counters();
    assert_eq!(now.switches_silent, before.switches_silent);
    let longest = blackouts(&mut world).into_iter().max();
    assert!(longest < Some(Duration::from_secs(1)), "{longest:?}");
}

#[test]
fn a_far_end_that_does_not_answer_outside_is_asked_in_the_tunnel_in_the_end() {
    let mut world = kernels();
    world.run_s(10);
    world.outside_lost = true;
    let dead = used(&world);
    world.lans.as_mut().unwrap()[dead] = (false, false);
    world.run_s(5);
    assert_ne!(used(&world), dead);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn a_userspace_end_leaves_the_endpoint_of_a_kernel_alone() {
    let mut world = dual_homed_on([BackendKind::Userspace, BackendKind::Kernel]);
    forget(&mut world);
    world.run_s(60);
    assert_eq!(world.nodes[0].engine.strayed, 0);
    assert!(!asked_outside(&world, 0).is_empty());
}

/// One who has recorded candidate probes and sends them again from elsewhere gets answers within bounds and
/// nothing else.
#[test]
fn probes_sent_again_change_nothing() {
    let mut world = kernels();
    world.run_s(30);
    let recorded = asked_outside(&world, 0);
    assert!(!recorded.is_empty());
    forget(&mut world);
    let elsewhere = PathId {
        local: None,
        remote: "203.0.113.66:51840".parse().unwrap(),
    };
    let paths = |world: &World| {
        let paths = world.nodes[1].mesh.paths("a", world.now).unwrap().paths;
        paths.len()
    };
    let (before, paths_before) = (used(&world), paths(&world));
    for round in 0..40 {
        for (_, bytes) in &recorded {
            let event = EngineEvent::Datagram {
                path: elsewhere,
                bytes: bytes.clone(),
            };
            world.input(1, Input::Engine(event));
        }
        if round % 10 == 9 {
            world.run(Duration::from_millis(100));
        }
    }
    let answers = asked_outside(&world, 1);
    let answers = answers.iter().filter(|(path, _)| *path == elsewhere);
    assert!((1..=50).contains(&answers.count()));
    assert_eq!((used(&world), paths(&world)), (before, paths_before));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
}
