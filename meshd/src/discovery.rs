//! Client of the discovery servers: watches every server, keeps this node's envelope stored at all of
//! them, fetches reports. It decides nothing about members; everything verified goes to the core.
//!
//! Per server one task watches, and for each cluster key one keeps the record stored, one stores reports and one the
//! administrator's removals. They share a `session::Session` that lasts as long as the watch stream does. One server's trouble
//! never delays another.

mod backoff;
mod connect;
mod error;
mod lines;
mod names;
mod publish;
mod reopening;
mod reports;
mod session;
mod stream;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_proto::{ClusterId, ClusterKeys, MemberId, VerifiedEnvelope};
use meshd_core::input::DiscoveryEvent;
use reqwest::Url;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::names::Addresses;
use self::publish::{Publisher, Slot};
use self::session::Session;
use self::watch::Watcher;
use crate::state::AddressCache;

#[doc(hidden)]
pub use self::lines::watch_lines;
pub use self::reports::FetchedReport;

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The servers, in the order of `discovery.servers`.
    pub servers: Vec<Url>,
    /// Keys of the cluster: all are watched, each envelope is stored under its own.
    pub keys: Arc<Vec<ClusterKeys>>,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Last good addresses of the servers' names.
    pub cache: Arc<AddressCache>,
    /// How long the first attempt to store a record waits for its answer; usually [`FIRST_ANSWER`].
    pub first_answer: Duration,
}

/// A way to a server that died is left after this: most answers come within a few round trips. Each
/// further attempt waits twice as long, up to ten seconds, so that a slow server is heard as well.
pub const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// A running client. Clones share it.
#[derive(Debug, Clone)]
pub struct DiscoveryClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ClientConfig,
    events: mpsc::Sender<(usize, DiscoveryEvent)>,
    addresses: Addresses,
    bad_lines: Arc<AtomicU64>,
    /// Replaced as a whole when the keys change.
    running: Mutex<Arc<Running>>,
}

type Envelopes = channel::Sender<Option<VerifiedEnvelope>>;

/// What is to be stored under one cluster id.
#[derive(Debug)]
struct Stored {
    /// Or leave.
    record: Envelopes,
    report: Envelopes,
    removals: Envelopes,
}

impl Stored {
    fn new() -> Self {
        let slot = || channel::channel(None).0;
        Self {
            record: slot(),
            report: slot(),
            removals: slot(),
        }
    }

    const fn slots(&self) -> [(Slot, &Envelopes); 3] {
        [
            (Slot::Record, &self.record),
            (Slot::Report, &self.report),
            (Slot::Removals, &self.removals),
        ]
    }
}

/// The tasks for one set of keys.
#[derive(Debug)]
struct Running {
    keys: Arc<Vec<ClusterKeys>>,
    sessions: Vec<channel::Receiver<Option<Arc<Session>>>>,
    /// What is to be stored under each cluster id.
    stored: BTreeMap<ClusterId, Stored>,
    retry: channel::Sender<u64>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// What every task of one server shares.
#[derive(Debug, Clone)]
struct Server {
    index: usize,
    url: Url,
    keys: Arc<Vec<ClusterKeys>>,
    ca: Option<Vec<u8>>,
    events: mpsc::Sender<(usize, DiscoveryEvent)>,
    /// Changes when waiting should end.
    retry: channel::Receiver<u64>,
    first_answer: Duration,
    bad_lines: Arc<AtomicU64>,
}

impl Server {
    /// Hands an event to the core; waits while the core is busy.
    async fn tell(&self, event: DiscoveryEvent) {
        // Nobody listens any more only when the daemon is stopping.
        let _ = self.events.send((self.index, event)).await;
    }
}

/// Starts the client's tasks. Events carry the index of their server. Must run inside a tokio runtime.
#[must_use]
pub fn spawn(
    config: ClientConfig,
    events: mpsc::Sender<(usize, DiscoveryEvent)>,
) -> DiscoveryClient {
    // Fails if the process already has a provider, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let addresses = Addresses::new(config.servers.len());
    let bad_lines = Arc::new(AtomicU64::new(0));
    let running = Running::start(&config, &events, &addresses, &bad_lines);
    DiscoveryClient {
        shared: Arc::new(Shared {
            running: Mutex::new(Arc::new(running)),
            config,
            events,
            addresses,
            bad_lines,
        }),
    }
}

impl Running {
    fn start(
        config: &ClientConfig,
        events: &mpsc::Sender<(usize, DiscoveryEvent)>,
        addresses: &Addresses,
        bad_lines: &Arc<AtomicU64>,
    ) -> Self {
        let (retry, retry_seen) = channel::channel(0);
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let ids = config.keys.iter().map(ClusterKeys::cluster_id);
        let stored: BTreeMap<_, _> = ids.map(|id| (id, Stored::new())).collect();
        let mut sessions = Vec::new();
        for (index, url) in config.servers.iter().enumerate() {
            let server = Server {
                index,
                url: url.clone(),
                keys: config.keys.clone(),
                ca: config.ca.clone(),
                events: events.clone(),
                retry: retry_seen.clone(),
                first_answer: config.first_answer,
                bad_lines: bad_lines.clone(),
            };
            let names = addresses.server(index, url.clone(), config.cache.clone());
            let (session, session_seen) = channel::channel(None);
            for (slot, source) in stored.values().flat_map(Stored::slots) {
                let publisher = Publisher::new(
                    server.clone(),
                    slot,
                    source.subscribe(),
                    session_seen.clone(),
                );
                tasks.spawn(cancel.clone().run_until_cancelled_owned(publisher.run()));
            }
            let watcher = Watcher::new(server, names, session);
            tasks.spawn(cancel.clone().run_until_cancelled_owned(watcher.run()));
            sessions.push(session_seen);
        }
        tasks.close();
        Self {
            keys: config.keys.clone(),
            sessions,
            stored,
            retry,
            cancel,
            tasks,
        }
    }
}

impl DiscoveryClient {
    /// Watches and stores under these keys from now on, over new connections; nothing is stored under
    /// them yet. Must run inside a tokio runtime.
    pub fn set_keys(&self, keys: Vec<ClusterKeys>) {
        let shared = &*self.shared;
        let config = ClientConfig {
            keys: Arc::new(keys),
            ..shared.config.clone()
        };
        let (events, addresses) = (&shared.events, &shared.addresses);
        let next = Running::start(&config, events, addresses, &shared.bad_lines);
        let former = std::mem::replace(&mut *self.lock(), Arc::new(next));
        former.cancel.cancel();
    }

    /// Keeps this record (or leave) stored at every server from now on: retried until it is, renewed
    /// at a third of the lease. The newest one of each cluster id wins; one of a cluster whose keys are
    /// not here is dropped.
    pub fn publish(&self, envelope: VerifiedEnvelope) {
        if let Some(stored) = self.running().stored.get(&envelope.cluster()) {
            stored.record.send_replace(Some(envelope));
        }
    }

    /// Stores this report once at every server, likewise.
    pub fn publish_report(&self, envelope: VerifiedEnvelope) {
        if let Some(stored) = self.running().stored.get(&envelope.cluster()) {
            stored.report.send_replace(Some(envelope));
        }
    }

    /// Stores this list of removals once at every server, likewise.
    pub fn publish_removals(&self, list: VerifiedEnvelope) {
        if let Some(stored) = self.running().stored.get(&list.cluster()) {
            stored.removals.send_replace(Some(list));
        }
    }

    /// Fetches the last reports of `members`: of each the first that a server gives and that verifies.
    /// Members without one are left out. Takes at most two seconds.
    pub async fn fetch_reports(&self, members: Vec<MemberId>) -> Vec<FetchedReport> {
        let running = self.running();
        let sessions = running.sessions.iter();
        let sessions: Vec<_> = sessions.filter_map(|seen| seen.borrow().clone()).collect();
        reports::fetch(&sessions, &running.keys, members).await
    }

    /// Resolved addresses of all servers, sorted. Connections go to these and no others.
    #[must_use]
    pub fn addresses(&self) -> channel::Receiver<Vec<SocketAddr>> {
        self.shared.addresses.subscribe()
    }

    /// Ends every wait and makes every connection anew, also one that is just being made and one a
    /// request is waiting on (five times at once, then once in five seconds): the host's addresses or
    /// routes changed, and old connections may be dead without knowing it.
    pub fn retry_now(&self) {
        self.running()
            .retry
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Lines and envelopes from servers that were refused since the start.
    #[must_use]
    pub fn bad_lines(&self) -> u64 {
        self.shared.bad_lines.load(Ordering::Relaxed)
    }

    /// Stops every task; nothing is told to the servers.
    pub async fn shutdown(&self) {
        let running = self.running();
        running.cancel.cancel();
        running.tasks.wait().await;
    }

    fn running(&self) -> Arc<Running> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Running>> {
        let running = &self.shared.running;
        running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
