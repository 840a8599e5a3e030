//! Registry: clusters, their members, leases and revisions. Pure: no sockets, files, threads or
//! clock; the time is an argument, and what must be durable is handed out as [`Batch`]es.
//!
//! A change has three steps: [`Registry::judge`] (or [`Registry::expire`]) decides it against what is
//! visible, the caller stores the batch's writes, [`Registry::apply`] makes it visible. Nothing is
//! visible that could be lost again.

#[cfg(test)]
mod absence_tests;
mod apply;
mod batch;
mod cluster;
mod judge;
#[cfg(test)]
mod model_tests;
mod submission;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh_proto::discovery::Revision;
use mesh_proto::{ClusterId, MemberId};

pub use batch::{Batch, Stored, StoredReport, Write};
pub use cluster::{Page, encode_line};
pub use submission::{Key, Submission, SubmissionError};

use crate::limits::MAX_PAGE;
use cluster::{Cluster, Entry};

/// The two clocks of the server, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, from any start. Leases and retention run on it.
    pub mono_ms: u64,
    /// Since 1970; may jump. Only carries ages across restarts.
    pub wall_ms: u64,
}

/// Bounds and durations of a registry, in milliseconds where times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Life of a lease after the last PUT.
    pub lease_ms: u64,
    /// How long leaves and stale records are kept.
    pub retention_ms: u64,
    /// Least retention from now, whatever the wall clock says.
    pub min_retention_ms: u64,
    /// Coarseness of the durable "last seen".
    pub seen_granularity_ms: u64,
    /// Least time between two reports of a member.
    pub report_interval_ms: u64,
    /// Members of one cluster.
    pub max_members: usize,
    /// Clusters.
    pub max_clusters: usize,
    /// Bytes of all envelopes and reports.
    pub max_bytes: usize,
}

/// What becomes of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the batch; it counts when the batch is durable.
    Accepted,
    /// It is stored already; only the lease is renewed.
    Renewed,
    /// The batch holds a change of the same member; ask again with the next batch.
    Later,
    /// No.
    Refused(Refusal),
}

/// Why a submission is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This is stored, and is newer or has the same sequence.
    Conflict(Bytes),
    /// The cluster has as many members as it may.
    TooManyMembers,
    /// The server has as many clusters as it may.
    TooManyClusters,
    /// The server holds as many bytes as it may.
    Full,
    /// A report of a member that has no record here.
    NoRecord,
    /// The next report is taken after so many seconds.
    TooSoon(u64),
}

/// A member as readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// The encoded envelope.
    pub bytes: Bytes,
    /// True while the lease is live.
    pub fresh: bool,
}

/// All clusters of one server.
#[derive(Debug)]
pub struct Registry {
    terms: Terms,
    epoch: u64,
    clusters: BTreeMap<ClusterId, Cluster>,
    deadlines: BTreeSet<(u64, Key)>,
    members: usize,
    bytes: usize,
    /// Everything up to this revision, of whatever cluster, has been applied; 0 if each cluster counts
    /// for itself.
    passed: u64,
}

impl Registry {
    /// An empty registry of the given epoch.
    #[must_use]
    pub const fn new(terms: Terms, epoch: u64) -> Self {
        Self {
            terms,
            epoch,
            clusters: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            members: 0,
            bytes: 0,
            passed: 0,
        }
    }

    /// A member, if known.
    #[must_use]
    pub fn member(&self, key: Key) -> Option<MemberView> {
        self.entry(key).map(|entry| MemberView {
            bytes: entry.stored.bytes.clone(),
            fresh: entry.has_lease(),
        })
    }

    /// The submission that `bytes` are if just they are stored for `key`: what was checked once needs no
    /// second look, and most of what comes is renewals.
    #[must_use]
    pub fn repeated(&self, key: Key, bytes: &Bytes) -> Option<Submission> {
        let stored = self.stored(key).filter(|stored| stored.bytes == *bytes)?;
        Some(Submission {
            key,
            kind: stored.kind,
            sequence: stored.sequence,
            bytes: stored.bytes.clone(),
        })
    }

    /// Notes that everything up to revision `n` has been applied, where all clusters share one count.
    pub fn passed(&mut self, n: u64) {
        self.passed = self.passed.max(n);
    }

    /// A member as it is stored.
    #[must_use]
    pub fn stored(&self, key: Key) -> Option<&Stored> {
        self.entry(key).map(|entry| &entry.stored)
    }

    /// Everything, as it would be stored.
    #[must_use]
    pub fn rows(&self) -> Vec<Write> {
        let rows = self.entries().flat_map(|(key, entry)| {
            let report = entry.report.as_ref();
            let report = report.map(|report| Write::Report(key, report.stored.clone()));
            [Some(Write::Member(key, entry.stored.clone())), report]
        });
        rows.flatten().collect()
    }

    /// All members of all clusters.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.entries().map(|(key, _)| key)
    }

    /// A member's last report and its age in seconds.
    #[must_use]
    pub fn report(&self, key: Key, now: Now) -> Option<(Bytes, u64)> {
        let report = &self.entry(key)?.report.as_ref()?.stored;
        let age_s = now.wall_ms.saturating_sub(report.at_ms) / 1000;
        Some((report.bytes.clone(), age_s))
    }

    /// Where a watch of `cluster` begins that asks to resume at `from`: there, or at 0 (a snapshot) if
    /// that revision is not of this server's present history.
    #[must_use]
    pub fn resume_at(&self, cluster: ClusterId, from: Option<Revision>) -> u64 {
        let known = self.clusters.get(&cluster).map_or(0, |cluster| cluster.n);
        let known = known.max(self.passed);
        from.filter(|from| from.epoch == self.epoch && from.n <= known)
            .map_or(0, |from| from.n)
    }

    /// Up to [`MAX_PAGE`] lines of what changed in `cluster` after `after`, for a reader that has every
    /// record up to `base`.
    #[must_use]
    pub fn page(&self, cluster: ClusterId, base: u64, after: u64, now: Now) -> Page {
        self.clusters.get(&cluster).map_or(
            Page {
                lines: Vec::new(),
                upto: after,
                complete: true,
            },
            |found| found.page(self.epoch, (base, after), MAX_PAGE, now.mono_ms),
        )
    }

    /// The epoch revisions are of.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Clusters, members and bytes held.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.clusters.len(), self.members, self.bytes)
    }

    fn entry(&self, key: Key) -> Option<&Entry> {
        self.clusters.get(&key.cluster)?.members.get(&key.member)
    }

    fn entries(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.clusters.iter().flat_map(|(cluster, members)| {
            members.members.iter().map(|(member, entry)| {
                let (cluster, member): (ClusterId, MemberId) = (*cluster, *member);
                (Key { cluster, member }, entry)
            })
        })
    }
}
