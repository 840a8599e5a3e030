//! Roaming: an engine that goes where packets come from, as the kernel does, and what the core makes of it.

use mesh_proto::record::BackendKind;

use super::*;
use crate::data_plane::{EngineEvent, PathId};

/// The far end has looked whether its other way works: the engine of `a` is where that probe came from.
fn roam(world: &mut World) -> (PathId, PathId) {
    let peer = world.nodes[1].mesh.public_key;
    let known = &world.nodes[0].mesh.peers[&peer];
    let in_use = known.path().unwrap();
    let all: Vec<PathId> = known.paths.iter().map(|path| path.id).collect();
    let mut others = all.into_iter();
    let other = others.find(|path| path.remote != in_use.remote).unwrap();
    let engine = world.nodes[0].engine.peers.get_mut(&peer).unwrap();
    engine.path = Some(other);
    let event = EngineEvent::OtherPath { peer, path: other };
    world.input(0, Input::Engine(event));
    (in_use, other)
}

fn engine_path(world: &World) -> Option<PathId> {
    let peer = world.nodes[1].mesh.public_key;
    world.nodes[0].engine.peers[&peer].path
}

#[test]
fn a_probe_of_the_far_end_does_not_take_the_packets_of_a_kernel_along() {
    let mut world = dual_homed();
    world.nodes[0].mesh.settings.wireguard.backend = BackendKind::Kernel;
    let before = world.nodes[0].mesh.recovery_counters().switches();
    let (in_use, _) = roam(&mut world);
    assert_eq!(engine_path(&world), Some(in_use), "back at once");
    let counters = world.nodes[0].mesh.recovery_counters();
    assert_eq!(counters.switches(), before, "no change of path");
}

#[test]
fn a_kernel_stays_where_it_went_when_the_path_in_use_is_not_well() {
    let mut world = dual_homed();
    world.nodes[0].mesh.settings.wireguard.backend = BackendKind::Kernel;
    let peer = world.nodes[1].mesh.public_key;
    let now = world.now;
    world.nodes[0].mesh.with_peer(peer, now, |peer, scene| {
        peer.start_race(scene.now.instant, scene);
    });
    let (_, other) = roam(&mut world);
    assert_eq!(engine_path(&world), Some(other));
}
