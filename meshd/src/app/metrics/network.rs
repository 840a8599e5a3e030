//! Metrics of the kernel's network configuration: how often it was looked at, and what had to be changed.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Labels, label};
use crate::linux::ReconcileCounters;

/// Counters of the reconciler.
pub(super) fn register(registry: &mut Registry, counters: &ReconcileCounters) {
    let runs = Family::<Labels, Counter>::default();
    for (result, value) in counters.runs() {
        runs.get_or_create(&label("result", result)).inc_by(value);
    }
    registry.register(
        "reconciles",
        "Comparisons of the kernel's network with the desired one, by what came of them",
        runs,
    );
    let changes: Counter = Counter::default();
    changes.inc_by(counters.changes());
    registry.register(
        "reconcile_changes",
        "Addresses, routes, rules and interface settings made or removed",
        changes,
    );
}
