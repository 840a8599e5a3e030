//! Peer paths: what a peer may be sent to, and in which order it is dialled.

use std::time::Instant;

use mesh_proto::CandidateKind;

use super::peer::{Peer, Scene};
use crate::candidates::RankedEndpoint;
use crate::data_plane::PathId;
use crate::timing::REFUSED_FRESH;

impl Peer {
    /// Takes over a new list of endpoints and own addresses. A peer that is not up is dialled at once;
    /// so is one that takes back the endpoint in use, which carries data until another one answers.
    pub(super) fn set_endpoints(
        &mut self,
        endpoints: Vec<RankedEndpoint>,
        dial_at: Instant,
        scene: &mut Scene<'_>,
    ) {
        let old = self.dialled();
        self.endpoints = endpoints;
        self.paths.forbid(|remote| {
            self.spec
                .endpoint_filter
                .as_ref()
                .is_none_or(|filter| filter.allows(remote.ip()))
        });
        if self.path().is_some_and(|path| !self.allows(path.remote)) {
            self.paths.set_in_use(None);
            self.dial.start(dial_at);
        }
        self.update_paths(scene);
        let new = self.dialled();
        let withdrawn = self
            .path()
            .is_some_and(|path| old.contains(&path) && !new.contains(&path));
        if (new != old && !self.is_alive()) || (withdrawn && !new.is_empty()) {
            self.dial.start(dial_at);
        }
    }

    /// True if this peer's packets may go to that address.
    pub(super) fn allows(&self, remote: std::net::SocketAddr) -> bool {
        self.spec
            .endpoint_filter
            .as_ref()
            .is_none_or(|filter| filter.allows(remote.ip()))
    }

    /// Kind of the endpoint in use; none if it was learned from a packet.
    pub(super) fn path_kind(&self) -> Option<CandidateKind> {
        self.paths.current()?.kind
    }

    /// Paths that are dialled, in order of preference.
    fn dialled(&self) -> Vec<PathId> {
        let candidates = self.paths.iter().filter(|path| path.kind.is_some());
        candidates.map(|path| path.id).collect()
    }

    /// The same, those first that work, and those last that failed a moment ago; the learned path in use; and
    /// where an initiation came from that was refused: a NAT may have given the peer another address.
    pub(super) fn dial_order(&self, now: Instant) -> Vec<PathId> {
        let mut order: Vec<_> = self
            .paths
            .iter()
            .filter(|path| path.kind.is_some() || self.path() == Some(path.id))
            .collect();
        order.sort_by_key(|path| {
            let held = path.facts.penalty.held_until(now).is_some();
            let works = self.lacks_a_session() && self.path() == Some(path.id);
            (
                !works,
                held || path.facts.refused.is_some(),
                !path.facts.is_good(),
            )
        });
        let mut order: Vec<PathId> = order.into_iter().map(|path| path.id).collect();
        let fresh = |at: Instant| now.saturating_duration_since(at) < REFUSED_FRESH;
        if let Some((path, at)) = self.refused_from
            && fresh(at)
            && self.allows(path.remote)
            && !order.contains(&path)
        {
            order.push(path);
        }
        order
    }
}
