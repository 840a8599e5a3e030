//! A WireGuard engine without cryptography: sessions are numbers, but handshakes take their three
//! messages, filters hold, and nothing passes without a session.

mod peer;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use mesh_proto::{PresharedKey, WgPublicKey};

pub(super) use self::peer::EnginePeer;
use self::peer::{allows, handshake_done};
use crate::data_plane::{EngineCommand, EngineEvent, PathId, PeerSpec, SessionState};

/// Sessions a peer remembers: the one in use and those a packet may still come on.
const KEPT_SESSIONS: usize = 3;

/// What travels between two engines.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    /// Only `to` can read it.
    Initiation {
        from: WgPublicKey,
        to: WgPublicKey,
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
        session: u64,
        bytes: Vec<u8>,
    },
    Datagram(Vec<u8>),
}

/// A packet to be sent on a path after a delay.
pub(super) type Outgoing = (Duration, PathId, Packet);

#[derive(Debug)]
pub(super) struct FakeEngine {
    key: WgPublicKey,
    mesh_address: Ipv6Addr,
    pub(super) peers: BTreeMap<WgPublicKey, EnginePeer>,
    next_id: u64,
    /// Initiations commanded so far, with their time.
    pub(super) initiations: Vec<(Instant, WgPublicKey)>,
    pub(super) refused: u32,
    /// Sessions that were given up.
    pub(super) given_up: Vec<WgPublicKey>,
    /// Packets of the core commanded on another path than the one in use.
    pub(super) strayed: u32,
    /// Datagrams commanded so far.
    pub(super) datagrams: Vec<(PathId, Vec<u8>)>,
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
            given_up: Vec::new(),
            strayed: 0,
            datagrams: Vec::new(),
            path_mtus: BTreeMap::new(),
        }
    }

    pub(super) const fn key(&self) -> WgPublicKey {
        self.key
    }

    pub(super) const fn mesh_address(&self) -> Ipv6Addr {
        self.mesh_address
    }

    /// The peer that packets to this mesh address go to.
    pub(super) fn owner(&self, address: Ipv6Addr) -> Option<WgPublicKey> {
        let mut peers = self.peers.values();
        let peer = peers.find(|peer| peer.spec.mesh_address == Some(address))?;
        Some(peer.spec.public_key)
    }

    /// All sessions are lost, as after a restart of the process.
    pub(super) fn reset(&mut self, key: WgPublicKey) {
        self.key = key;
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
            EngineCommand::ReplaceKey { former, spec } => self.replace_key(former, *spec),
            EngineCommand::SetPrivateKey(key) => self.set_key(key.public_key()),
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
                    let packet = Packet::Initiation { from, to: peer, id };
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
            } => out.extend(self.send(peer, path, packet)),
            EngineCommand::SendDatagram { path, bytes } => {
                self.datagrams.push((path, bytes.clone()));
                out.push((Duration::ZERO, path, Packet::Datagram(bytes)));
            }
            EngineCommand::SetSources(_) => {}
            EngineCommand::SessionLost(key) => self.given_up.push(key),
            EngineCommand::ReadSessions => events.push(self.sessions()),
        }
        (out, events)
    }

    fn send(
        &mut self,
        peer: WgPublicKey,
        path: Option<PathId>,
        bytes: Vec<u8>,
    ) -> Option<Outgoing> {
        let known = &self.peers[&peer];
        let to = path.or(known.path);
        self.strayed += u32::from(known.path.is_some() && to != known.path);
        let session = *known.sessions.back()?;
        Some((Duration::ZERO, to?, Packet::Data { session, bytes }))
    }

    pub(super) fn receive(
        &mut self,
        path: PathId,
        packet: Packet,
        now: Instant,
    ) -> (Vec<Outgoing>, Vec<EngineEvent>) {
        let own_key = self.key;
        let found = match &packet {
            Packet::Datagram(bytes) => {
                let bytes = bytes.clone();
                return (Vec::new(), vec![EngineEvent::Datagram { path, bytes }]);
            }
            Packet::Initiation { to, .. } if *to != own_key => None,
            Packet::Initiation { from, .. }
            | Packet::Response { from, .. }
            | Packet::Confirm { from, .. } => self.peers.get_mut(from),
            // Known by its session, whatever the keys are by now.
            Packet::Data { session, .. } => {
                let mut peers = self.peers.values_mut();
                peers.find(|peer| peer.sessions.contains(session))
            }
        };
        let Some(peer) = found else {
            return (Vec::new(), Vec::new());
        };
        let from = peer.spec.public_key;
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
            (Duration::ZERO, path, Packet::Data { session, bytes })
        };
        std::iter::once(path).chain(twice).map(data).collect()
    }

    /// True if a packet belongs to a session of ours.
    pub(super) fn accepts(&self, packet: &Packet) -> bool {
        let Packet::Data { session, .. } = packet else {
            return false;
        };
        let mut peers = self.peers.values();
        peers.any(|peer| peer.sessions.contains(session))
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
            self.peers.insert(key, EnginePeer::new(spec));
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

    fn set_key(&mut self, key: WgPublicKey) {
        self.key = key;
        let peers = self.peers.values_mut();
        peers.for_each(|peer| peer.initiated = None);
    }

    fn replace_key(&mut self, former: WgPublicKey, spec: PeerSpec) {
        let mut peer = self.peers.remove(&former).expect("a known peer");
        peer.initiated = None;
        peer.spec = spec;
        let before = self.peers.insert(peer.spec.public_key, peer);
        assert!(before.is_none(), "the key of another peer");
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
