//! Backing: what a server's registry rests on, opened and then run on a thread of its own: a store in the
//! data directory, or etcd.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mesh_proto::ServerId;
use tokio::sync::mpsc;

use crate::etcd;
use crate::limits::{MIN_RETENTION, RETENTION, SEEN_GRANULARITY};
use crate::registry::{Batch, Now, Registry, Terms};
use crate::server::{StartError, random};
use crate::settings::{Settings, StoreChoice};
use crate::shared::Shared;
use crate::store::{Identity, Store};
use crate::writer::{self, Job};

/// So far away that no lease of etcd's ends by this server's clock: etcd alone says so.
const NEVER_MS: u64 = u64::MAX / 4;

/// What was found when it was opened.
#[derive(Debug)]
pub struct Facts {
    /// Who the server is.
    pub identity: Identity,
    /// All members.
    pub registry: Registry,
    /// Key of the nonces, if other replicas have the same.
    pub nonce_key: Option<[u8; 32]>,
}

/// An open store.
#[derive(Debug)]
pub enum Backing {
    /// In the data directory.
    Embedded(Store),
    /// In etcd.
    Etcd(etcd::Thread),
}

/// Opens what the settings say.
///
/// # Errors
/// [`StartError`]
pub fn open(settings: &Settings, now: Now) -> Result<(Facts, Backing), StartError> {
    let fresh = Identity {
        server: ServerId(random()?),
        // 48 bits: every JSON reader keeps them exact.
        epoch: u64::from_be_bytes(random()?) >> 16,
    };
    match &settings.store {
        StoreChoice::Embedded => embedded(settings, fresh, now),
        StoreChoice::Etcd(endpoints) => {
            let fresh = etcd::Meta {
                identity: fresh,
                nonce_key: random()?,
            };
            let (opened, thread) = etcd::open(endpoints.clone(), fresh)?;
            let terms = Terms {
                lease_ms: NEVER_MS,
                ..terms(settings)
            };
            let identity = opened.meta.identity;
            let mut registry = Registry::new(terms, identity.epoch);
            registry.passed(opened.revision);
            registry.apply(Batch::decided(opened.writes), now);
            let facts = Facts {
                identity,
                registry,
                nonce_key: Some(opened.meta.nonce_key),
            };
            Ok((facts, Backing::Etcd(thread)))
        }
    }
}

fn embedded(
    settings: &Settings,
    fresh: Identity,
    now: Now,
) -> Result<(Facts, Backing), StartError> {
    let mut store = Store::open(&settings.data_dir)?;
    let identity = store.identity(fresh)?;
    let (writes, skipped) = store.load()?;
    if skipped > 0 {
        tracing::warn!(skipped, "some stored rows are damaged and were left out");
    }
    let mut registry = Registry::new(terms(settings), identity.epoch);
    let grants = registry.restore(writes, now);
    store.commit(grants.writes())?;
    registry.apply(grants, now);
    let facts = Facts {
        identity,
        registry,
        nonce_key: None,
    };
    Ok((facts, Backing::Embedded(store)))
}

impl Backing {
    /// Serves `jobs` until their senders are gone.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn begin(
        self,
        shared: &Arc<Shared>,
        jobs: mpsc::Receiver<Job>,
    ) -> io::Result<JoinHandle<()>> {
        let shared = Arc::clone(shared);
        match self {
            Self::Embedded(store) => std::thread::Builder::new()
                .name("store".to_owned())
                .spawn(move || writer::run(&shared, store, jobs)),
            Self::Etcd(thread) => Ok(thread.begin(shared, jobs)),
        }
    }
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
