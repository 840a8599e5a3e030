//! Record: what a node says of itself. JSON inside an envelope; unknown fields are skipped so that
//! newer nodes can say more, bounds are checked so that one node cannot flood the others.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::ids::ClusterId;
use crate::key::WgPublicKey;
use crate::limits::{
    MAX_CANDIDATES, MAX_NAME_BYTES, MAX_NETWORKS, MAX_NODE_ADDRESSES, MAX_SECRETS, MAX_ZONE_BYTES,
};

/// Which pairs of nodes tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopologyMode {
    /// A tunnel to every node of every other zone, none inside a zone.
    #[default]
    Cross,
    /// A tunnel to every node; inside a zone only if both ends say so.
    Full,
}

/// Which WireGuard implementation a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// In the Linux kernel.
    Kernel,
    /// meshd's own I/O engine.
    Userspace,
}

/// What a node says of itself. The mesh address is not in it: receivers compute it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Display name; not unique.
    pub name: String,
    /// Zone label; none means a zone of its own.
    #[serde(default)]
    pub zone: Option<String>,
    /// Which pairs this node wants to tunnel.
    #[serde(default)]
    pub mode: TopologyMode,
    /// WireGuard public key.
    pub wireguard_key: WgPublicKey,
    /// WireGuard implementation in use.
    pub backend: BackendKind,
    /// Where the node may be reached, in its order of preference, after its own filter.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
    /// Addresses of the node itself, routed to it as /32 and /128.
    #[serde(default)]
    pub node_addresses: Vec<IpAddr>,
    /// Networks behind the node.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// Subtracted from what is routed between this node and any peer, by both ends.
    #[serde(default)]
    pub exclude_networks: Vec<IpNet>,
    /// Version of the daemon, for people.
    #[serde(default)]
    pub version: String,
    /// During a rotation, the cluster ids of the secrets this node holds, newest first. Empty: only the
    /// one the record is sealed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<ClusterId>,
}

/// Why a record was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("the record cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is over its bound or holds forbidden characters.
    #[error("the record's {0} is out of bounds")]
    Bounds(&'static str),
}

impl Record {
    /// Parses and checks the plaintext of an envelope.
    ///
    /// # Errors
    /// [`RecordError`] if it is not JSON or breaks a bound.
    pub fn decode(plaintext: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(plaintext)?;
        record.check()?;
        Ok(record)
    }

    /// The plaintext for an envelope.
    ///
    /// # Errors
    /// [`RecordError::Bounds`] if a bound is broken; nothing a receiver would refuse is sent.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.check()?;
        Ok(serde_json::to_vec(self)?)
    }

    fn check(&self) -> Result<(), RecordError> {
        let bound = |ok: bool, what| {
            if ok {
                Ok(())
            } else {
                Err(RecordError::Bounds(what))
            }
        };
        bound(is_label(&self.name, MAX_NAME_BYTES), "name")?;
        bound(
            self.zone
                .as_deref()
                .is_none_or(|zone| is_label(zone, MAX_ZONE_BYTES)),
            "zone",
        )?;
        bound(
            self.candidates.len() <= MAX_CANDIDATES,
            "list of candidates",
        )?;
        bound(
            self.node_addresses.len() <= MAX_NODE_ADDRESSES,
            "list of node addresses",
        )?;
        bound(self.networks.len() <= MAX_NETWORKS, "list of networks")?;
        bound(
            self.exclude_networks.len() <= MAX_NETWORKS,
            "list of excluded networks",
        )?;
        bound(self.version.len() <= MAX_NAME_BYTES, "version")?;
        bound(self.secrets.len() <= MAX_SECRETS, "list of secrets")
    }
}

/// True for a text that may be a name or a zone: 1 to `max` bytes, letters, digits and `-_./`, so that
/// it can be printed, put in a metric label or a graph without escaping surprises. `:` and `~` are
/// kept for the forms `node:id6` and `name~id6`.
#[must_use]
pub fn is_label(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            name: "fra-1".into(),
            zone: Some("fra".into()),
            mode: TopologyMode::Cross,
            wireguard_key: WgPublicKey([1; 32]),
            backend: BackendKind::Userspace,
            candidates: Vec::new(),
            node_addresses: vec!["10.0.0.1".parse().unwrap()],
            networks: vec!["10.244.1.0/24".parse().unwrap()],
            exclude_networks: Vec::new(),
            version: "0.1.0".into(),
            secrets: Vec::new(),
        }
    }

    #[test]
    fn round_trip_with_unknown_fields() {
        let record = sample();
        let mut json: serde_json::Value =
            serde_json::from_slice(&record.encode().unwrap()).unwrap();
        json["somethingNew"] = 1.into();
        assert_eq!(Record::decode(json.to_string().as_bytes()).unwrap(), record);
    }

    #[test]
    fn bounds_are_refused() {
        let mut record = sample();
        record.name = "a b".into();
        assert!(record.encode().is_err());
        let mut record = sample();
        record.zone = Some("x".repeat(64));
        assert!(record.encode().is_err());
        let mut record = sample();
        record.node_addresses = vec!["10.0.0.1".parse().unwrap(); MAX_NODE_ADDRESSES + 1];
        assert!(record.encode().is_err());
    }
}
