//! The daemon put together: start-up in order, the event loop, shutdown. No mesh logic.

mod event_loop;
mod failure;
mod foundation;
mod metrics;
mod network_task;
mod queries;
mod reload;
mod signals;
mod startup;
mod watchers;
mod zone_file;

use std::path::Path;

use tokio::sync::watch;

pub use failure::StartError;

use crate::linux::{Netlink, Ownership};
use crate::logging;
use event_loop::Stop;
use startup::Running;

/// Runs the daemon with the configuration at `path` until a signal or a leave stops it. `log` goes before
/// the configuration's log filter.
///
/// # Errors
/// [`StartError`] if it cannot start; it knows the exit code.
pub async fn run(path: &Path, log: Option<&str>) -> Result<(), StartError> {
    let loaded = crate::config::load(path)?;
    logging::start(log.unwrap_or(&loaded.config.log)).map_err(StartError::Log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    let Running {
        mut event_loop,
        sources,
        network_task,
        control,
        background,
    } = startup::start(path, loaded.config).await?;
    let stop = event_loop.run(sources).await;
    event_loop::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(?stop, "stopping");

    control.stop().await;
    for task in background {
        task.abort();
    }
    // Without a sender the network task ends and gives the netlink handle back.
    let (closed, _) = watch::channel(None);
    drop(std::mem::replace(&mut event_loop.network, closed));
    let netlink = network_task.await.ok();
    event_loop.discovery.shutdown().await;
    if stop == Stop::RemoveAll
        && let Some(netlink) = &netlink
    {
        // Rules first: the moment they are gone nothing looks at our table any more.
        netlink.remove_rules_and_routes().await;
    }
    event_loop.engine.stop();
    if stop == Stop::EngineFailed {
        return Err(StartError::EngineFailed);
    }
    Ok(())
}

/// Removes whatever a meshd with the configuration at `path` ever made: `meshd cleanup`. Returns what it
/// removed, a line each.
///
/// # Errors
/// [`StartError`] if the configuration or netlink cannot be used.
pub async fn cleanup(path: &Path) -> Result<Vec<String>, StartError> {
    let loaded = crate::config::load(path)?;
    let settings = loaded.config.to_settings();
    let netlink = Netlink::open(Ownership::of(&settings)).await?;
    let report = netlink.cleanup().await;
    if report.errors.is_empty() {
        Ok(report.removed)
    } else {
        Err(StartError::Cleanup(report.errors.join("; ")))
    }
}
