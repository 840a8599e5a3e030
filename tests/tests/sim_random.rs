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

/// A bound that is broken on purpose: the seed is printed, and what is left of the scenario is little and
/// fails in the same way.
#[test]
fn a_failing_seed_is_shrunk() {
    let bounds = Bounds {
        switches_per_minute: 0,
        ..Bounds::default()
    };
    let mut scenarios = (0..).map(|seed| Scenario::draw(seed, Size::default(), bounds));
    let (whole, violation) = scenarios
        .by_ref()
        .take(50)
        .find_map(|scenario| Some((scenario.clone(), scenario.run().violation?)))
        .expect("some seed switches");
    assert_eq!(violation.kind, "flapping");
    let small = whole.shrink();
    let again = small.run().violation.expect("it still fails");
    assert_eq!(again.kind, violation.kind);
    assert!(small.steps.len() <= 2, "{small}");
    let seed = whole.plan.seed;
    assert_eq!(small.plan.seed, seed);
    assert!(
        small.to_string().contains(&format!("seed {seed},")),
        "{small}"
    );
    let rerun = Scenario {
        bounds,
        ..Scenario::draw(seed, Size::default(), bounds)
    };
    assert_eq!(
        rerun.run().violation,
        Some(violation),
        "the seed says it all"
    );
}

#[test]
fn userspace_meshes_recover() {
    let (failures, checked) = run(seeds(0..20), Size::default());
    assert!(failures.is_empty(), "{failures}");
    assert!(checked > 100, "the oracle was certain of {checked} pairs");
}

/// Every second node runs the kernel's WireGuard, as the backend uses it.
#[test]
fn meshes_with_kernel_nodes_recover() {
    let size = Size {
        kernel_every: 2,
        ..Size::default()
    };
    let (failures, checked) = run(seeds(80..90), size);
    assert!(failures.is_empty(), "{failures}");
    assert!(checked > 50, "the oracle was certain of {checked} pairs");
}

/// Leaves and joins on the same host, restarts of all at once, MTU holes, outages while addresses change.
#[test]
fn rare_disturbances_heal_too() {
    let size = Size {
        wide: true,
        ..Size::default()
    };
    let (failures, checked) = run(seeds(1000..1010), size);
    assert!(failures.is_empty(), "{failures}");
    assert!(checked > 50, "the oracle was certain of {checked} pairs");
}

/// Seed 66: the engine had taken a path with the local address a packet came to, the core knew that path
/// without it, and went on calling the peer up when the address was gone.
#[test]
fn an_address_change_leaves_a_learned_path() {
    let (failures, _) = run(66..67, Size::default());
    assert!(failures.is_empty(), "{failures}");
}

/// Seed 1227: a symmetric NAT forgets its mappings while the node behind it comes back an hour in the past. Nobody
/// knows its address but those who refuse its initiations.
#[test]
fn a_refused_initiation_says_where_to_begin() {
    let size = Size {
        wide: true,
        ..Size::default()
    };
    let (failures, _) = run(1227..1228, size);
    assert!(failures.is_empty(), "{failures}");
}
