//! Switching: packets go another way from now on. Says why, tells the far end, and remembers what failed.

use std::time::{Duration, Instant};

use mesh_proto::control::PeerState;

use super::{Announce, Phase, Race};
use crate::data_plane::{EngineCommand, PathId};
use crate::event::Level;
use crate::mesh::paths::{Gain, Update};
use crate::mesh::peer::{Peer, PeerKind, Scene};
use crate::timing::{FOLLOW_DOUBLINGS, FOLLOW_FORGET, FOLLOW_GAP, RACE_GRACE, RACE_GRACE_ROAMING};

/// Why packets go another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mesh) enum Why {
    /// The first way.
    First,
    /// It answered, the one in use did not since then.
    Silent(Instant),
    /// The same, but the answer came outside the tunnel.
    Reachable(Instant),
    /// It answered while nothing else did.
    Answered,
    /// A handshake came by it.
    Handshake,
    /// The far end asked for it.
    Asked,
    /// The host refused to send on the one in use; its words.
    Refused(String),
    /// The local address or link of the one in use is gone.
    LocalChange,
    /// It is better.
    Better(Gain),
    /// A stock peer sends from there.
    Followed,
}

impl Why {
    /// The path in use is to blame.
    const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Silent(_) | Self::Reachable(_) | Self::Answered | Self::Asked | Self::Refused(_)
        )
    }

    /// The far end has to hear of it.
    const fn is_told(&self) -> bool {
        matches!(
            self,
            Self::Silent(_)
                | Self::Reachable(_)
                | Self::Answered
                | Self::Refused(_)
                | Self::LocalChange
        )
    }

    /// The new path has just answered.
    const fn is_proven(&self) -> bool {
        !matches!(
            self,
            Self::Reachable(_) | Self::Refused(_) | Self::LocalChange | Self::Followed
        )
    }

    fn words(&self, now: Instant) -> String {
        match self {
            Self::First => "first path".to_owned(),
            Self::Silent(since) | Self::Reachable(since) => {
                let silent = now.saturating_duration_since(*since).as_millis();
                format!("no answer for {silent} ms, the other path answered")
            }
            Self::Answered => "it answered while nothing else did".to_owned(),
            Self::Handshake => "handshake".to_owned(),
            Self::Asked => "the peer asked for it".to_owned(),
            Self::Refused(error) => format!("sending failed: {error}"),
            Self::LocalChange => "own address or link is gone".to_owned(),
            Self::Better(Gain::Preferred) => "preferred, and good for a while".to_owned(),
            Self::Better(Gain::Faster) => "shorter round trips for a while".to_owned(),
            Self::Better(Gain::Agreed) => "the peer sends there, and it is as good".to_owned(),
            Self::Followed => "packet received there".to_owned(),
        }
    }
}

impl Peer {
    /// The engine went where an authenticated packet came from, as the kernel does. The far end looks at other paths
    /// outside the tunnel, so that is where its packets go now: through a NAT perhaps, which lets nothing else back.
    /// Not every time, for it may send on two paths for a while; and two kernels that followed each other in the same
    /// moment would change places for ever.
    pub(in crate::mesh) fn engine_went(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let (last, times) = self.followed;
        let rested = |gap: Duration| last.is_none_or(|at| now >= at + gap);
        let doublings = times.min(FOLLOW_DOUBLINGS) + u32::from(scene.own.key > self.key);
        if rested(FOLLOW_GAP * (1 << doublings)) {
            let times = if rested(FOLLOW_FORGET) { 0 } else { times + 1 };
            self.followed = (Some(now), times);
            self.follow(path, scene);
        } else {
            self.come_back(scene);
        }
    }

    /// While the path in use is well, packets stay there: what was asked there would not be sent, and missed.
    fn come_back(&self, scene: &mut Scene<'_>) {
        let well = matches!(self.phase, Phase::Calm);
        let current = self.paths.current().filter(|path| path.facts.is_good());
        if let Some(path) = current.filter(|_| well && self.is_alive()) {
            scene.out.engine(EngineCommand::SetPath {
                peer: self.key,
                path: path.id,
            });
        }
    }

    fn follow(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let Some(old) = self.paths.in_use().filter(|old| *old != path) else {
            return;
        };
        let message = format!("path {old} -> {path}: packet received there");
        scene
            .out
            .peer_event("path_followed", Level::Info, &self.label, message);
        self.their_path = Some(path);
        self.chosen = Some((now, Why::Followed.words(now)));
        self.switched = Some(now);
        self.use_path(path, scene);
        // Whether it works in this direction too is seen soon.
        self.phase = Phase::Calm;
        self.ping_at(now);
    }

    /// Another path answered in the race: sets when it is decided, which is at once where nothing speaks for the
    /// one in use.
    pub(super) fn weigh(&mut self, mut race: Race, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let least = if scene.own.roams {
            RACE_GRACE_ROAMING
        } else {
            RACE_GRACE
        };
        let grace = self.paths.current().map_or(least, |current| {
            current.facts.rtt.timeout_within(least).max(least)
        });
        let hopeless = !self.is_alive()
            || self.paths.current().is_none_or(|current| {
                current.facts.refused.is_some() || !self.has_answered(current)
            });
        let until = if hopeless { now } else { now + grace };
        race.decide_at = Some(race.decide_at.map_or(until, |at| at.min(until)));
        self.phase = Phase::Race(race);
        if hopeless {
            self.recover(scene);
        }
    }

    /// Moves to `path`.
    pub(in crate::mesh) fn switch(&mut self, path: PathId, why: Why, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let old = self.paths.in_use();
        if old == Some(path) || !self.allows(path.remote) {
            return;
        }
        if let Some(old) = old {
            if why.is_failure()
                && let Some(facts) = self.paths.facts_mut(&old)
            {
                facts.penalty.failed(now);
            }
            let message = format!("path {old} -> {path}: {}", why.words(now));
            let cost = self.effort.cost(now);
            scene
                .out
                .recovery_event("path_switched", &self.label, message, cost);
            count(&why, now, scene);
            self.switched = Some(now);
        }
        self.chosen = Some((now, why.words(now)));
        self.use_path(path, scene);
        self.phase = Phase::Calm;
        self.announce = Announce::default();
        self.next_ping = Some(now);
        if why.is_told() {
            self.announce = Announce::at(now);
        }
        if why.is_proven() {
            self.effort.end();
            if self.state == PeerState::Suspect || why == Why::Answered {
                self.set_state(PeerState::Up, "another path answered", scene);
            }
        } else if self
            .paths
            .current()
            .is_some_and(|path| path.facts.is_good())
        {
            self.doubt(now, true, now);
        } else {
            // A leap in the dark: whoever answers first gets the traffic.
            self.start_race(now, scene);
            self.recover(scene);
        }
        self.restart_candidates(scene);
        self.ping_if_due(scene);
    }

    /// Tells the engine, without a word to anybody else.
    pub(in crate::mesh) fn use_path(&mut self, path: PathId, scene: &mut Scene<'_>) {
        self.paths.set_in_use(Some(path));
        self.duplicated = None;
        self.size_unknown(scene);
        scene.out.engine(EngineCommand::SetPath {
            peer: self.key,
            path,
        });
    }

    /// The kernel refused to send on `path`.
    pub(in crate::mesh) fn send_failed(
        &mut self,
        path: PathId,
        error: &str,
        scene: &mut Scene<'_>,
    ) {
        let now = scene.now.instant;
        let Some(path) = self.paths.find(path) else {
            return;
        };
        if let Some(facts) = self.paths.facts_mut(&path) {
            facts.refused = Some(now);
        }
        if self.paths.in_use() != Some(path) {
            return;
        }
        let message = format!("sending to {path} failed: {error}");
        scene
            .out
            .peer_event("send_failed", Level::Debug, &self.label, message);
        if let Some(other) = self.paths.alternate(self.their_path, now) {
            self.switch(other, Why::Refused(error.to_owned()), scene);
        } else if self.paths.iter().any(|other| other.id != path) {
            // Nothing is known to work: ask everywhere, also for a new session.
            self.dial.ensure(now);
            self.start_race(now, scene);
            self.recover(scene);
        }
    }

    /// Takes over new endpoints of the peer and own addresses. Moves at once if the path in use is gone.
    pub(in crate::mesh) fn update_paths(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        match self.paths.update(&self.endpoints, scene.sources, now) {
            Update::Kept => {}
            Update::Renamed(path) => {
                self.use_path(path, scene);
                self.announce = Announce::at(now);
            }
            Update::Moved => {
                self.announce = Announce::at(now);
                self.probe_candidates_now(now);
            }
            Update::Gone => match self.paths.refuge(now) {
                Some(path) => self.switch(path, Why::LocalChange, scene),
                None => {
                    self.paths.set_in_use(None);
                    self.phase = Phase::Calm;
                    self.dial.start(now);
                }
            },
        }
        if self.kind == PeerKind::External || !self.is_alive() {
            self.announce = Announce::default();
        }
    }
}

fn count(why: &Why, now: Instant, scene: &mut Scene<'_>) {
    let counters = &mut *scene.counters;
    match why {
        Why::Silent(since) | Why::Reachable(since) => {
            counters.switches_silent += 1;
            counters.silence(now.saturating_duration_since(*since));
        }
        Why::Asked => counters.switches_asked += 1,
        Why::Refused(_) | Why::LocalChange => counters.switches_local += 1,
        Why::Better(_) => counters.switches_better += 1,
        Why::First | Why::Answered | Why::Handshake | Why::Followed => {
            counters.switches_other += 1;
        }
    }
}
