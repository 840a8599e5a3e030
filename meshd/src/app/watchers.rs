//! Background tasks that turn slow sources into inputs: the zone file, names to resolve, the addresses
//! of discovery servers.

use std::net::SocketAddr;
use std::sync::Arc;

use meshd_core::Input;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::found_networks::{self, Found};
use super::zone_file;
use crate::config::{Config, Zone};
use crate::kubernetes::NodeFacts;
use crate::resolve::{self, Resolved};
use crate::state::AddressCache;

/// The tasks that a reload may have to replace, and what they are made from.
#[derive(Debug)]
pub(super) struct Watchers {
    cache: Arc<AddressCache>,
    inputs: mpsc::Sender<Input>,
    /// Counts changes of the host's network.
    changes: watch::Receiver<u64>,
    zone: Option<JoinHandle<()>>,
    names: Option<JoinHandle<()>>,
    found: watch::Sender<Found>,
    networks: Option<JoinHandle<()>>,
    kubernetes: Option<JoinHandle<()>>,
}

impl Watchers {
    pub(super) fn start(
        config: &Config,
        cache: Arc<AddressCache>,
        inputs: mpsc::Sender<Input>,
        changes: watch::Receiver<u64>,
        (found, facts): (Found, Option<NodeFacts>),
    ) -> Self {
        let found = watch::Sender::new(found);
        let kubernetes = config.node.kubernetes.then(|| {
            found_networks::watch_kubernetes(config, facts, found.clone(), inputs.clone())
        });
        Self {
            networks: found_networks::watch_file(config.advertise_file.clone(), found.clone()),
            kubernetes,
            found,
            zone: watch_zone(config, &inputs),
            names: Some(watch_names(config, &cache, &inputs, &changes)),
            cache,
            inputs,
            changes,
        }
    }

    /// Replaces the tasks whose part of the configuration changed.
    pub(super) fn change(&mut self, current: &Config, next: &Config) {
        if current.node.zone != next.node.zone {
            replace(&mut self.zone, watch_zone(next, &self.inputs));
        }
        if current.advertise_file != next.advertise_file {
            replace(&mut self.networks, None);
            let path = next.advertise_file.clone();
            self.networks = found_networks::watch_file(path, self.found.clone());
        }
        if current.extra_announced_endpoints != next.extra_announced_endpoints {
            let names = watch_names(next, &self.cache, &self.inputs, &self.changes);
            replace(&mut self.names, Some(names));
        }
    }

    /// What the tasks find out about the networks behind this node.
    pub(super) fn found(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        replace(&mut self.zone, None);
        replace(&mut self.names, None);
        replace(&mut self.networks, None);
        replace(&mut self.kubernetes, None);
    }
}

fn replace(task: &mut Option<JoinHandle<()>>, next: Option<JoinHandle<()>>) {
    if let Some(old) = std::mem::replace(task, next) {
        old.abort();
    }
}

fn watch_zone(config: &Config, inputs: &mpsc::Sender<Input>) -> Option<JoinHandle<()>> {
    match &config.node.zone {
        Zone::File(path) => Some(zone_file::watch(path.clone(), inputs.clone())),
        Zone::Own | Zone::Label(_) | Zone::Rules(_) | Zone::Kubernetes => None,
    }
}

/// Resolved names become inputs; a change of the host's network is a reason to ask again.
fn watch_names(
    config: &Config,
    cache: &Arc<AddressCache>,
    inputs: &mpsc::Sender<Input>,
    changes: &watch::Receiver<u64>,
) -> JoinHandle<()> {
    let (updates, mut resolved) = mpsc::channel(1);
    let entries = config.extra_announced_endpoints.clone();
    let resolver = resolve::spawn(entries, Arc::clone(cache), updates);
    let (inputs, mut changes) = (inputs.clone(), changes.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                update = resolved.recv() => {
                    let Some(Resolved { addresses, failed }) = update else { return };
                    let input = Input::StaticEndpoints { addresses, failed };
                    if inputs.send(input).await.is_err() {
                        return;
                    }
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    resolver.retry_now();
                }
            }
        }
    })
}

/// Tells the core where the discovery servers are, whenever that changes.
pub(super) fn discovery_addresses(
    mut addresses: watch::Receiver<Vec<SocketAddr>>,
    inputs: mpsc::Sender<Input>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let current = addresses.borrow_and_update().clone();
            if inputs
                .send(Input::DiscoveryAddresses(current))
                .await
                .is_err()
                || addresses.changed().await.is_err()
            {
                return;
            }
        }
    })
}
