//! One peer of the fake engine: its sessions, its path, and when it has been silent for too long.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mesh_proto::WgPublicKey;
use mesh_proto::probe::probe_payload;

use super::KEPT_SESSIONS;
use crate::data_plane::{EngineEvent, PathId, PeerSpec};

/// As in the real engine.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(in super::super) struct EnginePeer {
    pub(in super::super) spec: PeerSpec,
    pub(in super::super) path: Option<PathId>,
    pub(super) initiated: Option<u64>,
    pub(super) answered: VecDeque<u64>,
    pub(super) sessions: VecDeque<u64>,
    pub(super) last_handshake: Option<Instant>,
    pub(super) last_receive: Option<Instant>,
    pub(super) duplicate: Option<(PathId, Instant)>,
    pub(super) unanswered: Option<Instant>,
    pub(super) last_data: Option<Instant>,
    pub(super) told: Option<Instant>,
}

impl EnginePeer {
    pub(super) const fn new(spec: PeerSpec) -> Self {
        Self {
            spec,
            path: None,
            initiated: None,
            answered: VecDeque::new(),
            sessions: VecDeque::new(),
            last_handshake: None,
            last_receive: None,
            duplicate: None,
            unanswered: None,
            last_data: None,
            told: None,
        }
    }

    /// Time since the last handshake was complete.
    pub(in super::super) fn handshake_age(&self, now: Instant) -> Option<Duration> {
        self.last_handshake
            .map(|at| now.saturating_duration_since(at))
    }

    pub(super) fn silence_due(&self) -> Option<Instant> {
        let since = self.unanswered? + PATIENCE;
        Some(self.told.map_or(since, |told| since.max(told + PATIENCE)))
    }

    pub(super) fn data_received(
        &mut self,
        path: PathId,
        bytes: &[u8],
        own: Ipv6Addr,
        now: Instant,
    ) -> Vec<EngineEvent> {
        let peer = self.spec.public_key;
        self.last_receive = Some(now);
        self.unanswered = None;
        let mut events = Vec::new();
        let here = self.path.is_some_and(|known| {
            known.remote == path.remote && (known.local.is_none() || known.local == path.local)
        });
        if !here {
            events.push(EngineEvent::OtherPath { peer, path });
        }
        let theirs = self.spec.mesh_address;
        if let Some(payload) = theirs.and_then(|theirs| probe_payload(bytes, theirs, own)) {
            let payload = payload.to_vec();
            events.push(EngineEvent::Probe {
                peer,
                path,
                payload,
            });
        }
        events
    }

    pub(super) fn done(&mut self, id: u64, path: PathId, now: Instant) {
        self.path.get_or_insert(path);
        self.last_handshake = Some(now);
        self.last_receive = Some(now);
        self.sessions.retain(|session| *session != id);
        self.sessions.push_back(id);
        if self.sessions.len() > KEPT_SESSIONS {
            self.sessions.pop_front();
        }
    }
}

pub(super) fn handshake_done(peer: WgPublicKey, path: PathId, initiator: bool) -> EngineEvent {
    EngineEvent::HandshakeDone {
        peer,
        path,
        initiator,
    }
}

pub(super) fn allows(spec: &PeerSpec, remote: SocketAddr) -> bool {
    spec.endpoint_filter
        .as_ref()
        .is_none_or(|filter| filter.allows(remote.ip()))
}
