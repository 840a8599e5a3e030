//! Recovery: the scenarios of the design by name, with its numbers, for two nodes with two network cards
//! on networks that meet nowhere. The longest gap counts in a stream of a packet every 5 ms.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mesh_proto::control::PeerState;
use mesh_proto::record::BackendKind;

use super::node::settings;
use super::world::World;
use crate::Input;

mod loss;
mod nat;
mod outside;
mod restarts;
mod roaming;

const OPEN: (bool, bool) = (true, true);

/// Two nodes, up, with streams in both directions.
fn dual_homed() -> World {
    dual_homed_on([BackendKind::Userspace; 2])
}

fn dual_homed_on(backends: [BackendKind; 2]) -> World {
    let mut world = World::empty();
    world.latency = Duration::from_millis(1);
    world.lans = Some([OPEN; 2]);
    for (index, (name, backend)) in ["a", "b"].into_iter().zip(backends).enumerate() {
        let mut settings = settings(name, None);
        settings.wireguard.backend = backend;
        world.add(settings);
        let second = Ipv4Addr::new(10, 1, index as u8 + 1, 1);
        world.nodes[index].second = Some(second.into());
        let links = world.nodes[index].links();
        world.input(index, Input::Links(links));
    }
    world.run_s(8);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(from, to), Some(PeerState::Up));
        let now = world.now.instant;
        world.streams.start(from, to, now);
    }
    world.run_s(1);
    world
}

/// The network that node `a`'s packets to `b` take.
fn lan(world: &World, from: usize, to: usize) -> usize {
    match world.endpoint(from, to).unwrap().ip() {
        IpAddr::V4(address) => usize::from(address.octets()[1]),
        IpAddr::V6(_) => unreachable!(),
    }
}

fn blackouts(world: &mut World) -> [Duration; 2] {
    let now = world.now.instant;
    [(0, 1), (1, 0)].map(|(from, to)| world.streams.blackout(from, to, now))
}

/// Longest gaps of both directions, sorted, over 60 moments.
fn sample(mut strike: impl FnMut(&mut World), mut heal: impl FnMut(&mut World)) -> Vec<Duration> {
    let mut world = dual_homed();
    let mut samples = Vec::new();
    for moment in 0..60 {
        world.run(Duration::from_millis(moment * 37 % 1000));
        blackouts(&mut world);
        strike(&mut world);
        world.run_s(2);
        samples.extend(blackouts(&mut world));
        for (from, to) in [(0, 1), (1, 0)] {
            let events = &world.nodes[from].events;
            let last = &events[events.len().saturating_sub(12)..];
            assert_eq!(
                world.state(from, to),
                Some(PeerState::Up),
                "{moment}: {from} to {to}: {last:#?}"
            );
        }
        heal(&mut world);
        world.run_s(6);
    }
    samples.sort();
    samples
}

/// Nearest rank.
fn percentile(samples: &[Duration], percent: usize) -> u128 {
    let rank = (samples.len() * percent).div_ceil(100).max(1);
    samples[rank - 1].as_millis()
}

fn assert_numbers(what: &str, samples: &[Duration], p50: u128, p99: u128) {
    let have = [50, 99].map(|percent| percentile(samples, percent));
    println!("{what}: p50 {} ms, p99 {} ms", have[0], have[1]);
    assert!(have[0] <= p50 && have[1] <= p99, "{what}: {have:?}");
}

/// Nothing was sent for long when the path died; then somebody does.
#[test]
fn a_path_that_died_in_silence_is_left_when_data_comes() {
    let mut samples = Vec::new();
    for moment in 0..20 {
        let mut world = dual_homed();
        world.streams = super::streams::Streams::default();
        world.run(Duration::from_millis(30_000 + moment * 251));
        let used = lan(&world, 0, 1);
        world.lans.as_mut().unwrap()[used] = (false, false);
        let now = world.now.instant;
        for (from, to) in [(0, 1), (1, 0)] {
            world.streams.start(from, to, now);
        }
        world.run_s(3);
        samples.extend(blackouts(&mut world));
    }
    samples.sort();
    assert_numbers("blackhole after silence", &samples, 200, 400);
}

fn all_open(world: &mut World) {
    world.lans = Some([OPEN; 2]);
}

#[test]
fn blackhole_both() {
    let strike = |world: &mut World| {
        let used = lan(world, 0, 1);
        world.lans.as_mut().unwrap()[used] = (false, false);
    };
    let samples = sample(strike, all_open);
    assert_numbers("blackhole-both", &samples, 200, 400);
}

/// What `meshctl paths` says of the paths from one node to the other.
fn reasons(world: &World) -> Vec<(bool, String)> {
    let paths = world.nodes[0].mesh.paths("b", world.now).unwrap().paths;
    let said = |path: mesh_proto::control::Path| (path.in_use, path.reason);
    paths.into_iter().map(said).collect()
}

#[test]
fn a_switch_tells_its_cost_and_paths_tell_why() {
    let mut world = dual_homed();
    let said = reasons(&world);
    assert!(
        said[0].0 && said[0].1.contains("the most preferred path"),
        "{said:?}"
    );
    assert!(said[1].1.contains("a switch needs 10 ms less"), "{said:?}");
    let used = lan(&world, 0, 1);
    world.lans.as_mut().unwrap()[used] = (false, false);
    world.run_s(1);
    let switched = |event: &&crate::Event| event.kind == "path_switched";
    let event = world.nodes[0].events.iter().rev().find(switched).unwrap();
    let cost = event.cost.expect("a cost");
    assert!((100..400).contains(&cost.duration_ms), "{event}");
    assert!((3..60).contains(&cost.pings), "{event}");
    assert_eq!(cost.initiations, 0, "{event}");
    let said = reasons(&world);
    assert!(said[0].1.contains("failed in use, held down"), "{said:?}");
    assert!(
        said[1]
            .1
            .contains("the other path answered; 1 more preferred held down"),
        "{said:?}"
    );
    world.run_s(60);
    let said = reasons(&world);
    assert!(said[0].1.contains("has not answered the last"), "{said:?}");
    assert!(
        said[1].1.contains("1 more preferred not answering"),
        "{said:?}"
    );
}

#[test]
fn blackhole_out() {
    let strike = |world: &mut World| {
        let used = lan(world, 0, 1);
        world.lans.as_mut().unwrap()[used].0 = false;
    };
    let samples = sample(strike, all_open);
    assert_numbers("blackhole-out", &samples, 300, 600);
}

#[test]
fn blackhole_in() {
    let strike = |world: &mut World| {
        let used = lan(world, 1, 0);
        world.lans.as_mut().unwrap()[used].1 = false;
    };
    let samples = sample(strike, all_open);
    assert_numbers("blackhole-in", &samples, 300, 600);
}

#[test]
fn link_down() {
    let strike = |world: &mut World| {
        let used = lan(world, 0, 1);
        world.lans.as_mut().unwrap()[used] = (false, false);
        let mut links = world.nodes[0].links();
        links.links[used].up = false;
        world.input(0, Input::Links(links));
    };
    let heal = |world: &mut World| {
        all_open(world);
        let links = world.nodes[0].links();
        world.input(0, Input::Links(links));
    };
    let samples = sample(strike, heal);
    assert_numbers("link-down", &samples, 20, 100);
}

#[test]
fn address_replaced() {
    let mut last = 1;
    let strike = |world: &mut World| {
        let used = lan(world, 0, 1) as u8;
        last = if last == 200 { 1 } else { last + 1 };
        let new: IpAddr = Ipv4Addr::new(10, used, 1, last).into();
        match used {
            0 => world.nodes[0].address = new,
            _ => world.nodes[0].second = Some(new),
        }
        let links = world.nodes[0].links();
        world.input(0, Input::Links(links));
    };
    let samples = sample(strike, |_| {});
    assert_numbers("address-replaced", &samples, 100, 300);
}

#[test]
fn a_single_card_with_a_new_address_is_followed() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(3);
    let now = world.now.instant;
    for (from, to) in [(0, 1), (1, 0)] {
        world.streams.start(from, to, now);
    }
    world.run_s(1);
    // Nobody to tell the others.
    world.set_server(false);
    blackouts(&mut world);
    world.nodes[0].address = Ipv4Addr::new(10, 0, 1, 77).into();
    let links = world.nodes[0].links();
    world.input(0, Input::Links(links));
    world.run_s(2);
    for gap in blackouts(&mut world) {
        assert!(gap <= Duration::from_millis(300), "{gap:?}");
    }
    assert_eq!(world.endpoint(1, 0).unwrap().ip(), world.nodes[0].address);
    assert_eq!(world.saw(1, "peer_down"), 0);
}
