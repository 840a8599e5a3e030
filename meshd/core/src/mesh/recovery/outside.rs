//! Outside the tunnel: questions on paths that carry no data, where a packet of the tunnel would take all
//! others along. An answer says that the path works, not that the session does; a question says nothing, since
//! anybody who heard it can send it again.

use std::time::Instant;

use mesh_proto::probe::{Probe, ProbeFlags, ProbeKind};

use super::{Phase, Race};
use crate::data_plane::{EngineCommand, PathId};
use crate::mesh::peer::{Peer, PeerKind, Scene};
use crate::timing::{GIVE_UP_GAP, RACE_BLIND, RACE_GRACE_ROAMING};

impl Peer {
    /// True if a question on `path` has to stay outside the tunnel. A far end that goes where packets come from
    /// would send its data there, which in a race is what is wanted; this end may be led astray by its own questions.
    pub(in crate::mesh) fn asks_outside(&self, path: PathId, scene: &Scene<'_>) -> bool {
        if self.paths.in_use() == Some(path) {
            return false;
        }
        match (&self.phase, self.kind) {
            (_, PeerKind::External) => false,
            // Perhaps the far end does not answer outside: there is nothing to lose any more.
            (Phase::Race(race), _) if scene.own.roams => {
                scene.now.instant < race.since + RACE_BLIND
            }
            (Phase::Race(_), _) => false,
            (_, PeerKind::Member { userspace, .. }) => scene.own.roams || !userspace,
        }
    }

    /// Sends a question or an answer; the number as it is on the wire.
    pub(in crate::mesh) fn send_candidate_probe(
        &mut self,
        kind: ProbeKind,
        says: (u64, ProbeFlags),
        path: PathId,
        scene: &mut Scene<'_>,
    ) {
        let Some(probe) = self.saying(kind, says, &scene.own) else {
            return;
        };
        // The kernel chooses where data leaves from, so also where it asks; it answers from where it was asked.
        let chosen = kind == ProbeKind::Ping && scene.own.roams;
        let path = if chosen {
            PathId::to(path.remote)
        } else {
            path
        };
        let random = scene.candidate_probes.random();
        let bytes = self.candidate_keys(scene).seal(&probe.encode(), random);
        scene
            .out
            .engine(EngineCommand::SendDatagram { path, bytes });
    }

    /// A datagram with the tag of this peer came by `arrival`.
    pub(in crate::mesh) fn candidate_probe(
        &mut self,
        arrival: PathId,
        datagram: &[u8],
        scene: &mut Scene<'_>,
    ) {
        let now = scene.now.instant;
        if self.kind == PeerKind::External || !self.allows(arrival.remote) {
            return;
        }
        let opened = self.candidate_keys(scene).open(datagram);
        let Some(probe) = opened.and_then(|payload| Probe::decode(&payload)) else {
            return;
        };
        match probe.kind {
            ProbeKind::Ping => {
                if self.live.may_answer_outside(now) {
                    scene.counters.pongs_sent += 1;
                    let answer = (probe.id, ProbeFlags::default());
                    self.send_candidate_probe(ProbeKind::Pong, answer, arrival, scene);
                }
                if probe.flags.suspect && self.is_alive() {
                    // It may hear nothing of us. To look costs little, and is done once in a while only.
                    self.verify(scene);
                }
            }
            ProbeKind::Pong => {
                let id = scene.candidate_probes.masked(probe.id);
                if self.is_in_use_reachable(id, now) {
                    return;
                }
                if let Some(asked) = self.paths.pong(id, now) {
                    self.reachable(asked, scene);
                }
            }
        }
    }

    /// Asks on the path in use too: if that is answered outside the tunnel only, no other path is better, and what is
    /// missing is a session.
    pub(super) fn ask_in_use_outside(&mut self, race: &mut Race, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if let Some(path) = self.paths.in_use().filter(|_| scene.own.roams)
            && now < race.since + RACE_BLIND
            && scene.budget.take(now, true)
        {
            scene.counters.pings_sent += 1;
            // The same each time: it is all one which of them is answered.
            let id = *race.outside.get_or_insert_with(|| self.paths.number());
            let id = scene.candidate_probes.masked(id);
            let question = (id, ProbeFlags::default());
            self.send_candidate_probe(ProbeKind::Ping, question, path, scene);
        }
    }

    /// True if `id` is of that question.
    fn is_in_use_reachable(&mut self, id: u64, now: Instant) -> bool {
        let usual = self.paths.current().map(|path| path.facts.rtt.timeout());
        let Phase::Race(race) = &mut self.phase else {
            return false;
        };
        if race.outside != Some(id) {
            return false;
        }
        if !race.is_reachable {
            race.is_reachable = true;
            // The answer in the tunnel to a question of the same moment may take as long as others did.
            race.lost_at = Some(now + usual.unwrap_or(RACE_GRACE_ROAMING));
        }
        true
    }

    /// The path in use is known to work, and nothing in the tunnel is answered.
    pub(in crate::mesh) const fn lacks_a_session(&self) -> bool {
        matches!(&self.phase, Phase::Race(race) if race.is_reachable)
    }

    /// The engine would keep a session that worked a moment ago. Not often: where nothing in the tunnel is ever
    /// answered, for a reason of the far end's host, that would only make data be lost.
    pub(super) fn give_up_session(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.gave_up.is_none_or(|at| now >= at + GIVE_UP_GAP) {
            self.gave_up = Some(now);
            scene.out.engine(EngineCommand::SessionLost(self.key));
        }
    }

    /// `path` works, as far as can be told without the session.
    fn reachable(&mut self, path: PathId, scene: &mut Scene<'_>) {
        if self.paths.in_use() == Some(path) || self.moves_as_asked(path, scene) {
            return;
        }
        match self.phase {
            // What is missing is a session.
            _ if !self.is_alive() => self.dial.ensure(scene.now.instant),
            Phase::Race(race) => self.weigh(race, scene),
            // Packets go where the far end's come from: to want another path is to fight for it.
            _ if scene.own.roams => {}
            _ => {
                self.consider_upgrade(path, scene);
                if self.paths.in_use() == Some(path) {
                    // It may let nothing but this through.
                    self.doubt(scene.now.instant, true, scene.now.instant);
                    self.recover(scene);
                }
            }
        }
    }
}
