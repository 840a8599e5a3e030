//! Resume: a host that slept for an hour is back at once, and addresses that become usable late are used.

use std::net::IpAddr;
use std::time::Duration;

use mesh_proto::Record;
use mesh_proto::control::PeerState;

use super::node::secret;
use super::world::World;
use crate::Input;

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: u64 = 3_600_000;

fn two() -> World {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(30);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world
}

/// The process was stopped, and its clocks ran on: nothing it knows says that the peer is down.
#[test]
fn an_hour_between_two_inputs_takes_nobody_down() {
    let mut world = two();
    for node in &mut world.nodes {
        node.running = false;
    }
    world.run_s(5);
    world.now = world.now + HOUR;
    for index in [0, 1] {
        world.nodes[index].running = true;
        let links = world.nodes[index].links();
        world.input(index, Input::Links(links));
        assert_eq!(world.saw(index, "resumed"), 1);
    }
    world.run(Duration::from_millis(500));
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up));
        assert_eq!(world.saw(from, "peer_down"), 0);
        assert_eq!(world.saw(from, "resumed"), 1);
    }
}

/// The other end gave it up meanwhile, and forgot the session.
#[test]
fn a_host_that_slept_is_back_within_half_a_second() {
    let mut world = two();
    world.nodes[0].running = false;
    world.run_s(600);
    assert_eq!(world.state(1, 0), Some(PeerState::Down));
    world.nodes[1].engine.forget_sessions();
    world.nodes[0].running = true;
    world.input(0, Input::Persisted(Ok(())));
    world.run(Duration::from_millis(500));
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up), "{from} to {to}");
    }
    // The wall clock alone tells of it as well.
    world.now.unix_ms += HOUR_MS;
    world.input(0, Input::Persisted(Ok(())));
    assert_eq!(world.saw(0, "resumed"), 2);
    world.run_s(1);
    assert_eq!(world.saw(0, "peer_down"), 0);
}

#[test]
fn a_clock_that_is_set_shakes_nobody() {
    let mut world = two();
    let before = world.nodes[0].engine.initiations.len();
    for _ in 0..5 {
        world.now.unix_ms += HOUR_MS;
        world.run_s(10);
    }
    assert_eq!(world.nodes[0].engine.initiations.len(), before);
    let counters = world.nodes[0].mesh.recovery_counters();
    assert_eq!(counters.switches(), 0);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world.now.unix_ms -= 3 * HOUR_MS;
    world.run_s(10);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

fn published(world: &World, index: usize, address: IpAddr) -> bool {
    let envelope = world.nodes[index].published.clone().unwrap();
    let record = Record::decode(&envelope.open(&secret().keys()).unwrap()).unwrap();
    let mut candidates = record.candidates.iter();
    candidates.any(|candidate| candidate.address.ip() == address)
}

/// Duplicate address detection takes a second or two, in which nothing can be sent from the address.
#[test]
fn a_tentative_address_is_used_as_soon_as_it_is_usable() {
    let mut world = two();
    let own: IpAddr = "2001:db8:1::1".parse().unwrap();
    let theirs: IpAddr = "2001:db8:2::1".parse().unwrap();
    world.nodes[1].second = Some(theirs);
    let links = world.nodes[1].links();
    world.input(1, Input::Links(links));
    world.nodes[0].second = Some(own);
    let mut links = world.nodes[0].links();
    links.links[1].addresses[0].unusable = true;
    world.input(0, Input::Links(links.clone()));
    world.run_s(3);
    let leads_there = |world: &World| {
        let paths = world.nodes[0].mesh.paths("b", world.now).unwrap().paths;
        let path = paths.into_iter().find(|path| path.endpoint.ip() == theirs);
        path.filter(|path| path.last_receive.is_some()).is_some()
    };
    assert!(!published(&world, 0, own));
    assert!(!leads_there(&world));
    links.links[1].addresses[0].unusable = false;
    world.input(0, Input::Links(links));
    world.run_s(1);
    assert!(published(&world, 0, own));
    assert!(leads_there(&world));
    // The path in use goes: the new one takes over.
    world.cut.insert("10.0.1.1".parse().unwrap());
    world.run_s(15);
    assert_eq!(world.endpoint(0, 1).unwrap().ip(), theirs);
    assert_eq!(world.saw(0, "peer_down"), 0);
}
