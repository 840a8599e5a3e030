//! Cluster secrets: one replaces another while nodes talk, restart, and are not all told at once.

use std::time::Duration;

use mesh_proto::control::PeerState;
use mesh_proto::{ClusterSecret, PresharedKey};

use super::node::secret;
use super::world::World;

fn both() -> ClusterSecret {
    secret().rotated([2; 32]).unwrap()
}

/// The preshared key that node `a` uses with node `b`.
fn key_of(world: &World, a: usize, b: usize) -> PresharedKey {
    let theirs = world.nodes[b].engine.key();
    let spec = &world.nodes[a].engine.peers[&theirs].spec;
    spec.preshared_key.clone().unwrap()
}

fn key_from(world: &World, secret: &ClusterSecret, a: usize, b: usize) -> PresharedKey {
    secret.keys()[0].preshared_key(&world.id(a), &world.id(b))
}

fn mesh_of_three() -> World {
    let mut world = World::new(&[("a", None), ("b", None), ("c", None)]);
    world.run_s(3);
    world
}

fn assert_all_up(world: &World) {
    for (a, b) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
        assert_eq!(world.state(a, b), Some(PeerState::Up), "{a} to {b}");
    }
}

#[test]
fn pairs_move_to_the_new_secret_as_both_have_it() {
    let mut world = mesh_of_three();
    world.set_secret(0, both());
    world.run_s(3);
    for peer in [1, 2] {
        assert_eq!(
            key_of(&world, 0, peer),
            key_from(&world, &secret(), 0, peer)
        );
    }
    assert!(world.problems(0).contains(&"secret_rotation".to_owned()));
    world.set_secret(1, both());
    world.run_s(3);
    let new = key_from(&world, &both(), 0, 1);
    assert_eq!(
        (key_of(&world, 0, 1), key_of(&world, 1, 0)),
        (new.clone(), new)
    );
    assert_eq!(key_of(&world, 0, 2), key_from(&world, &secret(), 0, 2));
    world.set_secret(2, both());
    world.run_s(3);
    assert_all_up(&world);
    for index in 0..3 {
        world.set_secret(index, both().finished());
        world.run_s(2);
        assert!(!world.problems(index).contains(&"wrong_secret".to_owned()));
    }
    world.run_s(600);
    assert_all_up(&world);
    assert!(!world.problems(0).contains(&"secret_rotation".to_owned()));
    for index in 0..3 {
        assert_eq!(
            world.saw(index, "peer_down") + world.saw(index, "peer_removed"),
            0
        );
    }
}

#[test]
fn a_connected_pair_changes_over_when_both_ends_know() {
    let mut world = mesh_of_three();
    world.set_secret(0, both());
    world.run_s(3);
    let old = key_from(&world, &secret(), 0, 1);
    world.set_secret(1, both());
    assert_eq!(key_of(&world, 1, 0), old, "the far end has not heard of it");
    world.run(Duration::from_millis(500));
    assert_eq!(key_of(&world, 1, 0), key_of(&world, 0, 1));
    assert_ne!(key_of(&world, 1, 0), old);
}

#[test]
fn a_restart_with_the_new_secret_needs_no_server() {
    let mut world = mesh_of_three();
    world.set_secret(0, both());
    world.run_s(3);
    world.set_server(false);
    world.kill(1);
    world.nodes[1].secret = both();
    world.start_again(1);
    world.run_s(10);
    assert_all_up(&world);
    world.run_s(120);
    assert_eq!(key_of(&world, 1, 0), key_of(&world, 0, 1));
    assert_eq!(key_of(&world, 1, 0), key_from(&world, &both(), 0, 1));
}

#[test]
fn members_survive_a_restart_after_the_old_secret_is_gone() {
    let mut world = mesh_of_three();
    for secret in [both(), both().finished()] {
        for index in 0..3 {
            world.set_secret(index, secret.clone());
            world.run_s(3);
        }
    }
    world.set_server(false);
    world.kill(0);
    world.start_again(0);
    world.run_s(5);
    assert_all_up(&world);
    assert!(!world.problems(0).contains(&"wrong_secret".to_owned()));
}

#[test]
fn who_has_only_the_old_secret_is_left_out() {
    let mut world = mesh_of_three();
    for secret in [both(), both().finished()] {
        for index in 0..2 {
            world.set_secret(index, secret.clone());
            world.run_s(3);
        }
    }
    // As any session, the one under the old secret ends.
    world.kill(2);
    world.start_again(2);
    world.run_s(60);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(0, 2), Some(PeerState::Down));
    assert_eq!(world.state(1, 2), Some(PeerState::Down));
}
