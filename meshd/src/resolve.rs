//! Resolves `extraAnnouncedEndpoints`, again every minute and when the host's network changes. A name
//! that does not resolve harms no other, and keeps the addresses it had.

mod announced;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::announced::Announced;
use crate::state::AddressCache;

/// Names are resolved again this often.
const INTERVAL: Duration = Duration::from_secs(60);
/// The same while a name has never resolved.
const INTERVAL_WHILE_FAILING: Duration = Duration::from_secs(10);
/// A resolver that takes longer counts as dead.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses used of one name: a node has 16 candidates in all.
const MAX_ADDRESSES: usize = 8;

/// What the entries resolve to: for `Input::StaticEndpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// In the order of the configuration; of one name IPv4 before IPv6, ascending.
    pub addresses: Vec<SocketAddr>,
    /// Entries that never resolved, as written.
    pub failed: Vec<String>,
}

/// A running resolver; dropping it stops it.
#[derive(Debug)]
pub struct Resolver {
    again: watch::Sender<u64>,
    _stop: DropGuard,
}

impl Resolver {
    /// Resolves everything again now: the host's network changed.
    pub fn retry_now(&self) {
        self.again
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Starts resolving `entries`. The first answer is sent always, later ones only if they differ. Must
/// run inside a tokio runtime.
#[must_use]
pub fn spawn(
    entries: Vec<Announced>,
    cache: Arc<AddressCache>,
    updates: mpsc::Sender<Resolved>,
) -> Resolver {
    let (again, seen) = watch::channel(0);
    let cancel = CancellationToken::new();
    tokio::spawn(
        cancel
            .clone()
            .run_until_cancelled_owned(run(entries, cache, updates, seen)),
    );
    Resolver {
        again,
        _stop: cancel.drop_guard(),
    }
}

async fn run(
    entries: Vec<Announced>,
    cache: Arc<AddressCache>,
    updates: mpsc::Sender<Resolved>,
    mut again: watch::Receiver<u64>,
) {
    let mut told = None;
    loop {
        let answers = join_all(entries.iter().map(|entry| resolve(entry, &cache))).await;
        let resolved = collect(&entries, answers);
        let interval = if resolved.failed.is_empty() {
            INTERVAL
        } else {
            INTERVAL_WHILE_FAILING
        };
        if told.as_ref() != Some(&resolved) {
            if updates.send(resolved.clone()).await.is_err() {
                return;
            }
            told = Some(resolved);
        }
        tokio::select! {
            () = sleep(interval) => {}
            Ok(()) = again.changed() => {}
        }
    }
}

/// Joins the answers in the order of the configuration; the first of two equal addresses stays.
fn collect(entries: &[Announced], answers: Vec<Vec<SocketAddr>>) -> Resolved {
    let mut resolved = Resolved::default();
    for (entry, answer) in entries.iter().zip(answers) {
        if answer.is_empty() {
            resolved.failed.push(entry.to_string());
        }
        for address in answer {
            if !resolved.addresses.contains(&address) {
                resolved.addresses.push(address);
            }
        }
    }
    resolved
}

/// The addresses of one entry, now or from last time; empty if there never were any.
async fn resolve(entry: &Announced, cache: &Arc<AddressCache>) -> Vec<SocketAddr> {
    let (host, port) = match entry {
        Announced::Address(address) => return vec![*address],
        Announced::Name { host, port } => (host.as_str(), *port),
    };
    let reason = match timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let mut found: Vec<SocketAddr> = found.collect();
            // DNS servers rotate their answers; the record must not change with them.
            found.sort();
            found.dedup();
            found.truncate(MAX_ADDRESSES);
            if !found.is_empty() {
                remember(cache, entry.to_string(), found.clone()).await;
                return found;
            }
            "no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::debug!("{entry} does not resolve now: {reason}");
    cache.get(&entry.to_string())
}

async fn remember(cache: &Arc<AddressCache>, name: String, found: Vec<SocketAddr>) {
    let cache = cache.clone();
    let written = tokio::task::spawn_blocking(move || cache.put(&name, &found)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!("resolved addresses are not kept: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(texts: &[&str]) -> Vec<Announced> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// RFC 6761 section 6.4: names under `invalid` never resolve.
    #[tokio::test]
    async fn a_bad_name_harms_no_other_and_keeps_what_it_had() {
        let cache = Arc::new(AddressCache::in_memory());
        let kept: SocketAddr = "203.0.113.9:3".parse().unwrap();
        cache.put("was-good.invalid:3", &[kept]).unwrap();
        let (updates, mut receiver) = mpsc::channel(1);
        let texts = [
            "bad.invalid:1",
            "203.0.113.7:2",
            "was-good.invalid:3",
            "203.0.113.7:2",
        ];
        let _resolver = spawn(entries(&texts), cache, updates);
        let resolved = receiver.recv().await.unwrap();
        assert_eq!(resolved.addresses, ["203.0.113.7:2".parse().unwrap(), kept]);
        assert_eq!(resolved.failed, ["bad.invalid:1"]);
    }

    #[tokio::test]
    async fn names_are_remembered_and_only_changes_are_told() {
        let cache = Arc::new(AddressCache::in_memory());
        let (updates, mut receiver) = mpsc::channel(4);
        let resolver = spawn(entries(&["localhost:7"]), cache.clone(), updates);
        let resolved = receiver.recv().await.unwrap();
        assert!(
            resolved
                .addresses
                .iter()
                .all(|address| address.ip().is_loopback())
        );
        assert_eq!(cache.get("localhost:7"), resolved.addresses);
        // The cache shows that the name was resolved again.
        cache
            .put("localhost:7", &["203.0.113.9:7".parse().unwrap()])
            .unwrap();
        resolver.retry_now();
        timeout(Duration::from_secs(30), async {
            while cache.get("localhost:7") != resolved.addresses {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        drop(resolver);
        assert_eq!(
            receiver.recv().await,
            None,
            "the same answer is not told twice"
        );
    }

    #[tokio::test]
    async fn no_entries_are_an_answer_too() {
        let (updates, mut receiver) = mpsc::channel(1);
        let _resolver = spawn(Vec::new(), Arc::default(), updates);
        assert_eq!(receiver.recv().await, Some(Resolved::default()));
    }
}
