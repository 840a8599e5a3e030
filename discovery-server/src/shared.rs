//! Shared: what every request, the writer and the listeners see of one server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mesh_proto::{ClusterId, ServerId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::limits::{Limits, QUEUE_WAIT};
use crate::metrics::Metrics;
use crate::nonce::{Nonces, ReplayMemory};
use crate::rate::RateLimiter;
use crate::registry::{Now, Registry, Submission};
use crate::watchers::Watchers;
use crate::writer::{Answer, Job};

/// The two clocks of this process.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Highest wall clock given so far: revisions of new clusters must not go back with it.
    wall_ms: AtomicU64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            wall_ms: AtomicU64::new(0),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_ms = since_1970.as_millis() as u64;
        Now {
            mono_ms: self.start.elapsed().as_millis() as u64,
            wall_ms: self
                .wall_ms
                .fetch_max(wall_ms, Ordering::Relaxed)
                .max(wall_ms),
        }
    }
}

/// Where STUN is answered, as `/v1/info` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StunPlace {
    /// UDP port.
    pub port: u16,
    /// Address, if it is not the one the server is reached at.
    pub address: Option<IpAddr>,
}

/// State of one server.
#[derive(Debug)]
pub struct Shared {
    /// Who this server is.
    pub server: ServerId,
    /// Life of a lease in milliseconds.
    pub lease_ms: u64,
    /// The clusters served; empty for all.
    pub allowed: BTreeSet<ClusterId>,
    /// Bounds.
    pub limits: Limits,
    /// STUN, if it is on.
    pub stun: Option<StunPlace>,
    /// The clocks.
    pub clock: Clock,
    /// Streams to wake.
    pub watchers: Arc<Watchers>,
    /// Nonces of this process.
    pub nonces: Nonces,
    /// Requests seen.
    pub replays: Mutex<ReplayMemory>,
    /// Rates by source address.
    pub by_source: Mutex<RateLimiter<IpAddr>>,
    /// Rates by cluster.
    pub by_cluster: Mutex<RateLimiter<ClusterId>>,
    /// Counters.
    pub metrics: Metrics,
    /// False while the store cannot be written.
    pub ready: AtomicBool,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Shared {
    /// The registry, to read.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an envelope and waits until it is durable or refused.
    pub async fn put(&self, submission: Submission) -> Answer {
        let (reply, answer) = oneshot::channel();
        if !self.queue(Job::Put(submission, reply)).await {
            return Answer::Unavailable;
        }
        answer.await.unwrap_or(Answer::Unavailable)
    }

    /// Lets leases end. True once the writer has done so, false if it is gone.
    pub async fn tick(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.queue(Job::Tick(reply)).await && answer.await.is_ok()
    }

    /// Lets the writer end once its queue is empty.
    pub(crate) fn close_queue(&self) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    async fn queue(&self, job: Job) -> bool {
        let jobs = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match jobs {
            Some(jobs) => jobs.send_timeout(job, QUEUE_WAIT).await.is_ok(),
            None => false,
        }
    }
}

/// Locks one of the small tables; they stay valid whatever a panicking holder did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
