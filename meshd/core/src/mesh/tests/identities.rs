//! Identities: state directories that are restored, lost or copied. Each is named, and the mesh goes on.

use mesh_proto::control::PeerState;

use super::node::settings;
use super::world::World;
use crate::Input;
use crate::persistent::PersistentState;

fn has(world: &World, index: usize, code: &str) -> bool {
    world.problems(index).contains(&code.to_owned())
}

/// `b` publishes again, in another zone.
fn publish_again(world: &mut World) {
    let mut next = world.nodes[1].settings.clone();
    next.zone = crate::settings::ZoneSource::Label("elsewhere".to_owned());
    world.nodes[1].settings = next.clone();
    world.input(1, Input::Reload(Box::new(next)));
    world.run_s(3);
}

/// `b` starts again from this disk, and hears of what servers have before it publishes.
fn restart_from(world: &mut World, disk: PersistentState) {
    world.set_server(false);
    world.kill(1);
    world.nodes[1].disk = disk;
    world.start_again(1);
    world.set_server(true);
    world.run_s(5);
}

#[test]
fn a_restored_backup_is_named_and_the_node_publishes_above_it() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(5);
    let backup = world.nodes[1].disk.clone();
    publish_again(&mut world);
    let newest = world.nodes[1].published.clone().unwrap().sequence();
    assert!(backup.record_sequence.unwrap() < newest);
    restart_from(&mut world, backup);
    assert!(has(&world, 1, "state_behind"), "{:?}", world.problems(1));
    assert!(!has(&world, 1, "identity_conflict"));
    assert!(world.nodes[1].published.clone().unwrap().sequence() > newest);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world.run_s(700);
    assert!(!has(&world, 1, "state_behind"));
}

#[test]
fn a_restart_with_its_own_disk_is_not_behind() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(5);
    publish_again(&mut world);
    let own = world.nodes[1].disk.clone();
    restart_from(&mut world, own);
    assert!(!has(&world, 1, "state_behind"));
}

#[test]
fn a_machine_installed_anew_is_told_from_two_of_one_name() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(5);
    let address = world.nodes[1].address;
    world.kill(1);
    // One machine has the address at a time.
    world.nodes[1].address = "10.0.66.1".parse().unwrap();
    let anew = world.add(settings("b", None));
    world.readdress(anew, address);
    world.run_s(30);
    assert_eq!(world.state(0, anew), Some(PeerState::Up));
    for index in [0, anew] {
        assert!(
            has(&world, index, "reinstalled"),
            "{index}: {:?}",
            world.problems(index)
        );
    }
    assert!(world.nodes[0].tunnels(&address.to_string()));
    world.run_s(2 * 3600);
    assert!(
        !has(&world, 0, "reinstalled"),
        "the former self is forgotten"
    );
}

#[test]
fn two_living_nodes_of_one_name_are_no_reinstallation() {
    let mut world = World::new(&[("a", None), ("twin", None), ("twin", None)]);
    world.run_s(30);
    assert!(has(&world, 0, "same_name"));
    assert!(!has(&world, 0, "reinstalled"));
}

#[test]
fn both_machines_of_one_identity_say_so() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(5);
    let copy = world.start_copy(1, "10.0.77.1".parse().unwrap());
    world.run_s(30);
    for index in [1, copy] {
        assert!(has(&world, index, "identity_conflict"), "{index}");
    }
    world.kill(copy);
    world.run_s(120);
    assert!(!has(&world, 1, "identity_conflict"));
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}
