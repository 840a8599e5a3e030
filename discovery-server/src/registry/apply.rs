//! Applying: making visible what is durable, and putting back what was stored before a restart.

use std::collections::BTreeSet;

use mesh_proto::{ClusterId, EnvelopeKind};

use super::cluster::{Cluster, Entry, ReportEntry, member_line};
use super::{Batch, Key, Now, Registry, Stored, StoredReport, Submission, Write};

/// The end of a lease that is nearer may be decided already and be on its way to the disk.
const RENEWAL_MARGIN_MS: u64 = 30_000;

impl Registry {
    /// Puts back what was stored. Every lease gets a full term; the batch holds what that changes.
    /// Revisions go on above both the stored ones and the wall clock, so that none is used twice even
    /// if the newest change was of a member that is forgotten by now.
    pub fn restore(&mut self, writes: Vec<Write>, now: Now) -> Batch {
        for write in writes {
            self.apply_write(write, now);
        }
        let mut batch = Batch::default();
        let stale: Vec<_> = self
            .entries()
            .filter(|(_, entry)| entry.stored.kind == EnvelopeKind::Record && !entry.stored.fresh)
            .map(|(key, entry)| (key, entry.stored.clone()))
            .collect();
        for (key, stored) in stale {
            let changed = self.next_revision(&mut batch, key.cluster, now);
            batch.push(Write::Member(
                key,
                Stored {
                    fresh: true,
                    changed,
                    ..stored
                },
            ));
        }
        batch
    }

    /// Makes a batch visible. Returns the clusters whose watchers have something to read.
    pub fn apply(&mut self, batch: Batch, now: Now) -> Vec<ClusterId> {
        for key in batch.renewals {
            let deadline = now.mono_ms + self.terms.lease_ms;
            if self.entry(key).is_some_and(Entry::has_lease) {
                self.set_deadline(key, deadline);
            }
        }
        let mut changed = BTreeSet::new();
        for write in batch.writes {
            if matches!(write, Write::Member(..)) {
                changed.insert(write.key().cluster);
            }
            self.apply_write(write, now);
        }
        changed.into_iter().collect()
    }

    /// Renews the lease of what is stored for `key` already, if that is all there is to do: nothing has to be
    /// stored or pushed, and the lease does not end at this very moment. False if [`Self::judge`] has to
    /// decide.
    pub fn renew_at_once(&mut self, submission: &Submission, now: Now) -> bool {
        let key = submission.key;
        let Some(entry) = self.entry(key).filter(|entry| entry.has_lease()) else {
            return false;
        };
        let stored = &entry.stored;
        let is_quiet = stored.bytes == submission.bytes
            && now.wall_ms.abs_diff(stored.seen_ms) < self.terms.seen_granularity_ms
            && entry.deadline > now.mono_ms.saturating_add(RENEWAL_MARGIN_MS);
        if is_quiet {
            self.set_deadline(key, now.mono_ms.saturating_add(self.terms.lease_ms));
        }
        is_quiet
    }

    fn apply_write(&mut self, write: Write, now: Now) {
        match write {
            Write::Member(key, stored) => self.apply_member(key, stored, now),
            Write::Report(key, report) => self.apply_report(key, report, now),
            Write::Forget(key) => self.forget(key),
        }
    }

    fn apply_member(&mut self, key: Key, stored: Stored, now: Now) {
        let old = self.take(key);
        let (line, report) = match old {
            // A leave takes the report with it.
            Some(old) if stored.kind == EnvelopeKind::Record => {
                let same_line = old.stored.changed == stored.changed;
                (same_line.then_some(old.line), old.report)
            }
            _ => (None, None),
        };
        let mut entry = Entry {
            line: line.unwrap_or_else(|| member_line(self.epoch, &stored, 0)),
            deadline: self.kept_until(stored.seen_ms, now),
            stale_since: now.mono_ms,
            stored,
            report,
        };
        if entry.has_lease() {
            entry.deadline = now.mono_ms + self.terms.lease_ms;
        }
        self.put(key, entry, now);
    }

    fn apply_report(&mut self, key: Key, report: StoredReport, now: Now) {
        let next_at = now.mono_ms + self.terms.report_interval_ms;
        if let Some(mut entry) = self.take(key) {
            entry.report = Some(ReportEntry {
                stored: report,
                next_at,
            });
            self.put(key, entry, now);
        }
    }

    fn put(&mut self, key: Key, entry: Entry, now: Now) {
        self.members += 1;
        self.bytes += entry.bytes();
        self.deadlines.insert((entry.deadline, key));
        let cluster = self.cluster_mut(key.cluster, now);
        cluster.n = cluster.n.max(entry.stored.changed);
        let place = (entry.stored.changed, key.member);
        cluster.by_change.insert(place);
        cluster.members.insert(key.member, entry);
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        let cluster = self.clusters.get_mut(&key.cluster)?;
        let entry = cluster.members.remove(&key.member)?;
        let place = (entry.stored.changed, key.member);
        cluster.by_change.remove(&place);
        self.deadlines.remove(&(entry.deadline, key));
        self.members -= 1;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    fn forget(&mut self, key: Key) {
        self.take(key);
        if self
            .clusters
            .get(&key.cluster)
            .is_some_and(|cluster| cluster.members.is_empty())
        {
            self.clusters.remove(&key.cluster);
        }
    }

    /// Monotonic time at which an entry last seen at `seen_ms` is forgotten. A wall clock that jumped
    /// cannot make it less than the least, or more than the full, retention from now.
    fn kept_until(&self, seen_ms: u64, now: Now) -> u64 {
        let age_ms = now.wall_ms.saturating_sub(seen_ms);
        let left_ms = self.terms.retention_ms.saturating_sub(age_ms);
        now.mono_ms + left_ms.max(self.terms.min_retention_ms)
    }

    fn set_deadline(&mut self, key: Key, deadline: u64) {
        let entry = self
            .clusters
            .get_mut(&key.cluster)
            .and_then(|cluster| cluster.members.get_mut(&key.member));
        if let Some(entry) = entry {
            self.deadlines.remove(&(entry.deadline, key));
            entry.deadline = deadline;
            self.deadlines.insert((deadline, key));
        }
    }

    fn cluster_mut(&mut self, cluster: ClusterId, now: Now) -> &mut Cluster {
        // Where all clusters share one count, it is not this registry that counts.
        let first = if self.passed > 0 { 0 } else { now.wall_ms };
        self.clusters
            .entry(cluster)
            .or_insert_with(|| Cluster::new(first))
    }
}
