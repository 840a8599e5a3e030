//! Types of the discovery HTTP API. The API itself is described in `docs/discovery-api.md`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeError};
use crate::ids::{MemberId, Sequence, ServerId};

/// Content type of envelopes in bodies.
pub const ENVELOPE_CONTENT_TYPE: &str = "application/vnd.mesh.envelope";
/// Content type of watch streams and member lists: one JSON document a line.
pub const STREAM_CONTENT_TYPE: &str = "application/x-ndjson";

/// `GET /v1/info`: needs no signature; gives what is needed to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The server, stable across restarts.
    pub server: ServerId,
    /// Changes when the server lost its state or started over.
    pub epoch: u64,
    /// To be signed in requests; valid two minutes.
    pub nonce: String,
    /// UDP port of STUN Binding on the server's address; none if STUN is off.
    pub stun_port: Option<u16>,
    /// Address of STUN if it is not the one the server is reached at.
    pub stun_address: Option<IpAddr>,
    /// The caller's address as the server saw it.
    pub your_address: IpAddr,
    /// The server's clock, milliseconds since 1970; only ever shown to people (`clock_behind`).
    pub time_ms: u64,
    /// Seconds a lease lasts after the last PUT.
    pub lease_s: u64,
}

/// An envelope inside JSON: base64 of its bytes. Parsed, not verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncodedEnvelope(pub String);

impl EncodedEnvelope {
    /// Wraps encoded envelope bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// Parses the envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`] if it is not base64 or not an envelope.
    pub fn decode(&self) -> Result<Envelope, EnvelopeError> {
        Envelope::decode(
            &STANDARD
                .decode(&self.0)
                .map_err(|_| EnvelopeError::Malformed)?,
        )
    }
}

/// Position in a server's history of one cluster. Comparable only inside one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision {
    /// The server's epoch.
    pub epoch: u64,
    /// Counts changes of the cluster.
    pub n: u64,
}

/// One line of `GET /v1/clusters/{id}/watch[?epoch=E&n=N]`, and, as `member` lines only, of
/// `GET /v1/clusters/{id}/members`.
///
/// A watch without a known revision starts with every member and then `synced`. A snapshot is to be
/// merged: that a member is not in it means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WatchEvent {
    /// A member's record or leave is new here, or its lease is live again.
    Member(MemberLine),
    /// A member's lease ended.
    Stale {
        /// The revision of this change.
        revision: Revision,
        /// Whose lease.
        member: MemberId,
        /// The record it was for.
        sequence: Sequence,
    },
    /// Everything up to this revision has been sent.
    Synced {
        /// Resume from here.
        revision: Revision,
    },
    /// Nothing happened for a while; sent every 20 s.
    Heartbeat {
        /// Resume from here.
        revision: Revision,
        /// A fresh nonce for signing requests.
        nonce: String,
    },
    /// The server is going away; reconnect (to it or another) after a jittered delay.
    Goodbye,
}

/// One member as a server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    /// The revision at which it last changed.
    pub revision: Revision,
    /// Its record, or its leave.
    pub envelope: EncodedEnvelope,
    /// True while its lease is live by the server's clock.
    pub fresh: bool,
    /// Seconds since the lease ended; 0 while fresh.
    pub stale_s: u64,
}

/// Machine-readable reason in an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Signature, key or nonce missing or wrong: 401.
    Unauthorized,
    /// The nonce is over two minutes old; ask `/v1/info` again: 401.
    NonceExpired,
    /// The same signed request came before: 401.
    Replayed,
    /// This server does not serve the cluster: 403.
    ClusterNotAllowed,
    /// The envelope does not belong to the path or the cluster, or does not verify: 403 or 422.
    BadEnvelope,
    /// A higher sequence is stored, or the same with other bytes: 409, with the stored envelope.
    Conflict,
    /// Not found: 404.
    NotFound,
    /// Body or header too large: 413.
    TooLarge,
    /// Too many requests, members or watchers: 429, with `Retry-After`.
    Limited,
    /// The server cannot write: 503.
    Unavailable,
    /// The request cannot be understood: 400.
    BadRequest,
}

/// Body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was wrong and what to do.
    pub message: String,
    /// With [`ErrorCode::Conflict`]: what is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<EncodedEnvelope>,
}

/// Path of a member.
#[must_use]
pub fn member_path(cluster: &crate::ClusterId, member: &MemberId) -> String {
    format!("/v1/clusters/{cluster}/members/{member}")
}

/// Path of a member's report.
#[must_use]
pub fn report_path(cluster: &crate::ClusterId, member: &MemberId) -> String {
    format!("/v1/clusters/{cluster}/members/{member}/report")
}

/// Path of a cluster's member list.
#[must_use]
pub fn members_path(cluster: &crate::ClusterId) -> String {
    format!("/v1/clusters/{cluster}/members")
}

/// Path of a cluster's watch, resuming after `from` if given.
#[must_use]
pub fn watch_path(cluster: &crate::ClusterId, from: Option<Revision>) -> String {
    let query = from.map_or_else(String::new, |at| format!("?epoch={}&n={}", at.epoch, at.n));
    format!("/v1/clusters/{cluster}/watch{query}")
}
