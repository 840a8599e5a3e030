//! The kernel backend: WireGuard in the kernel, told over netlink; the same seam as the userspace engine.
//!
//! One thread. The kernel has one endpoint a peer and follows whatever arrives; its handshakes, sessions
//! and counters are learned by reading. Changes are incremental: a switch of path is one message, and
//! nothing is ever replaced as a whole.

mod commands;
mod device;
mod message;
mod netlink;
mod observe;
mod peer;
mod pending;
mod probe_socket;
mod reading;
mod stun_socket;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_proto::{WgPrivateKey, WgPublicKey};
use meshd_core::data_plane::{EngineEvent, PathId};
use netlink_packet_wireguard::{WireguardAttribute, WireguardPeer};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::mpsc::Sender;

use super::counters::{EngineCounters, count};
use super::events::EventSink;
use super::queue::Inbox;
use super::rate::PerSecond;
use super::{EngineConfig, EngineError, FOREIGN_PER_SECOND, MAX_FOREIGN_BYTES, io_error};
use device::{check_port, remove_predecessor};
pub use device::{kernel_available, kernel_device, remove_kernel_device};
use netlink::WgNetlink;
use peer::KernelPeer;
use pending::Pending;
use probe_socket::ProbeSocket;
use reading::{PeerReading, Reading, clamped};
use stun_socket::StunSocket;

/// Between readings of the device while something moves, and while nothing does.
const POLL_BUSY: Duration = Duration::from_millis(100);
/// An endpoint that is not allowed has to be noticed within a second.
const POLL_IDLE: Duration = Duration::from_millis(500);
/// Reading takes at most one part in so many of the time, whatever the number of peers.
const POLL_SHARE: u32 = 20;
/// So long peers of an adopted device may stay that nobody has named: the cache may not know them all.
const PATIENCE_WITH_STRANGERS: Duration = Duration::from_secs(10);
/// What was read so recently is not read again before a handshake: many begin at once. Longer where reading
/// itself takes longer.
const FRESH: Duration = Duration::from_millis(20);
/// A turn that takes longer than it was to take by more than this was the machine's fault, not a peer's.
const HELD_UP: Duration = Duration::from_millis(10);
/// Datagrams taken from one socket in one turn.
const RECEIVES: usize = 64;
/// Commands taken in one turn.
const MESSAGE_BATCH: usize = 1024;

/// Owns the device.
#[derive(Debug)]
pub(super) struct KernelWorker {
    private_key: WgPrivateKey,
    public_key: WgPublicKey,
    listen_port: u16,
    mark: u32,
    epoll: Epoll,
    inbox: Inbox,
    netlink: WgNetlink,
    sink: EventSink,
    probes: ProbeSocket,
    /// None without `CAP_NET_RAW`.
    stun: Option<StunSocket>,
    peers: BTreeMap<WgPublicKey, KernelPeer>,
    addresses: BTreeMap<Ipv6Addr, WgPublicKey>,
    pending: Pending,
    foreign: PerSecond,
    counters: Arc<EngineCounters>,
    /// Peers of a device that was adopted, until the core has set them.
    left: BTreeMap<WgPublicKey, PeerReading>,
    /// Until then peers that the core has not set may stay.
    patient_until: Instant,
    remove_at_end: bool,
    /// When somebody's change was last reported.
    told_healed: Option<Instant>,
    next_poll: Instant,
    /// Until then the last reading need not be repeated.
    fresh_until: Instant,
}

impl KernelWorker {
    /// Makes the device, or goes on with the one that an earlier process left if `adopt`. Otherwise that
    /// one goes first.
    pub(super) fn open(
        config: EngineConfig,
        adopt: bool,
        inbox: Inbox,
        events: Sender<EngineEvent>,
        counters: Arc<EngineCounters>,
    ) -> Result<Self, EngineError> {
        let mut netlink = WgNetlink::open(&config.interface, Arc::clone(&counters))
            .map_err(io_error("use WireGuard in the kernel"))?;
        let left = take_over(&mut netlink, &config, adopt)?;
        let probes = ProbeSocket::open(config.mesh_address)
            .map_err(io_error("open the socket of the probes"))?;
        let stun = StunSocket::open(config.listen_port, config.mark)
            .inspect_err(|error| {
                tracing::warn!(%error, "no STUN on the WireGuard port: give the service CAP_NET_RAW");
            })
            .ok();
        let epoll =
            wait_on(&inbox, &probes, stun.as_ref()).map_err(io_error("wait on a descriptor"))?;
        let now = Instant::now();
        let mut worker = Self {
            public_key: config.private_key.public_key(),
            private_key: config.private_key,
            listen_port: config.listen_port,
            mark: config.mark,
            epoll,
            inbox,
            netlink,
            sink: EventSink::new(events, Arc::clone(&counters)),
            probes,
            stun,
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            pending: Pending::new(now),
            foreign: PerSecond::new(FOREIGN_PER_SECOND),
            counters,
            left,
            patient_until: now + PATIENCE_WITH_STRANGERS,
            remove_at_end: false,
            told_healed: None,
            next_poll: now,
            fresh_until: now,
        };
        if !adopt {
            worker.make_device().map_err(|error| {
                // Made, perhaps, and then the port was taken.
                let _ = worker.netlink.remove();
                io_error("make the WireGuard interface")(error)
            })?;
        }
        Ok(worker)
    }

    fn make_device(&mut self) -> io::Result<()> {
        self.netlink.create()?;
        self.configure_device()
    }

    fn configure_device(&mut self) -> io::Result<()> {
        self.netlink.set_device(vec![
            WireguardAttribute::PrivateKey(clamped(&self.private_key)),
            WireguardAttribute::ListenPort(self.listen_port),
            WireguardAttribute::Fwmark(self.mark),
        ])
    }

    /// Works until told to stop; a device that nobody asked to remove goes on without this process.
    pub(super) fn run(mut self) {
        let mut ready = [EpollEvent::empty(); 4];
        let mut woke = Instant::now();
        loop {
            let wait = self.next_due().saturating_duration_since(Instant::now());
            let wait = wait + Duration::from_micros(999);
            let timeout = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO);
            match self.epoll.wait(&mut ready, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the engine cannot wait and stops");
                    break;
                }
            }
            count(&self.counters.beat);
            let held_up = woke.elapsed().saturating_sub(wait);
            woke = Instant::now();
            if held_up > HELD_UP {
                self.peers
                    .values_mut()
                    .for_each(|peer| peer.excuse(held_up));
            }
            // Before the commands: what waits here may be the answer whose absence they are about.
            self.receive();
            if !self.serve_commands(MESSAGE_BATCH) {
                break;
            }
            let now = Instant::now();
            self.dial_due(now);
            if now >= self.next_poll {
                self.poll(now);
            }
            if self.pending.is_due(Instant::now()) {
                self.flush();
            }
            self.sink.flush();
        }
        if !self.remove_at_end {
            // The device goes on, with what was decided.
            self.flush();
        } else if let Err(error) = self.netlink.remove() {
            tracing::warn!(%error, "the WireGuard interface cannot be removed");
        }
    }

    fn next_due(&self) -> Instant {
        let copies = self.peers.values().filter_map(KernelPeer::next_copy);
        let change = self.pending.next_due(copies.min());
        change.map_or(self.next_poll, |at| at.min(self.next_poll))
    }

    fn receive(&mut self) {
        for _ in 0..RECEIVES {
            let Some((from, payload)) = self.probes.receive() else {
                break;
            };
            let Some(key) = self.addresses.get(&from).copied() else {
                count(&self.counters.drop_unknown_peer);
                continue;
            };
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            peer.probe_came(Instant::now());
            if let Some(path) = peer.in_use() {
                self.sink.offer(EngineEvent::Probe {
                    peer: key,
                    path,
                    payload,
                });
            }
        }
        self.receive_datagrams();
    }

    /// Anybody can send these, so they are bounded before anything is done for one.
    fn receive_datagrams(&mut self) {
        for family in [StunSocket::receive_v4, StunSocket::receive_v6] {
            for _ in 0..RECEIVES {
                let received = self.stun.as_ref().and_then(family);
                let Some(datagram) = received else { break };
                let Some((path, bytes)) = datagram else {
                    continue;
                };
                if bytes.len() > MAX_FOREIGN_BYTES || !self.foreign.pass(Instant::now()) {
                    count(&self.counters.drop_datagram_bound);
                    continue;
                }
                let path = match path.local {
                    Some(_) => path,
                    None => self.path_to(path.remote),
                };
                self.sink.offer(EngineEvent::Datagram { path, bytes });
            }
        }
    }

    /// Sends the changes that wait. One that the kernel refuses does not stop the others.
    fn flush(&mut self) {
        let began = Instant::now();
        while let Some(changes) = self.pending.take_message() {
            match self.netlink.set_peers(changes.clone()) {
                Ok(()) => {}
                // The next reading makes it again, with all peers.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => self.pending.clear(),
                Err(_) => self.set_one_by_one(changes),
            }
        }
        let ended = Instant::now();
        self.pending.sent(ended, ended - began);
    }

    fn set_one_by_one(&mut self, changes: Vec<WireguardPeer>) {
        for change in changes {
            if let Err(error) = self.netlink.set_peers(vec![change]) {
                tracing::debug!(%error, "the kernel refused to change a peer");
            }
        }
    }

    /// Names the local address that packets to `remote` leave from.
    fn path_to(&self, remote: SocketAddr) -> PathId {
        let local = || {
            let any: SocketAddr = if remote.is_ipv4() {
                (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            };
            let socket = UdpSocket::bind(any).ok()?;
            if self.mark != 0 {
                let mark = nix::sys::socket::sockopt::Mark;
                nix::sys::socket::setsockopt(&socket, mark, &self.mark).ok()?;
            }
            socket.connect(remote).ok()?;
            Some(socket.local_addr().ok()?.ip())
        };
        PathId {
            local: local(),
            remote,
        }
    }

    fn read(&mut self) -> io::Result<Reading> {
        let began = Instant::now();
        let reading = self.netlink.read();
        let ended = Instant::now();
        let cost = (ended - began) * POLL_SHARE;
        self.next_poll = ended + cost.clamp(POLL_BUSY, POLL_IDLE);
        self.fresh_until = ended + FRESH.max(ended - began);
        reading
    }
}

/// Peers of the device to go on with; none if a new one is to be made, for which the way is free then.
fn take_over(
    netlink: &mut WgNetlink,
    config: &EngineConfig,
    adopt: bool,
) -> Result<BTreeMap<WgPublicKey, PeerReading>, EngineError> {
    if adopt {
        let reading = netlink.read();
        return Ok(reading
            .map_err(io_error("read the WireGuard interface"))?
            .peers);
    }
    remove_predecessor(netlink, config)?;
    check_port(config.listen_port)?;
    Ok(BTreeMap::new())
}

fn wait_on(inbox: &Inbox, probes: &ProbeSocket, stun: Option<&StunSocket>) -> io::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let event = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
    epoll.add(inbox, event())?;
    epoll.add(probes, event())?;
    for socket in stun.iter().flat_map(|stun| stun.descriptors()) {
        epoll.add(socket, event())?;
    }
    Ok(epoll)
}
