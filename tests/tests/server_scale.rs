//! The measurement of the discovery server with few members: every change reaches every watcher, verified.
//! The figures themselves are for a quiet machine.

#![cfg(test)]

use std::time::Duration;

use mesh_tests::lab::binaries;
use mesh_tests::scale::server::{Options, run};

#[test]
fn every_change_reaches_every_watcher_of_its_cluster_only() {
    let options = Options {
        members: 10,
        clusters: 3,
        joins: 6,
        storm: 9,
        churn: Duration::from_secs(2),
        idle: Duration::from_secs(1),
    };
    let bin_dir = binaries::provide().unwrap();
    let run = run(&options, &bin_dir, &|_| {}).unwrap();
    assert_eq!(run.join_ms.len(), 6);
    assert!(run.join_ms.iter().all(|ms| *ms > 0.0), "{run:?}");
    let figures = run.server.unwrap();
    assert_eq!((figures.watchers, figures.storm_members), (27, 9));
    assert!(figures.change_ms.max > 0.0, "{figures:?}");
}
