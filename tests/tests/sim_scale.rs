//! Size: many nodes for a long virtual time, the same run twice, and what probing costs.

use std::time::{Duration, Instant};

use mesh_tests::sim::{Bounds, NodePlan, Plan, Scenario, World};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn same_seed_same_trace() {
    let run = |seed| Scenario::churn(seed, 12, 12, seconds(10)).run();
    let first = run(5);
    assert_eq!(first.violation, None);
    assert_eq!(first, run(5));
    assert_ne!(first.trace, run(6).trace);
}

/// DESIGN section 11: 100 nodes for an hour with churn and faults, in under two minutes on one core.
#[test]
#[ignore = "needs a release build: cargo test --release -p mesh-tests --test sim_scale -- --ignored"]
fn hundred_nodes_one_hour() {
    let began = Instant::now();
    let scenario = Scenario::churn(1, 100, 170, seconds(19));
    let outcome = scenario.run();
    let took = began.elapsed();
    println!(
        "100 nodes, {:?} of virtual time in {took:?}, {} pairs checked, trace {:016x}",
        outcome.time, outcome.checked, outcome.trace
    );
    assert_eq!(outcome.violation, None, "{scenario}");
    assert!(outcome.time >= seconds(3600));
    assert!(took < seconds(120), "too slow: {took:?}");
}

/// A hub with peers that have no other.
fn star(peers: usize) -> World {
    let mut nodes = vec![NodePlan::public("hub")];
    nodes.extend((0..peers).map(|_| NodePlan {
        hears: Some(vec![0]),
        ..NodePlan::public("edge")
    }));
    World::new(&Plan::new(3, nodes), Bounds::default())
}

/// Bytes a second that the hub sends on its own account, idle and with traffic to a tenth of its peers.
fn cost(peers: usize) -> [f64; 2] {
    let mut world = star(peers);
    world.run(seconds(120)).expect("the mesh comes up");
    let measure = |world: &mut World| {
        let (before, _) = world.control_sent(0);
        world.run(seconds(60)).expect("nothing is wrong");
        (world.control_sent(0).0 - before) as f64 / 60.0
    };
    let idle = measure(&mut world);
    for peer in 1..=peers.div_ceil(10) {
        world.send(0, peer, Duration::from_millis(200), seconds(90));
        world.send(peer, 0, Duration::from_millis(200), seconds(90));
    }
    world.run(seconds(5)).expect("nothing is wrong");
    [idle, measure(&mut world)]
}

#[test]
fn probing_six_peers_is_cheap() {
    let [idle, busy] = cost(6);
    println!("probing 6 peers: {idle:.0} B/s idle, {busy:.0} B/s busy");
    assert!(idle.max(busy) < 6_000.0, "{idle} idle, {busy} busy");
}

#[test]
fn probing_a_hundred_peers_is_cheap() {
    let [idle, busy] = cost(100);
    println!("probing 100 peers: {idle:.0} B/s idle, {busy:.0} B/s busy");
    assert!(idle.max(busy) < 60_000.0, "{idle} idle, {busy} busy");
}

/// DESIGN section 8: 1,000 peers cost less than 1 Mbit/s.
#[test]
#[ignore = "needs a release build: cargo test --release -p mesh-tests --test sim_scale -- --ignored"]
fn probing_a_thousand_peers_stays_below_a_megabit() {
    let [idle, busy] = cost(1000);
    println!("probing 1,000 peers: {idle:.0} B/s idle, {busy:.0} B/s busy");
    assert!(idle.max(busy) < 125_000.0, "{idle} idle, {busy} busy");
}
