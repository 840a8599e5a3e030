//! A WireGuard engine without cryptography: sessions are numbers, but handshakes take their three
//! messages, filters hold, and nothing passes without a session.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mesh_proto::probe::probe_payload;
use mesh_proto::{PresharedKey, WgPublicKey};

use crate::data_plane::{EngineCommand, EngineEvent, PathId, PeerSpec, SessionState};

/// Sessions a peer remembers: the one in use and those a packet may still come on.
const KEPT_SESSIONS: usize = 3;

/// What travels between two engines.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Initiation {
        from: WgPublicKey,
        id: u64,
    },
    /// Only a far end with the same preshared key understands it.
    Response {
        from: WgPublicKey,
        id: u64,
        preshared_key: Option<PresharedKey>,
    },
    Confirm {
        from: WgPublicKey,
        id: u64,
    },
    Data {
        from: WgPublicKey,
        session: u64,
        bytes: Vec<u8>,
    },
    Datagram(Vec<u8>),
}

/// A packet to be sent on a path after a delay.
pub(super) type Outgoing = (Duration, PathId, Packet);

/// As in the real engine.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct EnginePeer {
    pub(super) spec: PeerSpec,
    pub(super) path: Option<PathId>,
    initiated: Option<u64>,
    answered: VecDeque<u64>,
    sessions: VecDeque<u64>,
    last_handshake: Option<Instant>,
    last_receive: Option<Instant>,
    duplicate: Option<(PathId, Instant)>,
    unanswered: Option<Instant>,
    last_data: Option<Instant>,
    told: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct FakeEngine {
    key: WgPublicKey,
    mesh_address: Ipv6Addr,
    pub(super) peers: BTreeMap<WgPublicKey, EnginePeer>,
    next_id: u64,
    /// Initiations commanded so far, with their time.
    pub(super) initiations: Vec<(Instant, WgPublicKey)>,
    pub(super) refused: u32,
    /// Limits on the size of packets that were commanded.
    pub(super) path_mtus: BTreeMap<WgPublicKey, Option<u16>>,
}

impl FakeEngine {
    pub(super) fn new(key: WgPublicKey, mesh_address: Ipv6Addr) -> Self {
        Self {
            key,
            mesh_address,
            peers: BTreeMap::new(),
            // Ids of different engines and runs must not meet.
            next_id: u64::from_le_bytes(key.0[..8].try_into().unwrap()) >> 16,
            initiations: Vec::new(),
            refused: 0,
            path_mtus: BTreeMap::new(),
        }
    }

    pub(super) const fn key(&self) -> WgPublicKey {
        self.key
    }

    /// All sessions are lost, as after a restart of the process.
    pub(super) fn reset(&mut self) {
        self.peers.clear();
        self.next_id += 1 << 20;
    }

    /// All sessions are over, as after three minutes without a handshake.
    pub(super) fn forget_sessions(&mut self) {
        for peer in self.peers.values_mut() {
            peer.sessions.clear();
        }
    }

    pub(super) fn command(
        &mut self,
        command: EngineCommand,
        now: Instant,
    ) -> (Vec<Outgoing>, Vec<EngineEvent>) {
        let (mut out, mut events) = (Vec::new(), Vec::new());
        match command {
            EngineCommand::SetPeer(spec) => self.set_peer(*spec),
            EngineCommand::RemovePeer(key) => {
                assert!(self.peers.remove(&key).is_some(), "removed a stranger");
            }
            EngineCommand::Handshake { peer, copies } => {
                assert!(!copies.is_empty());
                self.initiations.push((now, peer));
                self.next_id += 1;
                let (from, id) = (self.key, self.next_id);
                let known = self.peers.get_mut(&peer).expect("a known peer");
                known.initiated = Some(id);
                for copy in copies {
                    assert!(
                        allows(&known.spec, copy.path.remote),
                        "dialled a refused address"
                    );
                    let packet = Packet::Initiation { from, id };
                    out.push((copy.after, copy.path, packet));
                }
            }
            EngineCommand::SetPath { peer, path } => {
                let known = self.peers.get_mut(&peer).expect("a known peer");
                assert!(
                    allows(&known.spec, path.remote),
                    "moved to a refused address"
                );
                known.path = Some(path);
            }
            EngineCommand::SetPathMtu { peer, mtu } => {
                self.path_mtus.insert(peer, mtu);
            }
            EngineCommand::Duplicate { peer, path, until } => {
                let known = self.peers.get_mut(&peer).expect("a known peer");
                known.duplicate = Some((path, until));
            }
            EngineCommand::Send {
                peer, path, packet, ..
            } => {
                let known = &self.peers[&peer];
                let to = path.or(known.path);
                if let (Some(session), Some(to)) = (known.sessions.back(), to) {
                    let data = Packet::Data {
                        from: self.key,
                        session: *session,
                        bytes: packet,
                    };
                    out.push((Duration::ZERO, to, data));
                }
            }
            EngineCommand::SendDatagram { path, bytes } => {
                out.push((Duration::ZERO, path, Packet::Datagram(bytes)));
            }
            EngineCommand::SetSources(_) => {}
            EngineCommand::ReadSessions => events.push(self.sessions()),
        }
        (out, events)
    }

    pub(super) fn receive(
        &mut self,
        path: PathId,
        packet: Packet,
        now: Instant,
    ) -> (Vec<Outgoing>, Vec<EngineEvent>) {
        let from = match &packet {
            Packet::Datagram(bytes) => {
                let bytes = bytes.clone();
                return (Vec::new(), vec![EngineEvent::Datagram { path, bytes }]);
            }
            Packet::Initiation { from, .. }
            | Packet::Response { from, .. }
            | Packet::Confirm { from, .. }
            | Packet::Data { from, .. } => *from,
        };
        let own_key = self.key;
        let Some(peer) = self.peers.get_mut(&from) else {
            return (Vec::new(), Vec::new());
        };
        if !allows(&peer.spec, path.remote) {
            self.refused += 1;
            return (Vec::new(), Vec::new());
        }
        let (mut out, mut events) = (Vec::new(), Vec::new());
        match packet {
            Packet::Initiation { id, .. } => {
                peer.answered.push_back(id);
                if peer.answered.len() > KEPT_SESSIONS {
                    peer.answered.pop_front();
                }
                peer.path.get_or_insert(path);
                let response = Packet::Response {
                    from: own_key,
                    id,
                    preshared_key: peer.spec.preshared_key.clone(),
                };
                out.push((Duration::ZERO, path, response));
            }
            Packet::Response {
                id, preshared_key, ..
            } if peer.initiated == Some(id) && peer.spec.preshared_key == preshared_key => {
                peer.initiated = None;
                peer.done(id, path, now);
                out.push((Duration::ZERO, path, Packet::Confirm { from: own_key, id }));
                events.push(handshake_done(from, path, true));
            }
            Packet::Confirm { id, .. } if peer.answered.contains(&id) => {
                peer.done(id, path, now);
                events.push(handshake_done(from, path, false));
            }
            Packet::Data { session, bytes, .. } if peer.sessions.contains(&session) => {
                events = peer.data_received(path, &bytes, self.mesh_address, now);
            }
            _ => {}
        }
        (out, events)
    }

    /// A packet of a user, which goes twice if the core wants it so.
    pub(super) fn data(
        &mut self,
        peer: WgPublicKey,
        bytes: Vec<u8>,
        now: Instant,
    ) -> Vec<Outgoing> {
        let from = self.key;
        let Some(known) = self.peers.get_mut(&peer) else {
            return Vec::new();
        };
        let (Some(session), Some(path)) = (known.sessions.back(), known.path) else {
            return Vec::new();
        };
        let twice = known.duplicate.filter(|(_, until)| now < *until);
        let twice = twice.map(|(path, _)| path).filter(|other| *other != path);
        known.unanswered.get_or_insert(now);
        known.last_data = Some(now);
        let data = |path| {
            let (session, bytes) = (*session, bytes.clone());
            (
                Duration::ZERO,
                path,
                Packet::Data {
                    from,
                    session,
                    bytes,
                },
            )
        };
        std::iter::once(path).chain(twice).map(data).collect()
    }

    /// True if a packet belongs to a session of ours.
    pub(super) fn accepts(&self, packet: &Packet) -> bool {
        let Packet::Data { from, session, .. } = packet else {
            return false;
        };
        let peer = self.peers.get(from);
        peer.is_some_and(|peer| peer.sessions.contains(session))
    }

    /// When a peer will have been silent for too long.
    pub(super) fn silence_due(&self) -> Option<Instant> {
        self.peers
            .values()
            .filter_map(EnginePeer::silence_due)
            .min()
    }

    pub(super) fn silent(&mut self, now: Instant) -> Vec<EngineEvent> {
        let due = |peer: &&mut EnginePeer| peer.silence_due().is_some_and(|at| at <= now);
        let tell = |peer: &mut EnginePeer| {
            peer.told = Some(now);
            EngineEvent::Unanswered {
                peer: peer.spec.public_key,
                since: peer.unanswered.unwrap_or(now),
            }
        };
        self.peers.values_mut().filter(due).map(tell).collect()
    }

    fn set_peer(&mut self, spec: PeerSpec) {
        let key = spec.public_key;
        if let Some(peer) = self.peers.get_mut(&key) {
            assert_ne!(peer.spec, spec, "nothing changed");
            if peer.spec.preshared_key != spec.preshared_key {
                peer.initiated = None;
            }
            peer.spec = spec;
        } else {
            let peer = EnginePeer {
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
            };
            self.peers.insert(key, peer);
        }
        let mut all: Vec<_> = self
            .peers
            .values()
            .flat_map(|p| &p.spec.allowed_ips)
            .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "a prefix stands in two peers");
    }

    fn sessions(&self) -> EngineEvent {
        let sessions = self.peers.iter().map(|(key, peer)| SessionState {
            peer: *key,
            last_handshake: peer.last_handshake,
            last_receive: peer.last_receive,
            last_data: peer.last_data,
            path: peer.path,
            rx_bytes: 1,
            tx_bytes: 2,
        });
        EngineEvent::Sessions(sessions.collect())
    }
}

impl EnginePeer {
    fn silence_due(&self) -> Option<Instant> {
        let since = self.unanswered? + PATIENCE;
        Some(self.told.map_or(since, |told| since.max(told + PATIENCE)))
    }

    fn data_received(
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

    fn done(&mut self, id: u64, path: PathId, now: Instant) {
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

fn handshake_done(peer: WgPublicKey, path: PathId, initiator: bool) -> EngineEvent {
    EngineEvent::HandshakeDone {
        peer,
        path,
        initiator,
    }
}

fn allows(spec: &PeerSpec, remote: SocketAddr) -> bool {
    spec.endpoint_filter
        .as_ref()
        .is_none_or(|filter| filter.allows(remote.ip()))
}
