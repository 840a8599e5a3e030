//! Networks behind this node that are not in its configuration but found while it runs: in
//! `networks.advertiseFile`, and in the Node object of a Kubernetes cluster, which knows the zone too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use mesh_proto::limits::MAX_NETWORKS;
use meshd_core::{Input, Settings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, Zone, read_advertise_file};
use crate::kubernetes::{self, ApiServer, NodeFacts};
use crate::state;

/// The file is read this often: polling works on bind mounts and configuration maps.
const FILE_PERIOD: Duration = Duration::from_secs(1);
/// Until Kubernetes has answered once, and after.
const ASK_SOON: Duration = Duration::from_secs(5);
const ASK_LATER: Duration = Duration::from_secs(60);
/// What Kubernetes said last, in the state directory.
const KEPT_FILE: &str = "kubernetes.json";

/// What was found, by where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    file: Vec<IpNet>,
    kubernetes: Vec<IpNet>,
}

impl Found {
    /// What can be known before anything runs: the file, and what Kubernetes said last time.
    pub(super) fn at_start(config: &Config) -> (Self, Option<NodeFacts>) {
        let file = config.advertise_file.as_deref().map(read_advertise_file);
        let kept = config
            .node
            .kubernetes
            .then(|| kubernetes::read_kept(&config.state_dir.join(KEPT_FILE)))
            .flatten();
        let found = Self {
            file: file.and_then(Result::ok).unwrap_or_default(),
            kubernetes: kept.clone().unwrap_or_default().networks,
        };
        (found, kept)
    }

    /// The core's settings of `config` with what was found.
    pub(super) fn settings(&self, config: &Config) -> Settings {
        let mut settings = config.to_settings();
        let advertise = &mut settings.networks.advertise;
        for net in self.file.iter().chain(&self.kubernetes) {
            if advertise.contains(net) {
                continue;
            }
            if advertise.len() >= MAX_NETWORKS {
                tracing::warn!(
                    "{net} is not advertised: there are {MAX_NETWORKS} networks already"
                );
                continue;
            }
            advertise.push(*net);
        }
        settings
    }
}

/// Reads `path` each second until aborted; without one there are no prefixes of a file.
pub(super) fn watch_file(
    path: Option<PathBuf>,
    found: watch::Sender<Found>,
) -> Option<JoinHandle<()>> {
    let Some(path) = path else {
        set(&found, |found| &mut found.file, Vec::new());
        return None;
    };
    Some(tokio::spawn(async move {
        let mut last = None;
        loop {
            let reading = read_advertise_file(&path);
            if last.as_ref() != Some(&reading) {
                match &reading {
                    Ok(nets) => set(&found, |found| &mut found.file, nets.clone()),
                    Err(error) => tracing::warn!("networks kept as they were: {error}"),
                }
                last = Some(reading);
            }
            tokio::time::sleep(FILE_PERIOD).await;
        }
    }))
}

/// Asks Kubernetes for this node until aborted.
pub(super) fn watch_kubernetes(
    config: &Config,
    known: Option<NodeFacts>,
    found: watch::Sender<Found>,
    inputs: mpsc::Sender<Input>,
) -> JoinHandle<()> {
    let name = config.node.name.clone();
    let kept = config.state_dir.join(KEPT_FILE);
    let wants_zone = config.node.zone == Zone::Kubernetes;
    tokio::spawn(async move {
        let (mut known, mut answered, mut complaint) = (known, false, String::new());
        loop {
            match ask(&name).await {
                Ok(facts) if known.as_ref() != Some(&facts) => {
                    tracing::info!(zone = ?facts.zone, networks = ?facts.networks, "what Kubernetes says");
                    set(
                        &found,
                        |found| &mut found.kubernetes,
                        facts.networks.clone(),
                    );
                    let zone = Input::ZoneFile(facts.zone.clone());
                    if wants_zone && inputs.send(zone).await.is_err() {
                        return;
                    }
                    keep(&kept, &facts);
                    (known, answered) = (Some(facts), true);
                }
                Ok(_) => answered = true,
                Err(error) if error == complaint => {}
                Err(error) => {
                    tracing::warn!("zone and pod networks kept as they were: {error}");
                    complaint = error;
                }
            }
            tokio::time::sleep(if answered { ASK_LATER } else { ASK_SOON }).await;
        }
    })
}

async fn ask(name: &str) -> Result<NodeFacts, String> {
    let server = ApiServer::of_pod().map_err(|error| error.to_string())?;
    server.node(name).await.map_err(|error| error.to_string())
}

fn keep(path: &Path, facts: &NodeFacts) {
    let kept = serde_json::to_vec(facts)
        .map_err(|error| error.to_string())
        .and_then(|text| state::replace(path, &text).map_err(|error| error.to_string()));
    if let Err(error) = kept {
        tracing::warn!("what Kubernetes said is not kept for the next start: {error}");
    }
}

fn set(found: &watch::Sender<Found>, part: fn(&mut Found) -> &mut Vec<IpNet>, nets: Vec<IpNet>) {
    found.send_if_modified(|found| {
        let part = part(found);
        let changed = *part != nets;
        *part = nets;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(more: &str) -> Config {
        let text = format!(
            "cluster: {{secretFile: /s}}\ndiscovery: {{servers: [\"https://d.example:7400\"]}}\n{more}"
        );
        config::parse(&text, "host-1").unwrap().config
    }

    #[test]
    fn what_is_found_stands_beside_what_is_configured() {
        let config = config("networks: {advertise: [10.1.0.0/24]}\nnode: {kubernetes: true}\n");
        let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().unwrap()).collect();
        let found = Found {
            file: nets(&["10.1.0.0/24", "10.2.0.0/24"]),
            kubernetes: nets(&["10.3.0.0/24"]),
        };
        let expected: Vec<IpNet> = nets(&["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]);
        assert_eq!(found.settings(&config).networks.advertise, expected);
        let many = Found {
            file: (0..200)
                .map(|n| format!("10.9.{n}.0/24").parse().unwrap())
                .collect(),
            kubernetes: Vec::new(),
        };
        assert_eq!(
            many.settings(&config).networks.advertise.len(),
            MAX_NETWORKS
        );
    }

    #[tokio::test]
    async fn the_file_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pods");
        std::fs::write(&path, "10.2.0.0/24").unwrap();
        let (sender, mut found) = watch::channel(Found::default());
        let task = watch_file(Some(path.clone()), sender.clone()).unwrap();
        found.changed().await.unwrap();
        assert_eq!(found.borrow_and_update().file.len(), 1);
        // A broken file changes nothing, a good one does.
        std::fs::write(&path, "pods").unwrap();
        tokio::time::sleep(FILE_PERIOD * 2).await;
        assert!(!found.has_changed().unwrap());
        std::fs::write(&path, "10.2.0.0/24 10.3.0.0/24").unwrap();
        found.changed().await.unwrap();
        assert_eq!(found.borrow_and_update().file.len(), 2);
        task.abort();
        assert!(watch_file(None, sender).is_none());
        assert!(found.borrow().file.is_empty());
    }
}
