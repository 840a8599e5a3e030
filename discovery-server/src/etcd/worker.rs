//! Worker: takes what requests want to store and stores it in etcd. Decides by the replica's registry,
//! which may lag, so that each transaction names the revision it was decided on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mesh_proto::EnvelopeKind;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::gateway::{EtcdError, Gateway, TxnAnswer, text};
use super::layout::{META, Part, lease_of, path};
use crate::limits::MAX_EXPIRIES;
use crate::registry::{Batch, Key, Submission, Verdict, Write};
use crate::shared::Shared;
use crate::writer::Answer;

/// Times a submission is decided anew because another replica was first.
const ATTEMPTS: usize = 5;
/// How long an answer waits until this replica, too, shows what is stored.
const VISIBLE_WAIT: Duration = Duration::from_secs(2);

/// Stores for one replica.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) applied: watch::Receiver<u64>,
    pub(super) lease_s: u64,
}

impl Worker {
    /// Stores an envelope.
    pub(super) async fn put(&self, submission: Submission) -> Answer {
        let began = Instant::now();
        for _ in 0..ATTEMPTS {
            match self.try_put(&submission).await {
                Ok(Some(answer)) => {
                    let stored = usize::from(answer == Answer::Done);
                    self.shared.metrics.committed(true, stored, began.elapsed());
                    return answer;
                }
                Ok(None) => {}
                Err(error) => {
                    self.shared.metrics.committed(false, 0, began.elapsed());
                    if self.shared.ready.swap(false, Ordering::Relaxed) {
                        tracing::error!(%error, "writes are refused until etcd works again");
                    }
                    return Answer::Unavailable;
                }
            }
        }
        Answer::Unavailable
    }

    /// None if another replica was first.
    async fn try_put(&self, submission: &Submission) -> Result<Option<Answer>, EtcdError> {
        let key = submission.key;
        let mut batch = Batch::default();
        let (verdict, known) = {
            let registry = self.shared.registry();
            let now = self.shared.clock.now();
            let verdict = registry.judge(&mut batch, submission.clone(), now);
            (verdict, registry.stored(key).cloned())
        };
        let revision = known.as_ref().map_or(0, |stored| stored.recorded);
        match (verdict, batch.writes().first()) {
            (Verdict::Refused(refusal), _) => Ok(Some(Answer::Refused(refusal))),
            (Verdict::Renewed, _) => {
                let has_lease = known.is_some_and(|stored| stored.kind == EnvelopeKind::Record);
                if submission.kind == EnvelopeKind::Report || !has_lease {
                    return Ok(Some(Answer::Done));
                }
                if self.gateway.keep_alive(lease_of(key)).await? {
                    return Ok(Some(Answer::Done));
                }
                self.revive(key, revision).await
            }
            (_, Some(Write::Report(_, report))) => {
                let value = [&report.at_ms.to_be_bytes()[..], &report.bytes].concat();
                let put = vec![put(&path(key, Part::Report), &value, 0)];
                self.store(key, revision, &report.bytes, put).await
            }
            (_, Some(Write::Member(_, stored))) => {
                let is_renewal = known.is_some_and(|known| known.bytes == stored.bytes);
                if is_renewal {
                    return self.revive(key, revision).await;
                }
                let mut puts = vec![
                    put(&path(key, Part::Record), &stored.bytes, 0),
                    self.seen(key),
                ];
                if stored.kind == EnvelopeKind::Record {
                    puts.push(self.live(key).await?);
                } else {
                    puts.push(delete(&path(key, Part::Live)));
                    puts.push(delete(&path(key, Part::Report)));
                }
                self.store(key, revision, &stored.bytes, puts).await
            }
            _ => Ok(None),
        }
    }

    /// A record that is stored already gets a live lease, and its time of last sight.
    async fn revive(&self, key: Key, revision: u64) -> Result<Option<Answer>, EtcdError> {
        let puts = vec![self.live(key).await?, self.seen(key)];
        let answer = self.commit(key, revision, puts).await?;
        Ok(self.seen_here(&answer).await.then_some(Answer::Done))
    }

    async fn store(
        &self,
        key: Key,
        revision: u64,
        bytes: &[u8],
        puts: Vec<Value>,
    ) -> Result<Option<Answer>, EtcdError> {
        let answer = self.commit(key, revision, puts).await?;
        // A first try whose answer was lost may have stored just this.
        let is_ours = answer.found().is_some_and(|kv| kv.value == bytes);
        let decided = self.seen_here(&answer).await;
        Ok((decided || is_ours).then_some(Answer::Done))
    }

    async fn commit(
        &self,
        key: Key,
        revision: u64,
        puts: Vec<Value>,
    ) -> Result<TxnAnswer, EtcdError> {
        let record = path(key, Part::Record);
        self.gateway.transaction((&record, revision), puts).await
    }

    /// Waits until this replica shows what the transaction did, or what it lost to. True if it succeeded.
    async fn seen_here(&self, answer: &TxnAnswer) -> bool {
        // What failed may have lost to a change long before the cluster's present revision.
        let revision = match answer.found() {
            Some(kv) => kv.mod_revision,
            None => answer.header.revision,
        };
        let mut applied = self.applied.clone();
        let shown = applied.wait_for(|applied| *applied >= revision);
        // It is durable all the same; a replica that lags shows it later.
        let _ = tokio::time::timeout(VISIBLE_WAIT, shown).await;
        answer.succeeded
    }

    async fn live(&self, key: Key) -> Result<Value, EtcdError> {
        let lease = lease_of(key);
        if !self.gateway.keep_alive(lease).await? {
            self.gateway.grant(lease, self.lease_s).await?;
        }
        Ok(put(&path(key, Part::Live), b"", lease))
    }

    fn seen(&self, key: Key) -> Value {
        let now = self.shared.clock.now().wall_ms;
        put(&path(key, Part::Seen), &now.to_be_bytes(), 0)
    }

    /// Forgets members whose retention is over; asks etcd whether it is back if it was gone.
    pub(super) async fn tick(&self) {
        let mut batch = Batch::default();
        {
            let registry = self.shared.registry();
            registry.expire(&mut batch, self.shared.clock.now(), MAX_EXPIRIES);
        }
        for write in batch.writes() {
            let Write::Forget(key) = write else { continue };
            let recorded = {
                let registry = self.shared.registry();
                registry.stored(*key).map(|stored| stored.recorded)
            };
            let parts = [Part::Record, Part::Live, Part::Report, Part::Seen];
            let gone = parts.map(|part| delete(&path(*key, part))).to_vec();
            // Another replica may have done it, or the member is back: both are fine.
            if let Some(recorded) = recorded
                && self.commit(*key, recorded, gone).await.is_err()
            {
                return;
            }
        }
        if !self.shared.ready.load(Ordering::Relaxed)
            && self.gateway.range((META, b"\0"), 1, 0).await.is_ok()
            && !self.shared.ready.swap(true, Ordering::Relaxed)
        {
            tracing::info!("etcd works again");
        }
    }
}

fn put(key: &[u8], value: &[u8], lease: i64) -> Value {
    json!({ "request_put": { "key": text(key), "value": text(value), "lease": lease } })
}

fn delete(key: &[u8]) -> Value {
    json!({ "request_delete_range": { "key": text(key) } })
}
