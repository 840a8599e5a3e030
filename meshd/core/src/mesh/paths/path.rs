//! Path: one way to a peer and what is known of it. Measures; decides nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mesh_proto::CandidateKind;

use super::estimate::{Loss, Rtt};
use super::penalty::Penalty;
use crate::data_plane::PathId;
use crate::timing::{CANDIDATE_PROBE_MAX, CANDIDATE_PROBE_MIN, CANDIDATE_RETRY};

/// Pings without an answer that are remembered of one path: those of a second at the quickest pace, for
/// answers that come that late are answers still.
const MAX_WAITING: usize = 64;

/// Place in the order of preference; smaller is better. Round trip times decide inside one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mesh) struct Place {
    /// Of the endpoint.
    pub(in crate::mesh) class: usize,
    /// Position of the endpoint in the order of preference.
    pub(in crate::mesh) order: usize,
    /// Position of the local address.
    pub(in crate::mesh) source: usize,
}

impl Place {
    /// Of a path that no candidate names.
    pub(in crate::mesh) const LEARNED: Self = Self {
        class: usize::MAX,
        order: usize::MAX,
        source: 0,
    };
}

#[derive(Debug, Clone, Copy)]
struct Ping {
    id: u64,
    sent: Instant,
    missed: bool,
}

#[derive(Debug, Clone)]
pub(in crate::mesh) struct Path {
    pub(in crate::mesh) id: PathId,
    pub(in crate::mesh) place: Place,
    /// Where the peer knows the endpoint from; none if learned from a packet.
    pub(in crate::mesh) kind: Option<CandidateKind>,
    pub(in crate::mesh) facts: Facts,
}

/// What was measured.
#[derive(Debug, Default, Clone)]
pub(in crate::mesh) struct Facts {
    pub(in crate::mesh) rtt: Rtt,
    pub(in crate::mesh) loss: Loss,
    pub(in crate::mesh) last_receive: Option<Instant>,
    pub(in crate::mesh) last_answer: Option<Instant>,
    /// Answers since the last miss.
    pub(in crate::mesh) streak: u32,
    /// Misses since the last answer.
    pub(in crate::mesh) misses: u32,
    pub(in crate::mesh) penalty: Penalty,
    /// When the host last refused to send there.
    pub(in crate::mesh) refused: Option<Instant>,
    pub(in crate::mesh) next_probe: Option<Instant>,
    wait: Duration,
    waiting: VecDeque<Ping>,
}

impl Facts {
    /// A ping with this number leaves now.
    pub(in crate::mesh) fn pinged(&mut self, id: u64, now: Instant) {
        if self.waiting.len() >= MAX_WAITING
            && let Some(oldest) = self.waiting.pop_front()
            && !oldest.missed
        {
            self.missed();
        }
        self.waiting.push_back(Ping {
            id,
            sent: now,
            missed: false,
        });
    }

    /// An answer to a ping of this number; false if none of that number waits. Earlier ones are settled.
    pub(in crate::mesh) fn answered(&mut self, id: u64, now: Instant) -> bool {
        let Some(index) = self.waiting.iter().position(|ping| ping.id == id) else {
            return false;
        };
        self.rtt
            .sample(now.saturating_duration_since(self.waiting[index].sent));
        for _ in self.waiting.drain(..=index).filter(|ping| !ping.missed) {
            self.loss.push(true);
        }
        self.proven(now);
        true
    }

    /// As good as an answer.
    pub(in crate::mesh) fn proven(&mut self, now: Instant) {
        self.last_answer = Some(now);
        self.last_receive = Some(now);
        self.streak = self.streak.saturating_add(1);
        self.misses = 0;
        self.refused = None;
    }

    /// Waits for no answer to what was asked so far.
    pub(in crate::mesh) fn forget_pings(&mut self) {
        self.waiting.clear();
    }

    /// Counts pings as missed that waited for longer than the timeout, which is at least `floor`.
    pub(in crate::mesh) fn expire(&mut self, now: Instant, floor: Duration) {
        let timeout = self.rtt.timeout().max(floor);
        let late =
            |ping: &&mut Ping| !ping.missed && now.saturating_duration_since(ping.sent) >= timeout;
        let mut count = 0;
        for ping in self.waiting.iter_mut().filter(late) {
            ping.missed = true;
            count += 1;
        }
        for _ in 0..count {
            self.missed();
        }
    }

    fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.streak = 0;
        self.loss.push(false);
    }

    /// When the next ping counts as missed.
    pub(in crate::mesh) fn next_miss(&self, floor: Duration) -> Option<Instant> {
        let timeout = self.rtt.timeout().max(floor);
        let next = self.waiting.iter().find(|ping| !ping.missed)?;
        Some(next.sent + timeout)
    }

    /// Missed pings of those that left at or after `since`.
    pub(in crate::mesh) fn missed_since(&self, since: Instant) -> usize {
        let of_it = |ping: &&Ping| ping.missed && ping.sent >= since;
        self.waiting.iter().filter(of_it).count()
    }

    /// When the oldest ping left that has no answer.
    pub(in crate::mesh) fn oldest_waiting(&self) -> Option<Instant> {
        self.waiting.front().map(|ping| ping.sent)
    }

    /// Its round trips are known.
    pub(in crate::mesh) const fn is_measured(&self) -> bool {
        self.rtt.smoothed().is_some()
    }

    /// Answers come, and none is missing.
    pub(in crate::mesh) fn is_good(&self) -> bool {
        self.last_answer.is_some() && self.misses == 0 && self.refused.is_none()
    }

    /// The next probe of a path that is not in use: ever rarer while nothing changes. One that does not
    /// answer may be about to come back, and is asked again sooner at first.
    pub(in crate::mesh) fn stretch(&mut self, at: Instant, scale: u32) {
        let most = CANDIDATE_PROBE_MAX.saturating_mul(scale);
        let least = if self.misses > 0 {
            CANDIDATE_RETRY
        } else {
            CANDIDATE_PROBE_MIN
        };
        let least = least.saturating_mul(scale);
        self.wait = (self.wait * 2).clamp(least, most);
        self.next_probe = Some(at + self.wait);
    }

    /// Something changed: probes start over at `at`.
    pub(in crate::mesh) fn restart_probes(&mut self, at: Instant) {
        self.wait = Duration::ZERO;
        self.next_probe = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Round trips from short to long and back, as on a busy host.
    fn unsteady(start: Instant) -> Facts {
        let mut facts = Facts::default();
        for (id, rtt) in (0..20).zip([1, 400].into_iter().cycle()) {
            facts.pinged(id, start);
            assert!(facts.answered(id, start + MS * rtt));
        }
        facts
    }

    #[test]
    fn quick_pings_are_missed_however_unsteady_the_round_trips() {
        let start = crate::mesh::tests::base_instant();
        let mut facts = unsteady(start);
        let mut missed_after = None;
        for step in 0..80 {
            let now = start + MS * (1000 + step * 20);
            facts.expire(now, Duration::ZERO);
            if facts.missed_since(start) >= 3 && missed_after.is_none() {
                missed_after = Some(step * 20);
            }
            facts.pinged(1000 + u64::from(step), now);
        }
        assert!(missed_after.is_some_and(|ms| ms <= 600), "{missed_after:?}");
        assert!(facts.misses as usize > MAX_WAITING / 2, "{}", facts.misses);
    }

    #[test]
    fn a_late_answer_counts_after_a_burst() {
        let start = crate::mesh::tests::base_instant();
        let mut facts = Facts::default();
        for id in 0..40 {
            facts.pinged(id, start + MS * 20 * u32::try_from(id).unwrap());
        }
        facts.expire(start + MS * 790, Duration::ZERO);
        assert!(facts.misses > 3);
        assert!(facts.answered(5, start + MS * 800));
        assert!(facts.is_good());
    }

    #[test]
    fn a_silent_candidate_is_asked_again_soon_and_then_rarely() {
        let start = crate::mesh::tests::base_instant();
        let mut facts = Facts::default();
        facts.pinged(1, start);
        facts.expire(start + MS * 500, Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..8 {
            facts.stretch(start, 1);
            waits.push(facts.next_probe.unwrap() - start);
        }
        assert_eq!(waits[0], CANDIDATE_RETRY);
        assert_eq!(waits[7], CANDIDATE_PROBE_MAX);
        assert!(waits.is_sorted());
    }
}
