//! Tests of single rules of the registry: submissions, leases, retention, bounds, pages.

use super::*;
use mesh_proto::envelope::Contents;
use mesh_proto::{ClusterKeys, Envelope, EnvelopeKind, IdentityKey, Sequence};

const WALL: u64 = 1_800_000_000_000;
pub(super) const HOUR: u64 = 3_600_000;

pub(super) const TERMS: Terms = Terms {
    lease_ms: 300_000,
    retention_ms: 7 * 24 * HOUR,
    min_retention_ms: HOUR,
    seen_granularity_ms: HOUR,
    report_interval_ms: 60_000,
    max_members: 3,
    max_clusters: 2,
    max_bytes: 1000,
};

pub(super) fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        wall_ms: WALL + mono_ms,
    }
}

pub(super) fn submission(member: u8, kind: EnvelopeKind, sequence: u64) -> Submission {
    let key = Key {
        cluster: ClusterId([1; 32]),
        member: MemberId([member; 32]),
    };
    Submission {
        key,
        kind,
        sequence: Sequence(sequence),
        bytes: format!("{member} {kind:?} {sequence}").into(),
    }
}

pub(super) fn record(member: u8, sequence: u64) -> Submission {
    submission(member, EnvelopeKind::Record, sequence)
}

/// Judges and, if accepted, applies.
pub(super) fn put(registry: &mut Registry, submission: Submission, now: Now) -> Verdict {
    let mut batch = Batch::default();
    let verdict = registry.judge(&mut batch, submission, now);
    registry.apply(batch, now);
    verdict
}

pub(super) fn expire(registry: &mut Registry, now: Now) -> Vec<Write> {
    let mut batch = Batch::default();
    registry.expire(&mut batch, now, 100);
    let writes = batch.writes().to_vec();
    registry.apply(batch, now);
    writes
}

#[test]
fn submissions_must_be_what_their_path_says() {
    let keys = ClusterKeys::derive(&[1; 32]);
    let identity = IdentityKey::from_seed(&[2; 32]);
    let key = Key {
        cluster: keys.cluster_id(),
        member: identity.public_key().member_id(),
    };
    let sealed = |kind| {
        let contents = Contents {
            kind,
            sequence: Sequence(7),
            plaintext: b"{}",
        };
        Bytes::from(
            Envelope::seal(&keys, &identity, contents, [3; 24])
                .unwrap()
                .encode(),
        )
    };
    let bytes = sealed(EnvelopeKind::Record);
    let taken = Submission::record(key, bytes.clone()).unwrap();
    assert_eq!((taken.key(), taken.sequence), (key, Sequence(7)));
    assert!(Submission::record(key, sealed(EnvelopeKind::Left)).is_ok());
    assert!(Submission::report(key, sealed(EnvelopeKind::Report)).is_ok());
    let report = Submission::record(key, sealed(EnvelopeKind::Report));
    assert_eq!(report, Err(SubmissionError::Kind(EnvelopeKind::Report)));
    let record = Submission::report(key, bytes.clone());
    assert_eq!(record, Err(SubmissionError::Kind(EnvelopeKind::Record)));
    let member = MemberId([9; 32]);
    let moved = Submission::record(Key { member, ..key }, bytes.clone());
    assert_eq!(moved, Err(SubmissionError::OtherMember));
    let cluster = ClusterId([9; 32]);
    let moved = Submission::record(Key { cluster, ..key }, bytes.clone());
    assert_eq!(moved, Err(SubmissionError::OtherCluster));
    let mut tampered = bytes.to_vec();
    tampered[120] ^= 1;
    assert!(matches!(
        Submission::record(key, tampered.into()),
        Err(SubmissionError::Envelope(_))
    ));
}

#[test]
fn leases_end_are_renewed_and_return() {
    let mut registry = Registry::new(TERMS, 1);
    let one = record(1, 1);
    assert_eq!(put(&mut registry, one.clone(), at(0)), Verdict::Accepted);
    assert_eq!(
        put(&mut registry, one.clone(), at(200_000)),
        Verdict::Renewed
    );
    assert_eq!(expire(&mut registry, at(499_999)), []);
    assert!(registry.member(one.key).unwrap().fresh);
    assert_eq!(expire(&mut registry, at(500_000)).len(), 1);
    assert!(!registry.member(one.key).unwrap().fresh);
    assert_eq!(expire(&mut registry, at(600_000)), [], "told once");
    assert_eq!(
        put(&mut registry, one.clone(), at(700_000)),
        Verdict::Accepted,
        "a change"
    );
    assert!(registry.member(one.key).unwrap().fresh);
}

#[test]
fn stale_records_and_leaves_are_kept_a_week() {
    let mut registry = Registry::new(TERMS, 1);
    let left = submission(2, EnvelopeKind::Left, 5);
    put(&mut registry, record(1, 1), at(0));
    put(&mut registry, left.clone(), at(0));
    assert_eq!(
        expire(&mut registry, at(300_000)).len(),
        1,
        "a leave has no lease to end"
    );
    assert_eq!(put(&mut registry, left, at(400_000)), Verdict::Renewed);
    let week = TERMS.retention_ms;
    assert_eq!(expire(&mut registry, at(week - 1)), []);
    assert_eq!(registry.sizes().1, 2);
    expire(&mut registry, at(week + 300_000));
    assert_eq!(registry.sizes(), (0, 0, 0));
}

#[test]
fn a_restart_keeps_the_age_of_what_it_restores_within_reason() {
    let left = submission(1, EnvelopeKind::Left, 5);
    let stored = |seen_ms| {
        let stored = Stored {
            bytes: left.bytes.clone(),
            kind: left.kind,
            sequence: left.sequence,
            fresh: true,
            changed: 1,
            recorded: 1,
            seen_ms,
        };
        vec![Write::Member(left.key, stored)]
    };
    let week = TERMS.retention_ms;
    for (seen_ms, kept) in [
        (WALL, week),
        (WALL - week / 2, week / 2),
        (WALL - 3 * week, HOUR),
        (WALL + 3 * week, week),
    ] {
        let mut registry = Registry::new(TERMS, 1);
        registry.restore(stored(seen_ms), at(0));
        assert_eq!(expire(&mut registry, at(kept - 1)), [], "{seen_ms}");
        assert_eq!(
            expire(&mut registry, at(kept)),
            [Write::Forget(left.key)],
            "{seen_ms}"
        );
    }
}

#[test]
fn renewals_are_durable_once_an_hour() {
    let mut registry = Registry::new(TERMS, 1);
    put(&mut registry, record(1, 1), at(0));
    let before = registry.page(ClusterId([1; 32]), 0, 0, at(0)).upto;
    let mut written = 0;
    for minute in 0..120 {
        if put(&mut registry, record(1, 1), at(minute * 60_000)) == Verdict::Accepted {
            written += 1;
        }
    }
    assert_eq!(written, 1);
    let page = registry.page(ClusterId([1; 32]), 0, before, at(HOUR));
    assert_eq!(page.lines, Vec::<Bytes>::new(), "nothing for watchers");
}

#[test]
fn bounds_count_what_is_in_the_batch_too() {
    let registry = Registry::new(TERMS, 1);
    let mut batch = Batch::default();
    let verdicts: Vec<_> = (0..5)
        .map(|member| registry.judge(&mut batch, record(member, 1), at(0)))
        .collect();
    assert_eq!(verdicts[2], Verdict::Accepted);
    assert_eq!(
        verdicts[3..],
        [const { Verdict::Refused(Refusal::TooManyMembers) }; 2]
    );
    assert_eq!(
        registry.judge(&mut batch, record(0, 2), at(0)),
        Verdict::Later
    );

    let mut of_cluster = |cluster: u8| {
        let mut other = record(1, 1);
        other.key.cluster = ClusterId([cluster; 32]);
        registry.judge(&mut batch, other, at(0))
    };
    assert_eq!(of_cluster(2), Verdict::Accepted);
    assert_eq!(of_cluster(3), Verdict::Refused(Refusal::TooManyClusters));
    let mut large = record(9, 1);
    large.key.cluster = ClusterId([2; 32]);
    large.bytes = vec![0; 1000].into();
    assert_eq!(
        registry.judge(&mut batch, large, at(0)),
        Verdict::Refused(Refusal::Full)
    );
}

#[test]
fn bytes_and_members_are_counted_back() {
    let mut registry = Registry::new(TERMS, 1);
    let report = submission(1, EnvelopeKind::Report, 1);
    assert_eq!(
        put(&mut registry, report.clone(), at(0)),
        Verdict::Refused(Refusal::NoRecord)
    );
    let one = record(1, 1);
    put(&mut registry, one.clone(), at(0));
    put(&mut registry, report.clone(), at(0));
    assert_eq!(
        registry.sizes(),
        (1, 1, one.bytes.len() + report.bytes.len())
    );
    let next = submission(1, EnvelopeKind::Report, 2);
    let too_soon = put(&mut registry, next.clone(), at(59_001));
    assert_eq!(too_soon, Verdict::Refused(Refusal::TooSoon(1)));
    assert_eq!(
        put(&mut registry, report.clone(), at(59_001)),
        Verdict::Renewed
    );
    assert_eq!(
        put(&mut registry, next.clone(), at(60_000)),
        Verdict::Accepted
    );
    let older = put(&mut registry, report, at(HOUR));
    assert_eq!(
        older,
        Verdict::Refused(Refusal::Conflict(next.bytes.clone()))
    );
    assert_eq!(registry.report(one.key, at(61_000)), Some((next.bytes, 1)));
    let left = submission(1, EnvelopeKind::Left, 2);
    put(&mut registry, left.clone(), at(HOUR));
    assert_eq!(
        registry.report(one.key, at(HOUR)),
        None,
        "a leave takes the report along"
    );
    assert_eq!(registry.sizes(), (1, 1, left.bytes.len()));
}

#[test]
fn a_full_server_takes_what_does_not_grow() {
    let terms = Terms {
        max_bytes: record(1, 1).bytes.len(),
        ..TERMS
    };
    let mut registry = Registry::new(terms, 1);
    assert_eq!(put(&mut registry, record(1, 1), at(0)), Verdict::Accepted);
    assert_eq!(
        put(&mut registry, record(2, 1), at(0)),
        Verdict::Refused(Refusal::Full)
    );
    assert_eq!(put(&mut registry, record(1, 2), at(0)), Verdict::Accepted);
    assert_eq!(
        put(&mut registry, record(1, 10), at(0)),
        Verdict::Refused(Refusal::Full)
    );
}

#[test]
fn pages_are_bounded_and_complete_in_the_end() {
    let terms = Terms {
        max_members: 1000,
        max_bytes: 1 << 20,
        ..TERMS
    };
    let mut registry = Registry::new(terms, 1);
    for member in 0..=255 {
        put(&mut registry, record(member, 1), at(0));
    }
    put(&mut registry, record(0, 2), at(0));
    let (mut after, mut lines, mut pages) = (0, 0, 0);
    loop {
        let page = registry.page(ClusterId([1; 32]), 0, after, at(0));
        assert!(page.lines.len() <= MAX_PAGE);
        (after, lines, pages) = (page.upto, lines + page.lines.len(), pages + 1);
        if page.complete {
            break;
        }
    }
    assert_eq!((lines, pages), (256, 256usize.div_ceil(MAX_PAGE)));
    let other = registry.page(ClusterId([7; 32]), 0, 0, at(0));
    assert_eq!(
        (other.lines.len(), other.complete),
        (0, true),
        "an unknown cluster is empty"
    );
}

#[test]
fn long_lines_make_short_pages() {
    let terms = Terms {
        max_bytes: 1 << 20,
        ..TERMS
    };
    let mut registry = Registry::new(terms, 1);
    for member in 1..=3 {
        let mut long = record(member, 1);
        long.bytes = vec![member; 32 * 1024].into();
        assert_eq!(put(&mut registry, long, at(0)), Verdict::Accepted);
    }
    let (mut after, mut lines) = (0, 0);
    for last in [false, false, true] {
        let page = registry.page(ClusterId([1; 32]), 0, after, at(0));
        assert_eq!((page.lines.len(), page.complete), (1, last));
        (after, lines) = (page.upto, lines + page.lines.len());
    }
    assert_eq!(lines, 3);
}
