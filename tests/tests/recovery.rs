//! Recovery, roughly: the real numbers come from `mesh-lab recovery` on a quiet machine.

#![cfg(test)]

use mesh_tests::lab::{binaries, packages, requirements};
use mesh_tests::recovery::report::Row;
use mesh_tests::recovery::scenario::Scenario;
use mesh_tests::recovery::{self, Options};

/// Far above the goals of a fraction of a second: a busy machine is no failure, WireGuard's own timers
/// (15 s and more) are.
const BOUND_MS: f64 = 8_000.0;

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
        let worst = row.samples_ms.iter().copied().fold(0.0, f64::max);
        assert!(worst < BOUND_MS, "{row:?}");
        assert_eq!(row.unrecovered, 0);
    }
}
