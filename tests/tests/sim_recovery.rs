//! Named scenarios in the simulator: what users notice of a fault, in exact virtual time.

use std::time::Duration;

use mesh_tests::recovery::report::nearest_rank;
use mesh_tests::sim::recovery::{Strike, measure};
use mesh_tests::sim::{Area, Bounds, Fault, Memory, Mode, NatKind, NodePlan, Plan, World};

const TICK: Duration = Duration::from_millis(5);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn world(plan: &Plan) -> World {
    let mut world = World::new(plan, Bounds::default());
    world.settle().expect("the mesh comes up");
    assert!(world.able_pairs() > 0, "the oracle is certain of nothing");
    world
}

/// Longest silence each way while `fault` happens to a pair that talks all the time.
fn outage(world: &mut World, fault: &Fault, time: Duration) -> [Duration; 2] {
    world.send(0, 1, TICK, time + seconds(2));
    world.send(1, 0, TICK, time + seconds(2));
    world.run(seconds(1)).expect("nothing is wrong yet");
    world.forget_traffic();
    world.disturb(fault);
    world.run(time).expect("nothing goes wrong");
    [(0, 1), (1, 0)].map(|(from, to)| {
        let (count, longest) = world.arrivals(from, to);
        assert!(count > 0, "nothing came back from {from} to {to}");
        longest
    })
}

fn restart(node: usize, skew_ms: i64) -> Fault {
    Fault::Restart {
        node,
        memory: Memory::Disk,
        time: Duration::from_millis(50),
        skew_ms,
    }
}

fn pair() -> Plan {
    Plan::new(1, vec![NodePlan::public("fra"), NodePlan::public("nyc")])
}

#[test]
fn peer_restart_from_the_cache() {
    let mut world = world(&pair());
    let [there, back] = outage(&mut world, &restart(1, 0), seconds(30));
    println!("peer-restart: {there:?} {back:?}");
    assert!(
        there.max(back) < Duration::from_millis(300),
        "{there:?} {back:?}"
    );
}

#[test]
fn restart_with_discovery_dead() {
    let mut world = world(&pair());
    let time = seconds(600);
    let empty = false;
    world.disturb(&Fault::Outage {
        server: 0,
        empty,
        time,
    });
    world.run(seconds(10)).expect("an outage changes nothing");
    let [there, back] = outage(&mut world, &restart(1, 0), seconds(60));
    assert!(
        there.max(back) < Duration::from_millis(300),
        "{there:?} {back:?}"
    );
}

/// The initiations of the restarted node are refused; its peer has to begin, and no order of keys has it wait:
/// among six pairs there are some of either order. With discovery dead there is nothing else to go by.
#[test]
fn restart_with_a_clock_in_the_past() {
    for (seed, dead) in (1..=6).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = world(&Plan { seed, ..pair() });
        if dead {
            let (server, empty, time) = (0, false, seconds(600));
            world.disturb(&Fault::Outage {
                server,
                empty,
                time,
            });
            world.run(seconds(10)).expect("an outage changes nothing");
        }
        let [there, back] = outage(&mut world, &restart(1, -3_600_000), seconds(60));
        println!("clock-behind, seed {seed}, discovery dead {dead}: {there:?} {back:?}");
        assert!(
            there.max(back) < Duration::from_millis(300),
            "seed {seed}, discovery dead {dead}: {there:?} {back:?}"
        );
    }
}

#[test]
fn nat_rebinding_heals() {
    let mut plan = Plan::new(1, vec![NodePlan::public("fra"), NodePlan::at("home", &[1])]);
    plan.sites = vec![NatKind::HOME];
    let mut world = world(&plan);
    let fault = Fault::Rebind {
        realm: 1,
        moves: true,
    };
    let [there, back] = outage(&mut world, &fault, seconds(60));
    println!("nat-flush: {there:?} {back:?}");
    assert!(there.max(back) < seconds(10), "{there:?} {back:?}");
}

#[test]
fn two_nodes_behind_nats_punch_through() {
    let mut plan = Plan::new(1, vec![NodePlan::at("a", &[1]), NodePlan::at("b", &[2])]);
    plan.sites = vec![NatKind::HOME, NatKind::RESTRICTED];
    let mut world = world(&plan);
    world.check_all_talk().expect("they talk");
}

#[test]
fn partition_heals() {
    let nodes = (0..6).map(|number| NodePlan::public(&format!("z{number}")));
    let mut world = world(&Plan::new(1, nodes.collect()));
    world.disturb(&Fault::Cut {
        from: Area::Group(0b000_111),
        to: Area::Group(0b111_000),
        both: true,
        time: seconds(120),
    });
    world.run(seconds(120)).expect("fails closed");
    world.settle().expect("all talk again");
    assert_eq!(world.able_pairs(), 15);
}

#[test]
fn servers_lose_everything_and_nobody_notices() {
    let nodes = (0..4).map(|number| NodePlan::public(&format!("z{number}")));
    let mut world = world(&Plan::new(1, nodes.collect()));
    let (time, empty) = (seconds(30), true);
    let downs = world.events("peer_down");
    world.disturb(&Fault::Outage {
        server: 0,
        empty,
        time,
    });
    world.run(seconds(700)).expect("nothing is wrong");
    world.settle().expect("all talk");
    assert_eq!(world.events("peer_down"), downs);
    assert_eq!(world.able_pairs(), 6);
}

#[test]
fn a_kernel_peer_and_a_userspace_peer_talk() {
    let nodes = vec![
        NodePlan::public("fra").kernel(),
        NodePlan::public("nyc"),
        NodePlan::public("sin").kernel(),
    ];
    let mut world = world(&Plan::new(1, nodes));
    let [there, back] = outage(&mut world, &restart(1, 0), seconds(30));
    println!("kernel peer-restart: {there:?} {back:?}");
    assert!(there.max(back) < seconds(6), "{there:?} {back:?}");
    world.settle().expect("all talk");
    assert_eq!(world.able_pairs(), 3);
}

/// DESIGN section 12, the kernel's row, each way.
#[test]
fn kernel_peers_leave_a_black_hole() {
    let row = measure(Strike::BlackholeBoth, Mode::Kernel, 50).expect("nothing goes wrong");
    assert_eq!(row.unrecovered, 0);
    for (direction, samples) in &row.directions {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let [p50, p99] = [50, 99].map(|rank| nearest_rank(&sorted, rank).expect("samples"));
        println!("blackhole-both, kernel, {direction}: p50 {p50} ms, p99 {p99} ms");
        assert!(p50 <= 350.0, "{direction} p50 {p50} ms");
        assert!(p99 <= 700.0, "{direction} p99 {p99} ms");
    }
    assert_eq!(row.samples_ms.len(), 100);
}

/// DESIGN section 12, rows that are the same for both backends.
#[test]
fn kernel_peers_recover_from_the_rest() {
    let goals = [
        (Strike::BlackholeOut, 600.0),
        (Strike::BlackholeIn, 600.0),
        (Strike::AddressReplaced, 300.0),
        (Strike::PeerRestart, 300.0),
    ];
    for (strike, most) in goals {
        let row = measure(strike, Mode::Kernel, 20).expect("nothing goes wrong");
        let longest = row.samples_ms.iter().copied().fold(0.0, f64::max);
        println!("{}, kernel: at most {longest} ms", strike.name());
        assert_eq!(row.unrecovered, 0, "{}", strike.name());
        assert!(longest <= most, "{} takes {longest} ms", strike.name());
    }
}

/// All servers are down when an address changes: peers hear of it through the tunnels.
#[test]
fn an_address_changes_in_the_dark() {
    let mut world = world(&pair());
    let fault = Fault::Dark {
        node: 1,
        interface: 0,
        time: seconds(600),
    };
    let [there, back] = outage(&mut world, &fault, seconds(60));
    println!("address-replaced without discovery: {there:?} {back:?}");
    assert!(there.max(back) < seconds(1), "{there:?} {back:?}");
}

/// DESIGN section 12: no path switch, nobody torn down.
#[test]
fn ten_minutes_of_five_per_cent_loss() {
    let mut plan = Plan::new(1, vec![NodePlan::public("fra"), NodePlan::public("nyc")]);
    plan.weather.loss_ppm = 50_000;
    let mut world = world(&plan);
    let (switches, downs) = (world.path_switches(0), world.events("peer_down"));
    world.send(0, 1, Duration::from_millis(50), seconds(600));
    world.run(seconds(600)).expect("nothing is wrong");
    assert_eq!(world.path_switches(0), switches);
    assert_eq!(world.events("peer_down"), downs);
}
