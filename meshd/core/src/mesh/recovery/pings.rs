//! Pings and answers: what goes out on which path, and what it says.

use std::time::{Duration, Instant};

use mesh_proto::probe::{PROBE_PACKET_BYTES, Probe, ProbeFlags, ProbeKind};

use super::Phase;
use crate::data_plane::{EngineCommand, PathId, TrafficClass};
use crate::mesh::budget::Budget;
use crate::mesh::jitter;
use crate::mesh::peer::{OwnFacts, Peer, PeerKind, Scene};
use crate::timing::{ANNOUNCE, SIZE_CHECK};

/// Telling the far end of a new path until it answers.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::mesh) struct Announce {
    step: usize,
    next: Option<Instant>,
    started: Option<Instant>,
}

impl Announce {
    pub(in crate::mesh) const fn at(now: Instant) -> Self {
        Self {
            step: 0,
            next: Some(now),
            started: Some(now),
        }
    }

    pub(in crate::mesh) const fn next(&self) -> Option<Instant> {
        self.next
    }

    fn advance(&mut self) {
        self.step += 1;
        self.next = self
            .started
            .and_then(|started| Some(started + *ANNOUNCE.get(self.step)?));
    }
}

impl Peer {
    /// Sends the pings of the path in use that are due: regular ones and announcements.
    pub(in crate::mesh) fn ping_if_due(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let regular = self.next_ping.is_some_and(|at| at <= now);
        let announced = self.announce.next().is_some_and(|at| at <= now);
        if !regular && !announced {
            return;
        }
        let path = self.paths.in_use();
        // In doubt and in a race the path in use is pinged anyway.
        let calm = matches!(self.phase, Phase::Calm);
        let sent = match path {
            Some(path) if calm || announced => self.ping(path, announced, scene),
            _ => true,
        };
        if announced {
            self.announce.advance();
        }
        if regular {
            let wait = if sent {
                self.ping_interval(&scene.own, now)
            } else {
                Budget::PAUSE
            };
            self.next_ping = Some(now + jitter::about(scene.rng, wait));
            if calm && self.live.is_busy(now) {
                self.check_size(SIZE_CHECK * scene.own.scale, scene);
            }
        }
    }

    /// Between pings on the path in use.
    fn ping_interval(&self, own: &OwnFacts, now: Instant) -> Duration {
        if self.live.is_busy(now) {
            own.interval
        } else {
            own.idle_interval
        }
    }

    /// Pings on `path`; false if there is no room for it now.
    pub(in crate::mesh) fn ping(
        &mut self,
        path: PathId,
        urgent: bool,
        scene: &mut Scene<'_>,
    ) -> bool {
        let now = scene.now.instant;
        if self.kind == PeerKind::External || !self.allows(path.remote) {
            return true;
        }
        if !scene.budget.take(now, urgent) {
            scene.counters.pings_withheld += 1;
            return false;
        }
        scene.counters.pings_sent += 1;
        self.effort.pinged();
        let in_use = self.paths.in_use() == Some(path);
        let flags = ProbeFlags {
            in_use,
            please_use: in_use && self.announce.started.is_some(),
            suspect: !in_use && self.is_racing(),
        };
        let outside = self.asks_outside(path, scene);
        let id = self.paths.ping(&path, now);
        if outside {
            let id = scene.candidate_probes.masked(id);
            self.send_candidate_probe(ProbeKind::Ping, (id, flags), path, scene);
        } else {
            self.send_probe(ProbeKind::Ping, id, flags, path, scene);
        }
        true
    }

    /// A probe to this peer, whichever way it goes; none to an external one.
    pub(in crate::mesh) fn saying(
        &self,
        kind: ProbeKind,
        (id, flags): (u64, ProbeFlags),
        own: &OwnFacts,
    ) -> Option<Probe> {
        let PeerKind::Member { held, .. } = self.kind else {
            return None;
        };
        Some(Probe {
            kind,
            path: 0,
            id,
            state: own.state,
            own_sequence: own.sequence,
            held_sequence: held,
            flags,
        })
    }

    pub(in crate::mesh) fn send_probe(
        &self,
        kind: ProbeKind,
        id: u64,
        flags: ProbeFlags,
        path: PathId,
        scene: &mut Scene<'_>,
    ) {
        self.send_probe_of(PROBE_PACKET_BYTES, (kind, id, flags), path, scene);
    }

    /// The same as an inner packet of so many bytes.
    pub(in crate::mesh) fn send_probe_of(
        &self,
        bytes: usize,
        (kind, id, flags): (ProbeKind, u64, ProbeFlags),
        path: PathId,
        scene: &mut Scene<'_>,
    ) {
        let PeerKind::Member { mesh_address, .. } = self.kind else {
            return;
        };
        let Some(probe) = self.saying(kind, (id, flags), &scene.own) else {
            return;
        };
        scene.out.engine(EngineCommand::Send {
            peer: self.key,
            path: Some(path),
            class: TrafficClass::Control,
            packet: probe.padded_packet(scene.own.mesh_address, mesh_address, bytes),
        });
    }
}
