//! The kernel backend: WireGuard in the kernel, told over netlink; the same seam as the userspace engine.
//!
//! One thread. The kernel has one endpoint a peer and follows whatever arrives; its handshakes, sessions
//! and counters are learned by reading. Changes are incremental: a switch of path is one message, and
//! nothing is ever replaced as a whole.

mod commands;
mod message;
mod netlink;
mod observe;
mod peer;
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
use super::{EngineConfig, EngineError, io_error};
use netlink::WgNetlink;
use peer::KernelPeer;
use probe_socket::ProbeSocket;
use reading::Reading;
use stun_socket::StunSocket;

/// Between readings of the device while something moves, and while nothing does.
const POLL_BUSY: Duration = Duration::from_millis(100);
/// An endpoint that is not allowed has to be noticed within a second.
const POLL_IDLE: Duration = Duration::from_millis(500);
/// Reading takes at most one part in so many of the time, whatever the number of peers.
const POLL_SHARE: u32 = 20;
/// Changes of peers in one netlink message: one attribute holds 64 KiB.
const BATCH: usize = 64;
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
    /// Changes that wait to go out together, in order.
    pending: Vec<WireguardPeer>,
    counters: Arc<EngineCounters>,
    next_poll: Instant,
    polled: Instant,
}

impl KernelWorker {
    /// Makes the device. What an earlier process left under the name goes first.
    pub(super) fn open(
        config: EngineConfig,
        inbox: Inbox,
        events: Sender<EngineEvent>,
        counters: Arc<EngineCounters>,
    ) -> Result<Self, EngineError> {
        let mut netlink = WgNetlink::open(&config.interface, Arc::clone(&counters))
            .map_err(io_error("use WireGuard in the kernel"))?;
        remove_predecessor(&mut netlink, &config)?;
        check_port(config.listen_port)?;
        let probes = ProbeSocket::open(config.mesh_address)
            .map_err(io_error("open the socket of the probes"))?;
        let stun = StunSocket::open(config.listen_port, config.mark)
            .inspect_err(|error| {
                tracing::warn!(%error, "no STUN on the WireGuard port: give the service CAP_NET_RAW");
            })
            .ok();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| io_error("make an epoll descriptor")(error.into()))?;
        let watch = |descriptor: std::os::fd::BorrowedFd<'_>| {
            epoll
                .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, 0))
                .map_err(|error| io_error("wait on a descriptor")(error.into()))
        };
        watch(std::os::fd::AsFd::as_fd(&inbox))?;
        watch(std::os::fd::AsFd::as_fd(&probes))?;
        if let Some(stun) = &stun {
            watch(std::os::fd::AsFd::as_fd(stun))?;
        }
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
            pending: Vec::new(),
            counters,
            next_poll: now,
            polled: now,
        };
        worker
            .make_device()
            .map_err(io_error("make the WireGuard interface"))?;
        Ok(worker)
    }

    fn make_device(&mut self) -> io::Result<()> {
        self.netlink.create()?;
        self.configure_device()
    }

    fn configure_device(&mut self) -> io::Result<()> {
        self.netlink.set_device(vec![
            WireguardAttribute::PrivateKey(*self.private_key.expose()),
            WireguardAttribute::ListenPort(self.listen_port),
            WireguardAttribute::Fwmark(self.mark),
        ])
    }

    /// Works until told to stop, then removes the device.
    pub(super) fn run(mut self) {
        let mut ready = [EpollEvent::empty(); 4];
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
            if !self.serve_commands(MESSAGE_BATCH) {
                break;
            }
            self.receive();
            let now = Instant::now();
            self.dial_due(now);
            if now >= self.next_poll {
                self.poll(now);
            }
            self.flush();
            self.sink.flush();
        }
        if let Err(error) = self.netlink.remove() {
            tracing::warn!(%error, "the WireGuard interface cannot be removed");
        }
    }

    fn next_due(&self) -> Instant {
        let copies = self.peers.values().filter_map(KernelPeer::next_copy);
        copies.fold(self.next_poll, Instant::min)
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
            peer.heard(Instant::now());
            if let Some(path) = peer.in_use() {
                self.sink.offer(EngineEvent::Probe {
                    peer: key,
                    path,
                    payload,
                });
            }
        }
        for _ in 0..RECEIVES {
            let received = self.stun.as_ref().and_then(StunSocket::receive);
            let Some((path, bytes)) = received else { break };
            if !bytes.is_empty() {
                self.sink.offer(EngineEvent::Datagram { path, bytes });
            }
        }
    }

    /// Sends the changes that wait. One that the kernel refuses does not stop the others.
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            let rest = self.pending.split_off(self.pending.len().min(BATCH));
            let batch = std::mem::replace(&mut self.pending, rest);
            if self.netlink.set_peers(batch.clone()).is_ok() {
                continue;
            }
            for one in batch {
                if let Err(error) = self.netlink.set_peers(vec![one]) {
                    // A device that is gone is made again by the next reading.
                    tracing::debug!(%error, "the kernel refused to change a peer");
                }
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
        reading
    }
}

/// Removes the device that a killed process left. One with another key is somebody else's.
fn remove_predecessor(netlink: &mut WgNetlink, config: &EngineConfig) -> Result<(), EngineError> {
    let Ok(reading) = netlink.read() else {
        return Ok(());
    };
    let ours = config.private_key.public_key();
    if reading.public_key.is_some_and(|key| key != ours.0) {
        let message = format!(
            "{} is a WireGuard interface with another key: remove it or set wireguard.interface",
            config.interface
        );
        return Err(io_error("make the WireGuard interface")(io::Error::other(
            message,
        )));
    }
    netlink
        .remove()
        .map_err(io_error("remove an old WireGuard interface"))
}

/// The kernel would only say so when the interface comes up.
fn check_port(port: u16) -> Result<(), EngineError> {
    match UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(EngineError::PortInUse(port)),
        _ => Ok(()),
    }
}
