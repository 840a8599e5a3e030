//! Roaming: an engine that goes where packets come from, as the kernel does, and what the core makes of it.

use super::*;
use crate::data_plane::{EngineEvent, PathId};

/// The far end sends by its other way now: the engine of `a` goes there.
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

fn paths(world: &World) -> [Option<PathId>; 2] {
    let peer = world.nodes[1].mesh.public_key;
    [
        world.nodes[0].engine.peers[&peer].path,
        world.nodes[0].mesh.peers[&peer].path(),
    ]
}

/// A NAT in front of the far end may let nothing back but what answers there. But whoever is led to and fro
/// stays, ever longer.
#[test]
fn a_kernel_goes_along_with_the_far_end_within_bounds() {
    for far in [BackendKind::Userspace, BackendKind::Kernel] {
        let mut world = dual_homed_on([BackendKind::Kernel, far]);
        let (in_use, other) = roam(&mut world);
        assert_ne!(in_use, other);
        assert_eq!(paths(&world), [Some(other); 2], "neither is set back");
        let mut moved = 0;
        for _ in 0..200 {
            world.run(Duration::from_millis(100));
            let before = paths(&world)[1];
            roam(&mut world);
            let now = paths(&world);
            assert_eq!(now[0], now[1], "the engine is where the core thinks");
            moved += u32::from(now[1] != before);
        }
        assert!((1..=8).contains(&moved), "{moved}");
        assert_eq!(world.saw(0, "path_followed"), 1 + moved as usize);
        assert_eq!(world.state(0, 1), Some(PeerState::Up));
    }
}

#[test]
fn a_kernel_stays_where_it_went_when_the_path_in_use_is_not_well() {
    let mut world = dual_homed_on([BackendKind::Kernel; 2]);
    let peer = world.nodes[1].mesh.public_key;
    let now = world.now;
    world.nodes[0].mesh.with_peer(peer, now, |peer, scene| {
        peer.start_race(scene.now.instant, scene);
    });
    let (_, other) = roam(&mut world);
    assert_eq!(paths(&world)[0], Some(other));
}
