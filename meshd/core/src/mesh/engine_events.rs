//! Engine events: what the data plane says, taken to the peer it is about.

use mesh_proto::WgPublicKey;
use mesh_proto::control::PeerState;
use mesh_proto::probe::Probe;

use super::Mesh;
use super::peer::{Peer, PeerKind, Scene};
use crate::Now;
use crate::data_plane::{EngineCommand, EngineEvent, PathId, SessionState};
use crate::event::Level;
use crate::timing::EXTERNAL_UP;

impl Mesh {
    pub(super) fn engine_event(&mut self, event: EngineEvent, now: Now) {
        match event {
            EngineEvent::HandshakeDone { peer, path, .. } => {
                self.with_peer(peer, now, |peer, scene| peer.handshake_done(path, scene));
            }
            EngineEvent::OtherPath { peer, path } => {
                self.with_peer(peer, now, |peer, scene| peer.other_path(path, scene));
            }
            EngineEvent::Probe {
                peer,
                path,
                payload,
            } => self.probe_received(peer, path, &payload, now),
            EngineEvent::Datagram { path, bytes } => self.datagram_received(path, &bytes, now),
            EngineEvent::SendFailed { peer, path, error } => match peer {
                Some(peer) => {
                    self.with_peer(peer, now, |peer, scene| {
                        peer.send_failed(path, &error, scene);
                    });
                }
                None => {
                    let message = format!("sending to {path} failed: {error}");
                    self.out.event("send_failed", Level::Debug, message);
                }
            },
            EngineEvent::InitiationRefused { peer, path } => {
                self.with_peer(peer, now, |peer, scene| {
                    peer.initiation_refused(path, scene);
                });
            }
            EngineEvent::WantsSession { peer } => {
                self.with_peer(peer, now, |peer, _| {
                    if !peer.boundary.is_closing() {
                        peer.dial.ensure(now.instant);
                    }
                });
            }
            EngineEvent::Unanswered { peer, since } => {
                self.with_peer(peer, now, |peer, scene| peer.unanswered(since, scene));
            }
            EngineEvent::Sessions(sessions) => {
                for session in sessions {
                    let known = self.peers.get_mut(&session.peer);
                    if known.is_some_and(|peer| is_news(peer, &session, now)) {
                        self.with_peer(session.peer, now, |peer, scene| {
                            session_read(peer, &session, scene);
                        });
                    }
                }
            }
            EngineEvent::InterfaceRecreated => self.interface_recreated(now),
            EngineEvent::InterfaceHealed(what) => self.interface_healed(&what, now),
        }
    }

    /// A candidate probe, or the answer of a STUN server.
    fn datagram_received(&mut self, path: PathId, bytes: &[u8], now: Now) {
        if self.candidate_probe(path, bytes, now) {
            return;
        }
        let changed = self
            .reflexive
            .answered(path.remote, bytes, now.instant, &mut self.rng);
        self.arm_stun();
        if changed {
            self.mark_dirty(now.instant);
        }
    }

    fn interface_recreated(&mut self, now: Now) {
        self.host.recreated = Some(now.instant);
        let message = "somebody deleted the tunnel interface; it was made again";
        self.out.event("interface_recreated", Level::Warn, message);
        self.resend_network();
    }

    fn interface_healed(&mut self, what: &str, now: Now) {
        let message = format!("somebody {what}; it was put right");
        self.out
            .event("interface_changed", Level::Warn, message.clone());
        self.host.healed = Some((now.instant, message));
    }

    fn probe_received(&mut self, peer: WgPublicKey, path: PathId, payload: &[u8], now: Now) {
        let Some(probe) = Probe::decode(payload) else {
            return self.fragment_received(peer, payload, now);
        };
        if self.pings.answered(peer, &probe, path, now.instant) {
            return;
        }
        let waits = self.with_peer(peer, now, |peer, scene| {
            let held = peer.probe(path, &probe, scene);
            let news = held > peer.boundary.held_by_peer;
            peer.boundary.held_by_peer = peer.boundary.held_by_peer.max(held);
            peer.compare_held(scene.own.sequence, scene.now.instant);
            peer.member().filter(|_| news)
        });
        if waits.flatten().is_some() {
            self.advance_key_change(now);
        }
        // A member whose tunnel is only kept may have said what it was kept for.
        let rotating = self.cluster.len() > 1;
        if (waits.flatten()).is_some_and(|id| rotating || self.kept.contains(&id)) {
            self.mark_dirty(now.instant);
        }
    }
}

/// Takes over the counters of one peer. True if something may follow from what was read: not of an idle member
/// whose probes have told the rest, as nearly all of a large mesh are.
fn is_news(peer: &mut Peer, session: &SessionState, now: Now) -> bool {
    peer.session.rx_bytes = session.rx_bytes;
    peer.session.tx_bytes = session.tx_bytes;
    peer.session.last_handshake = peer.session.last_handshake.max(session.last_handshake);
    peer.kind == PeerKind::External
        || peer.path().is_none()
        || session.last_receive > peer.live.last_receive()
        || session.last_data > peer.live.last_data()
        || peer.live.is_busy(now.instant)
}

/// What follows. An external peer has nothing else to be judged by.
fn session_read(peer: &mut Peer, session: &SessionState, scene: &mut Scene<'_>) {
    if let Some(at) = session.last_receive {
        peer.live.received(at);
    }
    if let Some(at) = session.last_data {
        peer.live.exchanged(at);
        if peer.live.is_busy(scene.now.instant) {
            // One that was idle is pinged at the usual pace from now on.
            peer.ping_at(scene.now.instant + scene.own.interval);
        }
    }
    if peer.path().is_none()
        && let Some(path) = session.path
        && peer.allows(path.remote)
    {
        let path = peer.paths.arrived(path, scene.now.instant);
        peer.paths.set_in_use(Some(path));
        peer.size_unknown(scene);
        // The engine took the path its packet came by, and must send where the packets are counted.
        scene.out.engine(EngineCommand::SetPath {
            peer: peer.key,
            path,
        });
    }
    let fresh = session
        .last_handshake
        .is_some_and(|at| scene.now.instant.saturating_duration_since(at) < EXTERNAL_UP);
    if peer.kind == PeerKind::External && fresh {
        peer.set_state(PeerState::Up, "handshake done", scene);
    }
}
