//! Connecting: when to send the next handshake initiation to a peer, and on which paths. Whether an
//! answer came is the peer's business.

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;

use super::jitter;
use crate::data_plane::{HandshakeCopy, PathId};
use crate::timing::{
    HANDSHAKE_JITTER, HANDSHAKE_ROUNDS, HANDSHAKE_SPREAD, HANDSHAKE_STAGGER, INITIATION_GAP,
};

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

    /// A handshake is done, or there is nobody to dial.
    pub(super) const fn stop(&mut self) {
        self.next = None;
    }

    pub(super) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The copies of an initiation that is due now, in order of preference. None if nothing is due or
    /// there is nowhere to send it; new endpoints start it again.
    pub(super) fn take_due(
        &mut self,
        endpoints: &[SocketAddr],
        now: Instant,
        rng: &mut ChaCha20Rng,
    ) -> Option<Vec<HandshakeCopy>> {
        self.next.filter(|next| *next <= now)?;
        if endpoints.is_empty() {
            self.next = None;
            return None;
        }
        let wait = HANDSHAKE_ROUNDS[self.round.min(HANDSHAKE_ROUNDS.len() - 1)];
        self.round += 1;
        self.last = Some(now);
        self.next = Some(now + wait + jitter::up_to(rng, HANDSHAKE_JITTER));
        Some(copies(endpoints))
    }

    fn earliest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + INITIATION_GAP))
    }
}

/// One copy for each endpoint, staggered so that all are out within [`HANDSHAKE_SPREAD`].
fn copies(endpoints: &[SocketAddr]) -> Vec<HandshakeCopy> {
    let gaps = u32::try_from(endpoints.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let step = HANDSHAKE_STAGGER.min(HANDSHAKE_SPREAD / gaps.max(1));
    (0..)
        .zip(endpoints)
        .map(|(index, remote)| HandshakeCopy {
            path: PathId::to(*remote),
            after: step.saturating_mul(index),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng as _;
    use std::time::Duration;

    fn endpoints(count: u16) -> Vec<SocketAddr> {
        (0..count)
            .map(|port| SocketAddr::from(([192, 0, 2, 1], 1000 + port)))
            .collect()
    }

    #[test]
    fn every_candidate_within_a_second() {
        for count in 1..=16 {
            let copies = copies(&endpoints(count));
            assert_eq!(copies[0].after, Duration::ZERO);
            let last = copies[copies.len() - 1].after;
            assert!(last <= HANDSHAKE_SPREAD, "{count}: {last:?}");
            assert!(copies.is_sorted_by_key(|copy| copy.after));
        }
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
            assert!(dial.take_due(&endpoints(2), now, &mut rng).is_some());
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
        dial.start(now);
        assert_eq!(dial.next(), Some(now + INITIATION_GAP));
    }

    #[test]
    fn nobody_to_dial_waits_for_endpoints() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let now = crate::mesh::tests::base_instant();
        let mut dial = Dial::default();
        dial.start(now);
        assert!(dial.take_due(&[], now, &mut rng).is_none());
        assert_eq!(dial.next(), None);
    }
}
