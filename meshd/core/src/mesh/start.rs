//! Start: what a mesh is made from. Data only.

use mesh_proto::{ClusterSecret, IdentityKey, StateId, WgPrivateKey};

use crate::Settings;
use crate::persistent::PersistentState;

/// Keys and ids of one node. The identity and WireGuard keys are made once; the state id lives as long as
/// the WireGuard device's sessions do.
#[derive(Debug, Clone)]
pub struct NodeKeys {
    /// Signs what the node publishes.
    pub identity: IdentityKey,
    /// WireGuard private key.
    pub wireguard: WgPrivateKey,
    /// State id of the sessions.
    pub state_id: StateId,
}

/// Material a [`super::Mesh`] starts from.
#[derive(Debug)]
pub struct Start {
    /// Validated settings.
    pub settings: Settings,
    /// Cluster secret.
    pub secret: ClusterSecret,
    /// Keys of this node.
    pub keys: NodeKeys,
    /// The disk cache; default for a new node.
    pub cache: PersistentState,
    /// Randomness for nonces and jitter.
    pub seed: [u8; 32],
}
