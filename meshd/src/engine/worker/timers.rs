//! What happens by itself: copies of initiations, rekeying, keepalives, a deleted interface, events that
//! found no room.

use std::time::{Duration, Instant, SystemTime};

use boringtun::noise::TunnResult;
use meshd_core::data_plane::{EngineEvent, TrafficClass};

use super::{TOKEN_TUN, Worker, watch};
use crate::engine::counters::count;
use crate::linux::tun::Tun;

/// The session layer's clock only advances in its timer call, so its times are this coarse.
const TICK: Duration = Duration::from_millis(250);

impl Worker {
    /// Does what is due.
    pub(super) fn serve_timers(&mut self, now: Instant) {
        self.wire.flush_events();
        self.wire.retry_postponed(now);
        self.send_copies(now);
        self.report_silence(now);
        self.restore_interface(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
            self.note_offloads();
            self.note_kernel_drops(now);
        }
    }

    pub(super) fn note_kernel_drops(&mut self, now: Instant) {
        let interface = self.tunnel.device().map(Tun::name);
        let sockets = self.wire.sockets();
        self.kernel_drops
            .note(now, sockets, interface, &self.counters);
    }

    pub(super) fn send_copies(&mut self, now: Instant) {
        while let Some((slot, path)) = self.copies.next(now) {
            if let Some(peer) = self.peers.get(slot)
                && let Some(initiation) = peer.initiation
            {
                self.wire
                    .send(now, peer, path, TrafficClass::Control, &initiation);
            }
        }
    }

    /// Tells the core of peers that do not answer.
    pub(super) fn report_silence(&mut self, now: Instant) {
        while let Some(slot) = self.silence.next(now) {
            if let Some(peer) = self.peers.get(slot)
                && let Some(since) = self.silence.verdict(now, peer)
            {
                self.wire.offer(EngineEvent::Unanswered {
                    peer: peer.key(),
                    since,
                });
            }
        }
    }

    fn restore_interface(&mut self, now: Instant) {
        if !self.tunnel.reopen(now) {
            return;
        }
        if let Some(tun) = self.tunnel.device()
            && let Err(error) = watch(&self.epoll, tun, TOKEN_TUN)
        {
            tracing::error!(%error, "the new tunnel interface cannot be read");
        }
        self.wire.insist(EngineEvent::InterfaceRecreated);
    }

    /// Notes that the wall clock was set forward.
    pub(super) fn clock_stepped(&mut self) {
        for peer in self.peers.iter_mut() {
            peer.sessions.clock_stepped();
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        count(&self.counters.beat);
        if self.wall_clock.stepped_forward(now, SystemTime::now()) {
            self.clock_stepped();
        }
        self.keys.limiter.reset_count();
        let (wire, output) = (&mut self.wire, &mut self.output);
        for peer in self.peers.iter_mut() {
            // Rekeying and passive keepalives, on the path in use; without one they are lost, and the
            // core's own handshakes go on.
            if let Some(message) = peer.sessions.tick(output)
                && let Some(path) = peer.path
            {
                wire.send(now, peer, path, TrafficClass::Control, message);
                peer.sent(now, 0);
            }
            if let Some(path) = peer.path
                && peer.needs_keepalive(now)
                && peer.has_session()
                && let TunnResult::WriteToNetwork(message) = peer.sessions.seal(&[], output)
            {
                wire.send(now, peer, path, TrafficClass::Control, message);
                peer.sent(now, 0);
            }
        }
    }
}
