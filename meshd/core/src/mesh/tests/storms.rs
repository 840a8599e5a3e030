//! Storms: what happens to many peers at once stays bounded and is over soon.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mesh_proto::control::PeerState;

use super::node::settings;
use super::world::World;
use crate::Input;

/// A hub, number 0, whose peers are in one zone of their own.
fn star(peers: usize) -> World {
    let mut world = World::empty();
    world.add(settings("hub", None));
    for number in 1..=peers {
        world.add(settings(&format!("n{number}"), Some("edge")));
    }
    world
}

fn up(world: &World) -> usize {
    let peers = world.nodes[0].mesh.peers(world.now).peers;
    peers
        .iter()
        .filter(|peer| peer.state == PeerState::Up)
        .count()
}

/// Most initiations of a node within `window`, since `start`.
fn burst(world: &World, node: usize, start: Instant, window: Duration) -> usize {
    let times: Vec<Instant> = world.nodes[node]
        .engine
        .initiations
        .iter()
        .map(|(at, _)| *at)
        .filter(|at| *at >= start)
        .collect();
    let within = |first: Instant| {
        let inside = |at: &&Instant| **at >= first && **at < first + window;
        times.iter().filter(inside).count()
    };
    times.iter().map(|first| within(*first)).max().unwrap_or(0)
}

fn since(world: &World, node: usize, start: Instant) -> usize {
    burst(world, node, start, Duration::from_secs(3600))
}

fn hub_restarts(peers: usize) {
    let mut world = star(peers);
    world.run_s(3);
    assert_eq!(up(&world), peers);
    world.kill(0);
    world.run(Duration::from_millis(500));
    let start = world.now.instant;
    // Nobody tells it of its peers but its disk.
    world.set_server(false);
    world.start_again(0);
    world.run_s(2);
    assert_eq!(up(&world), peers);
    let at_once = burst(&world, 0, start, Duration::from_millis(100));
    assert!(at_once <= 64 + 21, "{at_once} initiations within 100 ms");
    let own = since(&world, 0, start);
    // Some of its peers have noticed already, and begin themselves.
    assert!(own <= peers + peers / 10, "{own}");
    let theirs: usize = (1..=peers).map(|node| since(&world, node, start)).sum();
    assert!(theirs <= peers, "{theirs} initiations of its peers");
    world.run_s(6);
    assert_eq!(since(&world, 0, start), own, "and that is all");
}

fn peers_restart(peers: usize) {
    let mut world = star(peers);
    world.run_s(3);
    for node in 1..=peers {
        world.kill(node);
    }
    world.run(Duration::from_millis(500));
    let start = world.now.instant;
    for node in 1..=peers {
        world.start_again(node);
    }
    world.run_s(2);
    assert_eq!(up(&world), peers);
    let own = since(&world, 0, start);
    assert!(own <= peers, "{own} initiations of the hub");
    let most = (1..=peers).map(|node| since(&world, node, start)).max();
    assert!(most <= Some(2), "{most:?}");
}

#[test]
fn a_hub_that_restarts_meets_its_peers_at_its_pace() {
    hub_restarts(80);
}

#[test]
fn peers_that_restart_at_once_are_back_at_once() {
    peers_restart(40);
}

#[test]
#[ignore = "takes a minute without optimization: cargo test --release -p meshd-core --lib -- --ignored"]
fn two_hundred_peers_restart_and_their_hub() {
    hub_restarts(200);
    peers_restart(200);
}

/// Three of twenty peers notice that one own address is dead; the others, with nothing to send, follow.
#[test]
fn peers_that_share_a_dead_address_move_together() {
    const PEERS: usize = 20;
    let mut world = star(PEERS);
    world.lans = Some([(true, true); 2]);
    for node in 0..=PEERS {
        let second = Ipv4Addr::new(10, 1, u8::try_from(node + 1).unwrap(), 1);
        world.nodes[node].second = Some(second.into());
        let links = world.nodes[node].links();
        world.input(node, Input::Links(links));
    }
    world.run_s(40);
    let on = |world: &World, lan: u8| {
        let peers = world.nodes[0].mesh.peers(world.now).peers;
        let there = |endpoint: std::net::IpAddr| match endpoint {
            std::net::IpAddr::V4(address) => address.octets()[1] == lan,
            std::net::IpAddr::V6(_) => false,
        };
        let mut ends = peers.iter().filter_map(|peer| peer.endpoint);
        ends.by_ref().filter(|end| there(end.ip())).count()
    };
    let used = if on(&world, 0) == PEERS { 0 } else { 1 };
    assert_eq!(on(&world, used), PEERS, "all on one network");
    let now = world.now.instant;
    for peer in 1..=3 {
        world.streams.start(0, peer, now);
        world.streams.start(peer, 0, now);
    }
    world.run_s(1);
    world.lans.as_mut().unwrap()[usize::from(used)] = (false, false);
    world.run(Duration::from_millis(600));
    assert_eq!(on(&world, 1 - used), PEERS);
    assert_eq!(world.saw(0, "shared_fate"), 1);
    assert_eq!(world.saw(0, "peer_down"), 0);
}
