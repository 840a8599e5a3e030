//! Bypass: `allowDownPeerBypass`. When the prefixes of a peer that is down fall back to native routes,
//! in clear, and when they return. Without that setting nobody asks.

use std::time::Instant;

use crate::timing::{BYPASS_AFTER, BYPASS_BACK};

#[derive(Debug)]
pub(super) struct Bypass {
    active: bool,
    /// Since when the peer has been alive or not.
    since: Instant,
}

impl Bypass {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            active: false,
            since: now,
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        self.active
    }

    /// The peer came up or went down.
    pub(super) const fn changed(&mut self, now: Instant) {
        self.since = now;
    }

    /// Decides anew; true if the decision changed.
    pub(super) fn update(&mut self, alive: bool, now: Instant) -> bool {
        let due = self.next(alive).is_some_and(|at| at <= now);
        if due {
            self.active = !self.active;
        }
        due
    }

    /// When the decision changes if the peer stays as it is.
    pub(super) fn next(&self, alive: bool) -> Option<Instant> {
        match (self.active, alive) {
            (false, false) => Some(self.since + BYPASS_AFTER),
            (true, true) => Some(self.since + BYPASS_BACK),
            _ => None,
        }
    }
}
