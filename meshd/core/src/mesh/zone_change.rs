//! Zone change: when a pair stops to tunnel. Going native needs each end to know that the other holds
//! the new record; until then the tunnel stays. Going from native to a tunnel needs no agreement: it
//! fails closed.

use std::time::Instant;

use mesh_proto::record::TopologyMode;
use mesh_proto::{Record, Sequence};

use crate::timing::RECEIVE_TAIL;

/// What one peer's tunnel depends on besides the records.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// Own zone and mode when the pair last wanted a tunnel.
    wanted_under: Option<(Option<String>, TopologyMode)>,
    /// Highest sequence of ours that the peer says it holds.
    pub(super) held_by_peer: Sequence,
    /// Routes are gone; what still arrives is accepted until then.
    closing: Option<Instant>,
}

impl Boundary {
    /// The pair wants a tunnel under `own`, the record this node has or is about to publish.
    pub(super) fn wanted(&mut self, own: &Record) {
        self.wanted_under = Some((own.zone.clone(), own.mode));
        self.closing = None;
    }

    /// The pair wants no tunnel any more. True if it has to be kept for now: this node is the one who
    /// moved, and the living peer has not yet said that it holds `published`, the first record of the
    /// new place (none: not even published).
    pub(super) fn must_stay(
        &self,
        own: &Record,
        published: Option<Sequence>,
        peer_alive: bool,
    ) -> bool {
        let moved = self
            .wanted_under
            .as_ref()
            .is_some_and(|(zone, mode)| *zone != own.zone || *mode != own.mode);
        self.closing.is_none()
            && peer_alive
            && moved
            && published.is_none_or(|sequence| self.held_by_peer < sequence)
    }

    /// The routes are gone now.
    pub(super) fn close(&mut self, now: Instant) {
        self.closing.get_or_insert(now + RECEIVE_TAIL);
    }

    pub(super) const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) const fn closes_at(&self) -> Option<Instant> {
        self.closing
    }
}
