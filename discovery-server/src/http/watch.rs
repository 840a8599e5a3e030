//! Watch: a stream of JSON lines that starts with what the caller has missed and goes on with every
//! change. It reads the registry whenever it is woken, so it never queues anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use mesh_proto::ClusterId;
use mesh_proto::discovery::{Revision, STREAM_CONTENT_TYPE, WatchEvent};
use serde::Deserialize;
use tokio::time::sleep_until;

use super::answer::ApiError;
use super::signed::Signed;
use crate::registry::encode_line;
use crate::shared::Shared;
use crate::watchers::Watcher;

/// Where to resume.
#[derive(Debug, Deserialize)]
pub(super) struct From {
    epoch: Option<u64>,
    n: Option<u64>,
}

pub(super) async fn watch(
    State(shared): State<Arc<Shared>>,
    from: Result<Query<From>, QueryRejection>,
    signed: Signed,
) -> Result<Response, ApiError> {
    let Query(from) = from.map_err(|error| ApiError::bad_request(&error.body_text()))?;
    let from = match (from.epoch, from.n) {
        (Some(epoch), Some(n)) => Some(Revision { epoch, n }),
        (None, None) => None,
        _ => {
            return Err(ApiError::bad_request(
                "epoch and n come together or not at all",
            ));
        }
    };
    let cluster = signed.cluster;
    let limits = &shared.limits;
    let watcher = shared
        .watchers
        .enter(cluster, limits.watchers_per_cluster, limits.connections);
    let watcher = watcher.ok_or_else(|| {
        ApiError::limited(
            "watchers",
            "the cluster or the server has as many watchers as it may",
            10,
        )
    })?;
    let start = shared.registry().resume_at(cluster, from);
    let phase = shared.next_phase();
    let reader = Reader {
        phase,
        shared,
        watcher,
        cluster,
        base: start,
        at: start,
        synced: false,
        ended: false,
    };
    let lines = stream::unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Some((Ok::<_, Infallible>(chunk), reader))
    });
    Ok((
        [(CONTENT_TYPE, STREAM_CONTENT_TYPE)],
        Body::from_stream(lines),
    )
        .into_response())
}

/// One watch stream.
#[derive(Debug)]
struct Reader {
    shared: Arc<Shared>,
    watcher: Watcher,
    cluster: ClusterId,
    /// Every record up to here is known to the caller.
    base: u64,
    /// Everything up to here has been sent.
    at: u64,
    /// `synced` has been sent.
    synced: bool,
    /// `goodbye` has been sent.
    ended: bool,
    /// Its moment in every heartbeat interval.
    phase: Duration,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let heartbeat = self.shared.next_heartbeat(self.phase);
        loop {
            let lines = self.read();
            if !lines.is_empty() {
                let count = lines.len();
                let chunk = joined(lines);
                self.shared.metrics.pushed(count, chunk.len());
                return Some(chunk);
            }
            let stop = self.shared.stop.clone();
            tokio::select! {
                () = self.watcher.changed() => {}
                () = stop.cancelled() => {
                    self.ended = true;
                    return Some(encode_line(&WatchEvent::Goodbye));
                }
                () = sleep_until(heartbeat) => return Some(self.heartbeat()),
            }
        }
    }

    /// The next lines, or none if there is nothing new.
    fn read(&mut self) -> Vec<Bytes> {
        // Before reading: a change after this wakes the stream again.
        self.watcher.mark_read();
        let now = self.shared.clock.now();
        let page = self
            .shared
            .registry()
            .page(self.cluster, self.base, self.at, now);
        let mut lines = page.lines;
        self.at = page.upto;
        if page.complete {
            self.base = self.at;
            if !self.synced {
                self.synced = true;
                let revision = self.revision();
                lines.push(encode_line(&WatchEvent::Synced { revision }));
            }
        }
        lines
    }

    fn heartbeat(&self) -> Bytes {
        let shared = &self.shared;
        (shared.heartbeats).line(self.revision(), &shared.nonces, shared.nonce_ms())
    }

    fn revision(&self) -> Revision {
        Revision {
            epoch: self.shared.registry().epoch(),
            n: self.at,
        }
    }
}

/// One line as it is, shared with all other streams; several in one piece.
fn joined(mut lines: Vec<Bytes>) -> Bytes {
    match lines.pop() {
        Some(only) if lines.is_empty() => only,
        last => {
            lines.extend(last);
            lines.concat().into()
        }
    }
}
