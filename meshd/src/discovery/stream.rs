//! Follows one open stream: lines to events, everything checked before it is handed on, and where the
//! stream can resume.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use mesh_proto::discovery::{EncodedEnvelope, Revision, WatchEvent};
use mesh_proto::{ClusterId, EnvelopeError, EnvelopeKind, VerifiedEnvelope};
use meshd_core::input::DiscoveryEvent;
use reqwest::Response;
use tokio::time::timeout;

use super::Server;
use super::error::RequestError;
use super::lines::{Line, LineSplitter};
use super::session::Session;

/// Servers send a heartbeat every 20 s, or 30 s after another line at most; that and some delay mean a dead stream.
/// A dead connection is noticed by TCP long before.
const SILENCE: Duration = Duration::from_secs(45);

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum End {
    /// The server said goodbye.
    Goodbye,
    /// The host's network changed.
    Reopen,
    /// Something broke, in words.
    Broken(String),
}

impl From<RequestError> for End {
    fn from(error: RequestError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// One open stream.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub(super) server: &'a Server,
    pub(super) session: &'a Session,
    pub(super) cluster: ClusterId,
    pub(super) resume: &'a mut Option<Revision>,
    /// True once the server said where the stream stands. Before, members come in any order, and to
    /// resume from one of them would skip others.
    pub(super) caught_up: bool,
}

impl Stream<'_> {
    /// Returns only when the stream has ended.
    pub(super) async fn follow(mut self, response: Response) -> Result<(), End> {
        let mut bytes = response.bytes_stream();
        let mut lines = LineSplitter::default();
        loop {
            let chunk = match timeout(SILENCE, bytes.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => {
                    return Err(RequestError::transport(self.session.url(), &error).into());
                }
                Ok(None) => return Err(self.broken("it closed the stream")),
                Err(_) => return Err(self.broken("it fell silent")),
            };
            for line in lines.push(&chunk) {
                match line {
                    Line::Whole(line) => self.line(&line).await?,
                    Line::TooLong => self.bad("a line is too long"),
                }
            }
        }
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), End> {
        let event = match serde_json::from_slice(line) {
            Ok(event) => event,
            Err(error) => {
                self.bad(&error.to_string());
                return Ok(());
            }
        };
        match event {
            WatchEvent::Member(member) => match self.accept(&member.envelope) {
                Ok(envelope) => {
                    self.server
                        .tell(DiscoveryEvent::Member {
                            envelope,
                            fresh: member.fresh,
                            stale_s: member.stale_s,
                        })
                        .await;
                    self.passed(member.revision);
                }
                Err(error) => self.bad(&error.to_string()),
            },
            WatchEvent::Stale {
                revision,
                member,
                sequence,
            } => {
                self.server
                    .tell(DiscoveryEvent::Stale { member, sequence })
                    .await;
                self.passed(revision);
            }
            WatchEvent::Synced { revision } => {
                self.caught_up = true;
                self.passed(revision);
                self.server.tell(DiscoveryEvent::Synced).await;
            }
            WatchEvent::Heartbeat { revision, nonce } => {
                if !self.session.set_nonce(nonce) {
                    self.bad("not a nonce");
                }
                // A heartbeat in the middle of a snapshot says nothing of what is still to come.
                self.passed(revision);
                self.server.tell(DiscoveryEvent::Contact).await;
            }
            WatchEvent::Goodbye => return Err(End::Goodbye),
        }
        Ok(())
    }

    fn passed(&mut self, revision: Revision) {
        if self.caught_up {
            *self.resume = Some(revision);
        }
    }

    /// Only what its member signed, for this cluster, and what belongs in a member list.
    fn accept(&self, encoded: &EncodedEnvelope) -> Result<VerifiedEnvelope, EnvelopeError> {
        let envelope = encoded.decode()?.verify()?;
        if envelope.cluster() != self.cluster {
            return Err(EnvelopeError::Cluster);
        }
        if envelope.kind() == EnvelopeKind::Report {
            return Err(EnvelopeError::Malformed);
        }
        Ok(envelope)
    }

    fn bad(&self, reason: &str) {
        let count = self.server.bad_lines.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(count, "{}: a line was refused: {reason}", self.server.url);
    }

    fn broken(&self, reason: &str) -> End {
        End::Broken(format!(
            "the stream of {} broke: {reason}; it is opened again",
            self.server.url
        ))
    }
}
