//! `Mesh`: joins the decisions. See the crate documentation for the loop around it.

use std::net::IpAddr;
use std::time::Instant;

use mesh_proto::control::{
    CONTROL_VERSION, Explain, ExplainVerdict, Members, Paths, Peers, ShowConf, Status, Topology,
};
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::{ClusterSecret, IdentityKey, MemberId, StateId, VerifiedEnvelope, WgPrivateKey};

use crate::persistent::PersistentState;
use crate::{Action, Event, Input, Now, Settings};

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

/// Material a [`Mesh`] starts from.
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

/// A report as fetched from a server: the sealed report and its age in seconds.
#[derive(Debug, Clone)]
pub struct FetchedReport {
    /// The sealed report; verified, not yet opened.
    pub envelope: VerifiedEnvelope,
    /// Seconds since the server stored it.
    pub age_s: u64,
}

/// The mesh as one node sees and runs it.
#[derive(Debug)]
pub struct Mesh {
    start: Start,
    id: MemberId,
}

impl Mesh {
    /// A mesh that knows its cache and nothing else. Yields actions at once.
    #[must_use]
    pub fn new(start: Start, now: Now) -> Self {
        let _ = now;
        let id = start.keys.identity.public_key().member_id();
        Self { start, id }
    }

    /// Takes in something that happened.
    pub fn handle_input(&mut self, input: Input, now: Now) {
        let _ = (input, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// The next thing to be logged.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// This node's member id.
    #[must_use]
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// Members whose reports a topology wants.
    #[must_use]
    pub fn report_sources(&self) -> Vec<MemberId> {
        Vec::new()
    }

    /// `meshctl status`.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let _ = now;
        let settings = &self.start.settings;
        Status {
            version: CONTROL_VERSION,
            daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
            node: settings.name.clone(),
            id: self.id,
            cluster: self.start.secret.keys()[0].cluster_id(),
            zone: String::new(),
            backend: settings.wireguard.backend,
            backend_reason: settings.wireguard.backend_reason.clone(),
            interface: settings.wireguard.interface.clone(),
            listen_port: settings.wireguard.listen_port,
            mtu: settings.wireguard.mtu.unwrap_or(1420),
            mesh_address: mesh_address(&self.start.secret.mesh_id(), &self.id),
            public_key: self.start.keys.wireguard.public_key(),
            candidates: Vec::new(),
            discovery: Vec::new(),
            members: 0,
            peers_up: 0,
            peers_down: 0,
            problems: Vec::new(),
        }
    }

    /// `meshctl peers`.
    #[must_use]
    pub fn peers(&self, now: Now) -> Peers {
        let _ = now;
        Peers {
            version: CONTROL_VERSION,
            peers: Vec::new(),
        }
    }

    /// `meshctl members`.
    #[must_use]
    pub fn members(&self, now: Now) -> Members {
        let _ = now;
        Members {
            version: CONTROL_VERSION,
            members: Vec::new(),
        }
    }

    /// `meshctl paths NAME`; none if no peer has that name, unique name or id.
    #[must_use]
    pub fn paths(&self, name: &str, now: Now) -> Option<Paths> {
        let _ = (name, now);
        None
    }

    /// `meshctl topology`, from the records, this node's view and the reports of others.
    #[must_use]
    pub fn topology(&self, reports: &[FetchedReport], now: Now) -> Topology {
        let _ = (reports, now);
        Topology {
            version: CONTROL_VERSION,
            zones: Vec::new(),
            links: Vec::new(),
        }
    }

    /// `meshctl explain IP`.
    #[must_use]
    pub fn explain(&self, address: IpAddr, now: Now) -> Explain {
        let _ = now;
        Explain {
            version: CONTROL_VERSION,
            address,
            verdict: ExplainVerdict::Native,
            rule: String::new(),
            route: None,
            peer: None,
            peer_state: None,
            endpoint: None,
            steps: Vec::new(),
        }
    }

    /// `meshctl showconf`, or with a name `showconf --as-peer NAME`: what that external peer has to
    /// configure. None if there is no such peer.
    #[must_use]
    pub fn showconf(&self, as_peer: Option<&str>, now: Now) -> Option<ShowConf> {
        let _ = (as_peer, now);
        None
    }
}
