//! The mesh forms and carries traffic with reverse path filters off and loose; the demo has them strict.

#![cfg(test)]

use mesh_tests::lab::Plan;
use mesh_tests::lab::fixture::Fixture;
use mesh_tests::lab::ping::{Ping, run_all};

fn forms_with(rp_filter: u8) {
    let mut plan = Plan::new(3, 1).unwrap();
    plan.rp_filter = rp_filter;
    let Some(fixture) = Fixture::running(plan) else {
        return;
    };
    let lab = &fixture.lab;
    let machine = |name: &str| lab.machine(name).unwrap();
    let pings: Vec<_> = lab
        .plan
        .cross_pairs()
        .into_iter()
        .flat_map(|(from, to)| {
            [
                Ping::quick(machine(&from.name), to.address.into()),
                Ping::quick(machine(&from.pod_name()), to.pod_address().into()),
            ]
        })
        .collect();
    for (ping, score) in pings.iter().zip(run_all(&pings)) {
        assert!(
            score.unwrap().perfect(),
            "{} -> {}",
            ping.from.name(),
            ping.to
        );
    }
}

#[test]
fn off() {
    forms_with(0);
}

#[test]
fn loose() {
    forms_with(2);
}
