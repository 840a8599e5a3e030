//! Follower: keeps the registry of a replica equal to what etcd holds, in the order of its revisions. The
//! only one that changes the registry, so that no watcher is sent a revision before an earlier one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::gateway::{EtcdError, Gateway, KeyValue, WatchLine};
use super::layout::{MEMBERS, changes, snapshot};
use crate::registry::{Batch, Write};
use crate::shared::Shared;

/// Keys in one answer: far below what gRPC carries, also if every record has its largest size.
const PAGE: usize = 256;
const RETRY: Duration = Duration::from_millis(200);
/// A line has all changes of one moment; a longer one is no etcd.
const MAX_LINE_BYTES: usize = 64 << 20;

/// Everything that is stored, at one revision.
pub(super) async fn load(gateway: &Gateway) -> Result<(Vec<Write>, u64), EtcdError> {
    let (mut all, mut revision): (Vec<KeyValue>, u64) = (Vec::new(), 0);
    let mut start = MEMBERS.0.to_vec();
    loop {
        let answer = gateway.range((&start, MEMBERS.1), PAGE, revision).await?;
        if revision == 0 {
            revision = answer.header.revision;
        }
        all.extend(answer.kvs);
        let last = all.last().filter(|_| answer.more);
        let Some(last) = last else {
            return Ok((snapshot(&all, revision), revision));
        };
        start.clone_from(&last.key);
        start.push(0);
    }
}

/// Follows until dropped; `applied` is the revision the registry has.
pub(super) async fn follow(
    shared: Arc<Shared>,
    gateway: Arc<Gateway>,
    applied: watch::Sender<u64>,
) {
    loop {
        let outcome = follow_once(&shared, &gateway, &applied).await;
        match outcome {
            Ok(()) => {}
            Err(error) => {
                shared.metrics.rejected("etcd_watch");
                if shared.ready.swap(false, Ordering::Relaxed) {
                    tracing::error!(%error, "changes at other replicas are not seen until etcd is back");
                }
            }
        }
        gateway.give_up_endpoint();
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow_once(
    shared: &Arc<Shared>,
    gateway: &Gateway,
    applied: &watch::Sender<u64>,
) -> Result<(), EtcdError> {
    let from = *applied.borrow() + 1;
    let mut stream = gateway.watch(MEMBERS, from).await?;
    let mut text = Vec::new();
    let broken = |error: reqwest::Error| EtcdError::Unreachable(error.to_string());
    while let Some(chunk) = stream.chunk().await.map_err(broken)? {
        text.extend_from_slice(&chunk);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: WatchLine = serde_json::from_slice(&text[..end])
                .map_err(|error| EtcdError::Refused(error.to_string()))?;
            text.drain(..=end);
            if line.result.compact_revision > 0 {
                return reload(shared, gateway, applied).await;
            }
            if let Some(error) = line.error {
                return Err(EtcdError::Refused(error.to_string()));
            }
            if line.result.canceled {
                return Ok(());
            }
            take(shared, &line, applied);
        }
        if text.len() > MAX_LINE_BYTES {
            return Err(EtcdError::Refused("an endless line".to_owned()));
        }
    }
    Ok(())
}

/// Applies the changes of one line.
fn take(shared: &Shared, line: &WatchLine, applied: &watch::Sender<u64>) {
    if !shared.ready.swap(true, Ordering::Relaxed) {
        tracing::info!("etcd is followed again");
    }
    let Some(upto) = line
        .result
        .events
        .iter()
        .map(|event| event.kv.mod_revision)
        .max()
    else {
        return;
    };
    let now = shared.clock.now();
    let writes = changes(&shared.registry(), &line.result.events, now.wall_ms);
    apply(shared, writes, upto);
    applied.send_replace(upto);
}

/// Starts over from what is stored now: the changes since are no longer kept by etcd.
async fn reload(
    shared: &Arc<Shared>,
    gateway: &Gateway,
    applied: &watch::Sender<u64>,
) -> Result<(), EtcdError> {
    let (mut writes, revision) = load(gateway).await?;
    tracing::warn!(
        revision,
        "etcd was compacted meanwhile; everything is read anew"
    );
    let stored: BTreeSet<_> = writes.iter().map(Write::key).collect();
    let gone = {
        let registry = shared.registry();
        let known = registry.keys();
        known
            .filter(|key| !stored.contains(key))
            .map(Write::Forget)
            .collect::<Vec<_>>()
    };
    writes.extend(gone);
    apply(shared, writes, revision);
    applied.send_replace(revision);
    Ok(())
}

fn apply(shared: &Shared, writes: Vec<Write>, upto: u64) {
    let now = shared.clock.now();
    let changed = {
        let mut registry = shared.registry_mut();
        registry.passed(upto);
        registry.apply(Batch::decided(writes), now)
    };
    shared.watchers.wake(&changed);
}
