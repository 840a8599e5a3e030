//! Counters of recovery since the start, for metrics and tests. Data only.

use std::time::Duration;

/// Upper bounds of the classes in [`RecoveryCounters::silences`], milliseconds; the last class has none.
pub const SILENCE_BOUNDS_MS: [u64; 6] = [100, 200, 400, 600, 1000, 5000];

/// What recovery has done so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryCounters {
    /// Times a path in use became suspect.
    pub suspicions: u64,
    /// Suspicions that the path in use cleared by an answer.
    pub false_alarms: u64,
    /// Times no path answered and the session itself was suspected to be lost.
    pub sessions_suspected: u64,
    /// Switches because the path in use was silent and another one answered.
    pub switches_silent: u64,
    /// Switches because the far end asked for it.
    pub switches_asked: u64,
    /// Switches because of own addresses, links or failed sends.
    pub switches_local: u64,
    /// Switches to a better path while both worked.
    pub switches_better: u64,
    /// Other switches: handshakes, packets of stock peers.
    pub switches_other: u64,
    /// Handshake initiations asked of the engine.
    pub initiations: u64,
    /// Handshakes completed with a peer that was up.
    pub rehandshakes: u64,
    /// Pings sent.
    pub pings_sent: u64,
    /// Pings not sent because the common budget was used up.
    pub pings_withheld: u64,
    /// Pieces of the own envelope sent to peers through their tunnels.
    pub fragments_sent: u64,
    /// Pieces not sent because the common budget was used up.
    pub fragments_withheld: u64,
    /// Envelopes from tunnels that were not the peer's own or not valid.
    pub envelopes_refused: u64,
    /// Answers sent to pings of others.
    pub pongs_sent: u64,
    /// Switches by how long the old path had been silent: a histogram with [`SILENCE_BOUNDS_MS`].
    pub silences: [u64; SILENCE_BOUNDS_MS.len() + 1],
    /// All of these silences together.
    pub silence_sum: Duration,
}

impl RecoveryCounters {
    /// Switches of all kinds.
    #[must_use]
    pub const fn switches(&self) -> u64 {
        self.switches_silent
            + self.switches_asked
            + self.switches_local
            + self.switches_better
            + self.switches_other
    }

    pub(crate) fn silence(&mut self, silence: Duration) {
        let ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        let class = SILENCE_BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.silences[class] += 1;
        self.silence_sum = self.silence_sum.saturating_add(silence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_fall_into_classes() {
        let mut counters = RecoveryCounters::default();
        for ms in [0, 100, 101, 5000, 5001] {
            counters.silence(Duration::from_millis(ms));
        }
        assert_eq!(counters.silences, [2, 1, 0, 0, 0, 1, 1]);
    }
}
