//! The data-plane seam: what the core asks of a WireGuard engine and what engines tell the core.
//!
//! Engines own sockets, sessions and packets; they decide nothing about paths. The core owns paths and
//! never sees a data packet. One seam serves the userspace engine, the kernel backend and the
//! simulator's session model. A WireGuard session is not bound to addresses, so choosing a path is a
//! command of its own, apart from handshakes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mesh_proto::{PresharedKey, WgPrivateKey, WgPublicKey};

use crate::filter::FilterProgram;

/// A way from this node to a remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId {
    /// Local source address; none lets the host's routes choose.
    pub local: Option<IpAddr>,
    /// Remote address and UDP port.
    pub remote: SocketAddr,
}

impl PathId {
    /// The path to `remote` with whatever source address the host's routes choose.
    #[must_use]
    pub const fn to(remote: SocketAddr) -> Self {
        Self {
            local: None,
            remote,
        }
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local {
            Some(local) => write!(f, "{local} -> {}", self.remote),
            None => write!(f, "{}", self.remote),
        }
    }
}

/// Control packets are never queued behind data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficClass {
    /// Probes and handshakes.
    Control,
    /// What users send.
    Data,
}

/// What an engine needs to know of a peer. Setting a known peer again changes only what differs and
/// never drops its session, unless the preshared key changed (then the next handshake uses it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSpec {
    /// WireGuard public key.
    pub public_key: WgPublicKey,
    /// Preshared key.
    pub preshared_key: Option<PresharedKey>,
    /// Cryptokey routing, sorted; no prefix stands in two peers.
    pub allowed_ips: Vec<IpNet>,
    /// Its mesh address, if it is a meshd: probes come from there.
    pub mesh_address: Option<Ipv6Addr>,
    /// Persistent keepalive.
    pub keepalive: Option<Duration>,
    /// Addresses outside this filter are never sent to, answers included.
    pub endpoint_filter: Option<Arc<FilterProgram>>,
}

/// One copy of a handshake initiation: the same bytes go out on each path after its delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeCopy {
    /// Where.
    pub path: PathId,
    /// How long after the command.
    pub after: Duration,
}

/// What the core asks of an engine. Commands are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineCommand {
    /// Adds or changes a peer.
    SetPeer(Box<PeerSpec>),
    /// Forgets a peer and its session.
    RemovePeer(WgPublicKey),
    /// A known peer has another public key, and this is all of it. The next handshake uses the new key; path
    /// and session go on until then (the kernel's session ends, and packets wait for the handshake).
    ReplaceKey {
        /// The key it was known by.
        former: WgPublicKey,
        /// The peer; its key is no other peer's.
        spec: Box<PeerSpec>,
    },
    /// This node has another private key, for the next handshake with everybody. Sessions go on until then
    /// (with the kernel: they only receive, and packets wait for the handshake).
    SetPrivateKey(WgPrivateKey),
    /// Starts a new handshake: one initiation, copies of it on several paths. Replaces copies of an
    /// earlier initiation that are not sent yet.
    Handshake {
        /// To whom.
        peer: WgPublicKey,
        /// Where and when; never empty.
        copies: Vec<HandshakeCopy>,
    },
    /// The far end answers, but not in the tunnel: a handshake that follows may throw the session away.
    SessionLost(WgPublicKey),
    /// Sends data and keepalives of the peer on this path from now on.
    SetPath {
        /// Whose.
        peer: WgPublicKey,
        /// Where.
        path: PathId,
    },
    /// Data packets to the peer that are larger do not arrive: the engine refuses them with the word that
    /// makes the sender send smaller ones. None lifts that. Not for packets of the core.
    SetPathMtu {
        /// Whose.
        peer: WgPublicKey,
        /// Largest inner packet, bytes.
        mtu: Option<u16>,
    },
    /// Sends data of the peer on this path as well, until then.
    Duplicate {
        /// Whose.
        peer: WgPublicKey,
        /// Where, besides the path in use.
        path: PathId,
        /// Until when.
        until: Instant,
    },
    /// Encrypts `packet` and sends it on `path`, or on the path in use. Dropped without a session.
    Send {
        /// To whom.
        peer: WgPublicKey,
        /// Where; none means the path in use.
        path: Option<PathId>,
        /// Its class.
        class: TrafficClass,
        /// A whole IP packet.
        packet: Vec<u8>,
    },
    /// Sends bytes that are not WireGuard from the WireGuard port: STUN, candidate probes.
    SendDatagram {
        /// Where.
        path: PathId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Replaces the knowledge of own addresses that belong to one link each.
    SetSources(Vec<SourceLink>),
    /// Asks for an [`EngineEvent::Sessions`].
    ReadSessions,
}

/// An own address whose packets to certain destinations leave by its own link, even where the host's
/// best route is another one: the second uplink has a default route too, only a worse one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLink {
    /// The address.
    pub address: IpAddr,
    /// Interface index.
    pub link: u32,
    /// What routes of that link lead to; few, none inside another.
    pub leads: Arc<[IpNet]>,
}

/// State of one peer's session, as the engine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// Whose.
    pub peer: WgPublicKey,
    /// Time of the last completed handshake.
    pub last_handshake: Option<Instant>,
    /// Time of the last authenticated packet.
    pub last_receive: Option<Instant>,
    /// Time of the last packet of hosts, not probes or keepalives, in either direction.
    pub last_data: Option<Instant>,
    /// The path in use.
    pub path: Option<PathId>,
    /// Bytes received, WireGuard overhead not counted.
    pub rx_bytes: u64,
    /// Bytes sent, WireGuard overhead not counted.
    pub tx_bytes: u64,
}

/// What an engine tells the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A handshake is complete: data can be sent. The engine has sent what confirms it.
    HandshakeDone {
        /// With whom.
        peer: WgPublicKey,
        /// The path its last message came by.
        path: PathId,
        /// True if this node sent the initiation.
        initiator: bool,
    },
    /// An authenticated packet came by another path than the one in use; the paths of all events name
    /// the local address, and belong to a path without one if the remote address is the same. At most one event per peer,
    /// path and 100 ms. The engine does not follow by itself, except that a peer without any path
    /// gets this one.
    OtherPath {
        /// Whose packet.
        peer: WgPublicKey,
        /// Its path.
        path: PathId,
    },
    /// A probe came out of the tunnel. Never reaches the TUN.
    Probe {
        /// From whom.
        peer: WgPublicKey,
        /// Its path.
        path: PathId,
        /// UDP payload.
        payload: Vec<u8>,
    },
    /// A datagram that is not WireGuard came on the WireGuard port.
    Datagram {
        /// Its path.
        path: PathId,
        /// What.
        bytes: Vec<u8>,
    },
    /// The kernel refused to send: network or host unreachable, address gone, not permitted. At most
    /// one event per peer, path and 100 ms.
    SendFailed {
        /// To whom; none for datagrams.
        peer: Option<WgPublicKey>,
        /// Where.
        path: PathId,
        /// In words.
        error: String,
    },
    /// An initiation under the peer's key is older than one that was answered: its clock went back, or
    /// somebody replays. It proves nothing, and may cause a question at most.
    InitiationRefused {
        /// Whose key.
        peer: WgPublicKey,
        /// Where it came from, for all that is known: a replay comes from anywhere.
        path: PathId,
    },
    /// There is data for a peer that has no session.
    WantsSession {
        /// For whom.
        peer: WgPublicKey,
    },
    /// Data was sent to a peer that has a mesh address, and nothing authenticated has come from it on
    /// any path for 50 ms. Repeated every 50 ms until something comes.
    Unanswered {
        /// Who is silent.
        peer: WgPublicKey,
        /// When the oldest data was sent that nothing came after.
        since: Instant,
    },
    /// Answer to [`EngineCommand::ReadSessions`], sorted by key.
    Sessions(Vec<SessionState>),
    /// Somebody deleted the tunnel interface; the engine made it again and needs its addresses.
    InterfaceRecreated,
    /// Somebody else changed the kernel's WireGuard interface or its peers; the engine put that right. What
    /// it was, in words. Not for every change: one a second is enough.
    InterfaceHealed(String),
}
