//! Size: many nodes for a long virtual time, the same run twice, and what probing costs.

use std::time::{Duration, Instant};

use mesh_tests::sim::{Scenario, probing};

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

/// Bytes a second that a hub sends on its own account, idle and busy, and processor time where it is told.
fn cost(peers: usize) -> ([f64; 2], Option<f64>) {
    let cost = probing(peers).expect("nothing is wrong");
    let bytes = [cost.idle, cost.busy].map(|spent| spent.bytes_per_second);
    (bytes, cost.idle.cpu)
}

#[test]
fn probing_six_peers_is_cheap() {
    let ([idle, busy], _) = cost(6);
    println!("6 peers: {idle:.0} B/s idle, {busy:.0} B/s busy");
    assert!(idle.max(busy) < 6_000.0, "{idle} idle, {busy} busy");
}

#[test]
fn probing_a_hundred_peers_is_cheap() {
    let ([idle, busy], _) = cost(100);
    println!("100 peers: {idle:.0} B/s idle, {busy:.0} B/s busy");
    assert!(idle.max(busy) < 60_000.0, "{idle} idle, {busy} busy");
}

/// DESIGN section 8: 1,000 peers cost less than 1 Mbit/s.
#[test]
#[ignore = "needs a release build: cargo test --release -p mesh-tests --test sim_scale -- --ignored"]
fn probing_a_thousand_peers_stays_below_a_megabit() {
    let ([idle, busy], cpu) = cost(1000);
    println!("1000 peers: {idle:.0} B/s idle, {busy:.0} B/s busy");
    assert!(idle.max(busy) < 125_000.0, "{idle} idle, {busy} busy");
    // The core's part of 1 %, with all thousand peers' and the simulator's own.
    assert!(cpu.is_none_or(|cores| cores < 0.02), "{cpu:?} cores");
}
