//! Shutdown: what ends in which order, in bounded time whatever hangs.

use std::time::Duration;

use super::event_loop::{EventLoop, Sources, Stop};
use super::signals::Signals;
use super::startup::Running;
use crate::linux::Netlink;

/// For all of it: who stopped the daemon does not wait longer than five seconds.
const WITHIN: Duration = Duration::from_secs(4);

/// Ends everything, and removes what `stop` says.
pub(super) async fn shut_down(running: Running, stop: Stop) {
    if tokio::time::timeout(WITHIN, in_order(running, stop))
        .await
        .is_err()
    {
        tracing::error!(
            "not everything ended in time; `meshd cleanup` removes what may be left behind"
        );
    }
}

async fn in_order(running: Running, stop: Stop) {
    let Running {
        event_loop,
        sources,
        network_task,
        claim,
        control,
        background,
    } = running;
    let EventLoop {
        engine,
        discovery,
        network,
        disk,
        ..
    } = event_loop;
    let mut signals = signals_of(sources);
    for task in background {
        task.abort();
    }
    // Without a sender the network task ends and gives the netlink handle back.
    drop(network);
    let network = async {
        let netlink = network_task.await.ok();
        if stop == Stop::RemoveAll {
            remove(netlink.as_ref()).await;
        }
        netlink
    };
    let ((), (), (), netlink) =
        tokio::join!(control.stop(), discovery.shutdown(), disk.finish(), network);
    // First a restart, then a stop: the stop counts.
    let terminated = stop != Stop::RemoveAll && signals.terminated();
    if terminated {
        remove(netlink.as_ref()).await;
    }
    // Joins the engine's threads.
    let end = move || match stop {
        Stop::KeepFailClosed if !terminated => engine.leave(),
        _ => engine.stop(),
    };
    let _ = tokio::task::spawn_blocking(end).await;
    // Only now may another daemon use table and priorities.
    drop(claim);
}

/// Closes every other source, so that nobody waits for the loop.
fn signals_of(sources: Sources) -> Signals {
    sources.signals
}

/// Rules first: the moment they are gone nothing looks at our table any more.
async fn remove(netlink: Option<&Netlink>) {
    if let Some(netlink) = netlink {
        for error in netlink.remove_rules_and_routes().await.errors {
            tracing::warn!("{error}");
        }
    }
}
