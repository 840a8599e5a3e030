//! The two UDP sockets of the WireGuard port: how they are set up, and which offloads the kernel has for
//! them. Knows nothing of WireGuard.

mod messages;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use meshd_core::data_plane::SourceLink;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

pub(super) use messages::{MESSAGE_BYTES, Outgoing, Received};

use super::EngineError;
use super::offloads::Offloads;
use super::path::Route;

/// Socket buffers, bytes: several ten milliseconds at 1 Gbit/s.
const BUFFER_BYTES: usize = 7 * 1024 * 1024;

/// Numbers that `SO_MEMINFO` tells, and which of them counts drops (`linux/sock_diag.h`).
const MEMORY_NUMBERS: usize = 9;
const MEMORY_DROPS: usize = 8;

/// Outer packets may be fragmented on the way, as stock WireGuard lets them: a path with a small MTU is
/// slow then, not black. Best effort. `IPV6_PMTUDISC_DONT` has the same value.
const NO_DISCOVERY: libc::c_int = libc::IP_PMTUDISC_DONT;

/// Which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UdpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl UdpFamily {
    /// The socket that reaches `address`.
    pub(super) const fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// The sockets, bound to one port number.
#[derive(Debug)]
pub(super) struct UdpSockets {
    v4: UdpPort,
    /// None on hosts without IPv6.
    v6: Option<UdpPort>,
    port: u16,
    /// Own addresses that have a link of their own.
    sources: Vec<SourceLink>,
}

/// One socket.
#[derive(Debug)]
struct UdpPort {
    socket: Socket,
    /// The kernel cuts large messages.
    segments: bool,
    /// The kernel joins datagrams of one sender.
    joins: bool,
}

impl UdpSockets {
    /// Binds `port` in both families and marks what leaves with `mark`, unless it is 0. Uses those of the
    /// `wanted` offloads that the kernel has.
    pub(super) fn open(port: u16, mark: u32, wanted: Offloads) -> Result<Self, EngineError> {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let v4 = UdpPort::new(open(any.into(), mark)?, wanted);
        let port = v4
            .socket
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .map_or(port, |address| address.port());
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
        let v6 = match open(any.into(), mark) {
            Ok(socket) => Some(UdpPort::new(socket, wanted)),
            Err(EngineError::Io { source, .. }) if is_without_ipv6(&source) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            v4,
            v6,
            port,
            sources: Vec::new(),
        })
    }

    /// The port in use.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Replaces what is known of own addresses and their links.
    pub(super) fn set_sources(&mut self, sources: Vec<SourceLink>) {
        self.sources = sources;
    }

    /// The descriptor to wait on; none on a host without that family.
    pub(super) fn descriptor(&self, family: UdpFamily) -> Option<BorrowedFd<'_>> {
        self.port_of(family).map(|port| port.socket.as_fd())
    }

    /// True if a message may be cut into datagrams by the kernel.
    pub(super) fn segments(&self, family: UdpFamily) -> bool {
        self.port_of(family).is_some_and(|port| port.segments)
    }

    /// Gives up cutting by the kernel: a device has refused it.
    pub(super) const fn stop_segmenting(&mut self, family: UdpFamily) {
        match (family, &mut self.v6) {
            (UdpFamily::V4, _) => self.v4.segments = false,
            (UdpFamily::V6, Some(v6)) => v6.segments = false,
            (UdpFamily::V6, None) => {}
        }
    }

    /// True if all sockets cut, and if all join.
    pub(super) fn offloads(&self) -> (bool, bool) {
        let all = |has: fn(&UdpPort) -> bool| has(&self.v4) && self.v6.as_ref().is_none_or(has);
        (all(|port| port.segments), all(|port| port.joins))
    }

    /// Datagrams that the kernel dropped on their way in, in 32 bits; none if it does not tell.
    pub(super) fn receive_drops(&self, family: UdpFamily) -> Option<u32> {
        drops_of(&self.port_of(family)?.socket)
    }

    /// Receives messages into `buffer` and describes them in `received`; none if there are none now.
    pub(super) fn receive(
        &self,
        family: UdpFamily,
        buffer: &mut [u8],
        received: &mut Vec<Received>,
    ) -> io::Result<()> {
        received.clear();
        match self.port_of(family) {
            Some(port) => messages::receive(port.socket.as_fd(), buffer, received),
            None => Ok(()),
        }
    }

    /// Sends messages of one family, from their routes' local addresses where they have one; how many the
    /// kernel took. Never waits.
    ///
    /// # Errors
    /// What was wrong with the first.
    pub(super) fn send_messages<'a>(
        &self,
        family: UdpFamily,
        outgoing: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        match self.port_of(family) {
            Some(port) => messages::send(port.socket.as_fd(), &self.sources, outgoing),
            None => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        }
    }

    /// Sends one datagram. Never waits.
    pub(super) fn send(&self, route: Route, bytes: &[u8]) -> io::Result<()> {
        let message = Outgoing {
            route,
            bytes,
            segment: None,
        };
        self.send_messages(UdpFamily::of(route.remote), std::iter::once(message))?;
        Ok(())
    }

    const fn port_of(&self, family: UdpFamily) -> Option<&UdpPort> {
        match family {
            UdpFamily::V4 => Some(&self.v4),
            UdpFamily::V6 => self.v6.as_ref(),
        }
    }
}

impl UdpPort {
    fn new(socket: Socket, wanted: Offloads) -> Self {
        // Asking for no segmentation by default tells whether there is any.
        let segments = set_number(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0);
        let joins = wanted.udp_receive && set_number(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        Self {
            socket,
            segments: wanted.udp_send && segments,
            joins,
        }
    }
}

fn open(address: SocketAddr, mark: u32) -> Result<Socket, EngineError> {
    let domain = Domain::for_address(address);
    let socket =
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(io("open a udp socket"))?;
    socket
        .set_nonblocking(true)
        .map_err(io("set up a udp socket"))?;
    if address.is_ipv6() {
        socket
            .set_only_v6(true)
            .map_err(io("set up a udp socket"))?;
        option(setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true))?;
        set_number(
            &socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            NO_DISCOVERY,
        );
    } else {
        option(setsockopt(&socket, sockopt::Ipv4PacketInfo, &true))?;
        set_number(
            &socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            NO_DISCOVERY,
        );
    }
    if mark != 0 {
        setsockopt(&socket, sockopt::Mark, &mark).map_err(|error| match error {
            nix::Error::EPERM => EngineError::Privilege {
                what: "set the mark of a udp socket",
            },
            error => io("set the mark of a udp socket")(error.into()),
        })?;
    }
    // Without CAP_NET_ADMIN the kernel's limits apply, which costs speed only.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
    let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES);
    socket
        .bind(&address.into())
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => EngineError::PortInUse(address.port()),
            Some(libc::EACCES) => EngineError::Privilege {
                what: "bind a udp port below 1024",
            },
            _ => io("bind the udp port")(error),
        })?;
    Ok(socket)
}

fn option(result: nix::Result<()>) -> Result<(), EngineError> {
    result.map_err(|error| io("set up a udp socket")(error.into()))
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Io { what, source }
}

/// Sets a numeric option; false if the kernel refuses.
fn set_number(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: the descriptor is open, and all options set here take one int, whose address and size are
    // given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    result == 0
}

/// Reads how many datagrams a socket had no room for.
fn drops_of(socket: &Socket) -> Option<u32> {
    let mut numbers = [0_u32; MEMORY_NUMBERS];
    let mut bytes = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most as many bytes as `numbers` has, whose
    // address and size are given; any bits are valid numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let is_whole = result == 0 && bytes as usize == size_of_val(&numbers);
    is_whole.then_some(numbers[MEMORY_DROPS])
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests;
