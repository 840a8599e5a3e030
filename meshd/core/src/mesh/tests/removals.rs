//! Removals: the administrator's word counts everywhere, and nobody else's.

use mesh_proto::control::{NodeState, PeerState};
use mesh_proto::{
    AdminKey, ClusterKeys, IdentityKey, Removal, Removals, Sequence, VerifiedEnvelope,
};

use super::node::{ADMIN_SEED, secret};
use super::world::World;
use crate::mesh::RemovalRefusal;

fn keys() -> Vec<ClusterKeys> {
    secret().keys()
}

fn admin(seed: u8) -> AdminKey {
    AdminKey(IdentityKey::from_seed(&[seed; 32]))
}

fn removal(world: &World, index: usize) -> Removal {
    Removal {
        id: world.id(index),
        name: world.nodes[index].settings.name.clone(),
        at_ms: world.now.unix_ms,
        secret: keys()[0].cluster_id(),
    }
}

/// A list of these nodes, signed by the key of that seed.
fn list(world: &World, nodes: &[usize], sequence: u64, seed: u8) -> VerifiedEnvelope {
    let removed = nodes.iter().map(|index| removal(world, *index)).collect();
    let list = Removals { removed };
    let sealed = list.seal(&keys()[0], &admin(seed), Sequence(sequence), [4; 24]);
    sealed.unwrap()
}

/// The administrator hands a list to node `at`.
fn hand_in(world: &mut World, at: usize, list: &VerifiedEnvelope) -> Result<(), RemovalRefusal> {
    let now = world.now;
    let taken = world.nodes[at]
        .mesh
        .remove_members(std::slice::from_ref(list), now);
    world.drain(at);
    taken.map(|_| ())
}

fn mesh_of_three() -> World {
    let mut world = World::new(&[("a", None), ("b", None), ("c", None)]);
    world.run_s(3);
    world
}

/// The state of node `of` in the member list of node `at`.
fn listed(world: &World, at: usize, of: usize) -> Option<NodeState> {
    let members = world.nodes[at].mesh.members(world.now).members;
    let found = members
        .into_iter()
        .find(|member| member.id == world.id(of))?;
    Some(found.state)
}

fn assert_out(world: &World, at: usize, out: usize) {
    assert_eq!(world.state(at, out), None, "{at} has no peer {out}");
    assert_eq!(listed(world, at, out), Some(NodeState::Removed), "{at}");
}

#[test]
fn all_drop_a_removed_node_and_it_is_told() {
    let mut world = mesh_of_three();
    let list = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &list).unwrap();
    world.run_s(1);
    for at in [0, 1] {
        assert_out(&world, at, 2);
        assert!(
            world
                .problems(at)
                .contains(&"removed_has_secret".to_owned())
        );
    }
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert!(world.problems(2).contains(&"removed".to_owned()));
    assert_eq!(world.saw(2, "removed"), 1);
    // It goes on renewing its record, and publishes new ones.
    world.run_s(600);
    world.kill(2);
    world.start_again(2);
    world.run_s(60);
    for at in [0, 1] {
        assert_out(&world, at, 2);
    }
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn it_spreads_through_tunnels_and_over_restarts_without_a_server() {
    let mut world = mesh_of_three();
    world.set_server(false);
    let list = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &list).unwrap();
    world.run_s(1);
    assert_out(&world, 1, 2);
    assert!(world.problems(2).contains(&"removed".to_owned()));
    for index in [0, 1] {
        world.kill(index);
        world.start_again(index);
    }
    world.run_s(10);
    assert_out(&world, 0, 2);
    assert_out(&world, 1, 2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn who_was_away_hears_of_it_from_the_first_peer() {
    let mut world = mesh_of_three();
    world.set_server(false);
    world.kill(1);
    let list = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &list).unwrap();
    world.run_s(30);
    world.start_again(1);
    world.run_s(10);
    assert_out(&world, 1, 2);
}

#[test]
fn a_server_that_has_lost_it_is_given_it_again() {
    let mut world = mesh_of_three();
    let list = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &list).unwrap();
    world.run_s(1);
    world.set_server(false);
    let admin = admin(ADMIN_SEED).0.public_key().member_id();
    world.server.stored.clear();
    world.set_server(true);
    world.run_s(15);
    assert!(world.server.stored.keys().any(|(id, _)| *id == admin));
}

#[test]
fn a_server_that_forgets_it_is_given_it_again_on_the_same_connection() {
    let mut world = mesh_of_three();
    let list = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &list).unwrap();
    world.run_s(1);
    let admin = admin(ADMIN_SEED).0.public_key().member_id();
    world.server.stored.retain(|(id, _), _| *id != admin);
    world.run_s(6 * 3600 + 60);
    assert!(world.server.stored.keys().any(|(id, _)| *id == admin));
}

#[test]
fn nobody_else_removes_anybody_and_old_lists_count_for_nothing() {
    let mut world = mesh_of_three();
    let forged = list(&world, &[1], 9, 3);
    let refused = hand_in(&mut world, 0, &forged);
    assert!(matches!(refused, Err(RemovalRefusal::List(_))));
    // The id of a member's key, as a leave that says more than a leave.
    world.server_says(0, &forged);
    let first = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &first).unwrap();
    let old = list(&world, &[1], 4, ADMIN_SEED);
    assert!(matches!(
        hand_in(&mut world, 0, &old),
        Err(RemovalRefusal::Old(Sequence(5)))
    ));
    world.server_says(0, &old);
    world.run_s(5);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_out(&world, 0, 2);
}

#[test]
fn a_body_with_a_list_that_is_refused_changes_nothing() {
    let mut world = mesh_of_three();
    let good = list(&world, &[2], 5, ADMIN_SEED);
    let other = ClusterKeys::derive(&[77; 32]);
    let removed = vec![removal(&world, 2)];
    let foreign = Removals { removed }.seal(&other, &admin(ADMIN_SEED), Sequence(5), [4; 24]);
    let now = world.now;
    let body = [good.clone(), foreign.unwrap()];
    let taken = world.nodes[0].mesh.remove_members(&body, now);
    assert!(matches!(taken, Err(RemovalRefusal::List(_))), "{taken:?}");
    world.drain(0);
    world.run_s(1);
    assert_eq!(world.nodes[0].mesh.removed_members().sequence, 0);
    assert_eq!(world.state(0, 2), Some(PeerState::Up));
    hand_in(&mut world, 0, &good).unwrap();
    world.run_s(1);
    assert_out(&world, 0, 2);
}

#[test]
fn a_restored_node_is_back_when_it_publishes_again() {
    let mut world = mesh_of_three();
    let first = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &first).unwrap();
    world.run_s(20);
    let none = list(&world, &[], 6, ADMIN_SEED);
    hand_in(&mut world, 1, &none).unwrap();
    world.run_s(5);
    world.kill(2);
    world.start_again(2);
    world.run_s(10);
    for (a, b) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        assert_eq!(world.state(a, b), Some(PeerState::Up), "{a} to {b}");
    }
    assert!(!world.problems(2).contains(&"removed".to_owned()));
}

#[test]
fn a_rotation_ends_what_the_removed_node_knows() {
    let mut world = mesh_of_three();
    let list = list(&world, &[2], 5, ADMIN_SEED);
    hand_in(&mut world, 0, &list).unwrap();
    world.run_s(1);
    let both = secret().rotated([2; 32]).unwrap();
    for secret in [both.clone(), both.finished()] {
        for index in 0..2 {
            world.set_secret(index, secret.clone());
            world.run_s(3);
        }
    }
    for at in 0..2 {
        assert_out(&world, at, 2);
        let problems = world.problems(at);
        assert!(
            !problems.contains(&"removed_has_secret".to_owned()),
            "{problems:?}"
        );
    }
    world.kill(0);
    world.start_again(0);
    world.run_s(10);
    assert_out(&world, 0, 2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}
