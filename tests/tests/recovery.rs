//! Recovery, roughly: the real numbers come from `mesh-lab recovery` on a quiet machine.

#![cfg(test)]

use mesh_tests::lab::{binaries, packages, requirements};
use mesh_tests::recovery::report::Row;
use mesh_tests::recovery::scenario::Scenario;
use mesh_tests::recovery::{self, Options};

/// Far above the goals of a fraction of a second, far below WireGuard's own timers (15 s and more). Half
/// of the samples have to meet it: a busy machine that stops for seconds spoils one, not most.
const BOUND_MS: f64 = 3_000.0;
/// And whatever happens on a busy machine.
const WORST_MS: f64 = 8_000.0;

#[test]
fn a_black_hole_and_a_restart_are_survived() {
    if !requirements::met() {
        return;
    }
    packages::provide_for_recovery().unwrap();
    let bin_dir = binaries::provide().unwrap();
    let scenarios = ["blackhole-both", "discovery-dead-peer-restart"];
    let options = Options {
        name: format!("test-recovery-{}", std::process::id()),
        scenarios: scenarios
            .map(|name| name.parse::<Scenario>().unwrap())
            .to_vec(),
        repetitions: Some(2),
        minutes: 0.0,
    };
    let note = |_: &str| {};
    let mut rows: Vec<Row> = Vec::new();
    recovery::run(&options, &bin_dir, &note, |row| rows.push(row)).unwrap();
    let [hole, restart] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(hole.samples_ms.len(), 4);
    assert!(hole.switches >= 2, "somebody left the dead way: {hole:?}");
    for row in [hole, restart] {
        assert!(row.samples_ms.iter().all(|ms| *ms < WORST_MS), "{row:?}");
        let good = row.samples_ms.iter().filter(|ms| **ms < BOUND_MS).count();
        assert!(good * 2 >= row.samples_ms.len(), "{row:?}");
        assert_eq!(row.unrecovered, 0);
    }
}

#[test]
fn a_saturated_tunnel_stays_up() {
    if !requirements::met() {
        return;
    }
    packages::provide_for_recovery().unwrap();
    let bin_dir = binaries::provide().unwrap();
    let options = Options {
        name: format!("test-saturated-{}", std::process::id()),
        scenarios: vec!["saturated".parse().unwrap()],
        repetitions: None,
        minutes: 0.1,
    };
    let mut rows: Vec<Row> = Vec::new();
    recovery::run(&options, &bin_dir, &|_: &str| {}, |row| rows.push(row)).unwrap();
    // Doubts may come from a machine that is busy with other tests, an end of the tunnel may not.
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].count("peer_down"), 0, "{rows:?}");
}
