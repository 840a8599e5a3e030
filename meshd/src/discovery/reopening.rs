//! How often connections are made anew for changes of the host's network: a few at once, because one
//! move of a host is several changes, then seldom, because a flapping link is no reason to trouble a
//! server. Holds times only.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once. A new lease takes an address away, brings another and then a route.
const BURST: u32 = 5;
/// And then one in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// When the next one may be.
#[derive(Debug, Default)]
pub(super) struct Reopenings {
    /// When the whole burst is there again.
    full: Option<Instant>,
}

impl Reopenings {
    /// The earliest moment of the next one.
    pub(super) fn earliest(&self, now: Instant) -> Instant {
        let spare = INTERVAL * (BURST - 1);
        let full = self.full.unwrap_or(now);
        full.checked_sub(spare).map_or(now, |at| at.max(now))
    }

    /// One happens.
    pub(super) fn note(&mut self, now: Instant) {
        let full = self.full.map_or(now, |full| full.max(now));
        self.full = Some(full + INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_in_turn() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut reopenings = Reopenings::default();
        for _ in 0..BURST {
            assert_eq!(reopenings.earliest(start), start);
            reopenings.note(start);
        }
        assert_eq!(reopenings.earliest(start), start + INTERVAL);
        let later = start + INTERVAL * BURST;
        assert_eq!(reopenings.earliest(later), later);
    }
}
