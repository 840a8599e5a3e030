//! Where what is stored in etcd, and what a change there means for the registry. Pure.
//!
//! ```text
//! mesh/v1/meta                              server id 16 | epoch u64 | nonce key 32
//! mesh/v1/m/{cluster}/{member}/record       envelope; its revision is the record's
//! mesh/v1/m/{cluster}/{member}/live         nothing; bound to the member's lease, gone when that ends
//! mesh/v1/m/{cluster}/{member}/report       at ms u64 | envelope
//! mesh/v1/m/{cluster}/{member}/seen         wall clock in ms u64, hourly; decides only when to forget
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_proto::{Envelope, EnvelopeKind};
use sha2::{Digest as _, Sha256};

use super::gateway::{Event, KeyValue};
use crate::registry::{Key, Registry, Stored, StoredReport, Write};

/// Who the replicas together are.
pub(super) const META: &[u8] = b"mesh/v1/meta";
/// All members, and what comes behind the last one.
pub(super) const MEMBERS: (&[u8], &[u8]) = (b"mesh/v1/m/", b"mesh/v1/m0");

/// The keys of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Record,
    Live,
    Report,
    Seen,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Live => "live",
            Self::Report => "report",
            Self::Seen => "seen",
        }
    }
}

/// The etcd key of a part of a member.
pub(super) fn path(key: Key, part: Part) -> Vec<u8> {
    let Key { cluster, member } = key;
    format!("mesh/v1/m/{cluster}/{member}/{}", part.name()).into_bytes()
}

/// Whose key it is, and which.
fn parse(path: &[u8]) -> Option<(Key, Part)> {
    let text = std::str::from_utf8(path).ok()?;
    let mut words = text.strip_prefix("mesh/v1/m/")?.split('/');
    let (cluster, member) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let part = match words.next()? {
        "record" => Part::Record,
        "live" => Part::Live,
        "report" => Part::Report,
        "seen" => Part::Seen,
        _ => return None,
    };
    Some((Key { cluster, member }, part))
}

/// The lease of a member: the same at every replica, without asking.
pub(super) fn lease_of(key: Key) -> i64 {
    let digest = Sha256::new()
        .chain_update(b"mesh lease")
        .chain_update(key.cluster.as_bytes())
        .chain_update(key.member.as_bytes())
        .finalize();
    let number = digest[..8]
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    // Positive and not zero, which asks etcd for any.
    (number >> 1).max(1).cast_signed()
}

/// A number as it is stored.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*head), rest))
}

/// Everything that is stored, as of `revision`. A record without its `live` key is stale since then at
/// the latest, for all that is known.
pub(super) fn snapshot(kvs: &[KeyValue], revision: u64) -> Vec<Write> {
    let mut parts: BTreeMap<Key, BTreeMap<Part, &KeyValue>> = BTreeMap::new();
    for kv in kvs {
        if let Some((key, part)) = parse(&kv.key) {
            parts.entry(key).or_default().insert(part, kv);
        }
    }
    let mut writes = Vec::new();
    for (key, parts) in parts {
        let record = parts.get(&Part::Record);
        let Some(mut stored) = record.and_then(|kv| stored(key, kv)) else {
            continue;
        };
        match parts.get(&Part::Live) {
            Some(live) => stored.changed = stored.changed.max(live.mod_revision),
            None if stored.kind == EnvelopeKind::Record => {
                (stored.fresh, stored.changed) = (false, revision);
            }
            None => {}
        }
        let seen = parts.get(&Part::Seen).and_then(|kv| number(&kv.value));
        stored.seen_ms = seen.map_or(0, |(ms, _)| ms);
        writes.push(Write::Member(key, stored));
        let report = parts.get(&Part::Report).and_then(|kv| report(key, kv));
        writes.extend(report);
    }
    writes
}

/// What changes, in order, mean for `registry`.
pub(super) fn changes(registry: &Registry, events: &[Event], wall_ms: u64) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut latest: BTreeMap<Key, Option<Stored>> = BTreeMap::new();
    for event in events {
        let Some((key, part)) = parse(&event.kv.key) else {
            continue;
        };
        let revision = event.kv.mod_revision;
        let present = match latest.get(&key) {
            Some(present) => present.clone(),
            None => registry.stored(key).cloned(),
        };
        let next = match (part, event.is_deletion(), present) {
            (Part::Record, false, _) => stored(key, &event.kv).map(|stored| Stored {
                seen_ms: wall_ms,
                ..stored
            }),
            (Part::Record, true, Some(_)) => {
                latest.insert(key, None);
                writes.push(Write::Forget(key));
                continue;
            }
            (Part::Live, false, Some(old)) if !old.fresh => Some(Stored {
                fresh: true,
                changed: revision,
                seen_ms: wall_ms,
                ..old
            }),
            (Part::Live, true, Some(old)) if old.fresh && old.kind == EnvelopeKind::Record => {
                Some(Stored {
                    fresh: false,
                    changed: revision,
                    seen_ms: wall_ms,
                    ..old
                })
            }
            (Part::Seen, false, Some(old)) => Some(Stored {
                seen_ms: number(&event.kv.value).map_or(old.seen_ms, |(ms, _)| ms),
                ..old
            }),
            (Part::Report, false, Some(_)) => {
                writes.extend(report(key, &event.kv));
                continue;
            }
            _ => None,
        };
        if let Some(stored) = next {
            latest.insert(key, Some(stored.clone()));
            writes.push(Write::Member(key, stored));
        }
    }
    writes
}

/// The record under a key, if it belongs there. Its signature is checked again: whoever can write to
/// etcd must not put a broken envelope before watchers.
fn stored(key: Key, kv: &KeyValue) -> Option<Stored> {
    let envelope = Envelope::decode(&kv.value).ok()?.verify().ok()?;
    let belongs = envelope.cluster() == key.cluster && envelope.member() == key.member;
    (belongs && envelope.kind() != EnvelopeKind::Report).then(|| Stored {
        bytes: Bytes::copy_from_slice(&kv.value),
        kind: envelope.kind(),
        sequence: envelope.sequence(),
        fresh: true,
        changed: kv.mod_revision,
        recorded: kv.mod_revision,
        seen_ms: 0,
    })
}

fn report(key: Key, kv: &KeyValue) -> Option<Write> {
    let (at_ms, bytes) = number(&kv.value)?;
    let envelope = Envelope::decode(bytes).ok()?.verify().ok()?;
    let belongs = envelope.cluster() == key.cluster && envelope.member() == key.member;
    (belongs && envelope.kind() == EnvelopeKind::Report).then(|| {
        let report = StoredReport {
            bytes: Bytes::copy_from_slice(bytes),
            sequence: envelope.sequence(),
            at_ms,
        };
        Write::Report(key, report)
    })
}
