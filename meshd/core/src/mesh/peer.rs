//! Peer: one WireGuard peer, its state, path and the conclusions from what was measured. What it
//! decides becomes engine commands; which peers there are is decided elsewhere.

use std::net::Ipv6Addr;
use std::time::Instant;

use mesh_proto::control::PeerState;
use mesh_proto::probe::{Probe, ProbeFlags, ProbeKind};
use mesh_proto::{MemberId, Sequence, WgPublicKey};

use super::bypass::Bypass;
use super::candidate_probes::PairSeal;
use super::connecting::Dial;
use super::effort::Effort;
use super::liveness::Liveness;
use super::path_size::PathSize;
use super::paths::Paths;
use super::recovery::{Announce, Phase, Why};
use super::removals::Exchange;
pub(super) use super::scene::{OwnFacts, Scene};
use super::secrets::PairKeys;
use super::telling::{Assembly, Telling};
use super::timers::Armed;
use super::zone_change::Boundary;
use crate::candidates::RankedEndpoint;
use crate::data_plane::{EngineCommand, PathId, PeerSpec};

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerKind {
    /// A member across a zone boundary.
    Member {
        id: MemberId,
        mesh_address: Ipv6Addr,
        /// Sequence of its record that this node holds.
        held: Sequence,
        /// It takes one initiation on several paths.
        userspace: bool,
    },
    /// A stock WireGuard peer: no probes, no candidates but the configured one.
    External,
}

/// What the engine counts.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SessionFacts {
    pub(super) last_handshake: Option<Instant>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
}

/// In memory as it is written here: what every probe reads and writes stands together. A thousand peers do not
/// fit into the processor's caches, so each further line of them costs more than what is done with it.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Peer {
    pub(super) key: WgPublicKey,
    pub(super) state: PeerState,
    pub(super) kind: PeerKind,
    pub(super) live: Liveness,
    pub(super) next_ping: Option<Instant>,
    /// When it is serviced next.
    pub(super) armed: Armed,
    pub(super) paths: Paths,
    /// Where the far end sends, as it says.
    pub(super) their_path: Option<PathId>,
    pub(super) dial: Dial,
    pub(super) announce: Announce,
    pub(super) telling: Telling,
    pub(super) since: Instant,
    pub(super) effort: Effort,
    pub(super) session: SessionFacts,
    pub(super) size: PathSize,
    pub(super) removals: Exchange,
    pub(super) phase: Phase,
    pub(super) boundary: Boundary,
    pub(super) bypass: Bypass,
    pub(super) spec: PeerSpec,
    pub(super) label: String,
    pub(super) endpoints: Vec<RankedEndpoint>,
    /// Where the far end wants to have our packets, and since when; it has to answer there first.
    pub(super) asked: Option<(PathId, Instant)>,
    /// Last question on a path the far end is said to use.
    pub(super) challenged: Option<Instant>,
    /// Last check because the far end sends elsewhere.
    pub(super) verified: Option<Instant>,
    /// Where an initiation came from that was refused, and when.
    pub(super) refused_from: Option<(PathId, Instant)>,
    /// Last time its session was given up.
    pub(super) gave_up: Option<Instant>,
    /// When it was last gone along with, and how often of late.
    pub(super) followed: (Option<Instant>, u32),
    /// Where data goes twice, and since when.
    pub(super) duplicated: Option<(PathId, Instant)>,
    /// Last time packets went another way.
    pub(super) switched: Option<Instant>,
    /// Since when packets go this way, and why, in words.
    pub(super) chosen: Option<(Instant, String)>,
    pub(super) assembly: Assembly,
    /// A key has changed, so the next handshake is no sign of trouble.
    pub(super) other_key: bool,
    /// Preshared keys it may use, best first.
    pub(super) pair_keys: PairKeys,
    /// Of probes outside the tunnel, if there were any.
    pub(super) seal: Option<Box<PairSeal>>,
}

impl Peer {
    pub(super) fn new(kind: PeerKind, spec: PeerSpec, label: String, now: Instant) -> Self {
        Self {
            key: spec.public_key,
            kind,
            label,
            spec,
            endpoints: Vec::new(),
            paths: Paths::default(),
            size: PathSize::default(),
            phase: Phase::Calm,
            announce: Announce::default(),
            their_path: None,
            asked: None,
            challenged: None,
            verified: None,
            refused_from: None,
            gave_up: None,
            followed: (None, 0),
            duplicated: None,
            switched: None,
            chosen: None,
            effort: Effort::default(),
            state: PeerState::Connecting,
            since: now,
            dial: Dial::default(),
            live: Liveness::default(),
            next_ping: None,
            armed: Armed::default(),
            session: SessionFacts::default(),
            other_key: false,
            boundary: Boundary::default(),
            bypass: Bypass::new(now),
            telling: Telling::default(),
            assembly: Assembly::default(),
            removals: Exchange::default(),
            pair_keys: PairKeys::new(),
            seal: None,
        }
    }

    pub(super) const fn member(&self) -> Option<MemberId> {
        match self.kind {
            PeerKind::Member { id, .. } => Some(id),
            PeerKind::External => None,
        }
    }

    /// A member with our engine: it takes one initiation on several paths, and follows nobody.
    pub(super) const fn is_userspace(&self) -> bool {
        matches!(
            self.kind,
            PeerKind::Member {
                userspace: true,
                ..
            }
        )
    }

    /// The path in use.
    pub(super) const fn path(&self) -> Option<PathId> {
        self.paths.in_use()
    }

    /// Data passes, or did a moment ago.
    pub(super) const fn is_alive(&self) -> bool {
        matches!(self.state, PeerState::Up | PeerState::Suspect)
    }

    /// A handshake is complete: both directions of `arrival` work.
    pub(super) fn handshake_done(&mut self, arrival: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if !self.allows(arrival.remote) {
            return;
        }
        let meant = std::mem::take(&mut self.other_key);
        if self.is_alive() {
            scene.counters.rehandshakes += 1;
            if !meant {
                self.tell_of_recovery(scene);
            }
        }
        self.session.last_handshake = Some(now);
        let path = self.paths.arrived(arrival, now);
        if let Some(facts) = self.paths.facts_mut(&path) {
            facts.proven(now);
        }
        self.live.answered(now);
        self.dial.stop();
        match self.path() {
            None => self.switch(path, Why::First, scene),
            Some(current) if current != path => {
                let published = |id| self.paths.get(id).is_some_and(|path| path.kind.is_some());
                let better = published(&path) && !published(&current);
                let calm = matches!(self.phase, Phase::Calm);
                if better || !calm || !self.is_alive() || self.kind == PeerKind::External {
                    self.switch(path, Why::Handshake, scene);
                }
            }
            Some(_) => self.phase = Phase::Calm,
        }
        self.set_state(PeerState::Up, "handshake done", scene);
        self.effort.end();
        self.ping_at(now);
    }

    /// A handshake that is no routine: the session was in doubt.
    fn tell_of_recovery(&self, scene: &mut Scene<'_>) {
        let silent = match self.live.last_receive() {
            Some(at) if self.dial.next().is_some() || self.is_racing() => {
                scene.now.instant.saturating_duration_since(at)
            }
            _ => return,
        };
        let message = format!(
            "new session after {} ms of silence: the old one was suspected to be lost",
            silent.as_millis()
        );
        let cost = self.effort.cost(scene.now.instant);
        scene
            .out
            .recovery_event("session_renewed", &self.label, message, cost);
    }

    /// An authenticated packet came by another path than the one in use.
    pub(super) fn other_path(&mut self, arrival: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        self.live.received(now);
        if !self.allows(arrival.remote) {
            return;
        }
        let is_new = self.paths.find(arrival).is_none();
        let path = self.paths.arrived(arrival, now);
        if self.path().is_none() {
            self.switch(path, Why::First, scene);
        } else if self.kind == PeerKind::External {
            self.switch(path, Why::Followed, scene);
        } else if scene.own.roams {
            self.engine_went(path, scene);
        } else if is_new {
            // A NAT on the way may have another idea of the far end now.
            self.their_path = Some(path);
            self.challenge(path, scene);
            self.verify(scene);
        }
    }

    /// A probe came out of the tunnel. Returns what the far end holds of ours.
    pub(super) fn probe(
        &mut self,
        arrival: PathId,
        probe: &Probe,
        scene: &mut Scene<'_>,
    ) -> Sequence {
        let now = scene.now.instant;
        self.live.received(now);
        if self.allows(arrival.remote) {
            let path = self.paths.arrived(arrival, now);
            if self.path().is_none() {
                self.switch(path, Why::First, scene);
            }
            match probe.kind {
                ProbeKind::Ping => {
                    if self.live.may_answer(now) {
                        scene.counters.pongs_sent += 1;
                        let flags = ProbeFlags::default();
                        self.send_probe(ProbeKind::Pong, probe.id, flags, arrival, scene);
                    }
                    self.told(path, probe.flags, scene);
                }
                ProbeKind::Pong => {
                    if !self.size_answered(probe.id, scene)
                        && let Some(asked) = self.paths.pong(probe.id, now)
                    {
                        self.answered(asked, scene);
                    }
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
        if self.kind != PeerKind::External {
            self.recover(scene);
            self.probe_candidates(scene);
            self.tell(scene);
            self.send_removals(scene);
            self.probe_sizes(scene);
        }
        self.evaluate(scene);
        self.initiate_if_due(scene);
        self.ping_if_due(scene);
        scene.own.allow_bypass && self.bypass.update(self.is_alive(), now)
    }

    fn initiate_if_due(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.dial.next().is_none_or(|at| at > now) {
            return;
        }
        let paths = self.dial_order(now);
        if !paths.is_empty() && !scene.initiations.take(now, self.is_alive()) {
            return self.dial.put_off(now, scene.own.scale, scene.rng);
        }
        let again = self.is_userspace();
        if let Some(copies) = self.dial.take_due(&paths, again, now, scene.rng) {
            scene.counters.initiations += 1;
            self.effort.begin(now);
            self.effort.initiated();
            self.try_secrets(scene);
            scene.out.engine(EngineCommand::Handshake {
                peer: self.key,
                copies,
            });
        }
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
        let recovery = self.recovery_due();
        let size = self.size.next().map(|at| (at, "probe path size"));
        [
            self.dial.next().map(|at| (at, "handshake")),
            ping,
            self.announce.next().map(|at| (at, "announce path")),
            recovery.filter(|_| self.kind != PeerKind::External),
            size.filter(|_| self.kind != PeerKind::External),
            self.candidates_due().map(|at| (at, "probe candidates")),
            self.state_deadline(own).map(|at| (at, "peer state")),
            bypass.map(|at| (at, "bypass")),
            self.telling_due().map(|at| (at, "tell envelope")),
            self.removals_due().map(|at| (at, "tell removals")),
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
}
