//! Zones: changes at run time, in both directions, and what stays reachable meanwhile.

use std::time::Duration;

use mesh_proto::control::{ExplainVerdict, LinkKind, PeerState};
use mesh_proto::record::TopologyMode;

use super::node::settings;
use super::world::World;
use crate::Input;
use crate::settings::ZoneSource;
use crate::timing::RECEIVE_TAIL;

fn zone_file(world: &mut World, index: usize, zone: Option<&str>) {
    world.input(index, Input::ZoneFile(zone.map(str::to_owned)));
}

/// Node 0 takes its zone from a file; it starts in `x`, node 1 is in `y`.
fn world() -> World {
    let mut world = World::empty();
    let mut config = settings("a", None);
    config.zone = ZoneSource::File;
    world.add(config);
    zone_file(&mut world, 0, Some("x"));
    world.add(settings("b", Some("y")));
    world.run_s(3);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world
}

#[test]
fn to_native_only_when_each_end_knows_the_other_knows() {
    let mut world = world();
    zone_file(&mut world, 0, Some("y"));
    // The other end cannot have answered yet: this end keeps tunnel and routes.
    world.run(Duration::from_millis(5));
    assert!(world.nodes[0].tunnels("10.0.2.1"));
    assert!(world.nodes[1].tunnels("10.0.1.1"));
    let topology = world.nodes[0].mesh.topology(&[], world.now);
    assert_eq!(topology.links[0].kind, LinkKind::Tunnel);
    world.run(Duration::from_millis(500));
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
    assert_eq!(world.nodes[1].verdict("10.0.1.1"), ExplainVerdict::Native);
    // What is still on its way through the tunnel is accepted a while longer.
    assert_eq!(world.nodes[0].engine.peers.len(), 1);
    assert_eq!(world.nodes[1].engine.peers.len(), 1);
    assert_eq!(world.state(0, 1), None);
    world.run(RECEIVE_TAIL + Duration::from_secs(1));
    assert!(world.nodes[0].engine.peers.is_empty());
    assert!(world.nodes[1].engine.peers.is_empty());
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_changes_nothing() {
    let mut world = world();
    world.input(
        0,
        Input::ZoneFileRefused("\"b z\" cannot be a zone".to_owned()),
    );
    world.input(
        0,
        Input::ReloadRefused("line 1: nodee: unknown key".to_owned()),
    );
    world.run_s(1);
    let codes = world.problems(0);
    assert!(codes.contains(&"zone_file_refused".to_owned()), "{codes:?}");
    assert!(codes.contains(&"reload_refused".to_owned()), "{codes:?}");
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    zone_file(&mut world, 0, Some("x"));
    let same = Box::new(world.nodes[0].mesh.settings.clone());
    world.input(0, Input::Reload(same));
    let codes = world.problems(0);
    assert!(
        !codes.iter().any(|code| code.ends_with("_refused")),
        "{codes:?}"
    );
}

#[test]
fn the_news_travels_through_the_tunnel_without_a_server() {
    for loss in [0, 30] {
        let mut world = world();
        world.set_server(false);
        world.loss = loss;
        zone_file(&mut world, 0, Some("y"));
        world.run_s(if loss == 0 { 1 } else { 30 });
        assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
        assert_eq!(world.nodes[1].verdict("10.0.1.1"), ExplainVerdict::Native);
        world.loss = 0;
        world.run(RECEIVE_TAIL);
        assert!(world.nodes[1].engine.peers.is_empty());
    }
}

#[test]
fn a_changed_record_reaches_connected_peers_without_a_server() {
    let mut world = world();
    world.set_server(false);
    let networks = vec!["10.244.7.0/24".parse().unwrap()];
    let mut config = world.nodes[0].mesh.settings.clone();
    config.networks.advertise = networks;
    world.input(0, Input::Reload(Box::new(config)));
    world.run_s(1);
    assert!(world.nodes[1].tunnels("10.244.7.9"));
    let counters = |world: &World, node: usize| world.nodes[node].mesh.recovery_counters();
    let sent = counters(&world, 0).fragments_sent;
    assert!(sent > 0);
    world.run_s(300);
    assert_eq!(counters(&world, 0).fragments_sent, sent, "told once");
    assert_eq!(counters(&world, 1).envelopes_refused, 0);
}

#[test]
fn the_tunnel_stays_while_the_news_cannot_travel() {
    let mut world = world();
    world.set_server(false);
    world.deaf = true;
    zone_file(&mut world, 0, Some("y"));
    world.run_s(60);
    assert!(world.nodes[0].tunnels("10.0.2.1"));
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world.set_server(true);
    world.run_s(8);
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
}

#[test]
fn a_dead_peer_does_not_keep_the_tunnel() {
    let mut world = world();
    world.kill(1);
    world.run_s(10);
    zone_file(&mut world, 0, Some("y"));
    world.run_s(1);
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
    assert!(world.nodes[0].engine.peers.is_empty());
}

#[test]
fn to_a_tunnel_at_once() {
    let mut world = world();
    zone_file(&mut world, 0, Some("y"));
    world.run_s(30);
    assert!(world.nodes[0].engine.peers.is_empty());
    zone_file(&mut world, 0, Some("x"));
    assert!(
        world.nodes[0].tunnels("10.0.2.1"),
        "fails closed before the handshake"
    );
    world.run_s(1);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert!(world.nodes[1].tunnels("10.0.1.1"));
}

#[test]
fn back_and_forth_within_the_tail_keeps_the_session() {
    let mut world = world();
    zone_file(&mut world, 0, Some("y"));
    world.run_s(3);
    let before = world.nodes[0].engine.initiations.len();
    zone_file(&mut world, 0, Some("x"));
    world.run_s(3);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.nodes[0].engine.initiations.len(), before);
    assert_eq!(world.saw(0, "peer_removed"), 0);
}

#[test]
fn a_restart_knows_its_zone_before_the_file_is_read() {
    let mut world = World::empty();
    let mut config = settings("a", None);
    config.zone = ZoneSource::File;
    world.add(config);
    zone_file(&mut world, 0, Some("x"));
    world.add(settings("b", Some("x")));
    world.run_s(2);
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
    world.kill(0);
    world.start_again(0);
    let first = world.nodes[0].first_network.clone().unwrap();
    let verdict = crate::explain::lookup(&first, "10.0.2.1".parse().unwrap()).verdict;
    assert_eq!(verdict, ExplainVerdict::Native);
    assert_eq!(world.state(0, 1), None);
}

#[test]
fn full_mode_needs_both_ends() {
    let full = |name| {
        let mut config = settings(name, Some("x"));
        config.mode = TopologyMode::Full;
        config
    };
    let mut world = World::empty();
    world.add(full("a"));
    world.add(full("b"));
    world.add(settings("c", Some("x")));
    world.run_s(2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(0, 2), None);
}
