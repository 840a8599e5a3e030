//! Batch: changes that were decided but are not durable yet, and so not visible either. The writer
//! collects many, commits them in one transaction, then applies them to the registry.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh_proto::{ClusterId, EnvelopeKind, Sequence};

use super::Key;

/// A member as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The encoded envelope.
    pub bytes: Bytes,
    /// Record or leave.
    pub kind: EnvelopeKind,
    /// Of the envelope.
    pub sequence: Sequence,
    /// True until the lease was seen to end.
    pub fresh: bool,
    /// Revision of the last change of any kind.
    pub changed: u64,
    /// Revision at which the envelope came.
    pub recorded: u64,
    /// Server's wall clock at the last PUT, to an hour; decides only when to forget.
    pub seen_ms: u64,
}

/// A report as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// The encoded envelope.
    pub bytes: Bytes,
    /// Of the envelope.
    pub sequence: Sequence,
    /// Server's wall clock when it came, for the age that is shown.
    pub at_ms: u64,
}

/// One change to be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A member is as given from now on.
    Member(Key, Stored),
    /// A member's report is as given from now on.
    Report(Key, StoredReport),
    /// The member, and its report, are forgotten.
    Forget(Key),
}

impl Write {
    /// Whom it concerns.
    #[must_use]
    pub const fn key(&self) -> Key {
        match self {
            Self::Member(key, _) | Self::Report(key, _) | Self::Forget(key) => *key,
        }
    }
}

/// Decided changes, at most one for each member.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) writes: Vec<Write>,
    /// Leases to renew; nothing of them needs to be stored.
    pub(super) renewals: Vec<Key>,
    pub(super) touched: BTreeSet<Key>,
    /// Revision each cluster has after this batch.
    pub(super) revisions: BTreeMap<ClusterId, u64>,
    pub(super) new_members: BTreeMap<ClusterId, usize>,
    pub(super) new_bytes: usize,
}

impl Batch {
    /// Changes that were decided, and are durable, elsewhere. A member may be in it several times.
    #[must_use]
    pub fn decided(writes: Vec<Write>) -> Self {
        Self {
            writes,
            ..Self::default()
        }
    }

    /// What must be durable before [`super::Registry::apply`].
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// True if nothing was decided, renewals included.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.renewals.is_empty()
    }

    /// Forgets the writes because they could not be stored; renewals remain.
    pub fn abandon_writes(&mut self) {
        self.writes.clear();
    }

    pub(super) fn push(&mut self, write: Write) {
        self.touched.insert(write.key());
        self.writes.push(write);
    }
}
