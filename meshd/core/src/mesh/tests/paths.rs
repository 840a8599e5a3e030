//! Paths: NAT, filters, roaming, dead paths, external peers, and the bypass of a dead peer.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_proto::control::{ExplainVerdict, PeerState};
use mesh_proto::{Candidate, CandidateKind, Record, WgPublicKey};

use super::node::{PORT, secret, settings};
use super::world::World;
use crate::Input;
use crate::data_plane::{EngineEvent, PathId};
use crate::filter::FilterProgram;
use crate::settings::ExternalPeer;

fn published_candidates(world: &World, index: usize) -> Vec<Candidate> {
    let envelope = world.nodes[index].published.clone().unwrap();
    let plaintext = envelope.open(&secret().keys()).unwrap();
    Record::decode(&plaintext).unwrap().candidates
}

#[test]
fn a_natted_peer_dials_in() {
    let public: SocketAddr = "203.0.113.9:40001".parse().unwrap();
    let mut world = World::empty();
    world.add(settings("a", None));
    world.add_behind(settings("natted", None), Some(public));
    world.run_s(2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
    assert_eq!(world.endpoint(0, 1), Some(public));
    // STUN on the WireGuard port told it where it can be reached.
    let reflexive = Candidate {
        address: public,
        kind: CandidateKind::Reflexive,
    };
    assert!(published_candidates(&world, 1).contains(&reflexive));
}

#[test]
fn two_natted_peers_meet_at_their_reflexive_addresses() {
    let mut world = World::empty();
    world.add_behind(
        settings("a", None),
        Some("203.0.113.1:40001".parse().unwrap()),
    );
    world.add_behind(
        settings("b", None),
        Some("203.0.113.2:40002".parse().unwrap()),
    );
    world.run_s(8);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
}

#[test]
fn a_filter_that_excludes_a_peer_is_never_sent_to() {
    let mut config = settings("a", None);
    config.filters.peer_endpoints =
        Some(FilterProgram::parse(&["10.0.0.0/8", "!10.0.2.0/24"]).unwrap());
    let mut world = World::empty();
    world.add(config);
    world.add(settings("b", None));
    world.add(settings("c", None));
    // The fake engine asserts that nothing is commanded to a refused address.
    world.run_s(12);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    assert_eq!(world.state(0, 2), Some(PeerState::Up));
    assert_eq!(world.endpoint(0, 1), None);
    assert!(
        world.nodes[0].engine.refused > 0,
        "what it sent was dropped"
    );
    let paths = world.nodes[0].mesh.paths("b", world.now).unwrap().paths;
    assert!(!paths[0].in_use && !paths[0].reason.is_empty());
}

#[test]
fn a_filter_that_keeps_nothing_is_a_problem_and_harms_only_dialling() {
    let mut config = settings("a", None);
    config.filters.endpoints = Some(FilterProgram::parse(&["192.0.2.0/24"]).unwrap());
    let mut world = World::empty();
    world.add(config);
    world.add(settings("b", None));
    world.run_s(2);
    assert!(published_candidates(&world, 0).is_empty());
    assert!(
        world
            .problems(0)
            .contains(&"filter_excludes_all".to_owned())
    );
    // It can still dial the others.
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
    assert!(world.nodes[1].engine.initiations.is_empty());
}

#[test]
fn a_rebound_nat_is_followed() {
    let public: SocketAddr = "203.0.113.9:40001".parse().unwrap();
    let rebound: SocketAddr = "203.0.113.9:40002".parse().unwrap();
    let mut world = World::empty();
    world.add(settings("a", None));
    world.add_behind(settings("natted", None), Some(public));
    world.run_s(3);
    world.nodes[1].nat.as_mut().unwrap().public = rebound;
    world.run_s(4);
    assert_eq!(world.endpoint(0, 1), Some(rebound));
    assert_eq!(world.saw(0, "peer_down"), 0);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn an_idle_peer_that_dies_is_noticed_in_time() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(30);
    let pings = world.nodes[0].mesh.recovery_counters().pings_sent;
    world.run_s(60);
    let pings = world.nodes[0].mesh.recovery_counters().pings_sent - pings;
    assert!((10..=15).contains(&pings), "{pings} in a minute");
    world.kill(1);
    world.run_s(11);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
}

#[test]
fn silence_is_suspect_then_down_then_up_again() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(3);
    let now = world.now.instant;
    world.streams.start(0, 1, now);
    world.run_s(3);
    world.cut.insert("10.0.2.1".parse().unwrap());
    world.run(Duration::from_millis(3500));
    assert_eq!(world.state(0, 1), Some(PeerState::Suspect));
    world.run(Duration::from_millis(2500));
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    assert_eq!(
        world.nodes[0].verdict("10.0.2.1"),
        ExplainVerdict::Tunnel,
        "fail closed"
    );
    world.cut.clear();
    world.run_s(6);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
    assert_eq!(world.saw(0, "peer_removed"), 0);
}

#[test]
fn a_failed_send_dials_the_other_endpoints() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    let addresses = vec!["192.0.2.2:51840".parse().unwrap()];
    let failed = Vec::new();
    world.input(1, Input::StaticEndpoints { addresses, failed });
    world.run_s(3);
    let before = world.nodes[0].engine.initiations.len();
    let peer = *world.nodes[0].engine.peers.keys().next().unwrap();
    let path = PathId::to(world.endpoint(0, 1).unwrap());
    let error = "network is unreachable".to_owned();
    let event = EngineEvent::SendFailed {
        peer: Some(peer),
        path,
        error,
    };
    world.input(0, Input::Engine(event));
    assert_eq!(world.nodes[0].engine.initiations.len(), before + 1);
    world.run_s(1);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn a_dead_peer_is_bypassed_only_if_allowed_and_not_at_once() {
    let mut config = settings("a", None);
    config.allow_down_peer_bypass = true;
    let mut world = World::empty();
    world.add(config);
    world.add(settings("b", None));
    world.run_s(3);
    world.cut.insert("10.0.2.1".parse().unwrap());
    // Down 5 s after the last packet, bypassed 10 s later.
    world.run_s(14);
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Tunnel);
    world.run_s(3);
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
    let listed = world.nodes[0].mesh.routes().routes;
    let prefix = "10.0.2.1/32".parse().unwrap();
    let listed = listed.iter().find(|route| route.prefix == prefix).unwrap();
    assert_eq!(listed.verdict, ExplainVerdict::Native);
    assert_eq!(listed.peer_state, Some(PeerState::Down));
    assert_eq!(
        world.nodes[1].verdict("10.0.1.1"),
        ExplainVerdict::Tunnel,
        "not allowed there"
    );
    world.cut.clear();
    let mut seconds = 0;
    while world.state(0, 1) != Some(PeerState::Up) {
        world.run(Duration::from_millis(100));
        seconds += 1;
        assert!(seconds < 100, "comes back");
    }
    world.run(Duration::from_millis(4500));
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Native);
    world.run_s(1);
    assert_eq!(world.nodes[0].verdict("10.0.2.1"), ExplainVerdict::Tunnel);
}

#[test]
fn an_external_peer_is_dialled_judged_by_handshakes_and_told_how() {
    let mut config = settings("a", None);
    let key = WgPublicKey([42; 32]);
    let endpoint: SocketAddr = "192.0.2.42:51820".parse().unwrap();
    config.external_peers = vec![ExternalPeer {
        name: "phone".to_owned(),
        public_key: key,
        preshared_key: None,
        allowed_ips: vec!["10.99.0.2/32".parse().unwrap()],
        endpoint: Some(endpoint),
    }];
    let mut world = World::empty();
    world.add(config);
    world.run_s(1);
    assert!(world.nodes[0].tunnels("10.99.0.2"));
    assert_eq!(world.nodes[0].engine.initiations.len(), 1);
    let state = |world: &World| world.nodes[0].mesh.peers(world.now).peers[0].state;
    assert_eq!(state(&world), PeerState::Connecting);
    let done = EngineEvent::HandshakeDone {
        peer: key,
        path: PathId::to(endpoint),
        initiator: true,
    };
    world.input(0, Input::Engine(done));
    assert_eq!(state(&world), PeerState::Up);
    world.run_s(170);
    assert_eq!(state(&world), PeerState::Up, "no probes, no suspicion");
    world.run_s(15);
    assert_eq!(state(&world), PeerState::Down);
    let conf = world.nodes[0]
        .mesh
        .showconf(Some("phone"), world.now)
        .unwrap()
        .text;
    for line in [
        format!("Endpoint = 10.0.1.1:{PORT}"),
        format!(
            "PublicKey = {}",
            world.nodes[0].mesh.status(world.now).public_key
        ),
        "PersistentKeepalive = 20".to_owned(),
    ] {
        assert!(conf.lines().any(|have| have == line), "{line} in\n{conf}");
    }
    assert!(conf.contains("10.0.1.1/32"));
    // wg-quick would route the endpoint's own address into the tunnel.
    let mesh_address = world.nodes[0].mesh.status(world.now).mesh_address;
    let route = format!("# wg-quick only: PostUp = ip route add {mesh_address}/128 dev %i");
    assert!(conf.contains("# wg-quick only: Table = off"), "{conf}");
    assert!(conf.contains(&route), "{conf}");
    assert!(!conf.contains("add 10.0.1.1/32"), "{conf}");
    assert!(
        world.nodes[0]
            .mesh
            .showconf(Some("nobody"), world.now)
            .is_none()
    );
}

#[test]
fn a_reload_that_refuses_the_path_in_use_leaves_it() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(2);
    let mut config = settings("a", None);
    config.filters.peer_endpoints = Some(FilterProgram::parse(&["192.0.2.0/24"]).unwrap());
    world.input(0, Input::Reload(Box::new(config)));
    assert_eq!(world.endpoint(0, 1), None);
    let peer = world.nodes[0].engine.peers.values().next().unwrap();
    assert!(
        peer.spec.endpoint_filter.is_some(),
        "the engine refuses it as well"
    );
    world.run_s(10);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    world.input(0, Input::Reload(Box::new(settings("a", None))));
    world.run_s(6);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.saw(0, "peer_removed"), 0);
}

#[test]
fn an_endpoint_taken_back_gives_way_to_what_is_left() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(3);
    assert_eq!(
        world.endpoint(0, 1),
        Some(format!("10.0.2.1:{PORT}").parse().unwrap())
    );
    let before = world.nodes[0].engine.initiations.len();
    let other = "192.0.2.9:51840".parse().unwrap();
    let addresses = Input::StaticEndpoints {
        addresses: vec![other],
        failed: Vec::new(),
    };
    world.input(1, addresses);
    world.run_s(1);
    let count = |world: &World| world.nodes[0].engine.initiations.len();
    assert_eq!(count(&world), before, "one more is no reason to leave");
    let mut config = settings("b", None);
    config.filters.endpoints = Some(FilterProgram::parse(&["192.0.2.0/24"]).unwrap());
    world.input(1, Input::Reload(Box::new(config)));
    world.run_s(1);
    assert!(count(&world) > before, "what is left is dialled");
    // Nobody answers there: data goes on where it does.
    world.run_s(10);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn a_packet_in_one_direction_only_is_not_up_for_ever() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(3);
    // What b sends still arrives at a; nothing of a's arrives at b.
    world.cut_from = Some(world.nodes[0].address);
    world.run_s(12);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    assert_eq!(world.state(1, 0), Some(PeerState::Down));
    world.cut_from = None;
    world.run_s(8);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(1, 0), Some(PeerState::Up));
}
