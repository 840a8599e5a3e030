//! The UDP side of the worker: everything that leaves goes through here, so that filters, local
//! addresses, counters and failure reports are applied in one place.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{EngineEvent, PathId};

use crate::engine::counters::{EngineCounters, count};
use crate::engine::events::EventSink;
use crate::engine::path::Route;
use crate::engine::peer::Peer;
use crate::engine::rate::PathLimiter;
use crate::engine::sockets::{Arrival, UdpFamily, UdpSockets};

/// The sockets and the way to report.
#[derive(Debug)]
pub(super) struct Wire {
    sockets: UdpSockets,
    events: EventSink,
    counters: Arc<EngineCounters>,
    datagram_failed: PathLimiter,
}

impl Wire {
    /// A wire over these sockets.
    pub(super) fn new(
        sockets: UdpSockets,
        events: EventSink,
        counters: Arc<EngineCounters>,
    ) -> Self {
        Self {
            sockets,
            events,
            counters,
            datagram_failed: PathLimiter::default(),
        }
    }

    /// The UDP port.
    pub(super) const fn port(&self) -> u16 {
        self.sockets.port()
    }

    /// The descriptor to wait on; none on a host without that family.
    pub(super) fn descriptor(&self, family: UdpFamily) -> Option<BorrowedFd<'_>> {
        self.sockets.descriptor(family)
    }

    /// Receives a datagram; none if there is none now.
    pub(super) fn receive(&mut self, family: UdpFamily, buffer: &mut [u8]) -> Option<Arrival> {
        match self.sockets.receive(family, buffer) {
            Ok(Some(arrival)) => {
                count(&self.counters.received_datagrams);
                Some(arrival)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "cannot receive from the WireGuard port");
                None
            }
        }
    }

    /// Sends a peer's datagram on `path`, if its filter allows. True if it left.
    pub(super) fn send(
        &mut self,
        now: Instant,
        peer: &mut Peer,
        path: PathId,
        bytes: &[u8],
    ) -> bool {
        if !self.allowed(peer, path) {
            return false;
        }
        let route = peer.locals.route(now, path);
        let mut result = self.sockets.send(route, bytes);
        let learned = path.local.is_none() && route.local.is_some();
        if learned && result.as_ref().is_err_and(is_source_refused) {
            peer.locals.forget(path.remote);
            let route = Route {
                local: None,
                ..route
            };
            result = self.sockets.send(route, bytes);
        }
        self.finish_for_peer(now, peer, path, result)
    }

    /// Answers a peer from the local address its packet came to.
    pub(super) fn answer(&mut self, now: Instant, peer: &mut Peer, arrival: Route, bytes: &[u8]) {
        if self.allowed(peer, arrival.path()) {
            let result = self.sockets.send(arrival, bytes);
            self.finish_for_peer(now, peer, arrival.path(), result);
        }
    }

    /// Sends a datagram that belongs to no peer.
    pub(super) fn send_datagram(&mut self, now: Instant, route: Route, bytes: &[u8]) {
        let result = self.sockets.send(route, bytes);
        let path = PathId {
            local: route.local,
            remote: route.remote,
        };
        if let Some(error) = self.count_sent(result)
            && self.datagram_failed.pass(now, path)
        {
            self.report_failure(None, path, &error);
        }
    }

    /// Sends an event that may get lost.
    pub(super) fn offer(&self, event: EngineEvent) {
        self.events.offer(event);
    }

    /// Sends an event that waits for room.
    pub(super) fn insist(&mut self, event: EngineEvent) {
        self.events.insist(event);
    }

    /// Sends events that wait, as far as there is room.
    pub(super) fn flush_events(&mut self) {
        self.events.flush();
    }

    /// True if events wait for room.
    pub(super) fn events_waiting(&self) -> bool {
        self.events.is_waiting()
    }

    fn allowed(&self, peer: &mut Peer, path: PathId) -> bool {
        let allowed = peer.allows(path.remote.ip());
        if !allowed {
            count(&self.counters.drop_endpoint_filter);
        }
        allowed
    }

    fn finish_for_peer(
        &self,
        now: Instant,
        peer: &mut Peer,
        path: PathId,
        result: io::Result<()>,
    ) -> bool {
        let Some(error) = self.count_sent(result) else {
            return true;
        };
        if peer.send_failed.pass(now, path) {
            self.report_failure(Some(peer.key()), path, &error);
        }
        false
    }

    /// The error, if it says something about the path.
    fn count_sent(&self, result: io::Result<()>) -> Option<io::Error> {
        let error = match result {
            Ok(()) => {
                count(&self.counters.sent_datagrams);
                return None;
            }
            Err(error) => error,
        };
        if matches!(
            error.raw_os_error(),
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)
        ) {
            count(&self.counters.drop_send_full);
            return None;
        }
        count(&self.counters.drop_send_error);
        Some(error)
    }

    fn report_failure(&self, peer: Option<WgPublicKey>, path: PathId, error: &io::Error) {
        self.offer(EngineEvent::SendFailed {
            peer,
            path,
            error: error.to_string(),
        });
    }
}

/// The local address is not ours any more.
fn is_source_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EADDRNOTAVAIL)
    )
}
