//! Server: one discovery server in this process, from binding to stopping. The binary adds signals
//! and exit codes; tests and tools start it directly.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use mesh_proto::ServerId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{
    DRAIN, MAX_QUEUED_WRITES, MAX_RATE_SOURCES, MAX_REMEMBERED_REQUESTS, MIN_RETENTION, NONCE_LIFE,
    RETENTION, SEEN_GRANULARITY,
};
use crate::metrics::Metrics;
use crate::nonce::{Nonces, ReplayMemory};
use crate::rate::RateLimiter;
use crate::registry::{Registry, Terms};
use crate::settings::{Settings, StunListen};
use crate::shared::{Clock, Shared, StunPlace};
use crate::store::{Identity, Store, StoreError};
use crate::stun::StunSocket;
use crate::tls::{Tls, TlsError};
use crate::watchers::Watchers;
use crate::{listener, writer};

/// How often leases are looked at, and the store while it fails.
pub const TICK: Duration = Duration::from_millis(500);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        let mut store = Store::open(&settings.data_dir)?;
        let bind_error = |address, protocol, flag| {
            move |source| StartError::Bind {
                address,
                protocol,
                flag,
                source,
            }
        };
        let listener = listener::bind(settings.listen).map_err(bind_error(
            settings.listen,
            "TCP",
            "listen",
        ))?;
        let address =
            listener
                .local_addr()
                .map_err(bind_error(settings.listen, "TCP", "listen"))?;
        let stun = bind_stun(&settings, address)?;
        let stun_address = stun.as_ref().map(|(_, at)| *at);
        let (jobs, queue) = mpsc::channel(MAX_QUEUED_WRITES);
        let place = stun_address.map(|at| StunPlace {
            port: at.port(),
            address: (!at.ip().is_unspecified() && at.ip() != address.ip()).then_some(at.ip()),
        });
        let shared = Arc::new(open_shared(&settings, &mut store, (jobs, place))?);
        let writer_shared = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer::run(&writer_shared, store, queue))
            .map_err(StartError::Thread)?;
        let (connections, tasks) = (TaskTracker::new(), TaskTracker::new());
        tasks.spawn(listener::run(
            Arc::clone(&shared),
            listener,
            tls.clone(),
            connections.clone(),
        ));
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

    /// Lets leases end; to be called every [`TICK`]. False if the writer died, which nothing mends.
    pub async fn tick(&self) -> bool {
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

fn open_shared(
    settings: &Settings,
    store: &mut Store,
    (jobs, stun): (mpsc::Sender<writer::Job>, Option<StunPlace>),
) -> Result<Shared, StartError> {
    let clock = Clock::start();
    let now = clock.now();
    // 48 bits: every JSON reader keeps them exact.
    let epoch = u64::from_be_bytes(random()?) >> 16;
    let fresh = Identity {
        server: ServerId(random()?),
        epoch,
    };
    let Identity { server, epoch } = store.identity(fresh)?;
    let (writes, skipped) = store.load()?;
    if skipped > 0 {
        tracing::warn!(skipped, "some stored rows are damaged and were left out");
    }
    let mut registry = Registry::new(terms(settings), epoch);
    let grants = registry.restore(writes, now);
    store.commit(grants.writes())?;
    registry.apply(grants, now);
    let (clusters, members, _) = registry.sizes();
    tracing::info!(%server, epoch, clusters, members, "the store is open");
    let limits = settings.limits.clone();
    let nonce_ms = NONCE_LIFE.as_millis() as u64;
    Ok(Shared {
        server,
        lease_ms: settings.lease.as_millis() as u64,
        allowed: settings.allow_clusters.iter().copied().collect(),
        stun,
        clock,
        watchers: Arc::new(Watchers::default()),
        nonces: Nonces::new(random()?, nonce_ms),
        replays: Mutex::new(ReplayMemory::new(nonce_ms, MAX_REMEMBERED_REQUESTS)),
        by_source: Mutex::new(RateLimiter::new(
            limits.requests_per_source,
            MAX_RATE_SOURCES,
        )),
        by_cluster: Mutex::new(RateLimiter::new(
            limits.requests_per_cluster,
            MAX_RATE_SOURCES,
        )),
        limits,
        metrics: Metrics::default(),
        ready: AtomicBool::new(true),
        stop: CancellationToken::new(),
        registry: RwLock::new(registry),
        jobs: Mutex::new(Some(jobs)),
    })
}

fn terms(settings: &Settings) -> Terms {
    let ms = |duration: Duration| duration.as_millis() as u64;
    Terms {
        lease_ms: ms(settings.lease),
        retention_ms: ms(RETENTION),
        min_retention_ms: ms(MIN_RETENTION),
        seen_granularity_ms: ms(SEEN_GRANULARITY),
        report_interval_ms: ms(settings.report_interval),
        max_members: settings.limits.members_per_cluster,
        max_clusters: settings.limits.clusters,
        max_bytes: settings.limits.stored_bytes,
    }
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StartError::Random)?;
    Ok(bytes)
}
