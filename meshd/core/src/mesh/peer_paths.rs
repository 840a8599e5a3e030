//! Peer paths: where a peer's packets go, and when they go elsewhere.

use std::net::SocketAddr;
use std::time::Instant;

use mesh_proto::CandidateKind;

use super::peer::{Peer, Scene};
use crate::data_plane::{EngineCommand, PathId};
use crate::event::Level;

impl Peer {
    /// True if this peer's packets may go to that address.
    pub(super) fn allows(&self, remote: SocketAddr) -> bool {
        self.spec
            .endpoint_filter
            .as_ref()
            .is_none_or(|filter| filter.allows(remote.ip()))
    }

    /// Kind of the endpoint in use; none if it was learned from a packet.
    pub(super) fn path_kind(&self) -> Option<CandidateKind> {
        let remote = self.path?.remote;
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.candidate.address == remote)
            .map(|endpoint| endpoint.candidate.kind)
    }

    /// The kernel refused to send on `path`.
    pub(super) fn send_failed(&mut self, path: PathId, error: &str, scene: &mut Scene<'_>) {
        if self.path != Some(path) {
            return;
        }
        let now = scene.now.instant;
        self.live.left_path(path, true, now);
        let message = format!("sending to {path} failed: {error}");
        scene
            .out
            .peer_event("send_failed", Level::Debug, &self.label, message);
        if self.dialled().iter().any(|remote| *remote != path.remote) {
            self.dial.ensure(now);
        }
    }

    /// Endpoints that are dialled, in order of preference.
    pub(super) fn dialled(&self) -> Vec<SocketAddr> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.usable)
            .map(|endpoint| endpoint.candidate.address)
            .collect()
    }

    /// The same, with those that failed a moment ago last, and the learned path that no candidate
    /// names.
    pub(super) fn dial_order(&self, now: Instant) -> Vec<SocketAddr> {
        let mut order = self.dialled();
        if let Some(path) = self.path
            && !order.contains(&path.remote)
        {
            order.push(path.remote);
        }
        order.sort_by_key(|remote| self.live.is_penalised(&PathId::to(*remote), now));
        order
    }

    /// Position in the order of preference; learned paths come after all candidates.
    fn rank(&self, path: &PathId) -> usize {
        self.endpoints
            .iter()
            .position(|endpoint| endpoint.usable && endpoint.candidate.address == path.remote)
            .unwrap_or(usize::MAX)
    }

    /// Moves to `path`, where the peer was just heard, if that is better than staying.
    pub(super) fn consider_path(&mut self, path: PathId, why: &str, scene: &mut Scene<'_>) {
        let now = scene.now.instant;
        if self.path == Some(path) || !self.allows(path.remote) {
            return;
        }
        let failed = match &self.path {
            None => false,
            Some(current) => {
                let silent = !self.is_alive()
                    || self.live.is_silent(current, now)
                    || self.live.is_penalised(current, now);
                let better =
                    self.rank(&path) < self.rank(current) && !self.live.is_penalised(&path, now);
                if !silent && !better {
                    return;
                }
                self.live.left_path(*current, silent, now);
                let message = format!("path {current} -> {path}: {why}");
                scene
                    .out
                    .peer_event("path_switched", Level::Info, &self.label, message);
                silent
            }
        };
        if failed || self.path.is_none() {
            self.ping_at(now);
        }
        self.path = Some(path);
        self.live.entered_path(path);
        scene.out.engine(EngineCommand::SetPath {
            peer: self.key,
            path,
        });
    }
}
