//! Recovery of one peer: from a missed answer over doubt and suspicion to the race between its paths,
//! and the suspicion that the session itself is lost. Suspicion is cheap and tears nothing down; any
//! answer on the path in use ends it.

mod asked;
mod candidates;
mod outside;
mod pings;
mod switching;

use std::time::{Duration, Instant};

use mesh_proto::control::PeerState;

use super::paths::Path;
use super::peer::{Peer, PeerKind, Scene};
use crate::data_plane::{EngineCommand, PathId};
use crate::timing::{
    DOUBT_LIMIT, DUPLICATE_FOR, DUPLICATE_MISSES, HIGHER_KEY_WAITS, HUNT, HUNT_DOWN, LOST_AFTER,
    PING_QUICK, PING_SLOW, PTO_CALM, RACE, RACE_BLIND, RACE_IN_USE, SIZE_CHECK_STALLED,
    SUSPECT_AFTER, SUSPECT_MISSES_QUICK, SUSPECT_MISSES_SLOW,
};

pub(super) use self::pings::Announce;
pub(super) use self::switching::Why;

/// What is thought of the path in use.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Phase {
    /// Answers come.
    #[default]
    Calm,
    /// An answer is missing, or data waits for one.
    Doubt(Doubt),
    /// All paths are asked, and the first one that answers may get the traffic.
    Race(Race),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// Since when something is missing.
    since: Instant,
    /// Pings that left before say nothing.
    from: Instant,
    /// Data waits.
    quick: bool,
    next: Instant,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Race {
    since: Instant,
    /// Since when something was missing.
    doubted: Instant,
    /// Of [`RACE`].
    step: usize,
    next_all: Instant,
    next_in_use: Option<Instant>,
    /// Another path answered; this one has until then.
    decide_at: Option<Instant>,
    /// The number of the questions outside the tunnel on the path in use.
    outside: Option<u64>,
    /// It was answered.
    is_reachable: bool,
    /// Nothing answered: when the session is suspected to be lost. None afterwards.
    lost_at: Option<Instant>,
}

impl Peer {
    /// All is not well with the path in use.
    pub(super) const fn is_racing(&self) -> bool {
        matches!(self.phase, Phase::Race(_))
    }

    /// Since when all paths are asked, or there is none to ask on.
    pub(super) const fn asked_since(&self) -> Option<Instant> {
        match self.phase {
            _ if self.path().is_none() => Some(self.since),
            Phase::Race(race) => Some(race.since),
            _ => None,
        }
    }

    /// Data was sent at `since` and nothing has come from the peer since.
    pub(super) fn unanswered(&mut self, since: Instant, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let usual = self.paths.current().map(|path| path.facts.rtt.timeout());
        let Some(usual) = usual else { return };
        // A long way takes long; without any measure the silence itself is the reason to measure.
        if self.paths.rtt().is_some()
            && now.saturating_duration_since(since) < usual.min(SUSPECT_AFTER)
        {
            return;
        }
        self.doubt(since, true, now);
        self.recover(scene);
        // Or only the large packets are lost.
        self.check_size(SIZE_CHECK_STALLED, scene);
    }

    /// Starts to doubt the path in use, or doubts it more.
    pub(super) fn doubt(&mut self, since: Instant, quick: bool, now: Instant) {
        if self.paths.in_use().is_none() || self.kind == PeerKind::External {
            return;
        }
        self.effort.begin(since);
        match &mut self.phase {
            Phase::Calm => {
                self.phase = Phase::Doubt(Doubt {
                    since,
                    from: now,
                    quick,
                    next: now,
                });
            }
            Phase::Doubt(doubt) if quick && !doubt.quick => {
                (doubt.quick, doubt.next) = (true, doubt.next.min(now));
            }
            _ => {}
        }
    }

    /// Does what is due of recovery.
    pub(super) fn recover(&mut self, scene: &mut Scene<'_>) {
        match self.phase {
            Phase::Calm => self.check_pings(scene),
            Phase::Doubt(doubt) => self.step_doubt(doubt, scene),
            Phase::Race(race) => self.step_race(race, scene),
        }
    }

    /// When [`Self::recover`] is next needed.
    pub(super) fn recovery_due(&self) -> Option<(Instant, &'static str)> {
        let current = self.paths.current()?;
        match &self.phase {
            Phase::Calm => {
                let missed = current.facts.next_miss(PTO_CALM);
                missed.map(|at| (at, "answer missing"))
            }
            Phase::Doubt(doubt) => {
                let floor = if doubt.quick {
                    Duration::ZERO
                } else {
                    PTO_CALM
                };
                let missed = current.facts.next_miss(floor);
                let next = missed
                    .into_iter()
                    .chain([doubt.from + DOUBT_LIMIT])
                    .fold(doubt.next, Instant::min);
                Some((next.max(doubt.from), "doubt"))
            }
            Phase::Race(race) => {
                let more = [race.next_in_use, race.decide_at, race.lost_at];
                let next = more.into_iter().flatten().fold(race.next_all, Instant::min);
                Some((next, "race"))
            }
        }
    }

    /// A ping of ours on `path` was answered.
    pub(super) fn answered(&mut self, path: PathId, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        self.live.answered(now);
        self.dial.stop();
        if self.paths.in_use() == Some(path) {
            self.announce = Announce::default();
            self.calm_down(scene);
            return;
        }
        if self.moves_as_asked(path, scene) {
            return;
        }
        let Phase::Race(mut race) = self.phase else {
            if self.is_alive() {
                if matches!(self.phase, Phase::Doubt(_)) {
                    self.duplicate(path, scene);
                }
                self.consider_upgrade(path, scene);
            } else {
                self.switch(path, Why::Answered, scene);
            }
            return;
        };
        self.duplicate(path, scene);
        race.lost_at = None;
        self.weigh(race, scene);
    }

    /// `current` has answered since packets go there.
    fn has_answered(&self, current: &Path) -> bool {
        let answer = current.facts.last_answer;
        answer.is_some_and(|at| self.switched.is_none_or(|since| at >= since))
    }

    /// The path in use works.
    pub(super) fn calm_down(&mut self, scene: &mut Scene<'_>) {
        let mut why = "a ping was answered".to_owned();
        if let Phase::Race(race) = &self.phase {
            let took = scene.now.instant.saturating_duration_since(race.since);
            why = format!(
                "the path in use answered {} ms after it was suspected, and stays",
                took.as_millis()
            );
            scene.counters.false_alarms += 1;
            self.restart_candidates(scene);
        }
        self.phase = Phase::Calm;
        self.effort.end();
        self.set_state(PeerState::Up, &why, scene);
    }

    /// Suspects the path in use and asks all.
    pub(super) fn start_race(&mut self, doubted: Instant, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.is_racing() || self.paths.in_use().is_none() {
            return;
        }
        scene.counters.suspicions += 1;
        self.effort.begin(doubted);
        // A path that never answered would only hold this up.
        let measured = self.paths.iter().filter(|path| path.facts.is_measured());
        let slowest = measured.map(|path| path.facts.rtt.timeout()).max();
        let wait = slowest.map_or(LOST_AFTER.1, |slowest| {
            (slowest * 2).clamp(LOST_AFTER.0, LOST_AFTER.1)
        });
        self.phase = Phase::Race(Race {
            since: now,
            doubted,
            step: 0,
            next_all: now,
            next_in_use: Some(now),
            decide_at: None,
            outside: None,
            is_reachable: false,
            lost_at: Some(now + wait),
        });
        if self.state == PeerState::Up {
            self.set_state(PeerState::Suspect, "pings are not answered", scene);
        }
    }

    fn check_pings(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let waiting = self.paths.waiting_since();
        let Some(facts) = self.paths.current_facts() else {
            return;
        };
        facts.expire(now, PTO_CALM);
        if facts.misses > 0
            && let Some(since) = waiting
        {
            self.doubt(since, false, now);
            if let Phase::Doubt(doubt) = &mut self.phase {
                doubt.from = since;
            }
            self.recover(scene);
        }
    }

    fn step_doubt(&mut self, mut doubt: Doubt, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let Some(current) = self.paths.in_use() else {
            self.phase = Phase::Calm;
            return;
        };
        let Some(facts) = self.paths.current_facts() else {
            return;
        };
        let (floor, pace, share, enough) = if doubt.quick {
            (Duration::ZERO, PING_QUICK, 8, SUSPECT_MISSES_QUICK)
        } else {
            (PTO_CALM, PING_SLOW, 4, SUSPECT_MISSES_SLOW)
        };
        facts.expire(now, floor);
        let missed = facts.missed_since(doubt.from);
        let pace = pace.max(facts.rtt.smoothed().unwrap_or_default() / share);
        let late = !doubt.quick || now >= doubt.since + SUSPECT_AFTER;
        if (missed >= enough && late) || now >= doubt.from + DOUBT_LIMIT {
            self.start_race(doubt.since, scene);
            self.recover(scene);
            return;
        }
        let deadline = doubt.since + SUSPECT_AFTER;
        if doubt.quick
            && (missed >= DUPLICATE_MISSES || now >= deadline)
            && let Some(other) = self.paths.alternate(self.their_path, now)
        {
            self.duplicate(other, scene);
        }
        if doubt.next <= now {
            self.ping(current, true, scene);
            doubt.next = now + pace;
            if doubt.quick && deadline > now {
                doubt.next = doubt.next.min(deadline);
            }
        }
        self.phase = Phase::Doubt(doubt);
    }

    fn step_race(&mut self, mut race: Race, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        let vetoed_until = race.since + RACE_BLIND;
        if race.decide_at.is_some_and(|at| at <= now) {
            let is_vetoed = race.is_reachable && now < vetoed_until;
            if let Some(best) = self.paths.best_answered(race.since, self.their_path, now)
                && self.paths.in_use() != Some(best)
                && !is_vetoed
            {
                let why = if scene.own.roams {
                    Why::Reachable(race.doubted)
                } else {
                    Why::Silent(race.doubted)
                };
                self.switch(best, why, scene);
                return;
            }
            race.decide_at = is_vetoed.then_some(vetoed_until);
        }
        if race.lost_at.is_some_and(|at| at <= now) {
            race.lost_at = None;
            if race.is_reachable {
                self.give_up_session(scene);
            }
            self.suspect_session(scene);
        }
        if let Some(current) = self.paths.current_facts() {
            current.expire(now, Duration::ZERO);
        }
        if race.next_all <= now {
            self.probe_others(scene);
            self.ask_in_use_outside(&mut race, scene);
            race.step += 1;
            race.next_all = RACE.get(race.step).map_or_else(
                || now + if self.is_alive() { HUNT } else { HUNT_DOWN },
                |after| race.since + *after,
            );
            if let Some(other) = self
                .paths
                .alternate(self.their_path, now)
                .filter(|_| self.is_alive())
            {
                self.duplicate(other, scene);
            }
            // After the burst the path in use goes along with the others.
            race.next_in_use = Some(race.next_in_use.map_or(now, |at| at.min(now)));
        }
        if race.next_in_use.is_some_and(|at| at <= now)
            && let Some(current) = self.paths.in_use()
        {
            self.ping(current, self.is_alive(), scene);
            let smoothed = self.paths.rtt().unwrap_or_default();
            let burst = race.step < RACE.len() || race.decide_at.is_some();
            race.next_in_use = burst.then(|| now + RACE_IN_USE.max(smoothed / 8));
        }
        self.phase = Phase::Race(race);
    }

    /// No path answers: perhaps the far end has lost its sessions. The old one stays until a new one is
    /// there.
    fn suspect_session(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        scene.counters.sessions_suspected += 1;
        let wait = if scene.own.key > self.key {
            HIGHER_KEY_WAITS
        } else {
            Duration::ZERO
        };
        self.dial.ensure_at(now + wait);
    }

    /// Data goes to `path` as well for a while.
    pub(super) fn duplicate(&mut self, path: PathId, scene: &mut Scene<'_>) {
        // The kernel cannot.
        if self.paths.in_use() == Some(path) || scene.own.roams {
            return;
        }
        let now = scene.now.instant;
        let renewed = self
            .duplicated
            .is_some_and(|(known, at)| known == path && now < at + DUPLICATE_FOR / 2);
        if renewed {
            return;
        }
        self.duplicated = Some((path, now));
        scene.out.engine(EngineCommand::Duplicate {
            peer: self.key,
            path,
            until: now + DUPLICATE_FOR,
        });
    }
}
