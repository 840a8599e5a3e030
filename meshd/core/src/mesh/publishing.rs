//! Publishing: the own record, its sequence, conflicts over it, and the leave. Persisting before
//! publishing is the mesh's part.

use std::collections::VecDeque;
use std::time::Instant;

use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::record::RecordError;
use mesh_proto::{ClusterId, EnvelopeKind, Record, Sequence, VerifiedEnvelope};

use crate::timing::{BEHIND_SHOWN, CONFLICT_GAP, CONFLICT_WINDOW, LEAVE_WAIT, PUBLISH_COALESCE};

/// Conflicts remembered; more than these in one [`CONFLICT_WINDOW`] tell nothing new.
const MAX_CONFLICTS: usize = 8;

/// What is published now.
#[derive(Debug)]
struct Published {
    record: Record,
    sequence: Sequence,
    encoded: EncodedEnvelope,
    /// One for each secret, the newest first.
    envelopes: Vec<(ClusterId, Vec<u8>)>,
}

/// The leave that is published instead.
#[derive(Debug)]
struct Leaving {
    sequence: Sequence,
    deadline: Instant,
    envelopes: Vec<(ClusterId, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct Publisher {
    /// Highest sequence ever used or adopted.
    last: Option<Sequence>,
    current: Option<Published>,
    /// Sequence of the first record with the zone and mode of the current one.
    boundary: Sequence,
    /// Sequence of the first record that named the secrets of the current one.
    secrets: Sequence,
    /// Zone of the record before the restart; stands in until this run knows better.
    cached: Option<Record>,
    leaving: Option<Leaving>,
    left: bool,
    conflicts: VecDeque<Instant>,
    /// Highest sequence on disk at the start.
    began_with: Option<Sequence>,
    /// First sequence of this run.
    first: Option<Sequence>,
    /// When a record was heard of that neither the disk nor this run knows.
    behind: Option<Instant>,
    /// A server holds something newer than the current record: publish it again, not before then.
    again: Option<Instant>,
}

impl Publisher {
    pub(super) const fn new(last: Option<Sequence>, cached: Option<Record>) -> Self {
        Self {
            last,
            current: None,
            boundary: Sequence(0),
            secrets: Sequence(0),
            cached,
            leaving: None,
            left: false,
            conflicts: VecDeque::new(),
            began_with: last,
            first: None,
            behind: None,
            again: None,
        }
    }

    /// The record in force: published, or from the cache.
    pub(super) fn record(&self) -> Option<&Record> {
        self.current
            .as_ref()
            .map(|published| &published.record)
            .or(self.cached.as_ref())
    }

    /// Sequence of what is published, be it a leave; 0 if nothing is.
    pub(super) fn sequence(&self) -> Sequence {
        let record = self.current.as_ref().map(|published| published.sequence);
        let leave = self.leaving.as_ref().map(|leave| leave.sequence);
        leave.or(record).unwrap_or(Sequence(0))
    }

    pub(super) const fn last(&self) -> Option<Sequence> {
        self.last
    }

    /// The published record that first had this zone and mode; none if they are not published yet.
    pub(super) fn boundary(&self, record: &Record) -> Option<Sequence> {
        self.current
            .as_ref()
            .filter(|published| same_boundary(&published.record, record))
            .map(|_| self.boundary)
    }

    /// The first record that named these secrets; none if that is not published yet.
    pub(super) fn secrets_since(&self, secrets: &[ClusterId]) -> Option<Sequence> {
        self.current
            .as_ref()
            .filter(|published| published.record.secrets == secrets)
            .map(|_| self.secrets)
    }

    /// The envelopes of what is published, one for each secret.
    pub(super) fn envelopes(&self) -> &[(ClusterId, Vec<u8>)] {
        let record = self.current.as_ref().map(|published| &*published.envelopes);
        let leave = self.leaving.as_ref().map(|leave| &*leave.envelopes);
        leave.or(record).unwrap_or_default()
    }

    pub(super) fn encoded(&self) -> Option<&EncodedEnvelope> {
        self.current.as_ref().map(|published| &published.encoded)
    }

    /// When `record` has to be published: never if it says nothing new, at once if it is the first or
    /// moves the node across a zone boundary, otherwise after a moment.
    pub(super) fn due(&self, record: &Record, now: Instant) -> Option<Instant> {
        if self.leaving.is_some() {
            return None;
        }
        if let Some(again) = self.again {
            return Some(again.max(now));
        }
        match &self.current {
            Some(published) if published.record == *record => None,
            Some(published) if same_boundary(&published.record, record) => {
                Some(now + PUBLISH_COALESCE)
            }
            _ => Some(now),
        }
    }

    /// The current record has to go out again, under other secrets.
    pub(super) const fn seal_again(&mut self, now: Instant) {
        if self.current.is_some() && self.again.is_none() {
            self.again = Some(now);
        }
    }

    /// True while publishing again would only feed a quarrel over sequences.
    pub(super) fn waits_for_conflict(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| now < again)
    }

    /// The sequence to use next; it counts as used from now on.
    pub(super) fn take_sequence(&mut self, clock_ms: u64) -> Sequence {
        let next = Sequence::next(self.last, clock_ms);
        self.last = Some(next);
        self.first.get_or_insert(next);
        next
    }

    /// The plaintext of a record.
    pub(super) fn plaintext(record: &Record) -> Result<Vec<u8>, RecordError> {
        record.encode()
    }

    /// `record` was sealed, once for each secret, and goes out.
    pub(super) fn published(&mut self, record: Record, sealed: &[VerifiedEnvelope]) {
        let Some(envelope) = sealed.first() else {
            return;
        };
        let same_secrets = self
            .current
            .as_ref()
            .is_some_and(|before| before.record.secrets == record.secrets);
        if !same_secrets {
            self.secrets = envelope.sequence();
        }
        let moved = self
            .current
            .as_ref()
            .is_none_or(|before| !same_boundary(&before.record, &record));
        if moved {
            self.boundary = envelope.sequence();
        }
        self.again = None;
        self.current = Some(Published {
            record,
            sequence: envelope.sequence(),
            encoded: EncodedEnvelope::from_bytes(&envelope.encode()),
            envelopes: encoded(sealed),
        });
    }

    /// A server holds another envelope of ours. Returns when to publish again above it; none if it
    /// is below what this node has used. The caller has checked that the member is ours.
    pub(super) fn conflict(&mut self, stored: &VerifiedEnvelope, now: Instant) -> Option<Instant> {
        if stored.kind() == EnvelopeKind::Report || Some(stored.sequence()) < self.last {
            return None;
        }
        let bytes = stored.encode();
        if self.envelopes().iter().any(|(_, own)| *own == bytes) {
            return None;
        }
        self.last = self.last.max(Some(stored.sequence()));
        // Above all of this run: a copy, or a clock that was set back since.
        self.behind = Some(now);
        // Saying it again before the answer goes out must not put the answer off.
        if let Some(at) = self.again {
            return Some(at.max(now));
        }
        let at = self
            .conflicts
            .back()
            .map_or(now, |last| now.max(*last + CONFLICT_GAP));
        if self.conflicts.len() >= MAX_CONFLICTS {
            self.conflicts.pop_front();
        }
        self.conflicts.push_back(at);
        self.again = Some(at);
        Some(at)
    }

    /// A server has, or had, this sequence of this node.
    pub(super) fn heard_own(&mut self, sequence: Sequence, now: Instant) {
        let of_this_run = self.first.is_some_and(|first| sequence >= first);
        // At a first start there is nothing to be behind of, but a record says there was.
        if !of_this_run && Some(sequence) > self.began_with {
            self.behind = Some(now);
        }
    }

    /// The state directory was older than what servers knew; said for a while.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        (self.behind).is_some_and(|at| now.saturating_duration_since(at) < BEHIND_SHOWN)
    }

    /// Conflicts in the last minute: one is a lost state directory, several are a second node with
    /// the same identity.
    pub(super) fn recent_conflicts(&self, now: Instant) -> usize {
        self.conflicts
            .iter()
            .filter(|at| now.saturating_duration_since(**at) < CONFLICT_WINDOW)
            .count()
    }

    /// This leave goes out. The first one sets the deadline.
    pub(super) fn leave(&mut self, sealed: &[VerifiedEnvelope], now: Instant) -> Instant {
        let before = self.leaving.as_ref().map(|leave| leave.deadline);
        let deadline = before.unwrap_or(now + LEAVE_WAIT);
        if let Some(newest) = sealed.first() {
            self.leaving = Some(Leaving {
                sequence: newest.sequence(),
                deadline,
                envelopes: encoded(sealed),
            });
        }
        deadline
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// A server has stored `sequence`. True if that is the leave, for the first time.
    pub(super) fn leave_stored(&mut self, sequence: Sequence) -> bool {
        let leave = self.leaving.as_ref();
        let stored = leave.is_some_and(|leave| leave.sequence == sequence);
        if stored && !self.left {
            self.left = true;
            return true;
        }
        false
    }
}

fn encoded(sealed: &[VerifiedEnvelope]) -> Vec<(ClusterId, Vec<u8>)> {
    let encode = |envelope: &VerifiedEnvelope| (envelope.cluster(), envelope.encode());
    sealed.iter().map(encode).collect()
}

fn same_boundary(a: &Record, b: &Record) -> bool {
    a.zone == b.zone && a.mode == b.mode
}
