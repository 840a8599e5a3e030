//! Liveness of a peer, whatever its paths: when it was last heard, when it last answered, and when that
//! is so long ago that it is down.

use std::time::{Duration, Instant};

use crate::timing::{
    ASKED_BEFORE_DOWN, CANDIDATE_ANSWERS_PER_SECOND, DOWN_AFTER, IDLE_AFTER, ONE_WAY_AFTER,
    PONGS_PER_SECOND, PROBE_FULL_RATE_PEERS, PROBE_INTERVAL, PROBES_PER_SECOND,
};

/// Interval between pings to one peer, so that all of them together stay in the budget.
pub(super) fn ping_interval(peers: usize) -> Duration {
    if peers <= PROBE_FULL_RATE_PEERS {
        return PROBE_INTERVAL;
    }
    PROBE_INTERVAL * u32::try_from(peers.div_ceil(PROBES_PER_SECOND)).unwrap_or(u32::MAX)
}

/// How much rarer than in a small mesh paths are probed that are not in use.
pub(super) fn rarity(peers: usize) -> u32 {
    u32::try_from(peers.div_ceil(PROBE_FULL_RATE_PEERS).max(1)).unwrap_or(u32::MAX)
}

fn may_answer((since, count): &mut (Option<Instant>, u32), per_second: u32, now: Instant) -> bool {
    if since.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1)) {
        (*since, *count) = (Some(now), 0);
    }
    *count = count.saturating_add(1);
    *count <= per_second
}

#[derive(Debug, Default)]
pub(super) struct Liveness {
    last_receive: Option<Instant>,
    last_answer: Option<Instant>,
    last_data: Option<Instant>,
    pongs: (Option<Instant>, u32),
    pongs_outside: (Option<Instant>, u32),
}

impl Liveness {
    /// True if a ping of the far end may be answered.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        may_answer(&mut self.pongs, PONGS_PER_SECOND, now)
    }

    /// The same of one that came outside the tunnel: those can be sent again by anybody.
    pub(super) fn may_answer_outside(&mut self, now: Instant) -> bool {
        may_answer(&mut self.pongs_outside, CANDIDATE_ANSWERS_PER_SECOND, now)
    }

    /// Something authenticated came at `at`.
    pub(super) fn received(&mut self, at: Instant) {
        self.last_receive = self.last_receive.max(Some(at));
    }

    /// Packets of hosts were exchanged at `at`.
    pub(super) fn exchanged(&mut self, at: Instant) {
        self.last_data = self.last_data.max(Some(at));
    }

    /// Packets of hosts were exchanged lately.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.last_data
            .is_some_and(|at| now.saturating_duration_since(at) < IDLE_AFTER)
    }

    /// It answered a ping or a handshake.
    pub(super) fn answered(&mut self, now: Instant) {
        self.last_answer = Some(now);
        self.received(now);
    }

    /// Nobody listened until now: silence counts from here.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.last_receive = self.last_receive.map(|at| at.max(now));
    }

    /// When packets of hosts were exchanged last.
    pub(super) const fn last_data(&self) -> Option<Instant> {
        self.last_data
    }

    /// When something authenticated came last.
    pub(super) const fn last_receive(&self) -> Option<Instant> {
        self.last_receive
    }

    /// The instant at which the peer is down if nothing more is received; or, all its paths being asked
    /// since `asked`, if no answer comes.
    pub(super) fn down_at(&self, interval: Duration, asked: Option<Instant>) -> Option<Instant> {
        let received = self.last_receive?;
        let Some(asked) = asked else {
            // Somebody will ask first.
            return Some(received + DOWN_AFTER + interval * 3);
        };
        let silent = received + DOWN_AFTER;
        let one_way = self.last_answer.map(|at| at + ONE_WAY_AFTER);
        let first = one_way.map_or(silent, |one_way| silent.min(one_way));
        Some(first.max(asked + ASKED_BEFORE_DOWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn down_by_silence_or_for_want_of_answers() {
        let start = crate::mesh::tests::base_instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut live = Liveness::default();
        assert_eq!(live.down_at(PROBE_INTERVAL, Some(at(0))), None);
        live.answered(at(0));
        assert_eq!(live.down_at(PROBE_INTERVAL, None), Some(at(8)));
        assert_eq!(live.down_at(PROBE_INTERVAL, Some(at(1))), Some(at(5)));
        assert_eq!(live.down_at(PROBE_INTERVAL, Some(at(6))), Some(at(10)));
        // Data that still arrives clears the silence, not the lack of answers.
        live.received(at(7));
        assert_eq!(live.down_at(PROBE_INTERVAL, Some(at(1))), Some(at(8)));
        assert!(live.down_at(PROBE_INTERVAL * 10, None) > Some(at(20)));
    }

    #[test]
    fn a_peer_without_data_is_idle() {
        let start = crate::mesh::tests::base_instant();
        let mut live = Liveness::default();
        assert!(!live.is_busy(start));
        live.exchanged(start);
        assert!(live.is_busy(start));
        assert!(!live.is_busy(start + IDLE_AFTER));
    }

    #[test]
    fn floods_are_bounded() {
        let now = crate::mesh::tests::base_instant();
        let mut live = Liveness::default();
        let answered = (0..1000).filter(|_| live.may_answer(now)).count();
        assert_eq!(answered, PONGS_PER_SECOND as usize);
        assert!(live.may_answer(now + Duration::from_secs(1)));
    }
}
