//! Server: one discovery server in this process, from binding to stopping. The binary adds signals
//! and exit codes; tests and tools start it directly.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backing::{self, Facts};
use crate::etcd::EtcdError;
use crate::heartbeats::Heartbeats;
use crate::limits::{
    DRAIN, MAX_QUEUED_WRITES, MAX_RATE_SOURCES, MAX_REMEMBERED_REQUESTS, NONCE_LIFE, REPLICA_CLOCKS,
};
use crate::metrics::Metrics;
use crate::nonce::{Nonces, ReplayMemory};
use crate::rate::RateLimiter;
use crate::settings::{Settings, StoreChoice, StunListen};
use crate::shared::{Clock, Shared, StunPlace};
use crate::store::{Identity, StoreError};
use crate::stun::StunSocket;
use crate::tls::{Tls, TlsError};
use crate::watchers::Watchers;
use crate::{backup_socket, listener, writer};

/// How often leases are looked at, and the store while it fails.
pub const TICK: Duration = Duration::from_millis(500);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// etcd cannot be used.
    #[error("cannot use etcd: {0}; give the addresses of its members with --store etcd=URL,URL")]
    Etcd(#[from] EtcdError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({protocol}): {source}; give a free one with --{flag}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// TCP or UDP.
        protocol: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("cannot get random numbers from the system: {0}")]
    Random(getrandom::Error),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A running server. Dropping it without [`Server::stop`] leaves its tasks to the runtime.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
    address: SocketAddr,
    stun_address: Option<SocketAddr>,
    connections: TaskTracker,
    tasks: TaskTracker,
    writer: JoinHandle<()>,
}

impl Server {
    /// Opens the store, binds and serves. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let tls = match &settings.tls {
            Some((certificate, key)) => {
                Some(Arc::new(Tls::load(certificate.clone(), key.clone())?))
            }
            None => None,
        };
        let clock = Clock::start();
        let (facts, backing) = backing::open(&settings, clock.now())?;
        let bound = listener::bind(settings.listen).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = bound.map_err(|source| StartError::Bind {
            address: settings.listen,
            protocol: "TCP",
            flag: "listen",
            source,
        })?;
        let stun = bind_stun(&settings, address)?;
        let stun_address = stun.as_ref().map(|(_, at)| *at);
        let (jobs, queue) = mpsc::channel(MAX_QUEUED_WRITES);
        let place = stun_address.map(|at| StunPlace {
            port: at.port(),
            address: (!at.ip().is_unspecified() && at.ip() != address.ip()).then_some(at.ip()),
        });
        let shared = Arc::new(shared(&settings, (clock, facts), (jobs, place))?);
        let writer = backing.begin(&shared, queue).map_err(StartError::Thread)?;
        let (connections, tasks) = (TaskTracker::new(), TaskTracker::new());
        tasks.spawn(listener::run(
            Arc::clone(&shared),
            listener,
            tls.clone(),
            connections.clone(),
        ));
        if settings.store == StoreChoice::Embedded {
            match backup_socket::bind(&settings.data_dir) {
                Ok(socket) => drop(tasks.spawn(backup_socket::run(Arc::clone(&shared), socket))),
                Err(error) => {
                    tracing::warn!(%error, "no backup can be taken while this server runs")
                }
            }
        }
        if let Some((socket, _)) = stun {
            tasks.spawn(socket.run(Arc::clone(&shared)));
        }
        Ok(Self {
            shared,
            tls,
            address,
            stun_address,
            connections,
            tasks,
            writer,
        })
    }

    /// Where HTTP is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where STUN is answered.
    #[must_use]
    pub const fn stun_address(&self) -> Option<SocketAddr> {
        self.stun_address
    }

    /// The server's state.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Reads certificate and key again, if there are any.
    ///
    /// # Errors
    /// [`TlsError`]; then the old certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Takes a renewed certificate into use, and lets leases end; to be called every [`TICK`]. False if the writer died, which nothing mends.
    pub async fn tick(&self) -> bool {
        if let Some(tls) = &self.tls {
            match tls.reload_if_changed() {
                Ok(false) => {}
                Ok(true) => tracing::info!("a new certificate is in use"),
                Err(error) => tracing::error!(%error, "the old certificate stays in use"),
            }
        }
        self.shared.tick().await
    }

    /// Ticks until dropped, or until the writer dies.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            if !self.tick().await {
                return;
            }
        }
    }

    /// Says goodbye to watchers, finishes what is under way within five seconds, closes the store.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.connections.close();
        self.tasks.close();
        let drained = async {
            self.tasks.wait().await;
            self.connections.wait().await;
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::info!("some connections were cut");
        }
        self.shared.close_queue();
        // A writer that panicked has said so on stderr already.
        let _ = tokio::task::spawn_blocking(move || self.writer.join()).await;
    }
}

fn bind_stun(
    settings: &Settings,
    address: SocketAddr,
) -> Result<Option<(StunSocket, SocketAddr)>, StartError> {
    let (at, flag) = match settings.stun_listen {
        Some(StunListen::Off) => return Ok(None),
        Some(StunListen::At(at)) => (at, "stun-listen"),
        None => (address, "stun-listen, or turn STUN off"),
    };
    let bound = StunSocket::bind(at).and_then(|socket| {
        let at = socket.local_address()?;
        Ok((socket, at))
    });
    bound.map(Some).map_err(|source| StartError::Bind {
        address: at,
        protocol: "UDP",
        flag,
        source,
    })
}

fn shared(
    settings: &Settings,
    (clock, facts): (Clock, Facts),
    (jobs, stun): (mpsc::Sender<writer::Job>, Option<StunPlace>),
) -> Result<Shared, StartError> {
    let Facts {
        identity: Identity { server, epoch },
        registry,
        nonce_key,
    } = facts;
    let (clusters, members, _) = registry.sizes();
    tracing::info!(%server, epoch, clusters, members, "the store is open");
    let limits = settings.limits.clone();
    let nonce_ms = NONCE_LIFE.as_millis() as u64;
    let ahead_ms = REPLICA_CLOCKS.as_millis() as u64;
    Ok(Shared {
        server,
        lease_ms: settings.lease.as_millis() as u64,
        allowed: settings.allow_clusters.iter().copied().collect(),
        stun,
        clock,
        watchers: Arc::new(Watchers::default()),
        has_replicas: nonce_key.is_some(),
        nonces: match nonce_key {
            Some(key) => Nonces::new(key, nonce_ms).made_up_to(ahead_ms),
            None => Nonces::new(random()?, nonce_ms),
        },
        heartbeats: Heartbeats::default(),
        streams: AtomicU64::new(0),
        replays: Mutex::new(ReplayMemory::new(
            nonce_ms + ahead_ms,
            MAX_REMEMBERED_REQUESTS,
        )),
        by_source: Mutex::new(RateLimiter::new(
            limits.requests_per_source,
            MAX_RATE_SOURCES,
        )),
        by_cluster: Mutex::new(RateLimiter::new(
            limits.requests_per_cluster,
            MAX_RATE_SOURCES,
        )),
        by_member: Mutex::new(RateLimiter::new(limits.writes_per_member, MAX_RATE_SOURCES)),
        trusted_proxies: settings.trusted_proxies.clone(),
        limits,
        metrics: Metrics::default(),
        ready: AtomicBool::new(true),
        stop: CancellationToken::new(),
        registry: RwLock::new(registry),
        jobs: Mutex::new(Some(jobs)),
    })
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}
