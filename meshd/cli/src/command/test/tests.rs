//! Causes, JUnit, and the summary, from fixed documents.

use mesh_proto::CandidateKind;
use mesh_proto::control::{NodeState, PathState};

use super::*;
use crate::sample;

fn cause(change: impl FnOnce(&mut Status, &mut Members, &mut Paths)) -> String {
    let (mut status, mut members, mut paths) =
        (sample::status(), sample::members(), sample::paths());
    for path in &mut paths.paths {
        (path.in_use, path.state) = (false, PathState::Dead);
    }
    change(&mut status, &mut members, &mut paths);
    let peer = sample::peers()
        .peers
        .into_iter()
        .find(|peer| peer.name == "ber-1")
        .unwrap();
    let (cause, remedy) = cause::of(&status, &members, &peer, &paths);
    assert!(!remedy.is_empty());
    cause
}

#[test]
fn every_cause_is_told_from_the_others() {
    let words = |change: fn(&mut Status, &mut Members, &mut Paths)| cause(change);
    assert!(words(|_, m, _| m.members[0].state = NodeState::Stale).contains("down or cut off"));
    assert!(words(|_, m, _| m.members[0].state = NodeState::Unknown).contains("disk only"));
    assert!(words(|_, _, p| p.paths.clear()).contains("publishes no endpoint"));
    let refused = words(|_, _, p| {
        for path in &mut p.paths {
            path.state = PathState::Refused;
        }
    });
    assert!(refused.contains("are refused here"), "{refused}");
    let nat = words(|s, _, p| {
        s.candidates.truncate(1);
        p.paths
            .retain(|path| path.kind == Some(CandidateKind::Reflexive));
    });
    assert!(nat.contains("NAT on both sides"), "{nat}");
    assert!(words(|s, _, _| s.peers_up = 0).contains("no peer at all"));
    assert!(words(|_, _, _| ()).contains("alive by discovery"));
    let lossy = words(|_, _, p| (p.paths[0].in_use, p.paths[0].state) = (true, PathState::Good));
    assert!(lossy.contains("the tunnel is up by"), "{lossy}");
}

fn document() -> Tests {
    let failed = Check {
        name: "tunnel fra-1 – ber<1>".to_owned(),
        outcome: Outcome::Failed,
        rtt_ms: None,
        cause: Some("\"quoted\" & \u{1b}".to_owned()),
        remedy: Some("do this".to_owned()),
    };
    let mut skipped = failed.clone();
    (skipped.outcome, skipped.cause) = (Outcome::Skipped, Some("idle".to_owned()));
    Tests {
        version: CONTROL_VERSION,
        node: "fra-1".to_owned(),
        passed: 1,
        failed: 1,
        skipped: 1,
        checks: vec![
            Check::passed("node fra-1".to_owned(), Some(0.42)),
            failed,
            skipped,
        ],
    }
}

#[test]
fn texts_and_junit() {
    let tests = document();
    insta::assert_snapshot!("test", render(&tests, true));
    insta::assert_snapshot!("test_junit", junit::render(&tests));
    insta::assert_snapshot!("test_json", crate::output::json(&tests).unwrap());
}

#[test]
fn broken_tunnels_of_others_are_checks_of_their_own() {
    let known = Known {
        status: sample::status(),
        peers: sample::peers(),
        members: sample::members(),
        topology: sample::topology(),
    };
    let checks = elsewhere(&known);
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.outcome == Outcome::Failed)
        .collect();
    let wanted = [
        "tunnel ber-1 – node:0001ff-1",
        "tunnel ber-1 – node:0001ff-2",
    ];
    assert_eq!(
        failed.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        wanted
    );
    let problems = node_checks(&sample::degraded());
    assert_eq!(problems.len(), 2);
    assert!(
        problems
            .iter()
            .all(|check| check.outcome == Outcome::Failed)
    );
}
