//! Documents of the requests that change something: leaving, removing members, replacing keys.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::CONTROL_VERSION;
use crate::discovery::EncodedEnvelope;
use crate::ids::{ClusterId, MemberId};
use crate::key::WgPublicKey;

/// `POST /v1/leave`: the daemon published that this node leaves for good, and stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// True if a discovery server confirmed it; otherwise only connected peers heard of it, through their
    /// tunnels, and the others forget this node when its lease is over for an hour.
    pub published: bool,
}

/// `POST /v1/key/rotate`: this node's WireGuard key is being replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// The public key that was.
    pub former: WgPublicKey,
    /// The public key that will be, as soon as all connected peers know of it.
    pub public_key: WgPublicKey,
}

/// `GET /v1/removals`: whom the administrator has removed, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedMembers {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// Of the list; a new one has to be above it. 0 if nobody was ever removed.
    pub sequence: u64,
    /// Sorted by id.
    pub removed: Vec<RemovedMember>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedMember {
    /// Member id.
    pub id: MemberId,
    /// What it was called.
    pub name: String,
    /// When, RFC 3339, by the administrator's clock.
    pub removed_at: String,
    /// The same in milliseconds since 1970.
    pub removed_ms: u64,
    /// Cluster id of the oldest secret then in force: the member had that one at least.
    pub secret: ClusterId,
}

/// Body of `POST /v1/remove`: the list, sealed once for each cluster secret and signed by the admin key.
/// The answer is a [`RemovedMembers`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// [`CONTROL_VERSION`].
    pub version: u32,
    /// The newest secret's first.
    pub envelopes: Vec<EncodedEnvelope>,
}
