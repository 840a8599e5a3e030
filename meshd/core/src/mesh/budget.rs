//! Budget: a common bound on what goes to all peers, so that no failure makes this node a flood. What is
//! urgent may use it up; the rest leaves a part for that. One counts pings, one bytes of envelopes,
//! one initiations.

use std::time::{Duration, Instant};

use crate::timing::{
    INITIATION_BURST, INITIATION_RATE, PING_BURST, PING_RATE, TELL_BURST, TELL_RATE,
};

#[derive(Debug)]
pub(super) struct Budget {
    /// Tokens a second, and tokens at once.
    rate: u32,
    burst: u32,
    /// Used tokens, in millionths.
    used: u64,
    last: Option<Instant>,
}

/// Those of a mesh.
#[derive(Debug)]
pub(super) struct Budgets {
    pub(super) pings: Budget,
    /// Handshake initiations.
    pub(super) initiations: Budget,
    /// Bytes of the own envelope.
    pub(super) telling: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            pings: Budget::new(PING_RATE, PING_BURST),
            initiations: Budget::new(INITIATION_RATE, INITIATION_BURST),
            telling: Budget::new(TELL_RATE, TELL_BURST),
        }
    }
}

const TOKEN: u64 = 1_000_000;

impl Budget {
    /// How long what is not urgent waits when there is no room.
    pub(super) const PAUSE: Duration = Duration::from_millis(100);

    /// So many a second, and at once.
    pub(super) const fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate,
            burst,
            used: 0,
            last: None,
        }
    }

    /// True if a ping may leave now.
    pub(super) fn take(&mut self, now: Instant, urgent: bool) -> bool {
        self.take_many(now, 1, urgent)
    }

    /// True if so many pings or bytes that are not urgent may leave now; otherwise none may.
    pub(super) fn take_all(&mut self, now: Instant, count: usize) -> bool {
        self.take_many(now, count, false)
    }

    fn take_many(&mut self, now: Instant, count: usize, urgent: bool) -> bool {
        let since = self
            .last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.used = self
            .used
            .saturating_sub(micros.saturating_mul(u64::from(self.rate)));
        let room = u64::from(self.burst) * TOKEN;
        let room = if urgent { room } else { room / 4 * 3 };
        let cost = TOKEN.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX));
        let used = self.used.saturating_add(cost);
        let fits = used <= room;
        if fits {
            self.used = used;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_bounded_and_refill() {
        let start = crate::mesh::tests::base_instant();
        let mut budget = Budgets::default().pings;
        let many = PING_BURST as usize * 2;
        let calm = (0..many).filter(|_| budget.take(start, false)).count();
        assert_eq!(calm, PING_BURST as usize * 3 / 4);
        let urgent = (0..many).filter(|_| budget.take(start, true)).count();
        assert_eq!(calm + urgent, PING_BURST as usize);
        assert!(!budget.take_all(start + Duration::from_millis(6), 7));
        let later = start + Duration::from_millis(100);
        let again = (0..many).filter(|_| budget.take(later, true)).count();
        assert_eq!(again, PING_RATE as usize / 10);
    }
}
