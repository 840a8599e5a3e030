//! SIGHUP: reads the configuration and the cluster secret again and hands what changed to the mesh. What needs a restart is
//! said so and kept as it was; a broken file changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use mesh_proto::{ClusterId, ClusterKeys, ClusterSecret};
use meshd_core::Input;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::service_manager;
use super::watchers::Watchers;
use crate::config::{self, Config, Wireguard};

/// SIGHUP. From the moment this exists the signal does not end the process any more.
#[derive(Debug)]
pub(super) struct Hangup(Signal);

impl Hangup {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }
}

/// Reads configuration and cluster secret again at each SIGHUP, until aborted.
pub(super) fn listen(
    path: PathBuf,
    (mut current, mut secret): (Config, ClusterSecret),
    mut watchers: Watchers,
    inputs: mpsc::Sender<Input>,
    mut hangup: Hangup,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut found = watchers.found();
        loop {
            tokio::select! {
                signal = hangup.0.recv() => if signal.is_none() { return },
                Ok(()) = found.changed() => {
                    let settings = Box::new(found.borrow_and_update().settings(&current));
                    if inputs.send(Input::Reload(settings)).await.is_err() {
                        return;
                    }
                    continue;
                }
            }
            service_manager::reloading();
            let mut news = Vec::new();
            match read(&path, &current, &secret) {
                Ok((next, next_secret)) => {
                    watchers.change(&current, &next);
                    let settings = found.borrow_and_update().settings(&next);
                    news.push(Input::Reload(Box::new(settings)));
                    if ids(&next_secret) != ids(&secret) {
                        news.push(Input::Secret(Box::new(next_secret.clone())));
                    }
                    tracing::info!("configuration read again");
                    (current, secret) = (next, next_secret);
                }
                Err(error) => {
                    tracing::error!("configuration kept as it was: {error}");
                    news.push(Input::ReloadRefused(error));
                }
            }
            for input in news {
                if inputs.send(input).await.is_err() {
                    return;
                }
            }
            service_manager::ready();
        }
    })
}

/// Both files, or in words why one of them cannot be used; then neither is.
fn read(
    path: &Path,
    current: &Config,
    secret: &ClusterSecret,
) -> Result<(Config, ClusterSecret), String> {
    let loaded = config::load(path).map_err(|error| error.to_string())?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    let next = keep_fixed(current, loaded.config);
    let cluster = &next.cluster;
    let read = config::load_secret(&cluster.secret_file, cluster.id);
    let next_secret = read.map_err(|error| error.to_string())?;
    // The mesh address and who may remove members hang on these.
    if next_secret.mesh_id() != secret.mesh_id() || next_secret.admin_key() != secret.admin_key() {
        return Err(format!(
            "{} is of another mesh; to move this node there, stop meshd and give it a stateDir of its own",
            cluster.secret_file.display()
        ));
    }
    Ok((next, next_secret))
}

fn ids(secret: &ClusterSecret) -> Vec<ClusterId> {
    let keys = secret.keys();
    keys.iter().map(ClusterKeys::cluster_id).collect()
}

/// `next` with everything that only a restart can change put back to what runs now.
fn keep_fixed(current: &Config, mut next: Config) -> Config {
    let fixed = fixed_keys(current, &next);
    if !fixed.is_empty() {
        tracing::warn!(
            "these keys changed and take effect at the next restart: {}",
            fixed.join(", ")
        );
    }
    next.cluster
        .secret_file
        .clone_from(&current.cluster.secret_file);
    next.node.name.clone_from(&current.node.name);
    next.discovery = current.discovery.clone();
    next.wireguard = Wireguard {
        mtu: next.wireguard.mtu,
        ..current.wireguard.clone()
    };
    next.state_dir.clone_from(&current.state_dir);
    next.control_socket.clone_from(&current.control_socket);
    next.metrics_listen = current.metrics_listen;
    next.log.clone_from(&current.log);
    next.remote.clone_from(&current.remote);
    if next.node.kubernetes != current.node.kubernetes {
        next.node.kubernetes = current.node.kubernetes;
        next.node.zone = current.node.zone.clone();
    }
    let bypass = std::mem::take(&mut next.routing.bypass);
    next.routing = current.routing.clone();
    next.routing.bypass = bypass;
    next
}

/// The keys that differ and need a restart.
fn fixed_keys(current: &Config, next: &Config) -> Vec<&'static str> {
    let mut fixed = Vec::new();
    let mut keep = |changed: bool, key: &'static str| {
        if changed {
            fixed.push(key);
        }
    };
    keep(
        current.cluster.secret_file != next.cluster.secret_file,
        "cluster.secretFile",
    );
    keep(current.node.name != next.node.name, "node.name");
    keep(
        current.node.kubernetes != next.node.kubernetes,
        "node.kubernetes",
    );
    keep(current.remote != next.remote, "remote");
    keep(current.discovery != next.discovery, "discovery");
    let (now, then) = (&current.wireguard, &next.wireguard);
    keep(now.interface != then.interface, "wireguard.interface");
    keep(now.listen_port != then.listen_port, "wireguard.listenPort");
    keep(now.backend != then.backend, "wireguard.backend");
    keep(current.state_dir != next.state_dir, "stateDir");
    keep(
        current.control_socket != next.control_socket,
        "controlSocket",
    );
    keep(
        current.metrics_listen != next.metrics_listen,
        "metrics.listen",
    );
    keep(current.log != next.log, "log");
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
    keep(numbers(current) != numbers(next), "routing");
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!(
            "cluster: {{secretFile: /s}}\ndiscovery: {{servers: [\"https://d.example:7400\"]}}\n{text}"
        );
        config::parse(&text, "host-1")
            .unwrap_or_else(|issues| panic!("{text}\n{issues:?}"))
            .config
    }

    #[test]
    fn what_a_restart_needs_stays_and_the_rest_is_taken_over() {
        let mut current = config("");
        current.wireguard.chosen = Some(config::ChosenBackend {
            kind: mesh_proto::record::BackendKind::Kernel,
            reason: "auto".to_owned(),
        });
        let mut fixed = config(
            "node: {name: other}\nwireguard: {interface: mesh9, listenPort: 1, backend: userspace}\nstateDir: /elsewhere\n\
             controlSocket: /elsewhere.sock\nmetrics: {listen: \"127.0.0.1:1\"}\nlog: debug\n\
             routing: {table: 77, rulePriority: 900, mark: 0x2000/0x2000, protocol: 99}\n",
        );
        fixed.cluster.secret_file = "/other".into();
        fixed.discovery.servers.push("https://e.example".to_owned());
        assert_eq!(keep_fixed(&current, fixed), current);

        let mut free = config(
            "node: {zone: fra}\nwireguard: {mtu: 1400}\ntopology: {mode: full}\n\
             networks: {protected: [10.9.0.0/16]}\nallowDownPeerBypass: true\n\
             filters: {endpoints: [10.0.0.0/8]}\nrouting: {bypass: [{proto: tcp, port: 22}]}\n\
             extraAnnouncedEndpoints: [\"192.0.2.1:51840\"]\n",
        );
        free.wireguard.chosen.clone_from(&current.wireguard.chosen);
        assert_ne!(free, current);
        assert_eq!(keep_fixed(&current, free.clone()), free);
        assert_eq!(keep_fixed(&free, current.clone()), current);
    }
}
