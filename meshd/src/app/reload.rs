//! SIGHUP: reads the configuration again and hands what changed to the mesh. What needs a restart is
//! said so and kept as it was; a broken file changes nothing.

use std::path::PathBuf;

use meshd_core::Input;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure::StartError;
use super::watchers::Watchers;
use crate::config::{self, Config};

/// Listens for SIGHUP until aborted.
///
/// # Errors
/// [`StartError::Signals`]
pub(super) fn listen(
    path: PathBuf,
    mut current: Config,
    mut watchers: Watchers,
    inputs: mpsc::Sender<Input>,
) -> Result<JoinHandle<()>, StartError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match config::load(&path) {
                Ok(loaded) => {
                    for warning in &loaded.warnings {
                        tracing::warn!("{}: {warning}", path.display());
                    }
                    let next = keep_fixed(&current, loaded.config);
                    watchers.change(&current, &next);
                    let settings = Box::new(next.to_settings());
                    if inputs.send(Input::Reload(settings)).await.is_err() {
                        return;
                    }
                    tracing::info!("configuration read again");
                    current = next;
                }
                Err(error) => tracing::error!("configuration kept as it was: {error}"),
            }
        }
    }))
}

/// `next` with everything that only a restart can change put back to what runs now.
fn keep_fixed(current: &Config, mut next: Config) -> Config {
    let mut fixed = Vec::new();
    let mut keep = |changed: bool, key: &'static str| {
        if changed {
            fixed.push(key);
        }
    };
    keep(current.cluster != next.cluster, "cluster");
    keep(current.node.name != next.node.name, "node.name");
    keep(current.discovery != next.discovery, "discovery");
    keep(
        current.wireguard.interface != next.wireguard.interface,
        "wireguard.interface",
    );
    keep(
        current.wireguard.listen_port != next.wireguard.listen_port,
        "wireguard.listenPort",
    );
    keep(current.state_dir != next.state_dir, "stateDir");
    keep(
        current.control_socket != next.control_socket,
        "controlSocket",
    );
    keep(
        current.metrics_listen != next.metrics_listen,
        "metrics.listen",
    );
    let numbers = |config: &Config| {
        let routing = &config.routing;
        (
            routing.table,
            routing.rule_priority,
            routing.mark,
            routing.mask,
            routing.protocol,
        )
    };
    keep(numbers(current) != numbers(&next), "routing");
    if !fixed.is_empty() {
        tracing::warn!(
            "these keys changed and take effect at the next restart: {}",
            fixed.join(", ")
        );
    }
    next.cluster = current.cluster.clone();
    next.node.name.clone_from(&current.node.name);
    next.discovery = current.discovery.clone();
    next.wireguard
        .interface
        .clone_from(&current.wireguard.interface);
    next.wireguard.listen_port = current.wireguard.listen_port;
    next.state_dir.clone_from(&current.state_dir);
    next.control_socket.clone_from(&current.control_socket);
    next.metrics_listen = current.metrics_listen;
    let bypass = std::mem::take(&mut next.routing.bypass);
    next.routing = current.routing.clone();
    next.routing.bypass = bypass;
    next
}
