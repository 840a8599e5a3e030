//! Checks of the own zone: who is asked, who is named, and what a stranger gets out of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mesh_proto::native_check::NATIVE_CHECK_BYTES;

use super::world::World;
use crate::Input;
use crate::settings::ZoneSource;

/// A UDP port that checks come from and go to.
const PORT: u16 = 51842;
/// What an address translation makes of the second node.
const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), 4000);

/// Two nodes of one zone and one of another, all able to check.
fn world() -> World {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("x")), ("c", Some("y"))]);
    for index in 0..3 {
        world.input(index, Input::NativeChecks);
    }
    world
}

fn address(world: &World, index: usize) -> SocketAddr {
    SocketAddr::new(world.nodes[index].address, PORT)
}

/// Runs so many seconds and delivers what passes `passes`, which may change where it seems to come from.
fn run(
    world: &mut World,
    seconds: u64,
    passes: impl Fn(SocketAddr, SocketAddr) -> Option<SocketAddr>,
) {
    for _ in 0..seconds {
        world.run_s(1);
        // An answer follows a question at once.
        for _ in 0..2 {
            for index in 0..world.nodes.len() {
                for (to, bytes) in std::mem::take(&mut world.nodes[index].native) {
                    let from = address(world, index);
                    let target = match to {
                        OUTSIDE => Some(1),
                        to => (0..world.nodes.len()).find(|other| address(world, *other) == to),
                    };
                    if let (Some(target), Some(from)) = (target, passes(from, to)) {
                        world.input(target, Input::NativeCheck { from, bytes });
                    }
                }
            }
        }
    }
}

fn split(world: &World, index: usize) -> bool {
    world.problems(index).contains(&"zone_split".to_owned())
}

#[test]
fn members_of_a_zone_that_answer_are_fine_and_others_are_not_asked() {
    let mut world = world();
    let (third, seen) = (address(&world, 2), std::cell::Cell::new(0));
    run(&mut world, 130, |from, to| {
        assert!(from != third && to != third, "{from} {to}");
        seen.set(seen.get() + 1);
        Some(from)
    });
    assert!(!split(&world, 0) && !split(&world, 1));
    // Both ask about once a minute, and both answer.
    assert!((8..=14).contains(&seen.get()), "{}", seen.get());
}

#[test]
fn a_silent_member_is_named_and_one_that_comes_back_is_not() {
    let mut world = world();
    run(&mut world, 30, |_, _| None);
    assert!(split(&world, 0) && split(&world, 1) && !split(&world, 2));
    let status = world.nodes[0].mesh.status(world.now);
    let problem = status.problems.iter().find(|p| p.code == "zone_split");
    let problem = problem.unwrap();
    assert!(problem.message.contains(": b"), "{problem:?}");
    assert!(problem.remedy.contains("node.zone"), "{problem:?}");
    run(&mut world, 70, |from, _| Some(from));
    assert!(!split(&world, 0) && !split(&world, 1));
}

#[test]
fn an_address_translation_between_is_named() {
    let mut world = world();
    let inside = address(&world, 1);
    run(&mut world, 10, |from, _| {
        Some(if from == inside { OUTSIDE } else { from })
    });
    let status = world.nodes[1].mesh.status(world.now);
    let problem = status.problems.iter().find(|p| p.code == "zone_split");
    let problem = problem.unwrap();
    assert!(
        problem.message.contains("a (sees 203.0.113.7)"),
        "{problem:?}"
    );
    assert!(!split(&world, 0), "it sees no translation");
}

#[test]
fn a_member_that_moves_to_another_zone_is_asked_no_more() {
    let mut world = world();
    run(&mut world, 30, |_, _| None);
    assert!(split(&world, 0));
    let mut settings = world.nodes[1].settings.clone();
    settings.zone = ZoneSource::Label("z".to_owned());
    world.input(1, Input::Reload(Box::new(settings)));
    run(&mut world, 5, |_, _| None);
    assert!(!split(&world, 0) && !split(&world, 1));
}

#[test]
fn what_is_recorded_and_sent_again_gets_few_answers_and_strangers_none() {
    let mut world = world();
    let asked = loop {
        world.run_s(1);
        if let Some((_, bytes)) = world.nodes[0].native.pop() {
            break bytes;
        }
    };
    world.run_s(1);
    world.nodes[1].native.clear();
    let from: SocketAddr = "203.0.113.9:9".parse().unwrap();
    for _ in 0..1000 {
        world.input(
            1,
            Input::NativeCheck {
                from,
                bytes: asked.clone(),
            },
        );
    }
    assert_eq!(world.nodes[1].native.len(), 50);
    assert!(
        world.nodes[1]
            .native
            .iter()
            .all(|(_, bytes)| bytes.len() == asked.len())
    );
    for bytes in [Vec::new(), vec![0; NATIVE_CHECK_BYTES], vec![0; 4000]] {
        world.input(2, Input::NativeCheck { from, bytes });
    }
    // It was for node 1.
    world.input(2, Input::NativeCheck { from, bytes: asked });
    assert!(world.nodes[2].native.is_empty());
}
