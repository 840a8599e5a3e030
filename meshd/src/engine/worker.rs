//! The worker thread: waits for packets, commands and times, and carries each to its end. The parts
//! of the work are in the files below; this one is the loop.

mod commands;
mod inbound;
mod outbound;
mod timers;
mod tunnel;
mod wire;

#[cfg(test)]
mod tests;

use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mesh_proto::WgPrivateKey;
use meshd_core::data_plane::EngineEvent;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::mpsc::Sender;

use super::arrivals::Arrivals;
use super::copies::CopySchedule;
use super::counters::EngineCounters;
use super::events::EventSink;
use super::initiation_gate::InitiationGate;
use super::kernel_drops::KernelDrops;
use super::offloads::{Offloads, OffloadsInUse};
use super::peer_table::PeerTable;
use super::postponed::Postponed;
use super::queue::Inbox;
use super::rate::PerSecond;
use super::response_cache::ResponseCache;
use super::sessions::DeviceKeys;
use super::silence::SilenceWatch;
use super::sockets::{UdpFamily, UdpSockets};
use super::wall_clock::WallClock;
use super::{EngineConfig, EngineError, FOREIGN_PER_SECOND, io_error};
use crate::linux::tun::TunOffloads;
use tunnel::Tunnel;
use wire::Wire;

/// Packets taken from the interface before the sockets get their turn.
const BATCH: usize = 64;
/// Receives from one socket before the interface gets its turn; each takes many datagrams.
const RECEIVES: usize = 4;
/// Commands taken in one turn.
const MESSAGE_BATCH: usize = 1024;
/// Answers to packets that are too large for a path, in one second.
const TOO_BIG_PER_SECOND: u32 = 200;
/// Room for the largest packet with WireGuard's overhead.
const BUFFER_BYTES: usize = 65_536 + 128;
/// How soon to try again to send events that found the channel full.
const EVENT_RETRY: Duration = Duration::from_millis(20);

const TOKEN_INBOX: u64 = 0;
const TOKEN_V4: u64 = 1;
const TOKEN_V6: u64 = 2;
const TOKEN_TUN: u64 = 3;

/// True if a datagram would be taken for a WireGuard message.
pub(super) fn is_wireguard_message(bytes: &[u8]) -> bool {
    let kind = inbound::MessageKind::of(bytes);
    !matches!(
        kind,
        inbound::MessageKind::Foreign | inbound::MessageKind::Malformed
    )
}

/// Owns the sockets, the interface and all sessions.
#[derive(Debug)]
pub(super) struct Worker {
    private_key: WgPrivateKey,
    keys: DeviceKeys,
    mesh_address: Ipv6Addr,
    mark: u32,
    epoll: Epoll,
    inbox: Inbox,
    wire: Wire,
    tunnel: Tunnel,
    peers: PeerTable,
    copies: CopySchedule,
    responses: ResponseCache,
    initiations: InitiationGate,
    silence: SilenceWatch,
    foreign: PerSecond,
    too_big: PerSecond,
    kernel_drops: KernelDrops,
    counters: Arc<EngineCounters>,
    in_use: Arc<OffloadsInUse>,
    /// Where datagrams are received into.
    arrivals: Arrivals,
    /// Where packets are read into.
    input: Vec<u8>,
    /// Where the headers of large ones are kept while these are cut.
    headers: Vec<u8>,
    /// Where handshakes, and packets of the core, are encrypted into.
    output: Vec<u8>,
    next_tick: Instant,
    wall_clock: WallClock,
}

impl Worker {
    /// Opens everything. The sockets come first: a port in use is told before an interface appears.
    pub(super) fn open(
        config: EngineConfig,
        inbox: Inbox,
        events: Sender<EngineEvent>,
        counters: Arc<EngineCounters>,
    ) -> Result<Self, EngineError> {
        let sockets = UdpSockets::open(config.listen_port, config.mark, config.offloads)?;
        let tunnel = Tunnel::open(
            &config.interface,
            config.mtu,
            config.offloads.tun(),
            Arc::clone(&counters),
        )?;
        let sink = EventSink::new(events, Arc::clone(&counters));
        let wire = Wire::new(sockets, sink, Arc::clone(&counters));
        let worker = Self::assemble(config, inbox, wire, tunnel, counters)?;
        worker.note_offloads();
        Ok(worker)
    }

    fn assemble(
        config: EngineConfig,
        inbox: Inbox,
        wire: Wire,
        tunnel: Tunnel,
        counters: Arc<EngineCounters>,
    ) -> Result<Self, EngineError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| io_error("make an epoll descriptor")(error.into()))?;
        watch(&epoll, &inbox, TOKEN_INBOX)?;
        for (family, token) in [(UdpFamily::V4, TOKEN_V4), (UdpFamily::V6, TOKEN_V6)] {
            if let Some(descriptor) = wire.descriptor(family) {
                watch(&epoll, descriptor, token)?;
            }
        }
        if let Some(tun) = tunnel.device() {
            watch(&epoll, tun, TOKEN_TUN)?;
        }
        Ok(Self {
            keys: DeviceKeys::new(&config.private_key, config.peers_hint),
            private_key: config.private_key,
            mesh_address: config.mesh_address,
            mark: config.mark,
            epoll,
            inbox,
            wire,
            tunnel,
            peers: PeerTable::default(),
            copies: CopySchedule::default(),
            responses: ResponseCache::default(),
            initiations: InitiationGate::new(DeviceKeys::handshake_limit(config.peers_hint) / 2),
            silence: SilenceWatch::default(),
            foreign: PerSecond::new(FOREIGN_PER_SECOND),
            too_big: PerSecond::new(TOO_BIG_PER_SECOND),
            kernel_drops: KernelDrops::default(),
            counters,
            in_use: Arc::default(),
            arrivals: Arrivals::new(),
            input: vec![0; BUFFER_BYTES],
            headers: vec![0; BUFFER_BYTES],
            output: vec![0; BUFFER_BYTES],
            next_tick: Instant::now(),
            wall_clock: WallClock::new(Instant::now(), SystemTime::now()),
        })
    }

    /// The UDP port in use.
    pub(super) const fn listen_port(&self) -> u16 {
        self.wire.port()
    }

    /// Where to read which offloads are in use.
    pub(super) fn offloads_in_use(&self) -> Arc<OffloadsInUse> {
        Arc::clone(&self.in_use)
    }

    /// Notes which offloads are in use: a card may refuse some later.
    fn note_offloads(&self) {
        let (udp_send, udp_receive) = self.wire.offloads();
        let TunOffloads { tcp, udp } = self.tunnel.offloads();
        let now = Offloads {
            tun_tcp: tcp,
            tun_udp: udp,
            udp_send,
            udp_receive,
        };
        let lost = self.in_use.get().without(now);
        if lost != Offloads::NONE {
            tracing::warn!(%lost, in_use = %now, "fell back to work without an offload");
        }
        self.in_use.set(now);
    }

    /// Works until told to stop.
    pub(super) fn run(mut self) {
        let mut ready = [EpollEvent::empty(); 8];
        let mut backlog = false;
        loop {
            let timeout = if backlog {
                EpollTimeout::ZERO
            } else {
                self.timeout(Instant::now())
            };
            let count = match self.epoll.wait(&mut ready, timeout) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => {
                    tracing::error!(%error, "the engine cannot wait for packets and stops");
                    return;
                }
            };
            // Commands first: probes and handshakes are among them.
            match self.serve_commands(MESSAGE_BATCH) {
                Some(more) => backlog = more,
                None => return,
            }
            for event in &ready[..count] {
                match event.data() {
                    TOKEN_V4 => self.serve_udp(UdpFamily::V4),
                    TOKEN_V6 => self.serve_udp(UdpFamily::V6),
                    TOKEN_TUN => self.serve_tun(),
                    _ => {}
                }
            }
            self.serve_timers(Instant::now());
        }
    }

    fn timeout(&self, now: Instant) -> EpollTimeout {
        let mut next = self.next_tick;
        let due = [
            self.copies.next_due(),
            self.silence.next_due(),
            self.tunnel.next_attempt(),
        ];
        for due in due {
            next = due.map_or(next, |due| due.min(next));
        }
        if self.wire.events_waiting() {
            next = next.min(now + EVENT_RETRY);
        }
        if self.wire.has_postponed() {
            next = next.min(now + Postponed::RETRY);
        }
        // Rounded up: waking too early would only spin.
        let wait = next.saturating_duration_since(now) + Duration::from_micros(999);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO)
    }
}

fn watch(epoll: &Epoll, descriptor: impl AsFd, token: u64) -> Result<(), EngineError> {
    epoll
        .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token))
        .map_err(|error| io_error("wait on a descriptor")(error.into()))
}
