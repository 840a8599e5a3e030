//! One peer of the session model: its sessions, handshakes under way, and path. Keeps the rules of
//! WireGuard (whitepaper sections 5.4 and 6) that recovery depends on; encrypts nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{PathId, PeerSpec, SessionState};

use super::Slot;
use super::kernel::Watch;
use super::session::{Opened, Session};
use crate::sim::packet::Packet;
use crate::sim::seam::PATIENCE;

/// A session is replaced by its initiator after this (`REKEY_AFTER_TIME`).
const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Data sent and nothing heard for this long: a new handshake.
const DEAF_AFTER: Duration = Duration::from_secs(15);
/// Between initiations of the session layer's own (`REKEY_TIMEOUT`).
pub(super) const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// The session layer gives up after this (`REKEY_ATTEMPT_TIME`).
const ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// How long a response is repeated to the same initiation.
const RESPONSE_KEPT: Duration = Duration::from_secs(10);
const MAX_RESPONSES: usize = 16;
/// How long the engine insists on an own address that gets no answers.
const LOCAL_PATIENCE: Duration = Duration::from_secs(1);
/// At most one event of another path, or wish for a session, in this time.
const OTHER_PATH_PACE: Duration = Duration::from_millis(100);
const WISH_PACE: Duration = Duration::from_secs(1);

/// A local address, and the first packet sent from it since something arrived there.
#[derive(Debug, Clone, Copy)]
struct Local {
    address: IpAddr,
    unanswered: Option<Instant>,
}

/// In memory as it is written here: what every packet needs stands together. Ten thousand of them are far more
/// than the processor's caches hold.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Peer {
    /// Where it stands in the engine's list.
    pub(super) slot: Slot,
    pub(super) path: Option<PathId>,
    pub(super) spec: PeerSpec,
    /// When the engine looks at it next.
    pub(super) armed: Option<Instant>,
    pub(super) last_receive: Option<Instant>,
    last_send: Option<Instant>,
    /// The first data since something was heard.
    unanswered: Option<Instant>,
    /// The first of users' data since something was heard, and when that was told last.
    silent: Option<(Instant, Instant)>,
    /// When the session layer began to try by itself.
    trying: Option<Instant>,
    rx_bytes: u64,
    tx_bytes: u64,
    /// Of the kernel's device.
    pub(super) watch: Watch,
    /// Last initiation or response.
    pub(super) last_message: Option<Instant>,
    /// How much later than usual its own next initiation comes.
    pub(super) jitter: Duration,
    /// Where packets of a remote address arrived: the first such address, and the others.
    local: Option<(SocketAddr, Local)>,
    locals: Vec<(SocketAddr, Local)>,
    pub(super) copies: Vec<(Instant, PathId)>,
    pub(super) next: Option<Box<Session>>,
    pub(super) current: Option<Session>,
    previous: Option<Box<Session>>,
    /// This node's initiation was answered after it last answered one: it renews the session, as in
    /// boringtun. If both began at once, both do.
    pub(super) initiated: bool,
    pub(super) last_handshake: Option<Instant>,
    /// The last of users' data in either direction.
    pub(super) last_data: Option<Instant>,
    pub(super) duplicate: Option<(PathId, Instant)>,
    /// Initiations that may still be answered: as many as boringtun remembers.
    pub(super) pending: VecDeque<u64>,
    /// What waiting copies are made of.
    pub(super) initiation: Option<Packet>,
    pub(super) stamp_sent: u64,
    pub(super) stamp_seen: u64,
    responses: VecDeque<(Instant, u64, Packet)>,
    told: BTreeMap<PathId, Instant>,
    wished: Option<Instant>,
}

impl Peer {
    pub(super) fn new(spec: PeerSpec, slot: Slot) -> Self {
        Self {
            slot,
            spec,
            path: None,
            duplicate: None,
            local: None,
            locals: Vec::new(),
            pending: VecDeque::new(),
            initiation: None,
            copies: Vec::new(),
            stamp_sent: 0,
            stamp_seen: 0,
            responses: VecDeque::new(),
            current: None,
            previous: None,
            next: None,
            last_handshake: None,
            last_receive: None,
            last_send: None,
            unanswered: None,
            silent: None,
            last_data: None,
            last_message: None,
            jitter: Duration::ZERO,
            initiated: false,
            trying: None,
            rx_bytes: 0,
            tx_bytes: 0,
            told: BTreeMap::new(),
            wished: None,
            watch: Watch::default(),
            armed: None,
        }
    }

    pub(super) fn key(&self) -> WgPublicKey {
        self.spec.public_key
    }

    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let filter = self.spec.endpoint_filter.as_ref();
        filter.is_none_or(|filter| filter.allows(address))
    }

    pub(super) fn has_session(&self, now: Instant) -> bool {
        self.current.as_ref().is_some_and(|one| one.is_live(now))
    }

    /// A new initiation. `clock` is the node's wall clock; a clock that is set back does not make a
    /// running process go back, but a new process knows no better than its clock.
    pub(super) fn initiate(
        &mut self,
        own: WgPublicKey,
        id: u64,
        clock: u64,
        now: Instant,
    ) -> Packet {
        self.stamp_sent = clock.max(self.stamp_sent + 1);
        self.pending.push_back(id);
        if self.pending.len() > 2 {
            self.pending.pop_front();
        }
        self.last_message = Some(now);
        let packet = Packet::Initiation {
            from: own,
            to: self.key(),
            id,
            index: self.slot,
            stamp: self.stamp_sent,
        };
        self.initiation = Some(packet.clone());
        packet
    }

    /// The response that the same initiation got a moment ago.
    pub(super) fn repeated(&mut self, initiation: u64, now: Instant) -> Option<Packet> {
        self.responses
            .retain(|(at, ..)| now.saturating_duration_since(*at) < RESPONSE_KEPT);
        let found = self.responses.iter().find(|(_, id, _)| *id == initiation);
        found.map(|(.., packet)| packet.clone())
    }

    /// Answers an initiation with a session that waits for its first data.
    pub(super) fn answer(
        &mut self,
        initiation: u64,
        session: u64,
        theirs: Slot,
        now: Instant,
    ) -> Packet {
        self.next = Some(Box::new(Session::new(session, theirs, now)));
        self.initiated = false;
        self.last_message = Some(now);
        let packet = Packet::Response {
            initiation,
            session,
            indices: (theirs, self.slot),
        };
        if self.responses.len() >= MAX_RESPONSES {
            self.responses.pop_front();
        }
        self.responses.push_back((now, initiation, packet.clone()));
        packet
    }

    /// A session both ends have.
    pub(super) fn established(&mut self, session: Session, now: Instant) {
        self.previous = self.current.take().map(Box::new);
        self.current = Some(session);
        self.pending.clear();
        self.initiation = None;
        self.copies.clear();
        self.trying = None;
        self.last_handshake = Some(now);
    }

    /// A data packet on one of the sessions.
    pub(super) fn open(&mut self, session: u64, counter: u64, now: Instant) -> Opened {
        let next = self.next.take_if(|one| one.id == session);
        let confirms = next.is_some();
        if let Some(next) = next {
            self.established(*next, now);
        }
        let previous = self.previous.iter_mut().map(AsMut::as_mut);
        let mut all = self.current.iter_mut().chain(previous);
        let Some(found) = all.find(|one| one.id == session && one.is_live(now)) else {
            return Opened::No;
        };
        if !found.window.accept(counter) {
            return Opened::No;
        }
        if confirms {
            Opened::Confirms
        } else {
            Opened::Yes
        }
    }

    /// Something authenticated came by `path`. Returns the path in use.
    pub(super) fn heard(&mut self, path: PathId, bytes: usize, now: Instant) -> PathId {
        self.last_receive = Some(now);
        self.unanswered = None;
        self.silent = None;
        self.watch.heard();
        self.trying = None;
        self.rx_bytes += bytes as u64;
        *self.path.get_or_insert(path)
    }

    /// Something authenticated came from `remote` to the own address `local`.
    pub(super) fn arrived_at(&mut self, remote: SocketAddr, local: IpAddr) {
        let heard = Local {
            address: local,
            unanswered: None,
        };
        if let Some(known) = self.local_mut(remote) {
            *known = heard;
        } else if self.local.is_none() {
            self.local = Some((remote, heard));
        } else {
            self.locals.push((remote, heard));
        }
    }

    fn local_mut(&mut self, remote: SocketAddr) -> Option<&mut Local> {
        let mut all = self.local.iter_mut().chain(&mut self.locals);
        let (_, local) = all.find(|(known, _)| *known == remote)?;
        Some(local)
    }

    /// The own address to send to `remote` from: where it was heard, for as long as it answers.
    pub(super) fn local_of(&mut self, remote: SocketAddr, now: Instant) -> Option<IpAddr> {
        let local = self.local_mut(remote)?;
        let since = *local.unanswered.get_or_insert(now);
        (now.saturating_duration_since(since) < LOCAL_PATIENCE).then_some(local.address)
    }

    /// True if an event of this other path may go out now.
    pub(super) fn may_tell(&mut self, path: PathId, now: Instant) -> bool {
        let last = self.told.insert(path, now);
        let free = last.is_none_or(|at| now.saturating_duration_since(at) >= OTHER_PATH_PACE);
        if let (false, Some(last)) = (free, last) {
            self.told.insert(path, last);
        }
        free
    }

    /// True if a wish for a session may go out now.
    pub(super) fn may_wish(&mut self, now: Instant) -> bool {
        let last = self.wished;
        let free = last.is_none_or(|at| now.saturating_duration_since(at) >= WISH_PACE);
        if free {
            self.wished = Some(now);
        }
        free
    }

    /// The next data packet; none without a session.
    pub(super) fn seal(&mut self, bytes: Bytes, now: Instant) -> Option<Packet> {
        let session = self.current.as_mut().filter(|one| one.is_live(now))?;
        let counter = session.next_counter;
        session.next_counter += 1;
        self.last_send = Some(now);
        if !bytes.is_empty() {
            self.unanswered.get_or_insert(now);
            self.tx_bytes += bytes.len() as u64;
        }
        Some(Packet::Data {
            session: session.id,
            index: session.theirs,
            counter,
            bytes,
        })
    }

    /// When [`Self::wants_keepalive`] or [`Self::wants_handshake`] may change, or a copy is due.
    pub(super) fn next_timer(&self, now: Instant) -> Option<Instant> {
        let copies = self.copies.iter().map(|(at, _)| *at).min();
        let retry = self.retry_at().unwrap_or(now);
        let trying = self.trying.map(|_| retry);
        let session = self.current.as_ref().map(|one| one.born + REKEY_AFTER);
        let rekey = session.filter(|_| self.initiated).map(|at| at.max(retry));
        let deaf = self.unanswered.map(|at| (at + DEAF_AFTER).max(retry));
        let silent = self.silent.map(|(_, told)| told + PATIENCE);
        let keepalive = self.keepalive_at(now);
        let watch = self.watch.next();
        let timers = [copies, trying, rekey, deaf, silent, keepalive, watch];
        timers.into_iter().flatten().min()
    }

    /// True if the path has to be kept open.
    pub(super) fn wants_keepalive(&self, now: Instant) -> bool {
        self.keepalive_at(now).is_some_and(|at| at <= now)
    }

    /// True if the session layer starts a handshake by itself now, on the path in use.
    pub(super) fn wants_handshake(&mut self, now: Instant) -> bool {
        let free = self.retry_at().is_none_or(|at| now >= at);
        let live = self.current.as_ref().filter(|one| one.is_live(now));
        let old = live.is_some_and(|one| self.initiated && now >= one.born + REKEY_AFTER);
        let deaf = live.is_some() && self.unanswered.is_some_and(|at| now >= at + DEAF_AFTER);
        if old || deaf {
            self.trying.get_or_insert(now);
        }
        if self.trying.is_some_and(|since| now >= since + ATTEMPT_TIME) {
            self.trying = None;
            self.unanswered = None;
        }
        free && self.trying.is_some()
    }

    /// A user's packet went out.
    pub(super) fn sent_data(&mut self, now: Instant) {
        self.last_data = Some(now);
        if self.spec.mesh_address.is_some() {
            self.silent.get_or_insert((now, now));
        }
    }

    /// Since when the peer has been silent, if it is time to tell.
    pub(super) fn silence(&mut self, now: Instant) -> Option<Instant> {
        let (since, told) = self.silent?;
        if now < told + PATIENCE {
            return None;
        }
        self.silent = Some((since, now));
        Some(since)
    }

    /// The session layer begins to ask for a session by itself.
    pub(super) fn start_trying(&mut self, now: Instant) {
        self.trying.get_or_insert(now);
    }

    pub(super) fn state(&self) -> SessionState {
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

    /// When the session layer may begin a handshake by itself; none if at any time.
    fn retry_at(&self) -> Option<Instant> {
        Some(self.last_message? + REKEY_TIMEOUT + self.jitter)
    }

    fn keepalive_at(&self, now: Instant) -> Option<Instant> {
        let interval = self.spec.keepalive.filter(|_| self.has_session(now))?;
        self.path?;
        self.last_send.map(|at| at + interval)
    }
}
