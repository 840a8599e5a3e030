//! Keeps one envelope stored at one server: PUT, retry, renew before the lease ends.

use std::sync::Arc;
use std::time::Duration;

use mesh_proto::discovery::{ErrorCode, member_path, report_path};
use mesh_proto::{ClusterKeys, ServerId, VerifiedEnvelope};
use meshd_core::input::DiscoveryEvent;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Server;
use super::backoff::{Backoff, jittered};
use super::error::RequestError;
use super::session::Session;

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Renewals come at this part of the lease. One that fails is tried again within ten seconds, so there are some
/// twenty attempts before the lease ends.
const RENEWALS_PER_LEASE: u32 = 3;
/// Longest wait for an answer, after several that did not come.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Bounds of the lease a server may tell, seconds.
const LEASE_S: std::ops::RangeInclusive<u64> = 1..=24 * 3600;

/// What is kept stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The record or leave: renewed.
    Record,
    /// The report: stored once.
    Report,
    /// The administrator's list of removals: stored once, as a member's leave is.
    Removals,
}

/// Keeps one slot stored at one server.
#[derive(Debug)]
pub(super) struct Publisher {
    server: Server,
    slot: Slot,
    source: watch::Receiver<Option<VerifiedEnvelope>>,
    session: watch::Receiver<Option<Arc<Session>>>,
}

/// Whose memory an envelope was stored in: another epoch has forgotten it.
type Memory = (ServerId, u64);

impl Publisher {
    pub(super) const fn new(
        server: Server,
        slot: Slot,
        source: watch::Receiver<Option<VerifiedEnvelope>>,
        session: watch::Receiver<Option<Arc<Session>>>,
    ) -> Self {
        Self {
            server,
            slot,
            source,
            session,
        }
    }

    /// Runs until the client is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LAST_WAIT);
        let mut limit = self.server.first_answer;
        while let Some((envelope, session)) = self.next().await {
            let mut sessions = self.session.clone();
            let put = tokio::select! {
                put = self.put(&session, &envelope, limit) => put,
                // The host's network changed or the stream broke: this connection may be dead.
                () = replaced(&mut sessions, &session) => continue,
            };
            limit = match put {
                Ok(()) => self.server.first_answer,
                Err(_) => (limit * 2).min(LAST_ANSWER.max(limit)),
            };
            let memory = (session.info.server, session.info.epoch);
            let lease =
                Duration::from_secs(session.info.lease_s.clamp(*LEASE_S.start(), *LEASE_S.end()));
            drop(session);
            match put {
                Ok(()) => {
                    backoff.reset();
                    if self.slot == Slot::Record {
                        let stored = DiscoveryEvent::Published(envelope.sequence());
                        self.server.tell(stored).await;
                    }
                    self.rest(memory, lease).await;
                }
                Err(error) if error.code() == Some(ErrorCode::Conflict) => {
                    self.conflict(&error).await;
                    self.rest(memory, lease).await;
                }
                Err(error) => {
                    tracing::debug!("not stored yet: {error}");
                    let wait = error.retry_after().map_or_else(|| backoff.wait(), jittered);
                    self.pause(wait).await;
                }
            }
        }
    }

    /// Waits until there is something to store and a server to store it at.
    async fn next(&mut self) -> Option<(VerifiedEnvelope, Arc<Session>)> {
        loop {
            // Waiting marks what it found as seen, so a later value counts as a change.
            self.session.wait_for(Option::is_some).await.ok()?;
            let envelope = self.source.wait_for(Option::is_some).await.ok()?.clone()?;
            let session = self.session.borrow_and_update().clone();
            if let Some(session) = session {
                return Some((envelope, session));
            }
        }
    }

    async fn put(
        &self,
        session: &Session,
        envelope: &VerifiedEnvelope,
        limit: Duration,
    ) -> Result<(), RequestError> {
        let of_cluster = |keys: &&ClusterKeys| keys.cluster_id() == envelope.cluster();
        let Some(keys) = self.server.keys.iter().find(of_cluster) else {
            return Err(RequestError::malformed(
                session.url(),
                "the envelope is of another cluster than this node",
            ));
        };
        let (cluster, member) = (envelope.cluster(), envelope.member());
        let path = match self.slot {
            Slot::Record | Slot::Removals => member_path(&cluster, &member),
            Slot::Report => report_path(&cluster, &member),
        };
        let body = Some(envelope.encode());
        session.send(keys, &path, body, limit).await?;
        Ok(())
    }

    /// Tells the core what the server holds instead, if the same key has signed it.
    async fn conflict(&self, error: &RequestError) {
        let RequestError::Refused {
            stored: Some(stored),
            ..
        } = error
        else {
            return;
        };
        if self.slot == Slot::Report {
            return;
        }
        match stored.decode().and_then(mesh_proto::Envelope::verify) {
            Ok(stored) => self.server.tell(DiscoveryEvent::Conflict { stored }).await,
            Err(error) => tracing::debug!("a conflict with a bad envelope: {error}"),
        }
    }

    /// Waits until the envelope must be sent again: it is another one, its lease needs renewal, or the
    /// server has forgotten it.
    async fn rest(&mut self, memory: Memory, lease: Duration) {
        let renew = Instant::now() + jittered(lease / RENEWALS_PER_LEASE);
        loop {
            tokio::select! {
                changed = self.source.changed() => {
                    // Without a source nothing new will come; the client is being dropped.
                    if changed.is_err() { std::future::pending::<()>().await; }
                    return;
                }
                () = sleep_until(renew), if self.slot == Slot::Record => return,
                Ok(()) = self.session.changed() => {
                    let session = self.session.borrow_and_update();
                    let same = session.as_ref().is_none_or(|session| {
                        (session.info.server, session.info.epoch) == memory
                    });
                    if !same {
                        return;
                    }
                }
            }
        }
    }

    /// Waits after a failure; a new envelope or session ends it.
    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            Ok(()) = self.source.changed() => {}
            Ok(()) = self.session.changed() => {}
        }
    }
}

/// Returns once there is another session than `session`. Not when there is none: a server may refuse
/// watchers and yet store records.
async fn replaced(sessions: &mut watch::Receiver<Option<Arc<Session>>>, session: &Arc<Session>) {
    let another = sessions.wait_for(|current| {
        let current = current.as_ref();
        current.is_some_and(|current| !Arc::ptr_eq(current, session))
    });
    if another.await.is_err() {
        // The client is being dropped; its tasks are cancelled.
        std::future::pending::<()>().await;
    }
}
