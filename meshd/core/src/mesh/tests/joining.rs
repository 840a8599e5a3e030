//! Joining: nodes find each other, connect, publish, restart and leave.

use std::time::Duration;

use mesh_proto::control::{ExplainVerdict, PeerState};
use mesh_proto::{ClusterKeys, Record};

use super::node::{secret, settings};
use super::world::World;
use crate::Input;
use crate::timing::{INITIATION_GAP, KEEPALIVE};

#[test]
fn cross_zone_pairs_tunnel_and_zone_mates_do_not() {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("x")), ("c", Some("y"))]);
    world.run_s(2);
    assert_eq!(world.state(0, 1), None);
    for (from, to) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up), "{from} {to}");
    }
    let a = &world.nodes[0];
    assert!(a.tunnels("10.0.3.1"));
    assert!(!a.tunnels("10.0.2.1"));
    let spec = &a.engine.peers.values().next().unwrap().spec;
    assert_eq!(spec.keepalive, Some(KEEPALIVE));
    assert!(spec.preshared_key.is_some());
    // One handshake each way at most, in one round.
    assert_eq!(a.engine.initiations.len(), 1);
}

#[test]
fn a_tunnel_is_up_within_a_second() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run(Duration::from_millis(500));
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
}

#[test]
fn what_is_published_is_sealed_and_true() {
    let mut config = settings("a", Some("x"));
    config.networks.advertise = vec!["10.244.1.0/24".parse().unwrap()];
    let mut world = World::empty();
    world.add(config);
    world.run_s(1);
    let envelope = world.nodes[0].published.clone().unwrap();
    let record = Record::decode(&envelope.open(&secret().keys()).unwrap()).unwrap();
    assert_eq!(record.zone.as_deref(), Some("x"));
    assert_eq!(
        record.node_addresses,
        ["10.0.1.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(
        record.candidates[0].address,
        "10.0.1.1:51840".parse().unwrap()
    );
    assert!(envelope.open(&[ClusterKeys::derive(&[2; 32])]).is_err());
    // STUN says the same address as the interface: no candidate of its own.
    assert_eq!(record.candidates.len(), 1);
}

#[test]
fn one_record_for_a_node_whose_world_does_not_change() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(1);
    let sequence = world.nodes[0].published.as_ref().unwrap().sequence();
    world.run_s(120);
    assert_eq!(
        world.nodes[0].published.as_ref().unwrap().sequence(),
        sequence
    );
}

#[test]
fn a_peer_that_does_not_answer_is_dialled_in_slower_rounds() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.kill(1);
    world.run_s(1);
    // It published before it died, so a knows of it.
    assert_eq!(world.state(0, 1), Some(PeerState::Connecting));
    world.run_s(60);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    let times: Vec<_> = world.nodes[0]
        .engine
        .initiations
        .iter()
        .map(|(at, _)| *at)
        .collect();
    assert!((10..=14).contains(&times.len()), "{}", times.len());
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= INITIATION_GAP)
    );
    assert!(world.problems(0).contains(&"peer_down".to_owned()));
    world.start_again(1);
    world.run_s(1);
    assert_eq!(
        world.state(0, 1),
        Some(PeerState::Up),
        "the one who starts dials at once"
    );
}

#[test]
fn a_restart_comes_back_from_the_cache_with_discovery_dead() {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("y"))]);
    world.run_s(3);
    world.set_server(false);
    world.kill(0);
    world.run_s(1);
    world.start_again(0);
    let first = world.nodes[0].first_network.clone().unwrap();
    let verdict = crate::explain::lookup(&first, "10.0.2.1".parse().unwrap()).verdict;
    assert_ne!(
        verdict,
        ExplainVerdict::Native,
        "fail closed from the first action"
    );
    world.run(Duration::from_millis(300));
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
    assert_eq!(world.saw(1, "peer_removed"), 0);
}

#[test]
fn the_sequence_grows_also_with_a_clock_in_the_past() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    let before = world.nodes[0].published.as_ref().unwrap().sequence();
    world.now.unix_ms -= 1_000_000;
    world.kill(0);
    world.start_again(0);
    world.run_s(1);
    let after = world.nodes[0].published.as_ref().unwrap().sequence();
    assert_eq!(after.0, before.0 + 1);
}

#[test]
fn a_leave_reaches_the_others_and_stops_the_node() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(2);
    let tombstone = {
        world.input(0, Input::Leave);
        world.nodes[0].published.clone().unwrap()
    };
    world.run_s(1);
    assert!(world.nodes[0].stopped);
    assert_eq!(world.state(1, 0), None);
    assert!(world.nodes[1].engine.peers.is_empty());
    assert_eq!(
        world.nodes[1].disk.removed.values().next(),
        Some(&tombstone.sequence())
    );
    // It may join again: above its leave, which its disk remembers.
    world.start_again(0);
    world.run_s(2);
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
}

#[test]
fn a_leave_without_a_server_stops_after_a_moment() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    world.set_server(false);
    world.input(0, Input::Leave);
    world.run_s(2);
    assert!(!world.nodes[0].stopped);
    world.run_s(2);
    assert!(world.nodes[0].stopped);
}

#[test]
fn a_leave_without_a_server_reaches_connected_peers() {
    let mut world = World::new(&[("a", None), ("b", None), ("c", None)]);
    world.run_s(2);
    world.set_server(false);
    world.loss = 20;
    world.input(0, Input::Leave);
    world.run_s(4);
    world.loss = 0;
    assert!(world.nodes[0].stopped);
    let left = world.nodes[0].published.as_ref().unwrap().sequence();
    for other in [1, 2] {
        assert_eq!(world.state(other, 0), None);
        assert_eq!(world.saw(other, "member_left"), 1);
        assert!(
            world.nodes[other]
                .disk
                .removed
                .values()
                .any(|held| *held == left)
        );
    }
    // A server that knows nothing of it cannot bring the node back.
    world.set_server(true);
    world.run_s(10);
    assert_eq!(world.state(1, 0), None);
}

#[test]
fn a_change_reaches_more_peers_than_fit_into_the_budget() {
    let mut world = World::new(&[("a", None)]);
    for number in 1..40 {
        world.add(settings(&format!("n{number}"), Some("other")));
    }
    world.run_s(5);
    world.set_server(false);
    let sent = world.nodes[0].mesh.recovery_counters().fragments_sent;
    for change in 0..10 {
        let mut changed = settings("a", None);
        changed.filters.exclude_advertised_networks = (0..120)
            .map(|net| format!("10.{change}.{net}.0/24").parse().unwrap())
            .collect();
        world.input(0, Input::Reload(Box::new(changed)));
        world.run(Duration::from_millis(100));
    }
    world.run_s(20);
    let counters = world.nodes[0].mesh.recovery_counters();
    let own = world.nodes[0].published.as_ref().unwrap().sequence();
    assert!(counters.fragments_withheld > 0, "{counters:?}");
    assert!(counters.fragments_sent > sent);
    for other in 1..40 {
        let id = world.id(0);
        let known = world.nodes[other].mesh.members(world.now).members;
        let known = known.iter().find(|member| member.id == id).unwrap();
        assert_eq!(known.sequence, own.0, "{other}");
    }
}

#[test]
fn a_lost_state_directory_is_answered_by_adoption() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(1);
    let before = world.nodes[0].published.as_ref().unwrap().sequence();
    // The disk is gone, the clock is in the past, the identity is the same.
    world.kill(0);
    world.nodes[0].disk = crate::persistent::PersistentState::default();
    world.nodes[0].published = None;
    world.now.unix_ms -= 10_000_000;
    world.start_again(0);
    world.run_s(2);
    let after = world.nodes[0].published.as_ref().unwrap().sequence();
    assert!(after > before);
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
    assert!(!world.problems(0).contains(&"identity_conflict".to_owned()));
}

#[test]
fn a_member_learned_a_moment_before_a_kill_is_known_without_discovery() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run(Duration::from_millis(400));
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world.set_server(false);
    world.kill(0);
    world.start_again(0);
    world.run_s(1);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
}
