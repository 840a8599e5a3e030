//! A WireGuard engine without cryptography, behind the seam the real ones serve. Two models: the
//! userspace engine (data on any path, the same initiation on many, repeated responses, the core
//! decides about paths) and the kernel's (one endpoint a peer that roams with what arrives, a handshake
//! at most every 5 s, one initiation under way).

mod inbound;
mod kernel;
mod keys;
mod outbound;
mod peer;
mod session;
mod window;

use std::collections::{BTreeMap, BTreeSet};
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
    pub(super) peer: Option<(Slot, WgPublicKey)>,
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

/// Where a peer stands in an engine's list: what it calls that peer towards the peer, as WireGuard does with
/// receiver indices.
pub(super) type Slot = usize;

#[derive(Debug)]
pub(super) struct Engine {
    key: WgPublicKey,
    mesh_address: Ipv6Addr,
    mode: Mode,
    /// Removed ones leave a gap.
    peers: Vec<Option<Box<Peer>>>,
    slots: BTreeMap<WgPublicKey, Slot>,
    prefixes: BTreeMap<IpNet, WgPublicKey>,
    timers: BTreeSet<(Instant, WgPublicKey, Slot)>,
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
            peers: Vec::new(),
            slots: BTreeMap::new(),
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
            EngineCommand::RemovePeer(key) => self.remove_peer(key),
            EngineCommand::ReplaceKey { former, spec } => {
                self.replace_key(former, *spec, tick.now);
            }
            EngineCommand::SetPrivateKey(key) => self.set_private_key(key.public_key()),
            EngineCommand::Handshake { peer, copies } => self.handshake(peer, &copies, tick),
            EngineCommand::SessionLost(key) => self.session_lost(&key, tick.now),
            EngineCommand::SetPath { peer, path } => {
                if let Some(known) = self.checked(peer, path, "moved to") {
                    known.path = Some(path);
                }
            }
            EngineCommand::Duplicate { peer, path, until } => {
                let mode = self.mode;
                if let (Some(known), Mode::Userspace) =
                    (self.checked(peer, path, "duplicated to"), mode)
                {
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
                if let Some(slot) = self.slots.get(&peer).copied()
                    && (!kernel || self.hop(slot, path, tick.now))
                {
                    let path = path.filter(|_| !kernel);
                    self.send(slot, path, purpose, packet.into(), tick.now);
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
                let peers = self.slots.values();
                let peers = peers.filter_map(|slot| self.peers[*slot].as_deref());
                let sessions = peers.map(Peer::state).collect();
                self.out.events.push(EngineEvent::Sessions(sessions));
            }
        }
        self.arm(tick.now);
    }

    /// A user's packet to a peer.
    pub(super) fn send_user(&mut self, peer: WgPublicKey, tag: u64, tick: Tick) {
        if let Some(slot) = self.slots.get(&peer).copied() {
            self.send(slot, None, Purpose::User, user_packet(tag), tick.now);
            self.arm(tick.now);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, ..)| *at)
    }

    /// Copies, keepalives and the session layer's own handshakes.
    pub(super) fn tick(&mut self, tick: Tick) {
        let Tick { now, .. } = tick;
        while let Some((at, _, slot)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(peer) = self.peer_mut(slot) {
                peer.armed = None;
            }
            self.serve(slot, tick);
            self.arm_peer(slot, now, true);
        }
    }

    /// The path in use towards a peer.
    pub(super) fn path(&self, key: &WgPublicKey) -> Option<PathId> {
        self.peers[*self.slots.get(key)?].as_ref()?.path
    }

    fn peer_mut(&mut self, slot: Slot) -> Option<&mut Peer> {
        self.peers.get_mut(slot)?.as_deref_mut()
    }

    fn serve(&mut self, slot: Slot, tick: Tick) {
        let (now, mode) = (tick.now, self.mode);
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        if mode == Mode::Kernel {
            self.dial_due(slot, tick);
        } else {
            let due = peer.copies.extract_if(.., |(at, _)| *at <= now);
            let due: Vec<PathId> = due.map(|(_, path)| path).collect();
            for path in due {
                self.send_copy(slot, path, now);
            }
        }
        let Some(peer) = self.peer_mut(slot) else {
            return;
        };
        // A kernel peer with a persistent keepalive asks for a session as soon as it has none.
        if mode == Mode::Kernel && peer.spec.keepalive.is_some() && !peer.has_session(now) {
            peer.start_trying(now);
        }
        let silent = match mode {
            Mode::Userspace => peer.silence(now),
            Mode::Kernel => peer.watch.read(now),
        };
        let wants = peer.wants_handshake(now);
        let wanted = peer.path.filter(|_| wants);
        if let Some(since) = silent {
            let peer = peer.key();
            let event = EngineEvent::Unanswered { peer, since };
            self.out.events.push(event);
        }
        if let Some(path) = wanted {
            self.initiate(slot, tick);
            self.send_copy(slot, path, now);
        }
        if self
            .peer_mut(slot)
            .is_some_and(|peer| peer.wants_keepalive(now))
        {
            self.send(slot, None, Purpose::Control, Bytes::new(), now);
        }
    }

    fn set_peer(&mut self, spec: PeerSpec) {
        let key = spec.public_key;
        let slot = *self.slots.entry(key).or_insert(self.peers.len());
        if slot == self.peers.len() {
            self.peers.push(None);
        }
        let known = self.peers[slot].as_ref();
        if known.is_some_and(|known| known.spec == spec) {
            self.fault(format!("peer {key} was set although nothing changed"));
        }
        self.prefixes.retain(|_, owner| *owner != key);
        for prefix in &spec.allowed_ips {
            if let Some(other) = self.prefixes.insert(*prefix, key) {
                self.fault(format!("{prefix} stands in two peers, {other} and {key}"));
            }
        }
        let Some(peer) = &mut self.peers[slot] else {
            self.peers[slot] = Some(Box::new(Peer::new(spec, slot)));
            return;
        };
        peer.spec = spec;
        if peer.path.is_some_and(|path| !peer.allows(path.remote.ip())) {
            peer.path = None;
        }
    }

    fn remove_peer(&mut self, key: WgPublicKey) {
        let slot = self.slots.remove(&key);
        match slot.and_then(|slot| Some((slot, self.peers[slot].take()?))) {
            None => self.fault(format!("removed a stranger {key}")),
            Some((slot, peer)) => self.disarm((key, slot), peer.armed),
        }
        self.prefixes.retain(|_, owner| *owner != key);
    }

    /// The peer, if there is one. Tells of strangers and of what the filter refuses.
    fn checked(&mut self, key: WgPublicKey, path: PathId, did: &str) -> Option<&mut Peer> {
        let Some(slot) = self.slots.get(&key).copied() else {
            self.fault(format!("{did} {path} of a stranger {key}"));
            return None;
        };
        let peer = self.peers[slot].as_ref()?;
        if !peer.allows(path.remote.ip()) {
            self.fault(format!("{did} {path}, which the filter refuses"));
        }
        self.peer_mut(slot)
    }

    fn fault(&mut self, what: String) {
        self.out.faults.push(what);
    }

    /// Arms the timers of peers that something was just done with.
    fn arm(&mut self, now: Instant) {
        for index in 0..self.out.packets.len() {
            if let Some((slot, _)) = self.out.packets[index].peer {
                self.arm_peer(slot, now, false);
            }
        }
    }

    /// A timer that was armed too early finds nothing to do and is armed again; so sending need not
    /// move it each time.
    fn arm_peer(&mut self, slot: Slot, now: Instant, again: bool) {
        let Some(peer) = self.peer_mut(slot) else {
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
        let key = peer.key();
        self.disarm((key, slot), old);
        self.timers.insert((soonest, key, slot));
    }

    fn disarm(&mut self, (key, slot): (WgPublicKey, Slot), at: Option<Instant>) {
        if let Some(at) = at {
            self.timers.remove(&(at, key, slot));
        }
    }
}
