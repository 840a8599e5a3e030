//! The state of a peer as users see it: when it gets worse by itself, and what follows from a change. What is
//! measured, and makes it better, comes from `peer` and `recovery`.
//!
//! ```text
//! Connecting --handshake--> Up --silence--> Suspect
//!     |                     ^ ^--answer--      |
//!     | CONNECTING_LIMIT    | handshake        | deadline
//!     +------------------> Down <--------------+
//! ```

use std::time::Instant;

use mesh_proto::control::PeerState;

use super::peer::{OwnFacts, Peer, PeerKind, Scene};
use crate::event::Level;
use crate::timing::{CONNECTING_LIMIT, EXTERNAL_UP};

impl Peer {
    /// Looks whether it is time to think worse of the peer.
    pub(super) fn evaluate(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.state_deadline(&scene.own).is_some_and(|at| at <= now) {
            let why = match (self.state, self.kind) {
                (PeerState::Connecting, _) => "nobody answers",
                (_, PeerKind::External) => "no handshake for 180 s",
                _ => "nothing received, or pings not answered",
            };
            self.set_state(PeerState::Down, why, scene);
            self.dial.ensure(now);
        }
    }

    /// When the state gets worse if nothing happens.
    pub(super) fn state_deadline(&self, own: &OwnFacts) -> Option<Instant> {
        match (self.state, self.kind) {
            (PeerState::Down, _) => None,
            (PeerState::Connecting, _) => Some(self.since + CONNECTING_LIMIT),
            (_, PeerKind::External) => self.session.last_handshake.map(|at| at + EXTERNAL_UP),
            _ => self.live.down_at(own.idle_interval, self.asked_since()),
        }
    }

    /// Moves to a state and tells of it.
    pub(super) fn set_state(&mut self, state: PeerState, why: &str, scene: &mut Scene<'_>) {
        if self.state == state {
            return;
        }
        let was_alive = self.is_alive();
        let (kind, level) = match state {
            PeerState::Up => ("peer_up", Level::Info),
            PeerState::Suspect => ("peer_suspect", Level::Debug),
            PeerState::Connecting => ("peer_connecting", Level::Debug),
            PeerState::Down => ("peer_down", Level::Warn),
        };
        // Up after suspect was never down for the people who read this.
        let level = if was_alive && state == PeerState::Up {
            Level::Debug
        } else {
            level
        };
        self.state = state;
        self.since = scene.now.instant;
        if was_alive != self.is_alive() {
            self.bypass.changed(scene.now.instant);
            self.removals.start(scene.removals, scene.now.instant);
        }
        scene.out.peer_event(kind, level, &self.label, why);
    }
}
