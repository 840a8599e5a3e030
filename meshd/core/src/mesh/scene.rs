//! Scene: what a peer needs of the mesh around it while it works. Borrowed parts; decides nothing.

use std::net::Ipv6Addr;
use std::time::Duration;

use mesh_proto::{ClusterId, Sequence, StateId, WgPrivateKey, WgPublicKey};
use rand_chacha::ChaCha20Rng;

use super::budget::Budget;
use super::candidate_probes::CandidateProbes;
use super::outbox::Outbox;
use super::paths::Sources;
use super::removals::RemovalList;
use super::timers::Timers;
use crate::{Now, RecoveryCounters};

/// What every peer needs of the mesh around it.
pub(super) struct Scene<'a> {
    pub(super) now: Now,
    pub(super) out: &'a mut Outbox,
    pub(super) rng: &'a mut ChaCha20Rng,
    /// Of pings.
    pub(super) budget: &'a mut Budget,
    pub(super) initiations: &'a mut Budget,
    /// Of bytes of the own envelope.
    pub(super) telling: &'a mut Budget,
    pub(super) counters: &'a mut RecoveryCounters,
    pub(super) candidate_probes: &'a mut CandidateProbes,
    /// The own WireGuard key.
    pub(super) private_key: &'a WgPrivateKey,
    pub(super) sources: &'a Sources,
    /// The own envelope, encoded; one for each secret.
    pub(super) envelopes: &'a [(ClusterId, Vec<u8>)],
    pub(super) removals: &'a RemovalList,
    pub(super) timers: &'a mut Timers,
    pub(super) own: OwnFacts,
}

/// What a peer needs to know of this node.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnFacts {
    pub(super) key: WgPublicKey,
    pub(super) state: StateId,
    pub(super) mesh_address: Ipv6Addr,
    pub(super) sequence: Sequence,
    /// Between pings on a path in use.
    pub(super) interval: Duration,
    /// The same to a peer that no data is exchanged with.
    pub(super) idle_interval: Duration,
    /// How much rarer than in a small mesh other paths are probed.
    pub(super) scale: u32,
    pub(super) allow_bypass: bool,
    /// The engine goes where packets come from, as the kernel does.
    pub(super) roams: bool,
    /// Largest inner packet, bytes.
    pub(super) tunnel_mtu: u16,
}
