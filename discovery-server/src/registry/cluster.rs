//! One cluster in memory: its members, indexed by id and by the revision of their last change.
//! Deciding what may change is the registry's part.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh_proto::discovery::{EncodedEnvelope, MemberLine, Revision, WatchEvent};
use mesh_proto::{EnvelopeKind, MemberId};

use super::batch::{Stored, StoredReport};
use crate::limits::MAX_PAGE_BYTES;

/// A member in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stored: Stored,
    /// Monotonic time at which the lease ends, or after that at which the member is forgotten.
    pub(super) deadline: u64,
    /// Monotonic time since which the lease is over.
    pub(super) stale_since: u64,
    /// The line watchers get while the lease is live, encoded once for all of them.
    pub(super) line: Bytes,
    pub(super) report: Option<ReportEntry>,
}

/// The last report of a member.
#[derive(Debug)]
pub(super) struct ReportEntry {
    pub(super) stored: StoredReport,
    /// Monotonic time from which the next one is taken.
    pub(super) next_at: u64,
}

impl Entry {
    /// True for a record with a live lease; a leave has no lease.
    pub(super) fn has_lease(&self) -> bool {
        self.stored.fresh && self.stored.kind == EnvelopeKind::Record
    }

    /// Bytes it counts for.
    pub(super) fn bytes(&self) -> usize {
        let report = self.report.as_ref();
        self.stored.bytes.len() + report.map_or(0, |report| report.stored.bytes.len())
    }
}

/// Members of one cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) members: BTreeMap<MemberId, Entry>,
    /// Last change of each member, in order. What lies after a revision is exactly what a watcher
    /// that resumes there has missed, so no history needs to be kept.
    /// A revision is that of one member, except where several were found stale at once.
    pub(super) by_change: BTreeSet<(u64, MemberId)>,
    pub(super) n: u64,
}

/// Some lines of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// JSON lines, each with its line feed.
    pub lines: Vec<Bytes>,
    /// Everything up to here has been given.
    pub upto: u64,
    /// False if there is more already.
    pub complete: bool,
}

impl Cluster {
    pub(super) const fn new(n: u64) -> Self {
        Self {
            members: BTreeMap::new(),
            by_change: BTreeSet::new(),
            n,
        }
    }

    /// Up to `limit` lines of what changed after `after`, fewer if they are long, at least one. The
    /// reader has every record up to `base` already, so that the end of a lease needs no record again.
    pub(super) fn page(&self, epoch: u64, range: (u64, u64), limit: usize, now_ms: u64) -> Page {
        let (base, after) = range;
        let first = (after + 1, MemberId([0; 32]));
        let mut changed = self.by_change.range(first..).peekable();
        let mut lines: Vec<Bytes> = Vec::new();
        let (mut upto, mut bytes) = (after, 0);
        while let Some((n, member)) = changed.peek() {
            // Members of one revision come together: whoever resumes there has all of them.
            let may_end = *n != upto;
            if lines.len() >= limit && may_end {
                break;
            }
            if let Some(entry) = self.members.get(member) {
                let line = line_of(epoch, entry, *member, base, now_ms);
                bytes += line.len();
                if bytes > MAX_PAGE_BYTES && !lines.is_empty() && may_end {
                    break;
                }
                lines.push(line);
            }
            upto = *n;
            changed.next();
        }
        let complete = changed.peek().is_none();
        Page {
            lines,
            upto: if complete { self.n.max(after) } else { upto },
            complete,
        }
    }
}

fn line_of(epoch: u64, entry: &Entry, member: MemberId, base: u64, now_ms: u64) -> Bytes {
    let stored = &entry.stored;
    if entry.has_lease() || stored.kind == EnvelopeKind::Left {
        return entry.line.clone();
    }
    if stored.recorded <= base {
        return encode_line(&WatchEvent::Stale {
            revision: Revision {
                epoch,
                n: stored.changed,
            },
            member,
            sequence: stored.sequence,
        });
    }
    let stale_s = now_ms.saturating_sub(entry.stale_since) / 1000;
    member_line(epoch, stored, stale_s)
}

/// The `member` line of a member.
pub(super) fn member_line(epoch: u64, stored: &Stored, stale_s: u64) -> Bytes {
    encode_line(&WatchEvent::Member(MemberLine {
        revision: Revision {
            epoch,
            n: stored.changed,
        },
        envelope: EncodedEnvelope::from_bytes(&stored.bytes),
        fresh: stored.fresh && stored.kind == EnvelopeKind::Record,
        stale_s,
    }))
}

/// One event as a line of JSON.
pub fn encode_line(event: &WatchEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("events hold only strings and numbers");
    line.push(b'\n');
    line.into()
}
