//! Random scenarios in the simulator: a few seeds each time, more with `SIM_SEEDS=FROM..TO` or by
//! `mesh-sim seeds FROM TO`. A failing one is shrunk and printed with its seed; it then gets a name in
//! `sim_recovery.rs`.

use std::fmt::Write as _;
use std::ops::Range;

use mesh_tests::sim::{Bounds, Scenario, Size};

fn seeds(default: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else {
        return default;
    };
    let (from, to) = text.split_once("..").expect("SIM_SEEDS is FROM..TO");
    let number = |text: &str| text.parse().expect("SIM_SEEDS is FROM..TO in numbers");
    number(from)..number(to)
}

/// Runs every seed; what is to be said of those that fail, and how many pairs were asked to talk.
fn run(seeds: Range<u64>, size: Size) -> (String, usize) {
    let mut failures = String::new();
    let mut checked = 0;
    for seed in seeds {
        let scenario = Scenario::draw(seed, size, Bounds::default());
        let outcome = scenario.run();
        checked += outcome.checked;
        if let Some(violation) = outcome.violation {
            let small = scenario.shrink();
            let shrunk = small.run().violation;
            let _ = writeln!(
                failures,
                "seed {seed} fails: {violation}\nshrunk: {shrunk:?}\n{small}"
            );
        }
    }
    (failures, checked)
}

#[test]
fn userspace_meshes_recover() {
    let (failures, checked) = run(seeds(0..20), Size::default());
    assert!(failures.is_empty(), "{failures}");
    assert!(checked > 100, "the oracle was certain of {checked} pairs");
}

/// Seed 66: the engine had taken a path with the local address a packet came to, the core knew that path
/// without it, and went on calling the peer up when the address was gone.
#[test]
fn an_address_change_leaves_a_learned_path() {
    let (failures, _) = run(66..67, Size::default());
    assert!(failures.is_empty(), "{failures}");
}
