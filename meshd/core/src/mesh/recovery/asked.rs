//! Asked: what the far end's probes say of the paths it uses, and what follows. A session authenticates
//! them; a path nobody has published is challenged before traffic goes there.

use std::time::{Duration, Instant};

use mesh_proto::probe::ProbeFlags;

use super::{Phase, Why};
use crate::data_plane::PathId;
use crate::mesh::peer::{Peer, Scene};
use crate::timing::{ANSWER_FRESH, CHALLENGE_GAP, CONFIRM_PROBE, SUSPECT_AFTER, VERIFY_GAP};

/// How long an answer to a challenge is waited for.
const CHALLENGE: Duration = Duration::from_secs(2);

impl Peer {
    /// A ping of the far end came by `path`.
    pub(in crate::mesh) fn told(&mut self, path: PathId, flags: ProbeFlags, scene: &mut Scene<'_>) {
        let news = flags.in_use && self.their_path.replace(path) != Some(path);
        if self.paths.in_use() == Some(path) {
            return;
        }
        if news && let Some(facts) = self.paths.facts_mut(&path) {
            // Perhaps both can send there, if it stays at it.
            facts.restart_probes(scene.now.instant + CONFIRM_PROBE);
        }
        if flags.suspect {
            // It hears nothing of us where we send.
            if self
                .paths
                .get(&path)
                .is_some_and(|known| known.facts.is_good())
            {
                self.duplicate(path, scene);
            }
            self.verify(scene);
        }
        if flags.please_use {
            self.asked_to_move(path, scene);
        } else if news {
            self.verify(scene);
        }
    }

    /// The far end tries to make a session from `path` and cannot: after a restart with its clock in the past
    /// this node has to begin, whichever key is the lower one. A replay costs one check a second, or has a dial
    /// come sooner that is due anyway, and go to one address more.
    pub(in crate::mesh) fn initiation_refused(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.boundary.is_closing() || !self.allows(path.remote) {
            return;
        }
        self.refused_from = Some((self.paths.name_of(path), now));
        if let Phase::Race(race) = &mut self.phase
            && race.lost_at.take().is_some()
        {
            scene.counters.sessions_suspected += 1;
            self.dial.ensure(now);
        } else if self.is_alive() && !self.is_racing() {
            self.verify(scene);
        } else {
            self.dial.hasten(now);
        }
    }

    /// Checks at once that the path in use works.
    pub(in crate::mesh) fn verify(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let due = self
            .verified
            .is_none_or(|at| now.saturating_duration_since(at) >= VERIFY_GAP);
        if due && matches!(self.phase, Phase::Calm) {
            self.verified = Some(now);
            // Half of the patience is spent: somebody else has noticed already.
            let since = now.checked_sub(SUSPECT_AFTER / 2).unwrap_or(now);
            self.doubt(since, true, now);
            self.recover(scene);
        }
    }

    /// True if the far end asked to use `path`, which has just answered, and nothing speaks against it.
    pub(in crate::mesh) fn moves_as_asked(&mut self, path: PathId, scene: &mut Scene<'_>) -> bool {
        let now = scene.now.instant;
        let Some((asked, at)) = self.asked.filter(|(asked, _)| *asked == path) else {
            return false;
        };
        self.asked = None;
        if now.saturating_duration_since(at) > CHALLENGE
            || self.paths.in_use() == Some(path)
            || self.own_way_is_fresh(scene)
        {
            return false;
        }
        self.switch(asked, Why::Asked, scene);
        true
    }

    fn asked_to_move(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.own_way_is_fresh(scene) {
            // Our direction works; whether it still does is seen at once.
            self.asked = Some((path, now));
            self.verify(scene);
            return;
        }
        let proven = self
            .paths
            .get(&path)
            .is_some_and(|known| known.kind.is_some() && known.facts.is_good());
        if proven {
            self.switch(path, Why::Asked, scene);
        } else {
            self.asked = Some((path, now));
            self.challenge(path, scene);
        }
    }

    /// Asks on a path that the far end is said to use. A peer that names ever others gets no more of the
    /// common budget for it.
    pub(in crate::mesh) fn challenge(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let lately = |at: Instant| now.saturating_duration_since(at) < CHALLENGE_GAP;
        if !self.challenged.is_some_and(lately) {
            self.challenged = Some(now);
            self.ping(path, true, scene);
        }
    }

    fn own_way_is_fresh(&self, scene: &Scene<'_>) -> bool {
        let answer = self.paths.current().and_then(|path| path.facts.last_answer);
        answer.is_some_and(|at| scene.now.instant.saturating_duration_since(at) < ANSWER_FRESH)
    }
}
