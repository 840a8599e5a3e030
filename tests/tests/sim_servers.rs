//! Discovery servers in the simulator, with the real core and the real registry: a node that was cut off
//! from all of them for an hour, and servers that lie. What has to be noticed of the one is one round trip, of
//! the other nothing.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::sim::{Area, Bounds, Fault, Lie, Memory, NodePlan, Plan, World};

const NODES: usize = 8;
const HOUR: Duration = Duration::from_secs(3600);
const TICK: Duration = Duration::from_millis(1);
/// A server stores what comes within this together, and a stream is read a moment after it is open.
const AT_SERVER: Duration = Duration::from_millis(6);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Every node a zone of its own, two servers.
fn plan() -> Plan {
    let nodes = (0..NODES).map(|number| NodePlan::public(&format!("z{number}")));
    let mut plan = Plan::new(11, nodes.collect());
    plan.servers = 2;
    plan
}

fn settled(mut world: World) -> World {
    world.settle().expect("the mesh comes up");
    assert_eq!(world.able_pairs(), NODES * (NODES - 1) / 2);
    world
}

/// What happens to other members within an hour: one moves, one changes its zone, one leaves and another
/// one comes.
fn a_lively_hour(world: &mut World) {
    for fault in [
        Fault::NewAddress {
            node: 1,
            interface: 0,
        },
        Fault::Zone {
            node: 2,
            zone: "elsewhere".to_owned(),
        },
        Fault::Leave {
            node: 3,
            time: seconds(120),
        },
    ] {
        world.run(seconds(300)).expect("nothing is wrong");
        world.disturb(&fault);
    }
}

/// Lets time pass until the node has a stream of a server again.
fn wait_connected(world: &mut World, node: usize) {
    let most = world.now() + seconds(60);
    while !world.is_connected(node) {
        assert!(world.now() < most, "it does not come back to its servers");
        world.run(TICK).expect("nothing is wrong");
    }
}

/// Cuts node 0 off from `areas` for an hour in which others change and it moves itself, and looks at how it
/// comes back.
fn cut_off_for_an_hour(areas: &[Area]) -> World {
    let mut world = settled(World::new(&plan(), Bounds::default()));
    let end = world.now() + HOUR;
    for area in areas {
        world.disturb(&Fault::Cut {
            from: Area::Node(0),
            to: *area,
            both: true,
            time: HOUR,
        });
    }
    a_lively_hour(&mut world);
    world.disturb(&Fault::NewAddress {
        node: 0,
        interface: 0,
    });
    let left = end.saturating_sub(world.now()).saturating_sub(TICK);
    world.run(left).expect("nothing is wrong");
    assert!(!world.is_connected(0));
    assert_eq!(world.unheard_by(0), [1, 2, 3], "there is something to hear");
    assert_eq!(world.unaware_of(0).len(), NODES - 1, "and to tell");

    let before = world.lines_to(0);
    wait_connected(&mut world, 0);
    let round_trip = world.round_trip(0, 0).expect("nothing is cut any more");
    assert!(round_trip > AT_SERVER, "a second one would not be noticed");
    world.run(round_trip + AT_SERVER).expect("nothing is wrong");
    assert_eq!(world.unheard_by(0), [0; 0], "after {round_trip:?}");
    assert_eq!(world.unaware_of(0), [0; 0], "after {round_trip:?}");
    let lines = world.lines_to(0) - before;
    println!("converged within {round_trip:?}, told {lines} lines");
    assert!(
        lines < NODES as u64,
        "{lines} lines: what changed, not everything"
    );
    world
}

/// The tunnels go on all the time.
#[test]
fn an_hour_without_any_server_takes_one_round_trip_to_make_up() {
    let servers = [Area::Server(0), Area::Server(1)];
    let mut world = cut_off_for_an_hour(&servers);
    world.settle().expect("all talk, the new member too");
    assert_eq!(world.able_pairs(), NODES * (NODES - 1) / 2);
    assert_eq!(world.peer_count(0), NODES - 1, "who left is gone");
}

/// Nothing reaches the node for an hour.
#[test]
fn an_hour_without_any_network_takes_one_round_trip_to_make_up() {
    let mut world = cut_off_for_an_hour(&[Area::Anywhere]);
    world.settle().expect("all talk, the new member too");
    assert_eq!(world.able_pairs(), NODES * (NODES - 1) / 2);
    assert_eq!(world.peer_count(0), NODES - 1, "who left is gone");
}

/// One of two servers acts against the mesh from `begin` on for an hour, in which members change, one starts
/// with nothing but its keys, and the other server is down for a while.
fn an_hour_with_a_liar(lie: Lie, from_the_start: bool) {
    let mut world = World::new(&plan(), Bounds::default());
    if from_the_start {
        world.lie(0, Some(lie));
    }
    let mut world = settled(world);
    world.lie(0, Some(lie));
    a_lively_hour(&mut world);
    world.run(seconds(300)).expect("nothing is wrong");
    // It asks both servers for everything: the one that lies has nothing to tell it, or what is old, and
    // tells it last.
    world.disturb(&Fault::Outage {
        server: 0,
        empty: false,
        time: seconds(20),
    });
    world.disturb(&Fault::Restart {
        node: 4,
        memory: Memory::Keys,
        time: seconds(1),
        skew_ms: 0,
    });
    world.settle().expect("all talk");
    assert_eq!(world.able_pairs(), NODES * (NODES - 1) / 2, "{lie:?}");
    let downs = world.events("peer_down");
    world.disturb(&Fault::Outage {
        server: 1,
        empty: false,
        time: seconds(1200),
    });
    world.run(seconds(1800)).expect("nothing is wrong");
    assert_eq!(world.events("peer_down"), downs, "{lie:?}");
    for node in 0..NODES {
        assert_eq!(world.unheard_by(node), [0; 0], "{lie:?} n{node}");
        assert_eq!(world.misplaced_by(node), [0; 0], "{lie:?} n{node}");
        assert_eq!(world.peer_count(node), NODES - 1, "{lie:?} n{node}");
    }
    // At last it tells everything it kept back.
    let switches: Vec<u64> = (0..NODES).map(|node| world.path_switches(node)).collect();
    world.lie(0, None);
    world.run(seconds(600)).expect("nothing is wrong");
    let after: Vec<u64> = (0..NODES).map(|node| world.path_switches(node)).collect();
    assert_eq!(after, switches, "{lie:?}");
    assert_eq!(world.events("peer_down"), downs, "{lie:?}");
    world.settle().expect("all talk");
    assert_eq!(world.able_pairs(), NODES * (NODES - 1) / 2, "{lie:?}");
}

#[test]
fn a_server_that_withholds_everything_changes_nothing() {
    an_hour_with_a_liar(Lie::Withhold, true);
}

#[test]
fn a_server_that_starts_to_withhold_changes_nothing() {
    an_hour_with_a_liar(Lie::Withhold, false);
}

#[test]
fn a_server_that_tells_what_is_old_changes_nothing() {
    an_hour_with_a_liar(Lie::Lag, false);
}

/// Nobody else is there to ask: what was known stays, and what changes travels through the tunnels.
#[test]
fn when_all_servers_lie_the_mesh_goes_on_with_what_it_knows() {
    for lie in [Lie::Withhold, Lie::Lag] {
        let mut world = settled(World::new(&plan(), Bounds::default()));
        for server in 0..2 {
            world.lie(server, Some(lie));
        }
        let downs = world.events("peer_down");
        world.run(seconds(600)).expect("nothing is wrong");
        world.disturb(&Fault::NewAddress {
            node: 1,
            interface: 0,
        });
        // No lease is live for over an hour then.
        world.run(HOUR + seconds(900)).expect("nothing is wrong");
        assert_eq!(world.events("peer_down"), downs, "{lie:?}");
        for node in 0..NODES {
            assert_eq!(world.peer_count(node), NODES - 1, "{lie:?} n{node}");
        }
        for server in 0..2 {
            world.lie(server, None);
        }
        world.settle().expect("all talk");
        assert_eq!(world.able_pairs(), NODES * (NODES - 1) / 2, "{lie:?}");
    }
}
