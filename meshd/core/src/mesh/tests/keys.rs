//! WireGuard keys: one replaces another while nodes talk, and nobody else's is to be had that way.

use std::time::Duration;

use mesh_proto::control::PeerState;
use mesh_proto::record::BackendKind;
use mesh_proto::{WgPrivateKey, WgPublicKey};

use super::node::settings;
use super::world::World;
use crate::mesh::KeyRefusal;
use crate::timing::{KEY_CHANGE_LIMIT, PUBLISH_COALESCE};

const PAIRS: [(usize, usize); 6] = [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)];

fn public(seed: u8) -> WgPublicKey {
    WgPrivateKey::from_bytes([seed; 32]).public_key()
}

/// Three nodes that send to each other all the time.
fn talking() -> World {
    let mut world = World::new(&[("a", None), ("b", None), ("c", None)]);
    world.run_s(3);
    for (from, to) in PAIRS {
        let now = world.now.instant;
        world.streams.start(from, to, now);
    }
    world.run_s(1);
    // The first packet was on its way for longer than there is between two.
    for (from, to) in PAIRS {
        let now = world.now.instant;
        world.streams.blackout(from, to, now);
    }
    world.run_s(1);
    assert_nothing_lost(&mut world);
    world
}

fn assert_nothing_lost(world: &mut World) {
    let now = world.now.instant;
    for (from, to) in PAIRS {
        let gap = world.streams.blackout(from, to, now);
        assert_eq!(gap, Duration::ZERO, "{from} to {to}");
        assert_eq!(world.state(from, to), Some(PeerState::Up), "{from} to {to}");
    }
}

/// All of `by` have the peer under this key and no other, with a session under it.
fn assert_known(world: &World, by: &[usize], node: usize, key: WgPublicKey) {
    assert_eq!(world.nodes[node].engine.key(), key);
    for at in by {
        let peers = world.nodes[*at].mesh.peers(world.now).peers;
        let of_node = peers
            .iter()
            .filter(|peer| peer.id == Some(world.id(node)))
            .count();
        assert_eq!(of_node, 1, "{at}");
        assert!(
            world.nodes[*at].engine.peers.contains_key(&key),
            "{at} knows the key"
        );
    }
}

#[test]
fn a_key_is_replaced_and_no_packet_is_lost() {
    let mut world = talking();
    let before = [1, 2].map(|at| world.saw(at, "peer_up"));
    let old = world.nodes[0].engine.key();
    world.rotate_key(0, 77).unwrap();
    world.run(Duration::from_millis(40));
    assert_eq!(
        world.nodes[0].engine.key(),
        old,
        "the others must hear first"
    );
    world.run_s(1);
    assert_known(&world, &[1, 2], 0, public(77));
    assert_eq!(world.saw(0, "key_in_use"), 1);
    world.run_s(300);
    assert_nothing_lost(&mut world);
    for (index, at) in [1, 2].into_iter().enumerate() {
        assert_eq!(world.saw(at, "peer_key_changed"), 1);
        assert_eq!(world.saw(at, "peer_up"), before[index]);
        let lost = world.saw(at, "peer_down") + world.saw(at, "peer_removed");
        assert_eq!(lost, 0);
    }
    // Nobody suspected anything: the handshakes were meant.
    let suspected: usize = (0..3).map(|at| world.saw(at, "session_renewed")).sum();
    assert_eq!(suspected, 0);
}

#[test]
fn sessions_are_made_anew_under_the_new_key() {
    let mut world = talking();
    world.rotate_key(0, 77).unwrap();
    world.run_s(2);
    // What is left are sessions of before the change, if there are any.
    for at in [1, 2] {
        let now = world.now.instant;
        let peer = &world.nodes[at].engine.peers[&public(77)];
        let age = peer.handshake_age(now).unwrap();
        assert!(age < Duration::from_secs(2), "{at}: {age:?}");
    }
}

#[test]
fn all_may_replace_theirs_at_once() {
    let mut world = talking();
    for index in 0..3 {
        world.rotate_key(index, 70 + index as u8).unwrap();
    }
    world.run_s(5);
    assert_nothing_lost(&mut world);
    for index in 0..3 {
        let others: Vec<usize> = (0..3).filter(|other| *other != index).collect();
        assert_known(&world, &others, index, public(70 + index as u8));
    }
}

#[test]
fn a_peer_that_does_not_hear_of_it_loses_nothing_while_its_session_lives() {
    let mut world = talking();
    world.deaf = true;
    world.rotate_key(0, 77).unwrap();
    world.set_server(false);
    world.run(KEY_CHANGE_LIMIT / 2);
    assert_ne!(world.nodes[0].engine.key(), public(77));
    world.run(KEY_CHANGE_LIMIT);
    assert_eq!(world.nodes[0].engine.key(), public(77));
    world.run_s(20);
    assert_nothing_lost(&mut world);
    world.deaf = false;
    world.set_server(true);
    world.run_s(10);
    assert_known(&world, &[1, 2], 0, public(77));
    assert_nothing_lost(&mut world);
}

#[test]
fn peers_on_the_kernel_backend_are_answered_at_once() {
    let mut world = World::empty();
    world.add(settings("a", None));
    for name in ["b", "c"] {
        let mut kernel = settings(name, None);
        kernel.wireguard.backend = BackendKind::Kernel;
        world.add(kernel);
    }
    world.run_s(3);
    world.rotate_key(0, 77).unwrap();
    world.run(PUBLISH_COALESCE);
    assert_eq!(world.nodes[0].engine.key(), public(77));
    world.run_s(2);
    assert_known(&world, &[1, 2], 0, public(77));
}

#[test]
fn it_is_refused_where_it_would_cut_somebody_off() {
    let mut world = talking();
    world.rotate_key(0, 77).unwrap();
    assert!(matches!(world.rotate_key(0, 78), Err(KeyRefusal::UnderWay)));
    world.run_s(1);
    world.set_server(false);
    assert!(matches!(
        world.rotate_key(0, 78),
        Err(KeyRefusal::Unreachable)
    ));
    world.set_server(true);
    world.run_s(1);
    world.rotate_key(0, 78).unwrap();
    world.run_s(1);
    assert_known(&world, &[1, 2], 0, public(78));
    assert_nothing_lost(&mut world);
}

#[test]
fn a_crash_at_any_moment_leaves_one_key_that_works() {
    for after_ms in [0, 30, 60, 70, 90, 500] {
        let mut world = World::new(&[("a", None), ("b", None), ("c", None)]);
        world.run_s(3);
        world.rotate_key(0, 77).unwrap();
        world.run(Duration::from_millis(after_ms));
        world.kill(0);
        world.start_again(0);
        world.run_s(10);
        assert_known(&world, &[1, 2], 0, public(77));
        for (from, to) in PAIRS {
            let state = world.state(from, to);
            assert_eq!(state, Some(PeerState::Up), "{after_ms}: {from} to {to}");
        }
    }
}

#[test]
fn nobody_gets_the_key_of_another_by_a_change() {
    let mut world = talking();
    let victims = world.nodes[2].engine.key();
    world.rotate_key(1, 3).unwrap();
    assert_eq!(victims, public(3), "node 1 names node 2's key");
    world.run_s(10);
    assert_eq!(world.state(0, 2), Some(PeerState::Up));
    let gap = {
        let now = world.now.instant;
        [(0, 2), (2, 0)].map(|(from, to)| world.streams.blackout(from, to, now))
    };
    assert_eq!(gap, [Duration::ZERO; 2]);
    let spec = &world.nodes[0].engine.peers[&victims].spec;
    let address = world.nodes[2].engine.mesh_address();
    assert_eq!(spec.mesh_address, Some(address));
}
