//! Notices that the wall clock was set forward, as after a boot without a battery-backed clock.
//!
//! Handshake initiations carry the time, and peers refuse one that is older than what they have seen
//! of this node. The session layer reads the wall clock once for each peer, so a correction only
//! helps if its state is made anew.

use std::time::{Duration, Instant, SystemTime};

/// Smaller steps are the drift and slewing of a healthy clock.
const STEP: Duration = Duration::from_millis(500);

/// Compares the wall clock with the monotonic one.
#[derive(Debug)]
pub(super) struct WallClock {
    at: Instant,
    wall: SystemTime,
}

impl WallClock {
    /// Starts to watch.
    pub(super) const fn new(at: Instant, wall: SystemTime) -> Self {
        Self { at, wall }
    }

    /// True if the wall clock was set forward since the last call.
    pub(super) fn stepped_forward(&mut self, now: Instant, wall: SystemTime) -> bool {
        let expected = self.wall + now.saturating_duration_since(self.at);
        *self = Self::new(now, wall);
        wall.duration_since(expected)
            .is_ok_and(|ahead| ahead > STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_forward_count_and_only_once() {
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut clock = WallClock::new(start, wall);
        for (monotonic, real, stepped) in [
            (250, 250, false),
            (500, 510, false),
            (750, 86_400_000, true),
            (1000, 86_400_250, false),
            (1250, 1000, false),
            (1500, 1250, false),
        ] {
            let now = start + Duration::from_millis(monotonic);
            let wall = wall + Duration::from_millis(real);
            assert_eq!(clock.stepped_forward(now, wall), stepped, "{monotonic}");
        }
    }
}
