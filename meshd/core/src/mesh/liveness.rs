//! Liveness: pings inside the tunnel and what their answers tell. Measures; the peer draws the
//! conclusions, so that another way of measuring can take its place.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::data_plane::PathId;
use crate::timing::{
    DOWN_AFTER, ONE_WAY_AFTER, PATH_PENALTY, PATH_SILENT, PONGS_PER_SECOND, PROBE_FULL_RATE_PEERS,
    PROBE_INTERVAL, PROBES_PER_SECOND, SUSPECT_PINGS,
};

/// Pings without an answer that are remembered.
const MAX_OUTSTANDING: usize = 8;
/// Paths of one peer that are remembered.
const MAX_PATHS: usize = 32;

/// Interval between pings to one peer, so that all of them together stay in the budget.
pub(super) fn ping_interval(peers: usize) -> Duration {
    if peers <= PROBE_FULL_RATE_PEERS {
        return PROBE_INTERVAL;
    }
    PROBE_INTERVAL * u32::try_from(peers.div_ceil(PROBES_PER_SECOND)).unwrap_or(u32::MAX)
}

/// What is known of one path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathFacts {
    pub(super) last_receive: Option<Instant>,
    pub(super) rtt: Option<Duration>,
    penalty_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Ping {
    id: u64,
    sent: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Liveness {
    next_id: u64,
    outstanding: VecDeque<Ping>,
    rtt: Option<Duration>,
    last_receive: Option<Instant>,
    last_answer: Option<Instant>,
    paths: BTreeMap<PathId, PathFacts>,
    pongs: (Option<Instant>, u32),
}

impl Liveness {
    /// Smoothed round trip time.
    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn path(&self, path: &PathId) -> PathFacts {
        self.paths.get(path).copied().unwrap_or_default()
    }

    /// The number of a ping that goes out now.
    pub(super) fn ping(&mut self, now: Instant) -> u64 {
        self.next_id += 1;
        if self.outstanding.len() >= MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(Ping {
            id: self.next_id,
            sent: now,
        });
        self.next_id
    }

    /// True if a ping of the far end may be answered.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.pongs;
        if since.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1)) {
            (*since, *count) = (Some(now), 0);
        }
        *count += 1;
        *count <= PONGS_PER_SECOND
    }

    /// An authenticated packet came by `path`.
    pub(super) fn received(&mut self, path: PathId, now: Instant) {
        self.last_receive = self.last_receive.max(Some(now));
        if !self.paths.contains_key(&path) && self.paths.len() >= MAX_PATHS {
            let oldest = self
                .paths
                .iter()
                .min_by_key(|(_, facts)| facts.last_receive);
            if let Some(oldest) = oldest.map(|(path, _)| *path) {
                self.paths.remove(&oldest);
            }
        }
        self.paths.entry(path).or_default().last_receive = Some(now);
    }

    /// The engine counted a packet at `at`, on whatever path.
    pub(super) fn counted(&mut self, at: Instant) {
        self.last_receive = self.last_receive.max(Some(at));
    }

    /// An answer to one of our pings; false if it is not to one that waits.
    pub(super) fn pong(&mut self, id: u64, path: PathId, now: Instant) -> bool {
        let Some(index) = self.outstanding.iter().position(|ping| ping.id == id) else {
            return false;
        };
        let sample = now.saturating_duration_since(self.outstanding[index].sent);
        self.outstanding.drain(..=index);
        let smooth = |old: Option<Duration>| Some(old.map_or(sample, |old| (old * 7 + sample) / 8));
        self.rtt = smooth(self.rtt);
        self.last_answer = Some(now);
        self.received(path, now);
        let facts = self.paths.entry(path).or_default();
        facts.rtt = smooth(facts.rtt);
        true
    }

    /// A handshake over the path in use: as good as an answer.
    pub(super) fn proven(&mut self, now: Instant) {
        self.outstanding.clear();
        self.last_answer = Some(now);
        self.last_receive = Some(now);
    }

    /// The peer's packets go elsewhere now; `failed` if the old path is to blame.
    pub(super) fn left_path(&mut self, old: PathId, failed: bool, now: Instant) {
        if failed {
            self.paths.entry(old).or_default().penalty_until = Some(now + PATH_PENALTY);
        }
    }

    /// The peer's packets go there from now on: what was held against it is settled.
    pub(super) fn entered_path(&mut self, path: PathId) {
        if let Some(facts) = self.paths.get_mut(&path) {
            facts.penalty_until = None;
        }
    }

    pub(super) fn is_penalised(&self, path: &PathId, now: Instant) -> bool {
        self.path(path)
            .penalty_until
            .is_some_and(|until| now < until)
    }

    /// True if `path`, being in use, gives no reason to stay on it.
    pub(super) fn is_silent(&self, path: &PathId, now: Instant) -> bool {
        self.outstanding.len() > SUSPECT_PINGS
            || self
                .path(path)
                .last_receive
                .is_none_or(|at| now.saturating_duration_since(at) > PATH_SILENT)
    }

    /// Pings unanswered and nothing else received since the first of them.
    pub(super) fn is_suspect(&self) -> bool {
        self.outstanding.len() >= SUSPECT_PINGS
            && self
                .outstanding
                .front()
                .is_some_and(|first| self.last_receive.is_none_or(|at| at < first.sent))
    }

    /// The instant at which the peer is down if nothing more is received or answered.
    pub(super) fn down_at(&self, interval: Duration) -> Option<Instant> {
        let stretch = (interval * 3).saturating_sub(PROBE_INTERVAL * 3);
        let silent = self.last_receive? + DOWN_AFTER + stretch;
        let one_way = self
            .last_answer
            .filter(|_| self.outstanding.len() > SUSPECT_PINGS)
            .map(|at| at + ONE_WAY_AFTER + stretch);
        Some(one_way.map_or(silent, |one_way| silent.min(one_way)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(last: u8) -> PathId {
        PathId::to(([192, 0, 2, last], 51840).into())
    }

    #[test]
    fn probe_budget() {
        assert_eq!(ping_interval(1), PROBE_INTERVAL);
        assert_eq!(ping_interval(200), PROBE_INTERVAL);
        for peers in [201, 1000, 20_000] {
            let per_second = peers as f64 / ping_interval(peers).as_secs_f64();
            assert!(
                per_second <= PROBES_PER_SECOND as f64,
                "{peers}: {per_second}"
            );
        }
    }

    #[test]
    fn silence_makes_suspect_then_down() {
        let start = crate::mesh::tests::base_instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut live = Liveness::default();
        live.received(path(1), at(0));
        live.proven(at(0));
        let first = live.ping(at(1));
        assert!(!live.is_suspect());
        live.ping(at(2));
        assert!(live.is_suspect());
        assert_eq!(live.down_at(PROBE_INTERVAL), Some(at(5)));
        // Data that still arrives clears the suspicion, not the lack of answers.
        live.counted(at(2));
        assert!(!live.is_suspect());
        live.ping(at(3));
        live.counted(at(7));
        assert_eq!(live.down_at(PROBE_INTERVAL), Some(at(8)));
        assert!(live.is_silent(&path(1), at(3)));
        assert!(live.pong(first, path(1), at(3)));
        assert!(!live.pong(first, path(1), at(3)), "only once");
        assert_eq!(live.rtt(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn floods_are_bounded() {
        let now = crate::mesh::tests::base_instant();
        let mut live = Liveness::default();
        let answered = (0..1000).filter(|_| live.may_answer(now)).count();
        assert_eq!(answered, PONGS_PER_SECOND as usize);
        assert!(live.may_answer(now + Duration::from_secs(1)));
        for last in 0..=255 {
            live.received(path(last), now);
        }
        assert_eq!(live.paths.len(), MAX_PATHS);
    }
}
