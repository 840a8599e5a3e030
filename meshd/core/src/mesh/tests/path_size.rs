//! Path size: a path that loses large packets is found, told to the engine and to people, and forgotten
//! when it heals.

use std::time::Duration;

use mesh_proto::control::PeerState;

use super::node::settings;
use super::world::World;
use crate::Input;

fn limit(world: &World, node: usize, of: usize) -> Option<u16> {
    let key = world.nodes[of].engine.key();
    let told = world.nodes[node].engine.path_mtus.get(&key);
    told.copied().flatten()
}

#[test]
fn hole_is_found_and_heals() {
    let mut world = World::empty();
    world.largest = 1300;
    for name in ["a", "b"] {
        world.add(settings(name, None));
    }
    world.run_s(3);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up));
        assert_eq!(limit(&world, from, to), Some(1280));
        assert!(world.problems(from).contains(&"mtu_hole".to_owned()));
    }
    world.largest = usize::MAX;
    world.run_s(240);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(limit(&world, from, to), None);
        assert!(!world.problems(from).contains(&"mtu_hole".to_owned()));
        assert_eq!(world.saw(from, "path_mtu"), 2, "found and healed");
    }
}

#[test]
fn hole_behind_a_switch_is_found_within_two_seconds() {
    let mut world = World::empty();
    world.lans = Some([(true, true); 2]);
    for (index, name) in [(1, "a"), (2, "b")] {
        let node = world.add(settings(name, None));
        let second = std::net::Ipv4Addr::new(10, 1, index, 1);
        world.nodes[node].second = Some(second.into());
        let links = world.nodes[node].links();
        world.input(node, Input::Links(links));
    }
    world.run_s(10);
    assert_eq!(limit(&world, 0, 1), None);
    // Everything now runs where large packets vanish.
    let used = world.endpoint(0, 1).unwrap().ip();
    world.largest = 1300;
    world.cut.insert(used);
    let before = world.saw(0, "path_switched");
    for _ in 0..100 {
        world.run(Duration::from_millis(50));
        if world.saw(0, "path_switched") > before {
            break;
        }
    }
    assert!(world.saw(0, "path_switched") > before);
    world.run(Duration::from_millis(2200));
    assert_eq!(limit(&world, 0, 1), Some(1280));
}

/// Two nodes that nothing is wrong with, and a hole that appears after streams of such packets began.
fn late_hole(streams: &[((usize, usize), usize)]) -> World {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(30);
    for (ends, bytes) in streams {
        let now = world.now.instant;
        world.streams.start_of(*bytes, *ends, now);
    }
    world.run_s(5);
    assert_eq!(limit(&world, 0, 1), None);
    world.largest = 1300;
    world
}

#[test]
fn hole_that_appears_under_data_is_found_within_three_seconds() {
    let mut world = late_hole(&[((0, 1), 1400)]);
    let before = world.nodes[0].mesh.recovery_counters();
    world.run_s(3);
    assert_eq!(limit(&world, 0, 1), Some(1280));
    let after = world.nodes[0].mesh.recovery_counters();
    assert_eq!(after.switches(), before.switches());
    assert_eq!(after.initiations, before.initiations);
}

#[test]
fn hole_that_appears_beside_other_data_is_found_by_a_check() {
    let mut world = late_hole(&[((0, 1), 100), ((1, 0), 100)]);
    world.run_s(14);
    assert_eq!(limit(&world, 0, 1), Some(1280));
    assert_eq!(limit(&world, 1, 0), Some(1280));
    // It gets worse.
    world.largest = 1250;
    world.run_s(14);
    assert_eq!(limit(&world, 0, 1), Some(1200));
}

#[test]
fn checks_of_busy_peers_are_no_news_and_cost_little() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(30);
    let now = world.now.instant;
    world.streams.start(0, 1, now);
    world.streams.start(1, 0, now);
    world.loss = 5;
    let before = world.nodes[0].mesh.recovery_counters().pings_sent;
    world.run_s(600);
    let pings = world.nodes[0].mesh.recovery_counters().pings_sent - before;
    assert!(pings < 600 * 3, "{pings}");
    assert_eq!(world.saw(0, "path_mtu") + world.saw(1, "path_mtu"), 0);
}

#[test]
fn loss_is_no_hole() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.loss = 5;
    world.run_s(3600);
    assert_eq!(world.saw(0, "path_mtu") + world.saw(1, "path_mtu"), 0);
}
