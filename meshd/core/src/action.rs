//! Actions: everything the core asks of the shell. Data only; carried out in order.

use std::net::SocketAddr;

use mesh_proto::{VerifiedEnvelope, WgPrivateKey};

use crate::data_plane::EngineCommand;
use crate::network::NetworkState;
use crate::persistent::PersistentState;

/// Something to be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// For the WireGuard engine.
    Engine(EngineCommand),
    /// Send a check of the own zone: an unmarked datagram from the port of such checks. May get lost.
    SendNative {
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Bring the kernel's routes, rules and addresses to this state; the newest one wins.
    ApplyNetwork(Box<NetworkState>),
    /// Write this to disk, durably, before anything later is published.
    Persist(Box<PersistentState>),
    /// Keep this record (or leave) stored at every server, renewing its lease, until the next one of
    /// its cluster id. During a rotation there is one for each secret.
    Publish(VerifiedEnvelope),
    /// Store this report at every server, once; one for each secret.
    PublishReport(VerifiedEnvelope),
    /// Store this list of removals at every server, once; one for each secret.
    PublishRemovals(VerifiedEnvelope),
    /// The WireGuard key handed to [`crate::Mesh::rotate_key`] is in use: it takes the place of the former one on
    /// disk.
    KeyInUse(WgPrivateKey),
    /// Stop the daemon: a leave has been published (or nobody could be told in time).
    Stop,
}
