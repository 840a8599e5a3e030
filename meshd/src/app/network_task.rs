//! The task that reads the host's network and reconciles ours. One task does both, so that a reading is
//! never of a half-applied state. It decides nothing: the core says what is desired.

use std::time::Duration;

use meshd_core::Input;
use meshd_core::links::{HostFacts, LinkSnapshot};
use meshd_core::network::NetworkState;
use tokio::sync::{mpsc, watch};

use crate::linux::{Netlink, NetworkChanged};

/// Reading again without being told: heals what an event was lost for.
const PERIOD: Duration = Duration::from_secs(30);

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
    pub(super) fn new(
        netlink: Netlink,
        desired: watch::Receiver<Option<NetworkState>>,
        changes: mpsc::Receiver<NetworkChanged>,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            netlink,
            desired,
            changes,
            inputs,
            last_links: None,
            last_facts: None,
        }
    }

    /// Runs until the event loop is gone; gives the netlink connection back for the clean-up.
    pub(super) async fn run(mut self) -> Netlink {
        loop {
            self.read_links().await;
            self.reconcile().await;
            tokio::select! {
                changed = self.desired.changed() => if changed.is_err() { break },
                change = self.changes.recv() => if change.is_none() { break },
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
