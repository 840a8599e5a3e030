//! Random loss moves nothing and tears nothing down.

use super::*;

/// Ten minutes; switches and initiations of both nodes.
fn ten_minutes(loss: u32, streams: &[(usize, usize)]) -> (u64, usize) {
    let mut world = dual_homed();
    world.streams = super::super::streams::Streams::default();
    let now = world.now.instant;
    for (from, to) in streams {
        world.streams.start(*from, *to, now);
    }
    let before = totals(&world);
    world.loss = loss;
    world.run_s(600);
    for (from, to) in [(0, 1), (1, 0)] {
        assert_ne!(world.state(from, to), Some(PeerState::Down));
    }
    let suspicions: Vec<u64> = world
        .nodes
        .iter()
        .map(|node| node.mesh.recovery_counters().suspicions)
        .collect();
    println!(
        "{loss} %, {} streams: {suspicions:?} suspicions",
        streams.len()
    );
    let after = totals(&world);
    (after.0 - before.0, after.1 - before.1)
}

fn totals(world: &World) -> (u64, usize) {
    let switches = |node: &super::super::node::Node| node.mesh.recovery_counters().switches();
    (
        world.nodes.iter().map(switches).sum(),
        world
            .nodes
            .iter()
            .map(|node| node.engine.initiations.len())
            .sum(),
    )
}

#[test]
fn loss_5_with_traffic() {
    assert_eq!(ten_minutes(5, &[(0, 1), (1, 0)]), (0, 0));
}

#[test]
fn loss_5_one_way() {
    assert_eq!(ten_minutes(5, &[(0, 1)]), (0, 0));
}

#[test]
fn loss_5_idle() {
    assert_eq!(ten_minutes(5, &[]), (0, 0));
}
