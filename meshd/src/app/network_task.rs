//! The task that reads the host's network and reconciles ours. One task does both, so that a reading is
//! never of a half-applied state. It decides nothing: the core says what is desired.

use std::time::Duration;

use meshd_core::Input;
use meshd_core::links::{HostFacts, LinkSnapshot};
use meshd_core::network::NetworkState;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::linux::{Netlink, NetworkChanged};

/// Reading again without being told: heals what an event was lost for.
const PERIOD: Duration = Duration::from_secs(30);

/// Longest wait before a change of the host's network is looked at, however long looking takes.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// What the task works with.
#[derive(Debug)]
pub(super) struct NetworkTask {
    netlink: Netlink,
    desired: watch::Receiver<Option<NetworkState>>,
    changes: mpsc::Receiver<NetworkChanged>,
    inputs: mpsc::Sender<Input>,
    last_links: Option<LinkSnapshot>,
    last_facts: Option<HostFacts>,
}

impl NetworkTask {
    /// Runs until the event loop is gone; gives the netlink connection back for the clean-up.
    pub(super) fn spawn(
        netlink: Netlink,
        desired: watch::Receiver<Option<NetworkState>>,
        changes: mpsc::Receiver<NetworkChanged>,
        inputs: mpsc::Sender<Input>,
    ) -> JoinHandle<Netlink> {
        let task = Self {
            netlink,
            desired,
            changes,
            inputs,
            last_links: None,
            last_facts: None,
        };
        tokio::spawn(task.run())
    }

    async fn run(mut self) -> Netlink {
        loop {
            let began = Instant::now();
            self.read_links().await;
            self.reconcile().await;
            let rested = Instant::now() + rest(began.elapsed());
            let changes = &mut self.changes;
            let change = async {
                tokio::time::sleep_until(rested).await;
                changes.recv().await
            };
            tokio::select! {
                changed = self.desired.changed() => if changed.is_err() { break },
                change = change => if change.is_none() { break },
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        self.netlink
    }

    async fn read_links(&mut self) {
        match self.netlink.read_links().await {
            Ok(links) if self.last_links.as_ref() == Some(&links) => {}
            Ok(links) => {
                self.last_links = Some(links.clone());
                self.tell(Input::Links(links)).await;
            }
            Err(error) => tracing::warn!(%error, "cannot read the host's links"),
        }
    }

    async fn reconcile(&mut self) {
        let desired = self.desired.borrow_and_update().clone();
        let mut facts = self.netlink.read_facts().await;
        if let Some(desired) = desired {
            let report = self.netlink.reconcile(&desired).await;
            if report.applied > 0 {
                tracing::debug!(changes = report.applied, "network reconciled");
            }
            facts.reconcile_error = (!report.errors.is_empty()).then(|| report.errors.join("; "));
            facts.routing_conflict = facts.routing_conflict.or(report.conflict);
        }
        if self.last_facts.as_ref() != Some(&facts) {
            self.last_facts = Some(facts.clone());
            self.tell(Input::HostFacts(facts)).await;
        }
    }

    async fn tell(&self, input: Input) {
        // The receiver is gone only when the daemon stops.
        let _ = self.inputs.send(input).await;
    }
}

/// A host whose tables take long to read, and change all the time, shall not be busy with that alone.
fn rest(took: Duration) -> Duration {
    (took * 4).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_hosts_are_read_at_once_and_large_ones_in_turn() {
        assert!(rest(Duration::from_millis(2)) < Duration::from_millis(10));
        assert_eq!(rest(Duration::from_millis(100)), Duration::from_millis(400));
        assert_eq!(rest(Duration::from_secs(60)), LONGEST_REST);
    }
}
