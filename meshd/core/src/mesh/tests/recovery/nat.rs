//! NAT: one on each of the two networks hides `a`, with a mapping that others learn from its packets only. What
//! happens when it forgets.

use super::*;
use crate::mesh::tests::node::Nat;

/// As [`dual_homed`], then behind the NATs. Servers are on this side of them, so nobody publishes what others see.
fn behind_nats() -> World {
    let mut world = dual_homed();
    let nat = |lan: u8| {
        let public = (Ipv4Addr::new(10, lan, 101, 1), 20_000);
        let mut nat = Nat::new(public.into());
        nat.inside = true;
        Some(nat)
    };
    let node = &mut world.nodes[0];
    (node.nat, node.second_nat) = (nat(0), nat(1));
    world.run_s(10);
    world
}

/// The NAT of a network forgets its mappings.
fn flush(world: &mut World, lan: usize) {
    let node = &mut world.nodes[0];
    let nat = if lan == 0 {
        &mut node.nat
    } else {
        &mut node.second_nat
    };
    nat.as_mut().unwrap().forget();
}

fn agree(world: &World) -> bool {
    lan(world, 0, 1) == lan(world, 1, 0)
}

#[test]
fn ends_use_one_way_again_soon_after_a_nat_forgot() {
    let mut world = behind_nats();
    let before = world.nodes.iter().map(switches).sum::<u64>();
    let mut slow = Vec::new();
    for moment in 0..30_u64 {
        world.run(Duration::from_millis(moment * 37 % 1000));
        blackouts(&mut world);
        let used = lan(&world, 0, 1);
        flush(&mut world, used);
        world.run_s(5);
        for gap in blackouts(&mut world) {
            assert!(gap <= Duration::from_millis(300), "{moment}: {gap:?}");
        }
        if !agree(&world) {
            slow.push(moment);
        }
        world.run_s(3);
    }
    assert!(slow.is_empty(), "apart after five seconds: {slow:?}");
    let switches = world.nodes.iter().map(switches).sum::<u64>() - before;
    assert!(switches <= 30 * 4, "{switches} switches for 30 flushes");
    assert_eq!(world.saw(0, "peer_down") + world.saw(1, "peer_down"), 0);
}

fn switches(node: &crate::mesh::tests::node::Node) -> u64 {
    node.mesh.recovery_counters().switches()
}

/// One end goes back to the way it prefers once that is not held down any more; the other one, which has no
/// preference, follows.
#[test]
fn the_end_without_a_preference_follows() {
    let mut world = behind_nats();
    let used = lan(&world, 0, 1);
    world.lans.as_mut().unwrap()[used] = (false, false);
    world.run_s(2);
    assert_eq!((lan(&world, 0, 1), lan(&world, 1, 0)), (1 - used, 1 - used));
    all_open(&mut world);
    world.run_s(60);
    assert!(agree(&world));
    assert_eq!(lan(&world, 0, 1), used, "the preferred one");
}

/// Each end's filter prefers another network: both get what they ask for, and neither follows the other.
#[test]
fn ends_that_prefer_different_ways_stay_apart_in_peace() {
    let mut world = dual_homed();
    for (node, first) in [(0, "10.0.0.0/16"), (1, "10.1.0.0/16")] {
        let mut settings = world.nodes[node].settings.clone();
        let program = crate::filter::FilterProgram::parse(&[first, "10.0.0.0/8"]);
        settings.filters.peer_endpoints = Some(program.unwrap());
        world.input(node, Input::Reload(Box::new(settings)));
    }
    world.run_s(30);
    assert_eq!((lan(&world, 0, 1), lan(&world, 1, 0)), (0, 1));
    let before = world.nodes.iter().map(switches).sum::<u64>();
    world.run_s(120);
    let after = world.nodes.iter().map(switches).sum::<u64>();
    assert_eq!(after, before, "nobody moves");
}
