//! A WireGuard engine without cryptography, behind the seam the real ones serve. Two models: the
//! userspace engine (data on any path, the same initiation on many, repeated responses, the core
//! decides about paths) and the kernel's (one endpoint a peer that roams with what arrives, a handshake
//! at most every 5 s, one initiation under way).

mod inbound;
mod kernel;
mod keys;
mod outbound;
mod peer;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::Ipv6Addr;
use std::time::Instant;

use bytes::Bytes;
use ipnet::IpNet;
use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{EngineCommand, EngineEvent, PathId, PeerSpec, TrafficClass};

use self::kernel::Readings;
use self::peer::Peer;
use super::chance::Chance;
use super::packet::{Packet, user_packet};

/// Which WireGuard implementation a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// meshd's own engine.
    Userspace,
    /// The Linux kernel's.
    Kernel,
}

/// What a packet is for; only what the mesh itself causes counts against its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Control,
    User,
}

/// A packet to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) path: PathId,
    pub(super) packet: Packet,
    pub(super) purpose: Purpose,
    pub(super) peer: Option<WgPublicKey>,
    /// The local address was learned, not chosen: if it is gone, any other does.
    pub(super) learned: bool,
}

/// What a call left to be done.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) packets: Vec<Outgoing>,
    pub(super) events: Vec<EngineEvent>,
    /// Users' packets that arrived, by their tags.
    pub(super) users: Vec<(WgPublicKey, u64)>,
    /// Commands no engine should get, in words.
    pub(super) faults: Vec<String>,
}

/// The clocks of a call: monotonic, and the wall clock in nanoseconds for handshakes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) now: Instant,
    pub(super) wall_ns: u64,
}

/// Receiver indices are random numbers, and their own hash.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[derive(Debug)]
pub(super) struct Engine {
    key: WgPublicKey,
    mesh_address: Ipv6Addr,
    mode: Mode,
    peers: BTreeMap<WgPublicKey, Peer>,
    /// Whose a receiver index is; entries may be out of date.
    owners: HashMap<u64, WgPublicKey, BuildHasherDefault<AsItIs>>,
    prefixes: BTreeMap<IpNet, WgPublicKey>,
    timers: BTreeSet<(Instant, WgPublicKey)>,
    chance: Chance,
    /// Of the kernel's device.
    readings: Option<Readings>,
    pub(super) out: Output,
}

impl Engine {
    pub(super) fn new(
        key: WgPublicKey,
        mesh_address: Ipv6Addr,
        mode: Mode,
        chance: Chance,
    ) -> Self {
        Self {
            key,
            mesh_address,
            mode,
            peers: BTreeMap::new(),
            owners: HashMap::default(),
            prefixes: BTreeMap::new(),
            timers: BTreeSet::new(),
            chance,
            readings: None,
            out: Output::default(),
        }
    }

    pub(super) fn command(&mut self, command: EngineCommand, tick: Tick) {
        match command {
            EngineCommand::SetPeer(spec) => self.set_peer(*spec),
            EngineCommand::RemovePeer(key) => {
                match self.peers.remove(&key) {
                    None => self.fault(format!("removed a stranger {key}")),
                    Some(peer) => self.disarm(key, peer.armed),
                }
                self.prefixes.retain(|_, owner| *owner != key);
            }
            EngineCommand::ReplaceKey { former, spec } => self.replace_key(former, *spec),
            EngineCommand::SetPrivateKey(key) => self.set_private_key(key.public_key()),
            EngineCommand::Handshake { peer, copies } => self.handshake(peer, &copies, tick),
            EngineCommand::SetPath { peer, path } => {
                self.check_path(peer, path, "moved to");
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.path = Some(path);
                }
            }
            EngineCommand::Duplicate { peer, path, until } => {
                self.check_path(peer, path, "duplicated to");
                if let (Some(known), Mode::Userspace) = (self.peers.get_mut(&peer), self.mode) {
                    known.duplicate = Some((path, until));
                }
            }
            EngineCommand::Send {
                peer,
                path,
                class,
                packet,
            } => {
                let purpose = match class {
                    TrafficClass::Control => Purpose::Control,
                    TrafficClass::Data => Purpose::User,
                };
                let kernel = self.mode == Mode::Kernel;
                if !kernel || self.hop(&peer, path, tick.now) {
                    let path = path.filter(|_| !kernel);
                    self.send(peer, path, purpose, packet.into(), tick.now);
                }
            }
            EngineCommand::SendDatagram { path, bytes } => self.out.packets.push(Outgoing {
                path,
                packet: Packet::Datagram(bytes.into()),
                purpose: Purpose::Control,
                peer: None,
                learned: false,
            }),
            // Virtual paths carry packets of any size.
            EngineCommand::SetPathMtu { .. } => {}
            // Virtual hosts send from the link of the address anyway.
            EngineCommand::SetSources(_) => {}
            EngineCommand::ReadSessions => {
                let sessions = self.peers.values().map(Peer::state).collect();
                self.out.events.push(EngineEvent::Sessions(sessions));
            }
        }
        self.arm(tick.now);
    }

    /// A user's packet to a peer.
    pub(super) fn send_user(&mut self, peer: WgPublicKey, tag: u64, tick: Tick) {
        self.send(peer, None, Purpose::User, user_packet(tag), tick.now);
        self.arm(tick.now);
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Copies, keepalives and the session layer's own handshakes.
    pub(super) fn tick(&mut self, tick: Tick) {
        let Tick { now, .. } = tick;
        while let Some((at, key)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.armed = None;
            }
            self.serve(key, tick);
            self.arm_peer(key, now, true);
        }
    }

    /// The path in use towards a peer.
    pub(super) fn path(&self, key: &WgPublicKey) -> Option<PathId> {
        self.peers.get(key)?.path
    }

    fn serve(&mut self, key: WgPublicKey, tick: Tick) {
        let Tick { now, .. } = tick;
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let mut copies = std::mem::take(&mut peer.copies);
        let due: Vec<PathId> = copies
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, path)| path)
            .collect();
        peer.copies = copies;
        for path in due {
            match self.mode {
                Mode::Userspace => self.send_copy(key, path, now),
                Mode::Kernel => self.kernel_handshake(key, path, tick),
            }
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        // A kernel peer with a persistent keepalive asks for a session as soon as it has none.
        if self.mode == Mode::Kernel && peer.spec.keepalive.is_some() && !peer.has_session(now) {
            peer.start_trying(now);
        }
        let silent = match self.mode {
            Mode::Userspace => peer.silence(now),
            Mode::Kernel => peer.watch.read(now),
        };
        if let Some(since) = silent {
            let event = EngineEvent::Unanswered { peer: key, since };
            self.out.events.push(event);
        }
        if peer.wants_handshake(now)
            && let Some(path) = peer.path
        {
            self.initiate(key, tick);
            self.send_copy(key, path, now);
        }
        if self
            .peers
            .get(&key)
            .is_some_and(|peer| peer.wants_keepalive(now))
        {
            self.send(key, None, Purpose::Control, Bytes::new(), now);
        }
    }

    fn set_peer(&mut self, spec: PeerSpec) {
        let key = spec.public_key;
        if self.peers.get(&key).is_some_and(|known| known.spec == spec) {
            self.fault(format!("peer {key} was set although nothing changed"));
        }
        self.prefixes.retain(|_, owner| *owner != key);
        for prefix in &spec.allowed_ips {
            if let Some(other) = self.prefixes.insert(*prefix, key) {
                self.fault(format!("{prefix} stands in two peers, {other} and {key}"));
            }
        }
        match self.peers.get_mut(&key) {
            Some(peer) => peer.spec = spec,
            None => drop(self.peers.insert(key, Peer::new(spec))),
        }
        if let Some(peer) = self.peers.get_mut(&key)
            && peer.path.is_some_and(|path| !peer.allows(path.remote.ip()))
        {
            peer.path = None;
        }
    }

    fn own(&mut self, id: u64, key: WgPublicKey) {
        if self.owners.len() > 64 + self.peers.len() * 8 {
            let peers = &self.peers;
            self.owners.retain(|id, key| {
                let peer = peers.get(key);
                peer.is_some_and(|peer| peer.knows(*id) || peer.pending.contains(id))
            });
        }
        self.owners.insert(id, key);
    }

    fn check_path(&mut self, key: WgPublicKey, path: PathId, did: &str) {
        match self.peers.get(&key) {
            None => self.fault(format!("{did} {path} of a stranger {key}")),
            Some(peer) if !peer.allows(path.remote.ip()) => {
                self.fault(format!("{did} {path}, which the filter refuses"));
            }
            Some(_) => {}
        }
    }

    fn fault(&mut self, what: String) {
        self.out.faults.push(what);
    }

    /// Arms the timers of peers that something was just done with.
    fn arm(&mut self, now: Instant) {
        for index in 0..self.out.packets.len() {
            if let Some(key) = self.out.packets[index].peer {
                self.arm_peer(key, now, false);
            }
        }
    }

    /// A timer that was armed too early finds nothing to do and is armed again; so sending need not
    /// move it each time.
    fn arm_peer(&mut self, key: WgPublicKey, now: Instant, again: bool) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(at) = peer.next_timer(now) else {
            return;
        };
        let soonest = if again {
            at.max(now + std::time::Duration::from_millis(1))
        } else {
            at
        };
        if peer.armed.is_some_and(|old| old <= soonest) {
            return;
        }
        let old = peer.armed.replace(soonest);
        self.disarm(key, old);
        self.timers.insert((soonest, key));
    }

    fn disarm(&mut self, key: WgPublicKey, at: Option<Instant>) {
        if let Some(at) = at {
            self.timers.remove(&(at, key));
        }
    }
}
