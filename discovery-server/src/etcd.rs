//! The store `etcd=`: several replicas behind one address share server id, members, leases and revisions
//! in etcd, which they follow by its watches. Any replica can be killed and takes nothing along. Does not
//! run etcd.

mod follower;
mod gateway;
mod layout;
mod worker;

use std::sync::Arc;
use std::sync::mpsc as handover;
use std::thread::JoinHandle;
use std::time::Duration;

use mesh_proto::ServerId;
use reqwest::Url;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

pub use gateway::{EtcdError, Gateway};

use crate::registry::{Batch, Now, Registry, Terms, Write};
use crate::shared::Shared;
use crate::store::Identity;
use crate::writer::Job;
use follower::{follow, load};
use gateway::{WatchLine, text};
use layout::{META, changes, number};
use worker::Worker;

/// How long a start waits for etcd.
const START_LIMIT: Duration = Duration::from_secs(20);
const START_PAUSE: Duration = Duration::from_millis(500);

/// What the replicas share from the beginning.
#[derive(Clone, Copy)]
pub struct Meta {
    /// Who they are together.
    pub identity: Identity,
    /// Key of the nonces: one replica's are good at the others.
    pub nonce_key: [u8; 32],
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Meta({:?}, nonce key hidden)", self.identity)
    }
}

/// What etcd held at the start.
#[derive(Debug)]
pub struct Opened {
    /// Shared facts.
    pub meta: Meta,
    /// Members and reports.
    pub writes: Vec<Write>,
    /// At this revision.
    pub revision: u64,
}

/// What the thread needs once the server is built.
type Begin = (Arc<Shared>, mpsc::Receiver<Job>);

/// The thread that talks to etcd, waiting to begin.
#[derive(Debug)]
pub struct Thread {
    begin: handover::Sender<Begin>,
    thread: JoinHandle<()>,
}

/// Reads what is stored, on a thread of its own that then goes on with [`Thread::begin`]. `fresh` is
/// stored if there is nothing yet.
///
/// # Errors
/// [`EtcdError`] if etcd does not answer within 20 s, or the thread cannot be made.
pub fn open(endpoints: Vec<Url>, fresh: Meta) -> Result<(Opened, Thread), EtcdError> {
    let (opened, answer) = handover::channel();
    let (begin, begun) = handover::channel::<Begin>();
    let failed = |error: std::io::Error| EtcdError::Refused(format!("no thread: {error}"));
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || {
            let (runtime, gateway) = match prepare(endpoints) {
                Ok(prepared) => prepared,
                // Nobody waits for an answer that was given up.
                Err(error) => return drop(opened.send(Err(error))),
            };
            let found = runtime.block_on(open_patiently(&gateway, fresh));
            let revision = found.as_ref().map_or(0, |found| found.revision);
            let _ = opened.send(found);
            if let Ok((shared, jobs)) = begun.recv() {
                runtime.block_on(run(shared, gateway, jobs, revision));
            }
        })
        .map_err(failed)?;
    let opened = answer
        .recv()
        .map_err(|_| EtcdError::Refused("the thread for etcd ended".to_owned()))??;
    Ok((opened, Thread { begin, thread }))
}

impl Thread {
    /// Serves `jobs` until their senders are gone.
    #[must_use]
    pub fn begin(self, shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> JoinHandle<()> {
        // A thread that panicked says so when it is joined.
        let _ = self.begin.send((shared, jobs));
        self.thread
    }
}

fn prepare(endpoints: Vec<Url>) -> Result<(Runtime, Arc<Gateway>), EtcdError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| EtcdError::Refused(format!("no runtime: {error}")))?;
    Ok((runtime, Arc::new(Gateway::new(endpoints)?)))
}

/// A cluster of etcd that is just starting has no leader yet.
async fn open_patiently(gateway: &Gateway, fresh: Meta) -> Result<Opened, EtcdError> {
    let start = tokio::time::Instant::now();
    loop {
        match open_once(gateway, fresh).await {
            Err(error @ EtcdError::Unreachable(_)) if start.elapsed() < START_LIMIT => {
                tracing::info!(%error, "waiting for etcd");
                tokio::time::sleep(START_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn open_once(gateway: &Gateway, fresh: Meta) -> Result<Opened, EtcdError> {
    let mut value = fresh.identity.server.0.to_vec();
    value.extend_from_slice(&fresh.identity.epoch.to_be_bytes());
    value.extend_from_slice(&fresh.nonce_key);
    let put = json!({ "request_put": { "key": text(META), "value": text(&value) } });
    let answer = gateway.transaction((META, 0), vec![put]).await?;
    let meta = match answer.found() {
        Some(kv) => decode_meta(&kv.value)
            .ok_or_else(|| EtcdError::Refused("mesh/v1/meta is of another version".to_owned()))?,
        None => fresh,
    };
    let (writes, revision) = load(gateway).await?;
    Ok(Opened {
        meta,
        writes,
        revision,
    })
}

/// True if a replica can read `line` of etcd's watch; it is also told apart what it changes. For fuzzing.
#[must_use]
pub fn is_watch_line(line: &[u8]) -> bool {
    const NONE: Terms = Terms {
        lease_ms: 0,
        retention_ms: 0,
        min_retention_ms: 0,
        seen_granularity_ms: 0,
        report_interval_ms: 0,
        max_members: 0,
        max_clusters: 0,
        max_bytes: 0,
    };
    let Ok(line) = serde_json::from_slice::<WatchLine>(line) else {
        return false;
    };
    let mut registry = Registry::new(NONE, 1);
    registry.passed(1);
    let now = Now {
        mono_ms: 0,
        wall_ms: 0,
    };
    let writes = changes(&registry, &line.result.events, now.wall_ms);
    registry.apply(Batch::decided(writes), now);
    line.error.is_none()
}

fn decode_meta(value: &[u8]) -> Option<Meta> {
    let (server, rest) = value.split_first_chunk::<16>()?;
    let (epoch, nonce_key) = number(rest)?;
    let identity = Identity {
        server: ServerId(*server),
        epoch,
    };
    Some(Meta {
        identity,
        nonce_key: nonce_key.try_into().ok()?,
    })
}

async fn run(
    shared: Arc<Shared>,
    gateway: Arc<Gateway>,
    mut jobs: mpsc::Receiver<Job>,
    revision: u64,
) {
    let (sender, applied) = watch::channel(revision);
    let following = tokio::spawn(follow(Arc::clone(&shared), Arc::clone(&gateway), sender));
    let worker = Arc::new(Worker {
        lease_s: shared.lease_ms.div_ceil(1000),
        shared,
        gateway,
        applied,
    });
    let tasks = TaskTracker::new();
    let places = Arc::new(tokio::sync::Semaphore::new(crate::limits::MAX_ETCD_CALLS));
    while let Some(job) = jobs.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let worker = Arc::clone(&worker);
        tasks.spawn(async move {
            match job {
                // The client may have gone; what it asked for counts all the same.
                Job::Put(submission, reply) => drop(reply.send(worker.put(submission).await)),
                Job::Tick(reply) => {
                    worker.tick().await;
                    let _ = reply.send(());
                }
            }
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
    following.abort();
}
