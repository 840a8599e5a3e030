//! Rows: the bytes of one member or report in the store. Fixed-size fields, big-endian, then the
//! envelope.
//!
//! ```text
//! key:    cluster id 32 | member id 32
//! member: fresh u8 | changed u64 | recorded u64 | seen ms u64 | envelope
//! report: at ms u64 | envelope
//! ```

use bytes::Bytes;
use mesh_proto::{ClusterId, Envelope, EnvelopeKind, MemberId};

use crate::registry::{Key, Stored, StoredReport, Write};

/// The key of a member's rows.
#[must_use]
pub fn encode_key(key: Key) -> [u8; 64] {
    let mut out = [0; 64];
    out[..32].copy_from_slice(key.cluster.as_bytes());
    out[32..].copy_from_slice(key.member.as_bytes());
    out
}

/// Reads a key.
#[must_use]
pub fn decode_key(bytes: &[u8]) -> Option<Key> {
    let (cluster, member) = bytes.split_first_chunk::<32>()?;
    Some(Key {
        cluster: ClusterId(*cluster),
        member: MemberId(member.try_into().ok()?),
    })
}

/// The row of a member.
#[must_use]
pub fn encode_member(stored: &Stored) -> Vec<u8> {
    let mut out = vec![u8::from(stored.fresh)];
    for number in [stored.changed, stored.recorded, stored.seen_ms] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&stored.bytes);
    out
}

/// Reads the row of a member. The signature is checked again: a damaged file must not put a broken
/// envelope before watchers.
#[must_use]
pub fn decode_member(key: Key, row: &[u8]) -> Option<Write> {
    let (fresh, row) = row.split_first()?;
    let (changed, row) = number(row)?;
    let (recorded, row) = number(row)?;
    let (seen_ms, row) = number(row)?;
    let envelope = Envelope::decode(row).ok()?.verify().ok()?;
    let belongs = envelope.cluster() == key.cluster && envelope.member() == key.member;
    (belongs && envelope.kind() != EnvelopeKind::Report).then(|| {
        let stored = Stored {
            bytes: Bytes::copy_from_slice(row),
            kind: envelope.kind(),
            sequence: envelope.sequence(),
            fresh: *fresh == 1,
            changed,
            recorded,
            seen_ms,
        };
        Write::Member(key, stored)
    })
}

/// The row of a report.
#[must_use]
pub fn encode_report(report: &StoredReport) -> Vec<u8> {
    let mut out = report.at_ms.to_be_bytes().to_vec();
    out.extend_from_slice(&report.bytes);
    out
}

/// Reads the row of a report.
#[must_use]
pub fn decode_report(key: Key, row: &[u8]) -> Option<Write> {
    let (at_ms, row) = number(row)?;
    let envelope = Envelope::decode(row).ok()?.verify().ok()?;
    let belongs = envelope.cluster() == key.cluster && envelope.member() == key.member;
    (belongs && envelope.kind() == EnvelopeKind::Report).then(|| {
        let report = StoredReport {
            bytes: Bytes::copy_from_slice(row),
            sequence: envelope.sequence(),
            at_ms,
        };
        Write::Report(key, report)
    })
}

fn number(row: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = row.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*head), rest))
}
