//! What a node must not forget: sequences, members, prefix owners. The shell writes it as JSON.

use std::collections::BTreeMap;

use ipnet::IpNet;
use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::{MemberId, Removal, Sequence};
use serde::{Deserialize, Serialize};

/// The disk cache. Envelopes stay sealed on disk and are verified again when loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentState {
    /// Last sequence used for a record.
    pub record_sequence: Option<Sequence>,
    /// Last sequence used for a report.
    pub report_sequence: Option<Sequence>,
    /// Known members.
    pub members: Vec<PersistentMember>,
    /// Highest sequence seen of members that left or were removed, so that they do not come back by
    /// an old record.
    pub removed: BTreeMap<MemberId, Sequence>,
    /// Whom the administrator has removed.
    pub removals: PersistentRemovals,
    /// Owners of contested prefixes: sticky across restarts.
    pub prefix_owners: BTreeMap<IpNet, MemberId>,
}

/// One known member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentMember {
    /// Its newest record.
    pub envelope: EncodedEnvelope,
    /// When this node first heard of it, milliseconds since 1970 by the own clock; orders conflicts.
    pub first_seen_ms: u64,
}

/// The newest list of removals. What counts is `removed`: the secret that opens the envelopes may be gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentRemovals {
    /// Of the list; 0 without one.
    pub sequence: Sequence,
    /// Who is on it.
    pub removed: Vec<Removal>,
    /// As it travels, to pass it on; one for each secret.
    pub envelopes: Vec<EncodedEnvelope>,
}
