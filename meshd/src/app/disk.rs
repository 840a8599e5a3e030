//! The disk, away from the event loop: a slow one must not keep probes waiting. It keeps the order that
//! matters: what was persisted before something is published is durable before that leaves.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_proto::{ClusterId, VerifiedEnvelope};
use meshd_core::Input;
use meshd_core::persistent::PersistentState;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::discovery::DiscoveryClient;
use crate::state::{StateDir, StateError};

/// After a failed write, before the same is tried again: a full disk may have been emptied.
const RETRY: Duration = Duration::from_secs(10);
/// What a stop may wait for the last write.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Something to publish.
#[derive(Debug)]
enum Publication {
    Record(VerifiedEnvelope),
    Report(VerifiedEnvelope),
    Removals(VerifiedEnvelope),
}

/// What waits; the newest of each kind counts, so it cannot grow.
#[derive(Debug, Default)]
struct Waiting {
    state: Option<Box<PersistentState>>,
    /// By cluster id: a node has as many as it has secrets.
    records: BTreeMap<ClusterId, VerifiedEnvelope>,
    reports: BTreeMap<ClusterId, VerifiedEnvelope>,
    removals: BTreeMap<ClusterId, VerifiedEnvelope>,
}

/// Writes and publishes in a task of its own. Nothing here blocks.
#[derive(Debug)]
pub(super) struct Disk {
    waiting: Arc<Mutex<Waiting>>,
    wake: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Disk {
    /// Writes to `state` and publishes by `discovery`.
    /// What becomes of it goes to `inputs`, when that changes.
    pub(super) fn start(
        state: StateDir,
        discovery: DiscoveryClient,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self::over(
            move |cache: &PersistentState| state.save(cache),
            move |publication| match publication {
                Publication::Record(envelope) => discovery.publish(envelope),
                Publication::Report(envelope) => discovery.publish_report(envelope),
                Publication::Removals(list) => discovery.publish_removals(list),
            },
            inputs,
            RETRY,
        )
    }

    fn over(
        save: impl Fn(&PersistentState) -> Result<(), StateError> + Send + Sync + 'static,
        publish: impl Fn(Publication) + Send + Sync + 'static,
        inputs: mpsc::Sender<Input>,
        retry: Duration,
    ) -> Self {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (wake, woken) = mpsc::channel(1);
        let worker = Worker {
            save: Arc::new(save),
            publish,
            inputs,
            error: None,
            retry,
            waiting: Arc::clone(&waiting),
        };
        let task = tokio::spawn(worker.run(woken));
        Self {
            waiting,
            wake,
            task,
        }
    }

    /// Writes the cache, in place of any other that still waits.
    pub(super) fn persist(&self, state: Box<PersistentState>) {
        self.add(|waiting| waiting.state = Some(state));
    }

    /// Publishes a record or leave, when everything persisted before is on disk.
    pub(super) fn publish(&self, envelope: VerifiedEnvelope) {
        self.add(|waiting| {
            waiting.records.insert(envelope.cluster(), envelope);
        });
    }

    /// Publishes a report, likewise.
    pub(super) fn publish_report(&self, envelope: VerifiedEnvelope) {
        self.add(|waiting| {
            waiting.reports.insert(envelope.cluster(), envelope);
        });
    }

    /// Publishes the administrator's list of removals, likewise.
    pub(super) fn publish_removals(&self, list: VerifiedEnvelope) {
        self.add(|waiting| {
            waiting.removals.insert(list.cluster(), list);
        });
    }

    /// Writes what waits and ends, unless the disk hangs.
    pub(super) async fn finish(self) {
        drop(self.wake);
        if tokio::time::timeout(FINISH_WITHIN, self.task)
            .await
            .is_err()
        {
            tracing::error!("the state directory is not written: its disk hangs");
        }
    }

    fn add(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut lock(&self.waiting));
        // Full means that the task will look anyway.
        let _ = self.wake.try_send(());
    }
}

struct Worker<S, P> {
    save: Arc<S>,
    publish: P,
    inputs: mpsc::Sender<Input>,
    /// Of the last write, as told.
    error: Option<String>,
    retry: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

impl<S, P> Worker<S, P>
where
    S: Fn(&PersistentState) -> Result<(), StateError> + Send + Sync + 'static,
    P: Fn(Publication) + Send + Sync + 'static,
{
    async fn run(mut self, mut woken: mpsc::Receiver<()>) {
        let mut unsaved = None;
        loop {
            let open = tokio::select! {
                woken = woken.recv() => woken.is_some(),
                () = tokio::time::sleep(self.retry), if unsaved.is_some() => true,
            };
            let next = mem::take(&mut *lock(&self.waiting));
            if let Some(state) = next.state.or_else(|| unsaved.take()) {
                unsaved = self.write(state).await;
            }
            let records = next.records.into_values().map(Publication::Record);
            let reports = next.reports.into_values().map(Publication::Report);
            let removals = next.removals.into_values().map(Publication::Removals);
            (records.chain(reports).chain(removals)).for_each(&self.publish);
            if !open {
                return;
            }
        }
    }

    /// The state again if it could not be written.
    async fn write(&mut self, state: Box<PersistentState>) -> Option<Box<PersistentState>> {
        let save = Arc::clone(&self.save);
        let written = tokio::task::spawn_blocking(move || match save(&state) {
            Ok(()) => (None, None),
            Err(error) => (Some(state), Some(error.to_string())),
        });
        let (unsaved, error) = written.await.ok()?;
        if self.error != error {
            if let Some(error) = &error {
                tracing::error!("cannot write the state directory: {error}");
            }
            let result = error.clone().map_or(Ok(()), Err);
            // Nobody listens only when the daemon stops; a full queue is told the next time.
            if self.inputs.try_send(Input::Persisted(result)).is_ok() {
                self.error = error;
            }
        }
        unsaved
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
