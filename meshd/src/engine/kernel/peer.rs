//! One peer of the kernel device: what is desired of it, and what was last read.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use meshd_core::data_plane::{PathId, PeerSpec, SessionState};

use super::super::endpoint_gate::EndpointGate;
use super::reading::PeerReading;

/// A session lives so long after its handshake (WireGuard's `REJECT_AFTER_TIME`).
const SESSION_LIFE: Duration = Duration::from_secs(180);
/// A session that so long nothing came through may be gone at the other end.
const DOUBT: Duration = Duration::from_secs(5);
/// A session that something came through so recently is not lost, whatever the core thinks.
const LIVELY: Duration = Duration::from_millis(300);
/// A handshake so recent is not made again, and a peer heard so recently is left to finish its own.
pub(super) const RECENT: Duration = Duration::from_secs(1);
/// A ping so long without an answer, and packets may go another way to look for one; longer where answers
/// take long.
const SILENCE: Duration = Duration::from_millis(100);
/// The same in round trips.
const SILENCE_TRIPS: u32 = 3;
/// So many pings must be unanswered: a single one may be lost where everything is well.
const SILENT_PINGS: u32 = 2;
/// So long an endpoint is tried before the next.
const HOP: Duration = Duration::from_millis(120);
/// Round trips above are not believed: the first of several pings was lost.
const TRIP_MAX: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct KernelPeer {
    pub(super) spec: PeerSpec,
    pub(super) gate: EndpointGate,
    /// Where packets go now.
    path: Option<PathId>,
    /// Endpoints still to be dialled in this round.
    pub(super) copies: Vec<(Instant, PathId)>,
    /// Counters as last read.
    pub(super) shown: PeerReading,
    pub(super) last_handshake: Option<Instant>,
    pub(super) last_receive: Option<Instant>,
    /// When data was first sent that nothing came after.
    pub(super) silent_since: Option<Instant>,
    /// This node dialled last.
    pub(super) dialled: bool,
    /// It came with the device; nobody has doubted its session yet.
    pub(super) adopted: bool,
    /// The core says that the far end has no session any more.
    is_lost: bool,
    /// The preshared key is another one since the last handshake.
    pub(super) other_secret: bool,
    hopped: Option<Instant>,
    /// The first ping that nothing came after.
    asked: Option<Instant>,
    /// How many there were.
    unanswered: u32,
    /// About the longest round trip of late.
    trip: Duration,
}

impl KernelPeer {
    pub(super) fn new(spec: PeerSpec) -> Self {
        Self {
            gate: EndpointGate::new(spec.endpoint_filter.clone()),
            spec,
            path: None,
            copies: Vec::new(),
            shown: PeerReading::default(),
            last_handshake: None,
            last_receive: None,
            silent_since: None,
            dialled: false,
            adopted: false,
            is_lost: false,
            other_secret: false,
            hopped: None,
            asked: None,
            unanswered: 0,
            trip: Duration::ZERO,
        }
    }

    /// Goes on with what an earlier process left in the kernel.
    pub(super) fn adopt(&mut self, shown: PeerReading) {
        let age = shown
            .handshake
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        self.last_handshake = age.and_then(|age| Instant::now().checked_sub(age));
        self.adopted = true;
        self.shown = shown;
    }

    pub(super) fn allows(&mut self, address: IpAddr) -> bool {
        self.gate.allows(address)
    }

    pub(super) const fn in_use(&self) -> Option<PathId> {
        self.path
    }

    pub(super) fn set_path(&mut self, path: Option<PathId>) {
        self.path = path;
    }

    pub(super) fn next_copy(&self) -> Option<Instant> {
        self.copies.iter().map(|(at, _)| *at).min()
    }

    /// Something authenticated came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_receive = Some(now);
        self.silent_since = None;
        self.is_lost = false;
        self.hopped = None;
        self.asked = None;
        self.unanswered = 0;
    }

    pub(super) fn has_session(&self, now: Instant) -> bool {
        self.last_handshake
            .is_some_and(|at| now.saturating_duration_since(at) < SESSION_LIFE)
    }

    /// A ping goes out, on whatever path.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// A probe came: an answer, if something was asked.
    pub(super) fn probe_came(&mut self, now: Instant) {
        if let Some(asked) = self.asked {
            let trip = now.saturating_duration_since(asked).min(TRIP_MAX);
            self.trip = trip.max(self.trip * 3 / 4);
        }
        self.heard(now);
    }

    /// True if packets may leave the path in use to look for another: nothing answers there, and the
    /// last try has had its time.
    pub(super) fn may_hop(&mut self, now: Instant) -> bool {
        let may = self.is_silent(now);
        if may {
            self.hopped = Some(now);
        }
        may
    }

    /// The same, without going.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let patience = SILENCE.max(self.trip * SILENCE_TRIPS);
        let silent =
            self.asked.is_some_and(|at| now >= at + patience) && self.unanswered >= SILENT_PINGS;
        let rest = HOP.max(self.trip * 2);
        let rested = self.hopped.is_none_or(|at| now >= at + rest);
        silent && rested
    }

    /// This thread could not look for so long, so neither silence nor a try of another way has lasted.
    pub(super) fn excuse(&mut self, held_up: Duration) {
        for since in [&mut self.asked, &mut self.hopped] {
            *since = since.map(|at| at + held_up);
        }
    }

    /// The core says that the far end has no session any more. What came a moment ago says that it has.
    pub(super) fn lost(&mut self, now: Instant) {
        self.is_lost = self.last_receive.is_none_or(|at| now >= at + LIVELY);
    }

    /// True if there is a session that works as far as one can tell: to begin a handshake would throw it away,
    /// with what is on its way. A peer that lost its end begins one itself.
    pub(super) fn is_worth_keeping(&self, now: Instant) -> bool {
        let heard = self.last_receive.is_some_and(|at| now < at + DOUBT);
        heard && self.has_session(now) && !self.other_secret && !self.is_lost
    }

    /// Its sessions are gone, and the kernel counts from zero.
    pub(super) fn added_again(&mut self) {
        self.shown = PeerReading::default();
        self.last_handshake = None;
        self.silent_since = None;
        self.other_secret = false;
    }

    /// True if it may be about to finish a handshake of its own.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        !self.is_lost && self.last_receive.is_some_and(|at| now < at + RECENT)
    }

    pub(super) const fn state(&self) -> SessionState {
        SessionState {
            peer: self.spec.public_key,
            last_handshake: self.last_handshake,
            last_receive: self.last_receive,
            last_data: None,
            path: self.path,
            rx_bytes: self.shown.rx_bytes,
            tx_bytes: self.shown.tx_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_proto::WgPublicKey;

    fn peer() -> KernelPeer {
        KernelPeer::new(PeerSpec {
            public_key: WgPublicKey([1; 32]),
            preshared_key: None,
            allowed_ips: Vec::new(),
            mesh_address: None,
            keepalive: None,
            endpoint_filter: None,
        })
    }

    #[test]
    fn a_path_is_left_only_after_a_silence_that_is_long_for_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut peer = peer();
        assert!(!peer.may_hop(at(5000)), "nobody asked");
        peer.ask(at(5000));
        assert!(!peer.may_hop(at(5100)), "a single one may be lost");
        peer.ask(at(5090));
        assert!(!peer.may_hop(at(5090)));
        assert!(peer.may_hop(at(5100)));
        assert!(!peer.may_hop(at(5150)), "the other way has its time");
        assert!(peer.may_hop(at(5220)));

        peer.ask(at(6000));
        peer.probe_came(at(6220));
        assert!(!peer.may_hop(at(6400)), "an answer came");
        peer.ask(at(7000));
        peer.ask(at(7100));
        peer.excuse(Duration::from_millis(50));
        assert!(!peer.may_hop(at(7500)), "answers take long here");
        assert!(!peer.may_hop(at(7901)), "nobody looked for a while");
        assert!(peer.may_hop(at(7951)));
    }

    #[test]
    fn a_session_that_works_is_not_thrown_away() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut peer = peer();
        assert!(!peer.is_worth_keeping(at(0)), "there is none");
        peer.last_handshake = Some(at(0));
        peer.heard(at(10));
        assert!(peer.is_worth_keeping(at(14)));
        assert!(!peer.is_worth_keeping(at(15)), "silent for long");
        peer.heard(at(16));
        peer.lost(at(16));
        assert!(peer.is_worth_keeping(at(16)), "something just came");
        peer.lost(at(17));
        assert!(!peer.is_worth_keeping(at(17)), "lost at the other end");
        peer.heard(at(17));
        assert!(peer.is_worth_keeping(at(17)), "it was not");
        peer.other_secret = true;
        assert!(!peer.is_worth_keeping(at(16)), "made of another secret");
        peer.added_again();
        assert!(!peer.is_worth_keeping(at(16)), "forgotten");
    }
}
