//! Estimates from samples: round trip time with its variance (RFC 6298 section 2), and loss.

use std::time::Duration;

use crate::timing::{PTO_UNKNOWN, PTO_VARIANCE_CEILING, PTO_VARIANCE_FLOOR};

/// Smoothed round trip time.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::mesh) struct Rtt {
    smoothed: Option<Duration>,
    variance: Duration,
}

impl Rtt {
    pub(in crate::mesh) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(in crate::mesh) fn sample(&mut self, sample: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variance = sample / 2;
            }
            Some(old) => {
                self.variance = (self.variance * 3 + old.abs_diff(sample)) / 4;
                self.smoothed = Some((old * 7 + sample) / 8);
            }
        }
    }

    /// How long an answer may take before it is missed (probe timeout).
    pub(in crate::mesh) fn timeout(&self) -> Duration {
        self.timeout_within(PTO_VARIANCE_CEILING)
    }

    /// The same with at most `ceiling` above the smoothed round trip time.
    pub(in crate::mesh) fn timeout_within(&self, ceiling: Duration) -> Duration {
        self.smoothed.map_or(PTO_UNKNOWN, |smoothed| {
            smoothed + (self.variance * 4).clamp(PTO_VARIANCE_FLOOR, ceiling)
        })
    }
}

/// The fate of the last 32 probes.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::mesh) struct Loss {
    lost: u32,
    count: u32,
}

impl Loss {
    pub(in crate::mesh) fn push(&mut self, answered: bool) {
        self.lost = self.lost << 1 | u32::from(!answered);
        self.count = (self.count + 1).min(u32::BITS);
    }

    /// Lost probes of the last 32, per cent; none before the first.
    pub(in crate::mesh) fn percent(&self) -> Option<u32> {
        (self.count > 0).then(|| self.lost.count_ones() * 100 / self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_round_trips_and_their_variance() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), PTO_UNKNOWN);
        rtt.sample(ms(40));
        assert_eq!(rtt.smoothed(), Some(ms(40)));
        assert_eq!(rtt.timeout(), ms(120));
        for _ in 0..50 {
            rtt.sample(ms(40));
        }
        assert_eq!(rtt.timeout(), ms(40) + PTO_VARIANCE_FLOOR, "calm");
        rtt.sample(ms(200));
        assert_eq!(
            rtt.timeout(),
            ms(60) + PTO_VARIANCE_CEILING,
            "one late answer is enough"
        );
        assert_eq!(rtt.timeout_within(ms(70)), ms(130));
    }

    #[test]
    fn loss_forgets() {
        let mut loss = Loss::default();
        assert_eq!(loss.percent(), None);
        loss.push(false);
        loss.push(true);
        assert_eq!(loss.percent(), Some(50));
        for _ in 0..31 {
            loss.push(true);
        }
        assert_eq!(loss.percent(), Some(0));
    }
}
