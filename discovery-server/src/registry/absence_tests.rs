//! Tests of what comes after quiet and after absence: renewals, and an hour without a server.

use super::tests::{HOUR, TERMS, at, expire, put, record, submission};
use super::*;
use mesh_proto::EnvelopeKind;

#[test]
fn a_quiet_renewal_takes_the_short_way_and_everything_else_does_not() {
    let mut registry = Registry::new(TERMS, 1);
    assert!(
        !registry.renew_at_once(&record(1, 1), at(0)),
        "not there yet"
    );
    put(&mut registry, record(1, 1), at(0));
    assert!(registry.renew_at_once(&record(1, 1), at(200_000)));
    assert!(expire(&mut registry, at(300_000)).is_empty(), "renewed");
    assert!(
        !registry.renew_at_once(&record(1, 2), at(300_000)),
        "a change"
    );
    assert!(
        !registry.renew_at_once(&record(1, 1), at(480_000)),
        "nearly over"
    );
    assert!(
        !registry.renew_at_once(&record(1, 1), at(HOUR)),
        "to be stored"
    );
    assert_eq!(expire(&mut registry, at(500_000)).len(), 1);
    assert!(!registry.renew_at_once(&record(1, 1), at(500_001)), "stale");
    put(
        &mut registry,
        submission(1, EnvelopeKind::Left, 2),
        at(500_002),
    );
    let left = submission(1, EnvelopeKind::Left, 2);
    assert!(
        !registry.renew_at_once(&left, at(500_003)),
        "a leave has no lease"
    );
}

#[test]
fn what_a_watcher_missed_in_an_hour_comes_in_one_answer() {
    let terms = Terms {
        max_members: 100,
        max_bytes: 1 << 20,
        ..TERMS
    };
    let mut registry = Registry::new(terms, 1);
    for member in 0..100 {
        put(&mut registry, record(member, 1), at(0));
    }
    let cluster = record(0, 1).key.cluster;
    let n = registry.page(cluster, 0, 0, at(0)).upto;
    // Ten members change every six minutes, the others renew, five are gone for good.
    for minute in (0..60).step_by(2) {
        let now = at(minute * 60_000);
        for member in 0..95u8 {
            let sequence = if member < 10 { 1 + minute / 6 } else { 1 };
            put(&mut registry, record(member, sequence), now);
        }
        expire(&mut registry, now);
    }
    let now = at(HOUR - 1);
    let from = Revision { epoch: 1, n };
    let start = registry.resume_at(cluster, Some(from));
    assert_eq!(start, n, "the place is known");
    let page = registry.page(cluster, start, start, now);
    assert!(page.complete);
    let count = |part: &str| {
        let lines = page.lines.iter().map(|line| String::from_utf8_lossy(line));
        lines.filter(|line| line.contains(part)).count()
    };
    // States, not history: each member once.
    assert_eq!((count("\"member\",\"rev"), count("\"stale\"")), (10, 5));
    assert_eq!(page.lines.len(), 15);
}

#[test]
fn members_that_were_found_stale_at_once_are_all_told_and_kept_apart() {
    let mut registry = Registry::new(TERMS, 1);
    registry.passed(9);
    let stale = |member| {
        let found = submission(member, EnvelopeKind::Record, 1);
        let stored = Stored {
            bytes: found.bytes,
            kind: found.kind,
            sequence: found.sequence,
            fresh: false,
            changed: 9,
            recorded: 3,
            seen_ms: at(0).wall_ms,
        };
        Write::Member(found.key, stored)
    };
    let count = MAX_PAGE as u8 + 50;
    registry.apply(Batch::decided((0..count).map(stale).collect()), at(0));
    let cluster = record(0, 1).key.cluster;
    let told = |registry: &Registry| {
        let page = registry.page(cluster, 0, 0, at(0));
        assert!(page.complete);
        (page.lines.len(), page.upto)
    };
    assert_eq!(told(&registry), (usize::from(count), 9));
    let again = Batch::decided(vec![Write::Forget(record(7, 1).key)]);
    registry.apply(again, at(0));
    assert_eq!(told(&registry), (usize::from(count) - 1, 9));
}
