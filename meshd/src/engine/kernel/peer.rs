//! One peer of the kernel device: what is desired of it, and what was last read.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use meshd_core::data_plane::{PathId, PeerSpec, SessionState};

use super::super::endpoint_gate::EndpointGate;
use super::reading::PeerReading;

/// A session lives so long after its handshake (WireGuard's `REJECT_AFTER_TIME`).
const SESSION_LIFE: Duration = Duration::from_secs(180);
/// So long without an answer, and packets may go another way to look for one.
const SILENCE: Duration = Duration::from_millis(100);
/// So long an endpoint is tried before the next.
const HOP: Duration = Duration::from_millis(120);

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
    hopped: Option<Instant>,
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
            hopped: None,
        }
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
        self.hopped = None;
    }

    pub(super) fn has_session(&self, now: Instant) -> bool {
        self.last_handshake
            .is_some_and(|at| now.saturating_duration_since(at) < SESSION_LIFE)
    }

    /// True if packets may leave the path in use to look for another: nothing answers there, and the
    /// last try has had its time.
    pub(super) fn may_hop(&mut self, now: Instant) -> bool {
        let silent = self
            .silent_since
            .is_some_and(|since| now >= since + SILENCE);
        let rested = self.hopped.is_none_or(|at| now >= at + HOP);
        if silent && rested {
            self.hopped = Some(now);
        }
        silent && rested
    }

    /// Its sessions are gone, and the kernel counts from zero.
    pub(super) fn added_again(&mut self) {
        self.shown = PeerReading::default();
        self.last_handshake = None;
        self.silent_since = None;
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
