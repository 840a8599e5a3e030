//! Watchers: wakes the streams of a cluster when something changed. Carries no events: a stream that
//! is woken reads what it has missed from the registry, so a slow one costs no memory and skips
//! states that are already replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_proto::ClusterId;
use tokio::sync::watch;

/// The watched clusters.
#[derive(Debug, Default)]
pub struct Watchers {
    clusters: Mutex<BTreeMap<ClusterId, watch::Sender<()>>>,
}

/// One stream's place; given back when dropped.
#[derive(Debug)]
pub struct Watcher {
    watchers: Arc<Watchers>,
    cluster: ClusterId,
    changes: Option<watch::Receiver<()>>,
}

impl Watchers {
    /// A place for one more stream of `cluster`, or none if there are `limit` already, or `total` of
    /// all clusters.
    pub fn enter(
        self: &Arc<Self>,
        cluster: ClusterId,
        limit: usize,
        total: usize,
    ) -> Option<Watcher> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = clusters.values().map(watch::Sender::receiver_count).sum();
        if all >= total {
            return None;
        }
        let sender = clusters
            .entry(cluster)
            .or_insert_with(|| watch::Sender::new(()));
        if sender.receiver_count() >= limit {
            return None;
        }
        Some(Watcher {
            watchers: Arc::clone(self),
            cluster,
            changes: Some(sender.subscribe()),
        })
    }

    /// Wakes the streams of `changed`.
    pub fn wake(&self, changed: &[ClusterId]) {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in changed.iter().filter_map(|cluster| clusters.get(cluster)) {
            sender.send_replace(());
        }
    }

    /// Streams there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.values().map(watch::Sender::receiver_count).sum()
    }
}

impl Watcher {
    /// From here on, a change makes [`Self::changed`] return; to be called before reading.
    pub fn mark_read(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.mark_unchanged();
        }
    }

    /// Returns when something changed since [`Self::mark_read`].
    pub async fn changed(&mut self) {
        let changed = match &mut self.changes {
            Some(changes) => changes.changed().await.is_ok(),
            None => false,
        };
        // The sender lives as long as a receiver does, so this is never reached.
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.changes = None;
        let mut clusters = self
            .watchers
            .clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if clusters
            .get(&self.cluster)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            clusters.remove(&self.cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_a_cluster_and_in_all_and_given_back() {
        let watchers = Arc::new(Watchers::default());
        let enter = |cluster| watchers.enter(ClusterId([cluster; 32]), 2, 3);
        let held = [enter(1), enter(1), enter(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(enter(1).is_none(), "the cluster's bound");
        assert!(enter(2).is_none(), "the bound of all");
        drop(held);
        assert_eq!(watchers.count(), 0);
        assert!(enter(2).is_some());
    }
}
