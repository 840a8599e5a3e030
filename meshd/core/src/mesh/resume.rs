//! Resume: the host slept, or this process did not run for a while. Seen from clocks that went apart and from
//! work that is long overdue; what is known of the network is old then, and everything is asked at once.
//! Time nobody was awake in proves nothing about a peer.

use std::time::{Duration, Instant};

use mesh_proto::WgPublicKey;

use super::Mesh;
use super::peer::{Peer, PeerKind, Scene};
use super::recovery::Phase;
use crate::Now;
use crate::event::Level;
use crate::timing::SLEPT;

/// The clocks, as last read.
#[derive(Debug, Default)]
pub(super) struct Clocks(Option<Now>);

impl Clocks {
    /// How long this node was not awake until `now`, `due` being the next thing it had to do; none if it was.
    fn slept(&mut self, now: Now, due: Option<Instant>) -> Option<Duration> {
        let last = self.0.replace(now)?;
        let run = now.instant.saturating_duration_since(last.instant);
        // The steady clock stands still while a host sleeps; a set clock is taken for sleep, which is cheap.
        let wall = Duration::from_millis(now.unix_ms.saturating_sub(last.unix_ms));
        let stood = wall.saturating_sub(run);
        let overdue = due.map_or(Duration::ZERO, |due| {
            now.instant.saturating_duration_since(due).min(run)
        });
        let slept = stood.max(overdue);
        (slept >= SLEPT).then_some(slept)
    }
}

impl Mesh {
    /// Notices a sleep that is over and has everything checked.
    pub(super) fn notice_sleep(&mut self, now: Now) {
        let due = self.timers.next().map(|(at, _)| at);
        let Some(slept) = self.clocks.slept(now, due) else {
            return;
        };
        let message = format!(
            "this node did not run for {} s, or its clock was set: checking all peers",
            slept.as_secs()
        );
        self.out.event("resumed", Level::Info, message);
        self.reflexive.ask_again(now.instant);
        self.arm_stun();
        let keys: Vec<WgPublicKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.with_peer(key, now, Peer::resumed);
        }
    }
}

impl Peer {
    /// Asks on all paths at once: addresses, mappings and sessions may all be gone.
    fn resumed(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.kind == PeerKind::External || self.boundary.is_closing() {
            return;
        }
        if self.is_alive() {
            self.live.resumed(now);
            self.paths.forget_pings();
            self.phase = Phase::Calm;
            self.start_race(now, scene);
            self.recover(scene);
        } else {
            self.dial.hasten(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_seen_on_either_clock_and_ordinary_delays_are_none() {
        let hour = Duration::from_secs(3600);
        let start = Now {
            instant: crate::mesh::tests::base_instant(),
            unix_ms: 1_780_000_000_000,
        };
        let clocks = || Clocks(Some(start));
        let due = |after: Duration| Some(start.instant + after);
        // Nothing to do for an hour, and it is done then.
        assert_eq!(clocks().slept(start + hour, due(hour)), None);
        assert_eq!(clocks().slept(start + hour, None), None);
        let late = start + hour + SLEPT / 2;
        assert_eq!(clocks().slept(late, due(hour)), None);
        // The steady clock went on, or stood still.
        assert_eq!(
            clocks().slept(start + hour, due(Duration::ZERO)),
            Some(hour)
        );
        let mut stood = start;
        stood.unix_ms += 3_600_000;
        assert_eq!(clocks().slept(stood, due(hour)), Some(hour));
        // A clock set back is no sleep.
        let mut back = start;
        back.unix_ms -= 3_600_000;
        assert_eq!(clocks().slept(back, due(hour)), None);
        assert_eq!(Clocks::default().slept(start, due(Duration::ZERO)), None);
    }
}
