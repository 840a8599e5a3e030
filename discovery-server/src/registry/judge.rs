//! Deciding: what a submission or the passing of time changes. Nothing here changes the registry.

use mesh_proto::{ClusterId, EnvelopeKind};

use super::cluster::Entry;
use super::{Batch, Now, Refusal, Registry, Stored, StoredReport, Submission, Verdict, Write};

impl Registry {
    /// Decides about `submission` and adds what follows to `batch`.
    pub fn judge(&self, batch: &mut Batch, submission: Submission, now: Now) -> Verdict {
        if batch.touched.contains(&submission.key) {
            return Verdict::Later;
        }
        if submission.kind == EnvelopeKind::Report {
            return self.judge_report(batch, submission, now);
        }
        match self.entry(submission.key) {
            None => self.judge_new(batch, submission, now),
            Some(entry) if submission.sequence > entry.stored.sequence => {
                self.accept(batch, submission, now)
            }
            Some(entry) if submission.bytes == entry.stored.bytes => {
                self.renew(batch, entry, submission, now)
            }
            Some(entry) => Verdict::Refused(Refusal::Conflict(entry.stored.bytes.clone())),
        }
    }

    /// Adds to `batch` at most `limit` leases that ended and members whose retention did.
    pub fn expire(&self, batch: &mut Batch, now: Now, limit: usize) {
        for (deadline, key) in self.deadlines.iter().take(limit) {
            if *deadline > now.mono_ms {
                break;
            }
            let Some(entry) = self.entry(*key) else {
                continue;
            };
            if batch.touched.contains(key) {
                continue;
            }
            if entry.has_lease() {
                let changed = self.next_revision(batch, key.cluster, now);
                let stored = entry.stored.clone();
                batch.push(Write::Member(
                    *key,
                    Stored {
                        fresh: false,
                        changed,
                        ..stored
                    },
                ));
            } else {
                batch.push(Write::Forget(*key));
            }
        }
    }

    fn judge_new(&self, batch: &mut Batch, submission: Submission, now: Now) -> Verdict {
        let cluster = submission.key.cluster;
        let coming = batch.new_members.get(&cluster).copied().unwrap_or(0);
        let present = self
            .clusters
            .get(&cluster)
            .map(|cluster| cluster.members.len());
        if present.is_none() && coming == 0 {
            let new = batch
                .new_members
                .keys()
                .filter(|id| !self.clusters.contains_key(id));
            if self.clusters.len() + new.count() >= self.terms.max_clusters {
                return Verdict::Refused(Refusal::TooManyClusters);
            }
        }
        if present.unwrap_or(0) + coming >= self.terms.max_members {
            return Verdict::Refused(Refusal::TooManyMembers);
        }
        let verdict = self.accept(batch, submission, now);
        if verdict == Verdict::Accepted {
            *batch.new_members.entry(cluster).or_default() += 1;
        }
        verdict
    }

    fn accept(&self, batch: &mut Batch, submission: Submission, now: Now) -> Verdict {
        let replaced = self
            .entry(submission.key)
            .map_or(0, |entry| entry.stored.bytes.len());
        if !self.has_room(batch, replaced, submission.bytes.len()) {
            return Verdict::Refused(Refusal::Full);
        }
        let n = self.next_revision(batch, submission.key.cluster, now);
        let stored = Stored {
            bytes: submission.bytes,
            kind: submission.kind,
            sequence: submission.sequence,
            fresh: true,
            changed: n,
            recorded: n,
            seen_ms: now.wall_ms,
        };
        batch.push(Write::Member(submission.key, stored));
        Verdict::Accepted
    }

    fn renew(&self, batch: &mut Batch, entry: &Entry, submission: Submission, now: Now) -> Verdict {
        let stored = &entry.stored;
        if stored.kind == EnvelopeKind::Left {
            return Verdict::Renewed;
        }
        let seen_recently = now.wall_ms.abs_diff(stored.seen_ms) < self.terms.seen_granularity_ms;
        if stored.fresh && seen_recently {
            batch.renewals.push(submission.key);
            return Verdict::Renewed;
        }
        let mut renewed = Stored {
            fresh: true,
            seen_ms: now.wall_ms,
            ..stored.clone()
        };
        if !stored.fresh {
            renewed.changed = self.next_revision(batch, submission.key.cluster, now);
        }
        batch.push(Write::Member(submission.key, renewed));
        Verdict::Accepted
    }

    fn judge_report(&self, batch: &mut Batch, submission: Submission, now: Now) -> Verdict {
        let entry = self.entry(submission.key);
        let Some(entry) = entry.filter(|entry| entry.stored.kind == EnvelopeKind::Record) else {
            return Verdict::Refused(Refusal::NoRecord);
        };
        if let Some(last) = &entry.report {
            if submission.bytes == last.stored.bytes {
                return Verdict::Renewed;
            }
            if submission.sequence <= last.stored.sequence {
                return Verdict::Refused(Refusal::Conflict(last.stored.bytes.clone()));
            }
            let wait_ms = last.next_at.saturating_sub(now.mono_ms);
            if wait_ms > 0 {
                return Verdict::Refused(Refusal::TooSoon(wait_ms.div_ceil(1000)));
            }
        }
        let replaced = entry
            .report
            .as_ref()
            .map_or(0, |report| report.stored.bytes.len());
        if !self.has_room(batch, replaced, submission.bytes.len()) {
            return Verdict::Refused(Refusal::Full);
        }
        let report = StoredReport {
            bytes: submission.bytes,
            sequence: submission.sequence,
            at_ms: now.wall_ms,
        };
        batch.push(Write::Report(submission.key, report));
        Verdict::Accepted
    }

    /// A full server still takes what does not grow: members must be able to tell a new address.
    fn has_room(&self, batch: &mut Batch, replaced: usize, bytes: usize) -> bool {
        let growth = bytes.saturating_sub(replaced);
        let fits = growth == 0 || self.bytes + batch.new_bytes + growth <= self.terms.max_bytes;
        if fits {
            batch.new_bytes += growth;
        }
        fits
    }

    pub(super) fn next_revision(&self, batch: &mut Batch, cluster: ClusterId, now: Now) -> u64 {
        let n = batch.revisions.entry(cluster).or_insert_with(|| {
            self.clusters
                .get(&cluster)
                .map_or(now.wall_ms, |cluster| cluster.n)
        });
        *n += 1;
        *n
    }
}
