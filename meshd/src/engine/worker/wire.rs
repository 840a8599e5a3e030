//! The UDP side of the worker: everything that leaves goes through here, so that filters, local
//! addresses, counters and failure reports are applied in one place.

use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use mesh_proto::WgPublicKey;
use meshd_core::data_plane::{EngineEvent, PathId, SourceLink, TrafficClass};

use crate::engine::arrivals::Arrivals;
use crate::engine::counters::{EngineCounters, add, count};
use crate::engine::events::EventSink;
use crate::engine::path::Route;
use crate::engine::peer::Peer;
use crate::engine::peer_table::PeerTable;
use crate::engine::postponed::Postponed;
use crate::engine::rate::PathLimiter;
use crate::engine::send_queue::{QueuedMessage, SendQueue};
use crate::engine::sockets::{UdpFamily, UdpSockets};

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The kernel has it.
    Left,
    /// It goes out as soon as there is room.
    Waits,
}

/// The sockets and the way to report.
#[derive(Debug)]
pub(super) struct Wire {
    sockets: UdpSockets,
    /// Data on its way out. Control packets never wait in it.
    queue: SendQueue,
    /// Second copies of data, so that they do not take the first ones apart.
    duplicates: SendQueue,
    /// Control packets that found no room: they go before any more data.
    postponed: Postponed,
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
            queue: SendQueue::new(),
            duplicates: SendQueue::new(),
            postponed: Postponed::default(),
            events,
            counters,
            datagram_failed: PathLimiter::default(),
        }
    }

    /// Replaces what is known of own addresses and their links.
    pub(super) fn set_sources(&mut self, sources: Vec<SourceLink>) {
        self.sockets.set_sources(sources);
    }

    /// The UDP port.
    pub(super) const fn port(&self) -> u16 {
        self.sockets.port()
    }

    /// The descriptor to wait on; none on a host without that family.
    pub(super) fn descriptor(&self, family: UdpFamily) -> Option<BorrowedFd<'_>> {
        self.sockets.descriptor(family)
    }

    /// The offloads of the sockets: cutting and joining.
    pub(super) fn offloads(&self) -> (bool, bool) {
        self.sockets.offloads()
    }

    /// The sockets, to be asked.
    pub(super) const fn sockets(&self) -> &UdpSockets {
        &self.sockets
    }

    /// Receives what has arrived. False if there is nothing now.
    pub(super) fn receive(&mut self, family: UdpFamily, arrivals: &mut Arrivals) -> bool {
        if let Err(error) = arrivals.receive(&self.sockets, family) {
            tracing::debug!(%error, "cannot receive from the WireGuard port");
        }
        add(&self.counters.received_datagrams, arrivals.datagrams());
        arrivals.datagrams() > 0
    }

    /// Where to encrypt the next datagram to, of up to `bytes`. Sends what waits if there is no room.
    pub(super) fn make_room(&mut self, now: Instant, peers: &mut PeerTable, bytes: usize) {
        if self.queue.is_full_for(bytes) || self.duplicates.is_full_for(bytes) {
            self.send_queued(now, peers);
        }
    }

    /// Where to encrypt the next datagram to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.queue.room()
    }

    /// Queues the first `length` bytes of the room for a peer's `paths`, as far as its filter allows.
    pub(super) fn enqueue(
        &mut self,
        now: Instant,
        peer: &mut Peer,
        first: Option<PathId>,
        second: Option<PathId>,
        length: usize,
    ) {
        if let Some(path) = second
            && self.allowed(peer, path)
        {
            let route = peer.locals.route(now, path);
            let joins = self.sockets.segments(UdpFamily::of(route.remote));
            self.duplicates.room()[..length].copy_from_slice(&self.queue.room()[..length]);
            self.duplicates.take(peer.slot, path, route, length, joins);
        }
        if let Some(path) = first
            && self.allowed(peer, path)
        {
            let route = peer.locals.route(now, path);
            let joins = self.sockets.segments(UdpFamily::of(route.remote));
            self.queue.take(peer.slot, path, route, length, joins);
        }
    }

    /// Sends what is queued.
    pub(super) fn send_queued(&mut self, now: Instant, peers: &mut PeerTable) {
        self.retry_postponed(now);
        let mut queue = mem::take(&mut self.queue);
        self.drain(now, peers, &mut queue);
        self.queue = queue;
        let mut queue = mem::take(&mut self.duplicates);
        self.drain(now, peers, &mut queue);
        self.duplicates = queue;
    }

    fn drain(&mut self, now: Instant, peers: &mut PeerTable, queue: &mut SendQueue) {
        let mut rest = queue.messages();
        while let Some(first) = rest.first() {
            let family = UdpFamily::of(first.route.remote);
            let same = rest
                .iter()
                .take_while(|message| UdpFamily::of(message.route.remote) == family)
                .map(|message| queue.outgoing(message));
            match self.sockets.send_messages(family, same) {
                Ok(sent) => {
                    let (done, left) = rest.split_at(sent.max(1));
                    add(&self.counters.sent_datagrams, datagrams(done));
                    rest = left;
                }
                Err(error) => {
                    self.take_apart(now, peers, queue, first, &error);
                    rest = &rest[1..];
                }
            }
        }
        queue.clear();
    }

    /// Does for a message that was refused what can be done: its datagrams go out one by one, which also
    /// tells what is wrong.
    fn take_apart(
        &mut self,
        now: Instant,
        peers: &mut PeerTable,
        queue: &SendQueue,
        message: &QueuedMessage,
        error: &io::Error,
    ) {
        let several = message.count();
        if is_full(error) {
            return add(&self.counters.drop_send_full, several);
        }
        if several > 1 {
            count(&self.counters.segmentation_refused);
            if error.raw_os_error() == Some(libc::EIO) {
                tracing::info!("a network card refuses UDP segmentation: packets leave one by one");
                self.sockets
                    .stop_segmenting(UdpFamily::of(message.route.remote));
            }
        }
        let Some(peer) = peers.get(message.slot) else {
            return;
        };
        let mut left = several;
        for datagram in queue.datagrams(message) {
            left -= 1;
            if !self.send(now, peer, message.path, TrafficClass::Data, datagram) {
                add(&self.counters.drop_send_error, left);
                return;
            }
        }
    }

    /// Sends control packets again that found no room, unless there is still none.
    pub(super) fn retry_postponed(&mut self, now: Instant) {
        if self.postponed.is_empty() {
            return;
        }
        add(&self.counters.drop_send_full, self.postponed.expire(now));
        let (sockets, counters) = (&self.sockets, &self.counters);
        self.postponed
            .retry(|packet| match sockets.send(packet.route, &packet.bytes) {
                Ok(()) => {
                    count(&counters.sent_datagrams);
                    true
                }
                Err(error) if is_full(&error) => false,
                Err(_) => {
                    count(&counters.drop_send_error);
                    true
                }
            });
    }

    /// True if control packets wait for room.
    pub(super) fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// Sends a peer's datagram on `path`, if its filter allows. True if it left. Control packets that find
    /// no room are sent later.
    pub(super) fn send(
        &mut self,
        now: Instant,
        peer: &mut Peer,
        path: PathId,
        class: TrafficClass,
        bytes: &[u8],
    ) -> bool {
        if !self.allowed(peer, path) {
            return false;
        }
        let route = peer.locals.route(now, path);
        let mut result = self.transmit(now, route, class, bytes);
        let learned = path.local.is_none() && route.local.is_some();
        if learned && result.as_ref().is_err_and(is_source_refused) {
            peer.locals.forget(path.remote);
            let route = Route {
                local: None,
                ..route
            };
            result = self.transmit(now, route, class, bytes);
        }
        self.finish_for_peer(now, peer, path, result)
    }

    /// Answers a peer from the local address its packet came to.
    pub(super) fn answer(&mut self, now: Instant, peer: &mut Peer, arrival: Route, bytes: &[u8]) {
        if self.allowed(peer, arrival.path()) {
            let result = self.transmit(now, arrival, TrafficClass::Control, bytes);
            self.finish_for_peer(now, peer, arrival.path(), result);
        }
    }

    /// Sends a datagram that belongs to no peer.
    pub(super) fn send_datagram(&mut self, now: Instant, route: Route, bytes: &[u8]) {
        let result = self.transmit(now, route, TrafficClass::Control, bytes);
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

    fn transmit(
        &mut self,
        now: Instant,
        route: Route,
        class: TrafficClass,
        bytes: &[u8],
    ) -> io::Result<Outcome> {
        self.retry_postponed(now);
        let result = self.sockets.send(route, bytes).map(|()| Outcome::Left);
        if class == TrafficClass::Control && result.as_ref().is_err_and(is_full) {
            count(&self.counters.postponed_control);
            let lost = self.postponed.push(now, route, bytes);
            add(&self.counters.drop_send_full, lost);
            return Ok(Outcome::Waits);
        }
        result
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
        result: io::Result<Outcome>,
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
    fn count_sent(&self, result: io::Result<Outcome>) -> Option<io::Error> {
        let error = match result {
            Ok(Outcome::Left) => {
                count(&self.counters.sent_datagrams);
                return None;
            }
            Ok(Outcome::Waits) => return None,
            Err(error) => error,
        };
        if is_full(&error) {
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

fn datagrams(messages: &[QueuedMessage]) -> usize {
    messages.iter().map(QueuedMessage::count).sum()
}

/// No room in the socket's buffer or the card's queue.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)
    )
}

/// The local address may not be ours any more. Recent kernels answer so as if nothing led to the remote
/// address: sending without the local one tells both apart.
fn is_source_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH)
    )
}
