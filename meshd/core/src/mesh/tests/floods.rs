//! Floods: what failures of many peers, or one bad peer, may cost the others. Nothing here is urgent, or it
//! is bounded.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mesh_proto::control::PeerState;
use mesh_proto::probe::{Probe, ProbeFlags, ProbeKind};
use mesh_proto::{Sequence, StateId};

use super::node::settings;
use super::streams::Streams;
use super::world::World;
use crate::Input;
use crate::data_plane::{EngineEvent, PathId};
use crate::mesh::budget::{Budget, Budgets};

fn initiations(world: &World, from: Instant, to: Instant) -> usize {
    let all = world.nodes[0].engine.initiations.iter();
    all.filter(|(at, _)| *at >= from && *at < to).count()
}

/// All peers of a hub vanish at once: initiations to them are spread, and none is forgotten.
#[test]
fn a_lost_network_is_no_storm_of_initiations() {
    const PEERS: usize = 40;
    const RATE: u32 = 40;
    const BURST: u32 = 16;
    let mut world = World::empty();
    world.add(settings("hub", None));
    for number in 1..=PEERS {
        world.add(settings(&format!("n{number}"), Some("edge")));
    }
    world.run_s(3);
    // In proportion to what hundreds of peers have.
    world.nodes[0].mesh.budgets.initiations = Budget::new(RATE, BURST);
    let start = world.now.instant;
    for number in 1..=PEERS {
        // Somebody waits for each of them: all are missed at once.
        world.streams.start(0, number, start);
        world.kill(number);
    }
    world.run_s(2);
    world.streams = Streams::default();
    world.run_s(4);
    let most = usize::try_from(BURST + RATE / 10).unwrap();
    let window = Duration::from_millis(100);
    for step in 0..60 {
        let from = start + window * step;
        let count = initiations(&world, from, from + window);
        assert!(count <= most, "{count} within 100 ms, {step}");
    }
    let begun = world.nodes[0].engine.initiations.iter();
    let asked: BTreeSet<_> = begun
        .filter(|(at, _)| *at >= start)
        .map(|(_, to)| to)
        .collect();
    assert_eq!(asked.len(), PEERS);
}

#[test]
fn a_peer_that_is_down_yields_the_budget() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(5);
    world.kill(1);
    world.run_s(40);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    let before = world.nodes[0].mesh.recovery_counters();
    let mut left = Budget::new(0, 8);
    assert!(left.take_all(world.now.instant, 6), "what is not urgent");
    world.nodes[0].mesh.budgets.pings = left;
    world.run_s(20);
    let after = world.nodes[0].mesh.recovery_counters();
    assert_eq!(after.pings_sent, before.pings_sent, "others need the rest");
    assert!(after.pings_withheld > before.pings_withheld);
    world.nodes[0].mesh.budgets = Budgets::default();
    world.start_again(1);
    world.run_s(2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

/// A member says every millisecond that it wants its packets elsewhere.
#[test]
fn a_peer_that_names_ever_other_paths_is_asked_at_a_bounded_rate() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(5);
    let peer = world.nodes[1].engine.key();
    let before = world.nodes[0].mesh.recovery_counters();
    for step in 0..3000_u16 {
        let path = PathId::to((Ipv4Addr::new(203, 0, 113, 7), 1000 + step).into());
        let probe = Probe {
            kind: ProbeKind::Ping,
            path: 0,
            id: u64::from(step),
            state: StateId([0; 16]),
            own_sequence: Sequence(0),
            held_sequence: Sequence(0),
            flags: ProbeFlags {
                in_use: true,
                please_use: true,
                suspect: false,
            },
        };
        let payload = probe.encode().to_vec();
        for event in [
            EngineEvent::OtherPath { peer, path },
            EngineEvent::Probe {
                peer,
                path,
                payload,
            },
        ] {
            world.input(0, Input::Engine(event));
        }
        world.run(Duration::from_millis(1));
    }
    let after = world.nodes[0].mesh.recovery_counters();
    let pings = after.pings_sent - before.pings_sent;
    assert!(pings < 3 * 120, "{pings} pings in three seconds");
    assert_eq!(after.switches(), before.switches());
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}
