//! The daemon put together: start-up in order, the event loop, shutdown. No mesh logic.

mod backend;
mod disk;
mod event_loop;
mod failure;
mod footing;
mod found_networks;
mod foundation;
mod key_rotation;
mod leftovers;
mod metrics;
mod native_sockets;
mod network_task;
mod pings;
mod queries;
mod reload;
mod service_manager;
mod shutdown;
mod signals;
mod startup;
mod watchers;
mod zone_file;

use std::path::Path;

pub use failure::StartError;

use crate::linux::{Netlink, Ownership};
use crate::{control, engine, logging};
use event_loop::Stop;

/// Runs the daemon with the configuration at `path` until a signal or a leave stops it. `log` goes before
/// the configuration's log filter.
///
/// # Errors
/// [`StartError`] if it cannot start; it knows the exit code.
pub async fn run(path: &Path, log: Option<&str>) -> Result<(), StartError> {
    let mut loaded = crate::config::load(path)?;
    logging::start(log.unwrap_or(&loaded.config.log)).map_err(StartError::Log)?;
    let wireguard = &mut loaded.config.wireguard;
    wireguard.chosen = Some(backend::choose(wireguard.backend));
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    let name = loaded.config.node.name.clone();
    let mut running = startup::start(path, loaded.config).await?;
    let member = running.event_loop.mesh.id();
    service_manager::ready();
    tracing::info!(node = %name, member = %member.short(), "meshd is running");
    let stop = running.event_loop.run(&mut running.sources).await;
    service_manager::stopping();
    tracing::info!(?stop, "stopping");
    shutdown::shut_down(running, stop).await;
    match stop {
        Stop::RemoveAll | Stop::KeepFailClosed => Ok(()),
        Stop::EngineFailed => Err(StartError::EngineFailed),
        Stop::NetworkFailed => Err(StartError::NetworkFailed),
    }
}

/// Removes whatever a meshd with the configuration at `path` ever made: `meshd cleanup`. Returns what it
/// removed, a line each.
///
/// # Errors
/// [`StartError::Running`] if a daemon runs with these numbers; [`StartError`] if the configuration or
/// netlink cannot be used.
pub async fn cleanup(path: &Path) -> Result<Vec<String>, StartError> {
    let loaded = crate::config::load(path)?;
    let settings = loaded.config.to_settings();
    let ownership = Ownership::of(&settings);
    let _claim = ownership.claim().map_err(StartError::Running)?;
    let netlink = Netlink::open(ownership).await?;
    let mut report = netlink.cleanup().await;
    let sockets = [
        engine::wg_socket(&settings.wireguard.interface),
        loaded.config.control_socket,
    ];
    for socket in sockets {
        if control::remove_dead(&socket) {
            report.removed.push(format!("socket {}", socket.display()));
        }
    }
    if report.errors.is_empty() {
        Ok(report.removed)
    } else {
        Err(StartError::Cleanup(report.errors.join("; ")))
    }
}
