//! One session of the session model: what both ends call it, and how long it lives. Encrypts nothing.

use std::time::{Duration, Instant};

use super::Slot;
use super::window::Window;

/// A session is of no use after this (`REJECT_AFTER_TIME`).
const REJECT_AFTER: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    /// What the far end calls this node.
    pub(super) theirs: Slot,
    pub(super) born: Instant,
    pub(super) next_counter: u64,
    pub(super) window: Window,
}

impl Session {
    pub(super) fn new(id: u64, theirs: Slot, now: Instant) -> Self {
        Self {
            id,
            theirs,
            born: now,
            next_counter: 0,
            window: Window::default(),
        }
    }

    /// True if it is of use still.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.born) < REJECT_AFTER
    }
}

/// What a data packet turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// Unknown session, or seen before.
    No,
    Yes,
    /// The first on a session this node answered.
    Confirms,
}
