//! Peer: one WireGuard peer, its state, path and the conclusions from what was measured. What it
//! decides becomes engine commands; which peers there are is decided elsewhere.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use mesh_proto::control::PeerState;
use mesh_proto::probe::{Probe, ProbeKind};
use mesh_proto::{MemberId, Sequence, StateId, WgPublicKey};
use rand_chacha::ChaCha20Rng;

use super::bypass::Bypass;
use super::connecting::Dial;
use super::jitter;
use super::liveness::Liveness;
use super::outbox::Outbox;
use super::zone_change::Boundary;
use crate::Now;
use crate::candidates::RankedEndpoint;
use crate::data_plane::{EngineCommand, PathId, PeerSpec, TrafficClass};
use crate::event::Level;
use crate::timing::{CONNECTING_LIMIT, EXTERNAL_UP};

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerKind {
    /// A member across a zone boundary.
    Member {
        id: MemberId,
        mesh_address: Ipv6Addr,
        /// Sequence of its record that this node holds.
        held: Sequence,
    },
    /// A stock WireGuard peer: no probes, no candidates but the configured one.
    External,
}

/// What every peer needs of the mesh around it.
pub(super) struct Scene<'a> {
    pub(super) now: Now,
    pub(super) out: &'a mut Outbox,
    pub(super) rng: &'a mut ChaCha20Rng,
    pub(super) own: OwnFacts,
}

/// What probes say of this node.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnFacts {
    pub(super) state: StateId,
    pub(super) mesh_address: Ipv6Addr,
    pub(super) sequence: Sequence,
    pub(super) interval: Duration,
    pub(super) allow_bypass: bool,
}

/// What the engine counts.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SessionFacts {
    pub(super) last_handshake: Option<Instant>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: WgPublicKey,
    pub(super) kind: PeerKind,
    pub(super) label: String,
    pub(super) spec: PeerSpec,
    pub(super) endpoints: Vec<RankedEndpoint>,
    pub(super) path: Option<PathId>,
    pub(super) state: PeerState,
    pub(super) since: Instant,
    pub(super) dial: Dial,
    pub(super) live: Liveness,
    pub(super) next_ping: Option<Instant>,
    pub(super) session: SessionFacts,
    pub(super) boundary: Boundary,
    pub(super) bypass: Bypass,
}

impl Peer {
    pub(super) fn new(kind: PeerKind, spec: PeerSpec, label: String, now: Instant) -> Self {
        Self {
            key: spec.public_key,
            kind,
            label,
            spec,
            endpoints: Vec::new(),
            path: None,
            state: PeerState::Connecting,
            since: now,
            dial: Dial::default(),
            live: Liveness::default(),
            next_ping: None,
            session: SessionFacts::default(),
            boundary: Boundary::default(),
            bypass: Bypass::new(now),
        }
    }

    pub(super) const fn member(&self) -> Option<MemberId> {
        match self.kind {
            PeerKind::Member { id, .. } => Some(id),
            PeerKind::External => None,
        }
    }

    /// Data passes, or did a moment ago.
    pub(super) const fn is_alive(&self) -> bool {
        matches!(self.state, PeerState::Up | PeerState::Suspect)
    }

    /// Takes over a new list of endpoints. A peer that is not up is dialled on them at once; so is one
    /// that takes back the endpoint in use, which carries data until another one answers.
    pub(super) fn set_endpoints(&mut self, endpoints: Vec<RankedEndpoint>, now: Instant) {
        let old = self.dialled();
        self.endpoints = endpoints;
        if self.path.is_some_and(|path| !self.allows(path.remote)) {
            self.path = None;
            self.dial.start(now);
        }
        let new = self.dialled();
        let withdrawn = self
            .path
            .is_some_and(|path| old.contains(&path.remote) && !new.contains(&path.remote));
        if (new != old && !self.is_alive()) || (withdrawn && !new.is_empty()) {
            self.dial.start(now);
        }
    }

    /// A handshake is complete.
    pub(super) fn handshake_done(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        self.session.last_handshake = Some(now);
        self.live.received(path, now);
        self.dial.stop();
        self.consider_path(path, "handshake", scene);
        if self.path == Some(path) {
            self.live.entered_path(path);
            self.live.proven(now);
        }
        self.set_state(PeerState::Up, "handshake done", scene);
        self.ping_at(now);
    }

    /// An authenticated packet came by another path than the one in use.
    pub(super) fn other_path(&mut self, path: PathId, scene: &mut Scene<'_>) {
        self.live.received(path, scene.now.instant);
        self.consider_path(path, "packet received there", scene);
        self.heard(scene);
    }

    /// A probe came out of the tunnel. Returns what the far end holds of ours.
    pub(super) fn probe(&mut self, path: PathId, probe: &Probe, scene: &mut Scene<'_>) -> Sequence {
        let now = scene.now.instant;
        if self.path != Some(path) {
            self.other_path(path, scene);
        }
        match probe.kind {
            ProbeKind::Ping => {
                self.live.received(path, now);
                if self.allows(path.remote) && self.live.may_answer(now) {
                    self.send_probe(ProbeKind::Pong, probe.id, probe.path, Some(path), scene);
                }
                self.heard(scene);
            }
            ProbeKind::Pong => {
                if self.live.pong(probe.id, path, now) {
                    self.dial.stop();
                    self.set_state(PeerState::Up, "a ping was answered", scene);
                }
            }
        }
        probe.held_sequence
    }

    /// Does what is due. True if the peer's prefixes must be routed differently.
    pub(super) fn service(&mut self, scene: &mut Scene<'_>) -> bool {
        let now = scene.now.instant;
        if self.boundary.is_closing() {
            self.ping_if_due(scene);
            return false;
        }
        self.evaluate(scene);
        let endpoints = self.dial_order(now);
        if let Some(copies) = self.dial.take_due(&endpoints, now, scene.rng) {
            scene.out.engine(EngineCommand::Handshake {
                peer: self.key,
                copies,
            });
        }
        self.ping_if_due(scene);
        scene.own.allow_bypass && self.bypass.update(self.is_alive(), now)
    }

    /// When [`Self::service`] is next needed, and why.
    pub(super) fn next_due(&self, own: &OwnFacts) -> Option<(Instant, &'static str)> {
        let closing = self.boundary.closes_at().map(|at| (at, "close tunnel"));
        let ping = self.next_ping.map(|at| (at, "probe"));
        if closing.is_some() {
            return closing.into_iter().chain(ping).min();
        }
        let bypass = self.bypass.next(self.is_alive());
        let bypass = bypass.filter(|_| own.allow_bypass);
        [
            self.dial.next().map(|at| (at, "handshake")),
            ping,
            self.state_deadline(own).map(|at| (at, "peer state")),
            bypass.map(|at| (at, "bypass")),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Brings the next ping forward.
    pub(super) fn ping_at(&mut self, at: Instant) {
        if matches!(self.kind, PeerKind::Member { .. }) {
            self.next_ping = Some(self.next_ping.map_or(at, |next| next.min(at)));
        }
    }

    /// Something authenticated came in.
    fn heard(&mut self, scene: &mut Scene<'_>) {
        if self.state == PeerState::Suspect && !self.live.is_suspect() {
            self.set_state(PeerState::Up, "heard again", scene);
        }
    }

    fn evaluate(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.is_alive() && self.kind != PeerKind::External {
            if self.state == PeerState::Suspect && !self.live.is_suspect() {
                self.set_state(PeerState::Up, "heard again", scene);
            } else if self.state == PeerState::Up && self.live.is_suspect() {
                self.set_state(PeerState::Suspect, "pings are not answered", scene);
            }
        }
        if self.state_deadline(&scene.own).is_some_and(|at| at <= now) {
            let why = match (self.state, self.kind) {
                (PeerState::Connecting, _) => "nobody answers",
                (_, PeerKind::External) => "no handshake for 180 s",
                _ => "nothing received, or pings not answered",
            };
            self.set_state(PeerState::Down, why, scene);
            self.dial.ensure(now);
        }
    }

    /// When the state gets worse if nothing happens.
    fn state_deadline(&self, own: &OwnFacts) -> Option<Instant> {
        match (self.state, self.kind) {
            (PeerState::Down, _) => None,
            (PeerState::Connecting, _) => Some(self.since + CONNECTING_LIMIT),
            (_, PeerKind::External) => self.session.last_handshake.map(|at| at + EXTERNAL_UP),
            _ => self.live.down_at(own.interval),
        }
    }

    pub(super) fn set_state(&mut self, state: PeerState, why: &str, scene: &mut Scene<'_>) {
        if self.state == state {
            return;
        }
        let was_alive = self.is_alive();
        let (kind, level) = match state {
            PeerState::Up => ("peer_up", Level::Info),
            PeerState::Suspect => ("peer_suspect", Level::Debug),
            PeerState::Connecting => ("peer_connecting", Level::Debug),
            PeerState::Down => ("peer_down", Level::Warn),
        };
        // Up after suspect was never down for the people who read this.
        let level = if was_alive && state == PeerState::Up {
            Level::Debug
        } else {
            level
        };
        self.state = state;
        self.since = scene.now.instant;
        if was_alive != self.is_alive() {
            self.bypass.changed(scene.now.instant);
        }
        scene.out.peer_event(kind, level, &self.label, why);
    }

    fn ping_if_due(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.next_ping.is_none_or(|at| at > now) {
            return;
        }
        self.next_ping = Some(now + jitter::about(scene.rng, scene.own.interval));
        let id = self.live.ping(now);
        self.send_probe(ProbeKind::Ping, id, 0, None, scene);
        if self.live.is_suspect() {
            scene.out.engine(EngineCommand::ReadSessions);
        }
    }

    fn send_probe(
        &self,
        kind: ProbeKind,
        id: u64,
        number: u16,
        path: Option<PathId>,
        scene: &mut Scene<'_>,
    ) {
        let PeerKind::Member {
            mesh_address, held, ..
        } = self.kind
        else {
            return;
        };
        let probe = Probe {
            kind,
            path: number,
            id,
            state: scene.own.state,
            own_sequence: scene.own.sequence,
            held_sequence: held,
        };
        scene.out.engine(EngineCommand::Send {
            peer: self.key,
            path,
            class: TrafficClass::Control,
            packet: probe.packet(scene.own.mesh_address, mesh_address),
        });
    }
}
