//! Shared: what every request, the writer and the listeners see of one server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use mesh_proto::{ClusterId, EnvelopeKind, ServerId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::heartbeats::Heartbeats;
use crate::limits::{Limits, QUEUE_WAIT};
use crate::metrics::Metrics;
use crate::nonce::{Nonces, ReplayMemory};
use crate::rate::RateLimiter;
use crate::registry::{Key, Now, Registry, Submission};
use crate::watchers::Watchers;
use crate::writer::{Answer, Job};

/// Heartbeats that are due within this time go out together.
const HEARTBEAT_SLOT: Duration = Duration::from_millis(100);

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

    /// When it was started.
    #[must_use]
    pub const fn start_time(&self) -> Instant {
        self.start
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
    /// Networks of proxies whose headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds.
    pub limits: Limits,
    /// STUN, if it is on.
    pub stun: Option<StunPlace>,
    /// The clocks.
    pub clock: Clock,
    /// Streams to wake.
    pub watchers: Arc<Watchers>,
    /// Nonces of this process, or of all replicas.
    pub nonces: Nonces,
    /// True if other processes make the same nonces, by the one clock they share.
    pub has_replicas: bool,
    /// Their heartbeats.
    pub heartbeats: Heartbeats,
    /// Watch streams opened so far.
    pub streams: AtomicU64,
    /// Requests seen.
    pub replays: Mutex<ReplayMemory>,
    /// Rates by source address.
    pub by_source: Mutex<RateLimiter<IpAddr>>,
    /// Rates by cluster.
    pub by_cluster: Mutex<RateLimiter<ClusterId>>,
    /// Rates by member.
    pub by_member: Mutex<RateLimiter<Key>>,
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

    /// The clock of nonces: monotonic, unless it has to be the same in several processes.
    #[must_use]
    pub fn nonce_ms(&self) -> u64 {
        let now = self.clock.now();
        if self.has_replicas {
            now.wall_ms
        } else {
            now.mono_ms
        }
    }

    /// When the next heartbeat of a stream with this phase is due, that is at least half an interval away.
    /// All moments lie on a grid: streams that are due together cost one wake-up together.
    #[must_use]
    pub fn next_heartbeat(&self, phase: Duration) -> tokio::time::Instant {
        let interval = crate::limits::HEARTBEAT;
        let start = self.clock.start_time();
        let since = start.elapsed() + interval / 2;
        let past = since.saturating_sub(phase).as_millis() / interval.as_millis();
        let rounds = u32::try_from(past + 1).unwrap_or(u32::MAX);
        (start + phase + interval * rounds).into()
    }

    /// Where in the heartbeat interval the next stream has its moment: successive ones lie far apart, and
    /// many of them evenly.
    #[must_use]
    pub fn next_phase(&self) -> Duration {
        // The golden ratio of 2^64 (Knuth, TAOCP vol. 3, section 6.4).
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let place = number.wrapping_mul(STEP) >> 32;
        let slots = (crate::limits::HEARTBEAT.as_millis() / HEARTBEAT_SLOT.as_millis()) as u64;
        HEARTBEAT_SLOT * ((place * slots) >> 32) as u32
    }

    /// Queues an envelope and waits until it is durable or refused.
    pub async fn put(&self, submission: Submission) -> Answer {
        // Most of what comes. With replicas the lease is not in this process.
        if !self.has_replicas
            && submission.kind == EnvelopeKind::Record
            && self
                .registry_mut()
                .renew_at_once(&submission, self.clock.now())
        {
            return Answer::Done;
        }
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
