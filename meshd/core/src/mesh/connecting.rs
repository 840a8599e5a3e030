//! Connecting: when to send the next handshake initiation to a peer, and on which paths. Whether an
//! answer came is the peer's business.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;

use super::jitter;
use crate::data_plane::{HandshakeCopy, PathId};
use crate::timing::{
    HANDSHAKE_JITTER, HANDSHAKE_REPEATS, HANDSHAKE_ROUNDS, HANDSHAKE_SPREAD, HANDSHAKE_STAGGER,
    HANDSHAKE_STAGGER_QUICK, INITIATION_GAP, INITIATION_PAUSE,
};

/// Paths that the same initiation goes out on again.
const REPEATED: usize = 6;

/// The dialling of one peer.
#[derive(Debug, Default)]
pub(super) struct Dial {
    next: Option<Instant>,
    round: usize,
    last: Option<Instant>,
}

impl Dial {
    /// Starts over with quick rounds, as soon as the gap between initiations allows.
    pub(super) fn start(&mut self, now: Instant) {
        self.round = 0;
        self.next = Some(self.earliest(now));
    }

    /// Makes sure that there will be an initiation; goes on with the rounds if there are any.
    pub(super) fn ensure(&mut self, now: Instant) {
        if self.next.is_none() {
            self.start(now);
        }
    }

    /// The same, not before `at`.
    pub(super) fn ensure_at(&mut self, at: Instant) {
        if self.next.is_none() {
            self.start(at);
        }
    }

    /// Brings the next initiation forward as far as the gap between two allows; none if none is due.
    pub(super) fn hasten(&mut self, now: Instant) {
        let earliest = self.earliest(now);
        self.next = self.next.map(|next| next.min(earliest));
    }

    /// There is no room for what is due: it waits, `scale` times longer in a large mesh.
    pub(super) fn put_off(&mut self, now: Instant, scale: u32, rng: &mut ChaCha20Rng) {
        let pause = INITIATION_PAUSE.saturating_mul(scale);
        let wait = pause + jitter::up_to(rng, pause / 2);
        self.next = self.next.map(|next| next.max(now + wait));
    }

    /// A handshake is done, or there is nobody to dial.
    pub(super) const fn stop(&mut self) {
        self.next = None;
    }

    /// Initiations since it started.
    pub(super) const fn rounds(&self) -> usize {
        self.round
    }

    pub(super) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The copies of an initiation that is due now, in order of preference; `again` if the far end
    /// answers equal bytes twice. None if nothing is due or there is nowhere to send it; new endpoints
    /// start it again.
    pub(super) fn take_due(
        &mut self,
        paths: &[PathId],
        again: bool,
        now: Instant,
        rng: &mut ChaCha20Rng,
    ) -> Option<Vec<HandshakeCopy>> {
        self.next.filter(|next| *next <= now)?;
        if paths.is_empty() {
            self.next = None;
            return None;
        }
        let wait = HANDSHAKE_ROUNDS[self.round.min(HANDSHAKE_ROUNDS.len() - 1)];
        self.round += 1;
        self.last = Some(now);
        self.next = Some(now + wait + jitter::up_to(rng, HANDSHAKE_JITTER));
        Some(if again {
            repeated(paths)
        } else {
            copies(paths, HANDSHAKE_STAGGER)
        })
    }

    fn earliest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + INITIATION_GAP))
    }
}

/// One copy for each path, staggered so that all are out within [`HANDSHAKE_SPREAD`].
fn copies(paths: &[PathId], stagger: Duration) -> Vec<HandshakeCopy> {
    let gaps = u32::try_from(paths.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let step = stagger.min(HANDSHAKE_SPREAD / gaps.max(1));
    (0..)
        .zip(paths)
        .map(|(index, path)| HandshakeCopy {
            path: *path,
            after: step.saturating_mul(index),
        })
        .collect()
}

/// All at once, and the best of them again and again: any one may be lost, and the far end keeps its
/// answer for repeats.
fn repeated(paths: &[PathId]) -> Vec<HandshakeCopy> {
    let mut all = copies(paths, HANDSHAKE_STAGGER_QUICK);
    let best = all[..all.len().min(REPEATED)].to_vec();
    for after in HANDSHAKE_REPEATS {
        all.extend(best.iter().map(|copy| HandshakeCopy {
            path: copy.path,
            after: after + copy.after,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;

    fn paths(count: u16) -> Vec<PathId> {
        (0..count)
            .map(|port| PathId::to(([192, 0, 2, 1], 1000 + port).into()))
            .collect()
    }

    #[test]
    fn every_candidate_within_a_second() {
        for count in 1..=16 {
            let copies = copies(&paths(count), HANDSHAKE_STAGGER);
            assert_eq!(copies[0].after, Duration::ZERO);
            let last = copies[copies.len() - 1].after;
            assert!(last <= HANDSHAKE_SPREAD, "{count}: {last:?}");
            assert!(copies.is_sorted_by_key(|copy| copy.after));
        }
    }

    #[test]
    fn repeats_are_bounded_and_all_paths_come_first() {
        let all = repeated(&paths(16));
        assert!(all[15].after < Duration::from_millis(100));
        assert_eq!(all.len(), 16 + REPEATED * HANDSHAKE_REPEATS.len());
        assert_eq!(repeated(&paths(1)).len(), 1 + HANDSHAKE_REPEATS.len());
        let last = all[all.len() - 1].after;
        assert!(last < INITIATION_GAP, "over before the next one");
    }

    #[test]
    fn rounds_slow_down_and_never_crowd() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut now = crate::mesh::tests::base_instant();
        let mut dial = Dial::default();
        dial.start(now);
        let mut waits = Vec::new();
        for _ in 0..5 {
            now = dial.next().unwrap();
            assert!(dial.take_due(&paths(2), true, now, &mut rng).is_some());
            // Somebody asks for a session all the time: no extra initiation.
            dial.ensure(now);
            waits.push(dial.next().unwrap() - now);
        }
        for (wait, round) in waits.iter().zip([1, 2, 5, 5, 5]) {
            let least = Duration::from_secs(round);
            assert!(
                *wait >= least && *wait <= least + HANDSHAKE_JITTER,
                "{waits:?}"
            );
        }
        dial.hasten(now);
        assert_eq!(dial.next(), Some(now + INITIATION_GAP));
        dial.start(now);
        assert_eq!(dial.next(), Some(now + INITIATION_GAP));
        dial.stop();
        dial.hasten(now);
        assert_eq!(dial.next(), None, "nothing was due");
    }

    #[test]
    fn nobody_to_dial_waits_for_endpoints() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let now = crate::mesh::tests::base_instant();
        let mut dial = Dial::default();
        dial.start(now);
        assert!(dial.take_due(&[], true, now, &mut rng).is_none());
        assert_eq!(dial.next(), None);
    }
}
