//! One peer of the engine: its session, its path, and what is remembered of it. Touches no socket.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{PathId, PeerSpec, SessionState};

use super::allowed_ips::Slot;
use super::endpoint_gate::EndpointGate;
use super::newest::Newest;
use super::path::{LocalAddresses, Route};
use super::rate::{Pace, PathLimiter};
use super::response_cache::INITIATION_BYTES;
use super::sessions::{DeviceKeys, Sessions};
use super::snapshot::PeerSnapshot;

/// At most one cookie in this time causes a new initiation.
const COOKIE_PACE: Duration = Duration::from_millis(200);
/// At most one wish for a session in this time.
const WISH_PACE: Duration = Duration::from_secs(1);

/// A peer.
pub(super) struct Peer {
    /// Its place in the table, and the upper bits of its receiver indices.
    pub(super) slot: Slot,
    /// What the core said of it.
    pub(super) spec: PeerSpec,
    /// Its sessions.
    pub(super) sessions: Sessions,
    /// The path in use.
    pub(super) path: Option<PathId>,
    /// Largest inner packet that arrives, if less than what the interface takes.
    pub(super) path_mtu: Option<u16>,
    /// A second path for data, for a while.
    pub(super) duplicate: Option<(PathId, Instant)>,
    /// The initiation that waiting copies are made of.
    pub(super) initiation: Option<[u8; INITIATION_BYTES]>,
    /// Local addresses of its paths.
    pub(super) locals: LocalAddresses,
    /// Where it may be reached.
    pub(super) gate: EndpointGate,
    /// Bound on events of other paths.
    pub(super) other_path: PathLimiter,
    /// Bound on events of failed sends.
    pub(super) send_failed: PathLimiter,
    /// Bound on wishes for a session.
    pub(super) wish: Pace,
    /// Bound on initiations that cookies cause.
    pub(super) cookie: Pace,
    /// When the oldest data left that nothing has arrived after.
    pub(super) unanswered: Option<Instant>,
    /// Which of its packets is the newest.
    pub(super) newest: Newest,
    /// Last packet of hosts in either direction.
    pub(super) last_data: Option<Instant>,
    /// Somebody watches for silence.
    pub(super) watched: bool,
    last_handshake: Option<Instant>,
    last_receive: Option<Instant>,
    last_send: Option<Instant>,
    rx_bytes: u64,
    tx_bytes: u64,
    /// Receiver indices of sessions this node answered and no data has come on yet.
    unconfirmed: VecDeque<u32>,
}

impl Peer {
    /// Answered initiations that wait for their first data.
    const MAX_UNCONFIRMED: usize = 8;

    /// A peer without session and path.
    pub(super) fn new(slot: Slot, spec: PeerSpec, keys: &DeviceKeys) -> Self {
        Self {
            slot,
            sessions: Sessions::new(slot, &spec, keys),
            gate: EndpointGate::new(spec.endpoint_filter.clone()),
            spec,
            path: None,
            path_mtu: None,
            duplicate: None,
            initiation: None,
            locals: LocalAddresses::default(),
            other_path: PathLimiter::default(),
            send_failed: PathLimiter::default(),
            wish: Pace::new(WISH_PACE),
            cookie: Pace::new(COOKIE_PACE),
            unanswered: None,
            newest: Newest::default(),
            last_data: None,
            watched: false,
            last_handshake: None,
            last_receive: None,
            last_send: None,
            rx_bytes: 0,
            tx_bytes: 0,
            unconfirmed: VecDeque::new(),
        }
    }

    /// Takes over what differs in `spec`. The session goes on.
    pub(super) fn update(&mut self, spec: PeerSpec, keys: &DeviceKeys) {
        let renewed = self.has_other_keys(&spec);
        if self.spec.endpoint_filter != spec.endpoint_filter {
            self.gate = EndpointGate::new(spec.endpoint_filter.clone());
            let outside = |path: PathId, gate: &mut EndpointGate| !gate.allows(path.remote.ip());
            if self.path.is_some_and(|path| outside(path, &mut self.gate)) {
                self.path = None;
            }
        }
        self.spec = spec;
        if renewed {
            self.renew(keys);
        }
    }

    /// True if the next handshake under `spec` is another one.
    pub(super) fn has_other_keys(&self, spec: &PeerSpec) -> bool {
        self.spec.preshared_key != spec.preshared_key || self.spec.public_key != spec.public_key
    }

    /// Makes the next handshake use the present keys, this node's and the peer's.
    pub(super) fn renew(&mut self, keys: &DeviceKeys) {
        self.sessions.renew(&self.spec, keys);
        self.unconfirmed.clear();
        self.initiation = None;
    }

    /// A new initiation; it is what copies are made of from now on.
    pub(super) fn initiate<'a>(
        &mut self,
        keys: &DeviceKeys,
        output: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let initiation = self.sessions.initiate(&self.spec, keys, output)?;
        self.initiation = (&*initiation).try_into().ok();
        Some(initiation)
    }

    /// Its key.
    pub(super) const fn key(&self) -> WgPublicKey {
        self.spec.public_key
    }

    /// True if it may be reached at `address`.
    pub(super) fn allows(&mut self, address: IpAddr) -> bool {
        self.gate.allows(address)
    }

    /// True if data can be encrypted.
    pub(super) fn has_session(&self) -> bool {
        self.sessions.is_live()
    }

    /// The other path that data goes on now.
    pub(super) fn duplicate_path(&mut self, now: Instant) -> Option<PathId> {
        let (path, until) = self.duplicate?;
        if now >= until {
            self.duplicate = None;
            return None;
        }
        (Some(path) != self.path).then_some(path)
    }

    /// Notes an authenticated packet that came by `arrival`. True if that is not the path in use and
    /// should be told, which only the newest packet may.
    pub(super) fn authenticated(&mut self, now: Instant, arrival: Route, is_newest: bool) -> bool {
        let path = self.heard(now, arrival);
        self.unanswered = None;
        is_newest && !arrival.is_of(path) && self.other_path.pass(now, arrival.path())
    }

    /// Notes a packet of this peer; the path in use, which is `arrival` if there was none.
    pub(super) fn heard(&mut self, now: Instant, arrival: Route) -> PathId {
        self.last_receive = Some(now);
        self.locals.learn(arrival);
        *self.path.get_or_insert(arrival.path())
    }

    /// Notes that an initiation was answered and the session awaits data on receiver index `index`.
    pub(super) fn answered(&mut self, index: u32) {
        if self.unconfirmed.len() >= Self::MAX_UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back(index);
    }

    /// True if data on receiver index `index` is the first on a session this node answered.
    pub(super) fn confirm(&mut self, now: Instant, index: u32) -> bool {
        let Some(at) = self.unconfirmed.iter().position(|known| *known == index) else {
            return false;
        };
        self.unconfirmed.drain(..=at);
        self.established(now, index);
        true
    }

    /// Notes a completed handshake, of the session with receiver index `index`.
    pub(super) fn established(&mut self, now: Instant, index: u32) {
        self.newest.established(index);
        self.last_handshake = Some(now);
        self.initiation = None;
    }

    /// Notes `bytes` of inner data received.
    pub(super) const fn received(&mut self, bytes: usize) {
        self.rx_bytes += bytes as u64;
    }

    /// Notes `bytes` of inner data sent.
    pub(super) const fn sent(&mut self, now: Instant, bytes: usize) {
        self.last_send = Some(now);
        self.tx_bytes += bytes as u64;
    }

    /// True if nothing was sent for the keepalive interval.
    pub(super) fn needs_keepalive(&self, now: Instant) -> bool {
        self.spec.keepalive.is_some_and(|interval| {
            !interval.is_zero()
                && self
                    .last_send
                    .is_none_or(|last| now.saturating_duration_since(last) >= interval)
        })
    }

    /// Its state, for the core.
    pub(super) const fn state(&self) -> SessionState {
        SessionState {
            peer: self.key(),
            last_handshake: self.last_handshake,
            last_receive: self.last_receive,
            last_data: self.last_data,
            path: self.path,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
        }
    }

    /// Its state, for wg(8).
    pub(super) fn snapshot(&self, now: Instant, wall: SystemTime) -> PeerSnapshot {
        let last_handshake = self.last_handshake.and_then(|at| {
            let ago = now.saturating_duration_since(at);
            let at = wall.checked_sub(ago)?;
            at.duration_since(SystemTime::UNIX_EPOCH).ok()
        });
        PeerSnapshot {
            public_key: self.key(),
            preshared_key: self.spec.preshared_key.clone(),
            endpoint: self.path.map(|path| path.remote),
            allowed_ips: self.spec.allowed_ips.clone(),
            last_handshake,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            keepalive: self.spec.keepalive.map_or(0, |interval| interval.as_secs()),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("slot", &self.slot)
            .field("key", &self.key())
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
