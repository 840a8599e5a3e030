//! Candidates: the paths that are not in use. Probed rarely while all is well, all at once when it is
//! not; a better one is taken when it has proved itself.

use std::time::Instant;

use mesh_proto::control::PeerState;

use super::{Phase, Why};
use crate::data_plane::PathId;
use crate::mesh::jitter;
use crate::mesh::paths::{Gain, Path};
use crate::mesh::peer::{Peer, PeerKind, Scene};
use crate::timing::{
    AGREE_GAP, CANDIDATE_PROBE_MIN, CONFIRM_PROBE, FASTER_GAP, HOLD_DOWN, PTO_CALM,
};

impl Peer {
    /// Probes candidates that are due.
    pub(in crate::mesh) fn probe_candidates(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.candidates_due().is_none_or(|at| at > now) {
            return;
        }
        self.paths.forget_stale(now);
        let (own_interval, scale) = (scene.own.interval, scene.own.scale);
        let due: Vec<PathId> = self
            .paths
            .iter()
            .filter(|path| self.is_candidate(path))
            .filter(|path| path.facts.next_probe.is_some_and(|at| at <= now))
            .map(|path| path.id)
            .collect();
        for id in due {
            let sent = self.ping(id, false, scene);
            let spread = jitter::up_to(scene.rng, own_interval / 2);
            let Some(facts) = self.paths.facts_mut(&id) else {
                continue;
            };
            let was_good = facts.is_good();
            facts.expire(now, PTO_CALM);
            if !sent || (was_good && facts.misses > 0) {
                facts.next_probe = Some(now + CONFIRM_PROBE);
            } else {
                facts.stretch(now + spread, scale);
            }
        }
    }

    /// When a candidate is to be probed. None while a race asks them all.
    pub(in crate::mesh) fn candidates_due(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Calm) || self.kind == PeerKind::External {
            return None;
        }
        self.paths.in_use()?;
        self.paths
            .iter()
            .filter(|path| self.is_candidate(path))
            .filter_map(|path| path.facts.next_probe)
            .min()
    }

    /// Probes every path but the one in use, now.
    pub(super) fn probe_others(&mut self, scene: &mut Scene<'_>) {
        let others: Vec<PathId> = self
            .paths
            .iter()
            .map(|path| path.id)
            .filter(|id| self.paths.in_use() != Some(*id))
            .collect();
        // A peer that is down has time: others may need the budget to stay up.
        let urgent = self.is_alive();
        for id in others {
            self.ping(id, urgent, scene);
        }
    }

    /// All candidates are probed anew, soon.
    pub(in crate::mesh) fn restart_candidates(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        for path in self.paths.iter_mut() {
            let at = now + jitter::up_to(scene.rng, CANDIDATE_PROBE_MIN);
            path.facts.restart_probes(at);
        }
    }

    /// All candidates are probed anew, now.
    pub(in crate::mesh) fn probe_candidates_now(&mut self, now: Instant) {
        for path in self.paths.iter_mut() {
            path.facts.restart_probes(now);
        }
    }

    /// `path` answered while all is well: moves there if that is worth it.
    pub(super) fn consider_upgrade(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.state != PeerState::Up || !matches!(self.phase, Phase::Calm) {
            return;
        }
        let Some(candidate) = self.paths.get(&path) else {
            return;
        };
        let Some(gain) = self.paths.gain(candidate, self.their_path, now) else {
            return;
        };
        let gap = match gain {
            Gain::Preferred => HOLD_DOWN,
            Gain::Faster => FASTER_GAP,
            Gain::Agreed if scene.own.key > self.key => AGREE_GAP * 2,
            Gain::Agreed => AGREE_GAP,
        };
        let settled = self.switched.map_or(now, |at| at + gap);
        if settled <= now && self.paths.is_settled(candidate) {
            self.switch(path, Why::Better(gain), scene);
        } else if let Some(facts) = self.paths.facts_mut(&path) {
            let soon = settled.max(now + CONFIRM_PROBE);
            facts.next_probe = Some(facts.next_probe.map_or(soon, |at| at.min(soon)));
        }
    }

    /// What only packets told of is not asked without need: unless the far end sends there.
    fn is_candidate(&self, path: &Path) -> bool {
        let wanted = path.kind.is_some() || self.their_path == Some(path.id);
        wanted && self.paths.in_use() != Some(path.id)
    }
}
