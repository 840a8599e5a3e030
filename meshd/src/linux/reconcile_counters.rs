//! What reconciling the kernel's network came to, counted for `/metrics`. Counts only; the work is
//! `reconcile`'s.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ReconcileReport;

/// Shared by who reconciles and who answers scrapes.
#[derive(Debug, Default)]
pub struct ReconcileCounters {
    unchanged: AtomicU64,
    changed: AtomicU64,
    failed: AtomicU64,
    changes: AtomicU64,
}

impl ReconcileCounters {
    /// Counts one run: failed if anything could not be done, though the rest was.
    pub(super) fn count(&self, report: &ReconcileReport) {
        let outcome = if !report.errors.is_empty() {
            &self.failed
        } else if report.applied > 0 {
            &self.changed
        } else {
            &self.unchanged
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        let changes = u64::try_from(report.applied).unwrap_or(u64::MAX);
        self.changes.fetch_add(changes, Ordering::Relaxed);
    }

    /// Runs by outcome.
    #[must_use]
    pub fn runs(&self) -> [(&'static str, u64); 3] {
        [
            ("unchanged", self.unchanged.load(Ordering::Relaxed)),
            ("changed", self.changed.load(Ordering::Relaxed)),
            ("failed", self.failed.load(Ordering::Relaxed)),
        ]
    }

    /// Single changes made: addresses, routes, rules, settings of the interface.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_an_error_has_failed_and_its_changes_count() {
        let counters = ReconcileCounters::default();
        let mut report = ReconcileReport::default();
        counters.count(&report);
        report.applied = 3;
        counters.count(&report);
        report.errors.push("no".to_owned());
        counters.count(&report);
        let each = [("unchanged", 1), ("changed", 1), ("failed", 1)];
        assert_eq!(counters.runs(), each);
        assert_eq!(counters.changes(), 6);
    }
}
