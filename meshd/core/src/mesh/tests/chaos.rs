//! Chaos: whatever happens, in whatever order, the mesh is whole again once the world is. The fake
//! engine and the world check on the way that nothing refused is sent to, that no prefix stands in two
//! peers, and that sequences are persisted before they are used.

use std::time::Duration;

use mesh_proto::control::{ExplainVerdict, PeerState};
use proptest::prelude::*;

use super::node::settings;
use super::world::World;
use crate::Input;
use crate::settings::ZoneSource;

const NODES: usize = 3;
const ZONES: [Option<&str>; 3] = [Some("x"), Some("y"), None];

#[derive(Debug, Clone)]
enum Happening {
    Kill(usize),
    Start(usize),
    Cut(usize),
    Mend,
    Server(bool),
    ServerForgets,
    Zone(usize, usize),
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..NODES).prop_map(Happening::Kill),
        (0..NODES).prop_map(Happening::Start),
        (0..NODES).prop_map(Happening::Cut),
        Just(Happening::Mend),
        any::<bool>().prop_map(Happening::Server),
        Just(Happening::ServerForgets),
        (0..NODES, 0..ZONES.len()).prop_map(|(node, zone)| Happening::Zone(node, zone)),
        (0..20_000u64).prop_map(Happening::Wait),
    ]
}

fn happen(world: &mut World, zones: &mut [usize; NODES], happening: &Happening) {
    match *happening {
        Happening::Kill(node) => world.kill(node),
        Happening::Start(node) => start(world, zones, node),
        Happening::Cut(node) => {
            let address = world.nodes[node].address;
            world.cut.insert(address);
        }
        Happening::Mend => world.cut.clear(),
        Happening::Server(up) => world.set_server(up),
        Happening::ServerForgets => world.server.stored.clear(),
        Happening::Zone(node, zone) => {
            zones[node] = zone;
            tell_zone(world, zones, node);
        }
        Happening::Wait(ms) => world.run(Duration::from_millis(ms)),
    }
}

fn start(world: &mut World, zones: &[usize; NODES], node: usize) {
    if !world.nodes[node].running {
        world.start_again(node);
        tell_zone(world, zones, node);
    }
}

fn tell_zone(world: &mut World, zones: &[usize; NODES], node: usize) {
    let zone = ZONES[zones[node]].map(str::to_owned);
    world.input(node, Input::ZoneFile(zone));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_whole_world_makes_a_whole_mesh(happenings in prop::collection::vec(happening(), 1..25)) {
        let mut world = World::empty();
        let mut zones = [0, 1, 2];
        for node in 0..NODES {
            let mut config = settings(&format!("n{node}"), None);
            config.zone = ZoneSource::File;
            world.add(config);
            tell_zone(&mut world, &zones, node);
        }
        world.run_s(1);
        for happening in &happenings {
            happen(&mut world, &mut zones, happening);
        }
        world.cut.clear();
        world.set_server(true);
        for node in 0..NODES {
            start(&mut world, &zones, node);
        }
        world.run_s(30);
        for a in 0..NODES {
            for b in (0..NODES).filter(|b| *b != a) {
                let native = zones[a] == zones[b] && ZONES[zones[a]].is_some();
                let address = format!("10.0.{}.1", b + 1);
                let (state, verdict) = if native {
                    (None, ExplainVerdict::Native)
                } else {
                    (Some(PeerState::Up), ExplainVerdict::Tunnel)
                };
                prop_assert_eq!(world.state(a, b), state, "{} -> {}", a, b);
                prop_assert_eq!(world.nodes[a].verdict(&address), verdict, "{} -> {}", a, b);
            }
        }
    }
}
