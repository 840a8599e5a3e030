//! The two UDP sockets of the WireGuard port. One datagram a call; knows nothing of WireGuard.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::EngineError;
use super::path::Route;

/// Socket buffers, bytes: several ten milliseconds at 1 Gbit/s.
const BUFFER_BYTES: usize = 7 * 1024 * 1024;

/// A datagram that came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Its length.
    pub(super) length: usize,
    /// Where from, and which local address it came to.
    pub(super) route: Route,
}

/// Which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UdpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The sockets, bound to one port number.
#[derive(Debug)]
pub(super) struct UdpSockets {
    v4: Socket,
    /// None on hosts without IPv6.
    v6: Option<Socket>,
    control: Vec<u8>,
    port: u16,
}

impl UdpSockets {
    /// Binds `port` in both families and marks what leaves with `mark`, unless it is 0.
    pub(super) fn open(port: u16, mark: u32) -> Result<Self, EngineError> {
        let v4 = open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into(), mark)?;
        let port = v4
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .map_or(port, |address| address.port());
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
        let v6 = match open(any.into(), mark) {
            Ok(socket) => Some(socket),
            Err(EngineError::Io { source, .. }) if is_without_ipv6(&source) => None,
            Err(error) => return Err(error),
        };
        let control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        Ok(Self {
            v4,
            v6,
            control,
            port,
        })
    }

    /// The port in use.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The descriptor to wait on; none on a host without that family.
    pub(super) fn descriptor(&self, family: UdpFamily) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd as _;
        self.socket(family).map(Socket::as_fd)
    }

    /// Receives one datagram into `buffer`; none if there is none now.
    pub(super) fn receive(
        &mut self,
        family: UdpFamily,
        buffer: &mut [u8],
    ) -> io::Result<Option<Arrival>> {
        let Some(descriptor) = self.socket(family).map(Socket::as_raw_fd) else {
            return Ok(None);
        };
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let control = Some(&mut self.control[..]);
        let message = match recvmsg::<SockaddrStorage>(descriptor, &mut parts, control, flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(remote) = message.address.as_ref().and_then(remote_address) else {
            return Ok(None);
        };
        let local = message.cmsgs().ok().and_then(local_address);
        Ok(Some(Arrival {
            length: message.bytes,
            route: Route { remote, local },
        }))
    }

    /// Sends one datagram, from the route's local address if it has one. Never waits.
    pub(super) fn send(&self, route: Route, bytes: &[u8]) -> io::Result<()> {
        match route.remote {
            SocketAddr::V4(remote) => {
                let info = match route.local {
                    Some(IpAddr::V4(local)) => Some(v4_info(local)),
                    _ => None,
                };
                let control = info.as_ref().map(ControlMessage::Ipv4PacketInfo);
                send(&self.v4, bytes, control, &SockaddrIn::from(remote))
            }
            SocketAddr::V6(remote) => {
                let Some(socket) = &self.v6 else {
                    return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
                };
                let info = match route.local {
                    Some(IpAddr::V6(local)) => Some(v6_info(local)),
                    _ => None,
                };
                let control = info.as_ref().map(ControlMessage::Ipv6PacketInfo);
                send(socket, bytes, control, &SockaddrIn6::from(remote))
            }
        }
    }

    const fn socket(&self, family: UdpFamily) -> Option<&Socket> {
        match family {
            UdpFamily::V4 => Some(&self.v4),
            UdpFamily::V6 => self.v6.as_ref(),
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
        discover_no_mtu(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
    } else {
        option(setsockopt(&socket, sockopt::Ipv4PacketInfo, &true))?;
        discover_no_mtu(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
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

/// Outer packets may be fragmented on the way, as stock WireGuard lets them: a path with a small MTU is
/// slow then, not black. Best effort.
fn discover_no_mtu(socket: &Socket, level: libc::c_int, name: libc::c_int) {
    // IPV6_PMTUDISC_DONT has the same value.
    let value = libc::IP_PMTUDISC_DONT;
    // SAFETY: the descriptor is open, and the option takes one int, whose address and size are given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        );
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

fn remote_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    let mut v6 = SocketAddrV6::from(*address.as_sockaddr_in6()?);
    // One remote is one path, whatever flow label it used.
    v6.set_flowinfo(0);
    Some(v6.into())
}

fn local_address(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<IpAddr> {
    messages.into_iter().find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    })
}

const fn v4_info(local: Ipv4Addr) -> libc::in_pktinfo {
    let any = libc::in_addr { s_addr: 0 };
    libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: local.to_bits().to_be(),
        },
        ipi_addr: any,
    }
}

const fn v6_info(local: Ipv6Addr) -> libc::in6_pktinfo {
    libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: local.octets(),
        },
        ipi6_ifindex: 0,
    }
}

fn send<A: SockaddrLike>(
    socket: &Socket,
    bytes: &[u8],
    control: Option<ControlMessage<'_>>,
    remote: &A,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let descriptor = socket.as_raw_fd();
    sendmsg(descriptor, &parts, control.as_slice(), flags, Some(remote))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn receive(sockets: &mut UdpSockets, family: UdpFamily) -> (Vec<u8>, Route) {
        let mut buffer = [0; 100];
        for _ in 0..1000 {
            if let Some(arrival) = sockets.receive(family, &mut buffer).unwrap() {
                return (buffer[..arrival.length].to_vec(), arrival.route);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("nothing arrived");
    }

    #[test]
    fn answers_leave_from_the_address_the_question_came_to() {
        let mut sockets = UdpSockets::open(0, 0).unwrap();
        let there = UdpSocket::bind("127.0.0.1:0").unwrap();
        there
            .send_to(b"question", ("127.0.0.2", sockets.port()))
            .unwrap();
        let (bytes, route) = receive(&mut sockets, UdpFamily::V4);
        assert_eq!(bytes, b"question");
        assert_eq!(route.local, Some([127, 0, 0, 2].into()));
        assert_eq!(route.remote, there.local_addr().unwrap());
        sockets.send(route, b"answer").unwrap();
        let (_, from) = there.recv_from(&mut [0; 100]).unwrap();
        assert_eq!(from, ([127, 0, 0, 2], sockets.port()).into());
        let foreign = Route {
            local: Some([203, 0, 113, 9].into()),
            ..route
        };
        assert!(sockets.send(foreign, b"answer").is_err());
    }

    #[test]
    fn v6_works_where_the_host_has_it() {
        let mut sockets = UdpSockets::open(0, 0).unwrap();
        let Ok(there) = UdpSocket::bind("[::1]:0") else {
            println!("SKIPPED: no IPv6 loopback address");
            return;
        };
        there.send_to(b"question", ("::1", sockets.port())).unwrap();
        let (_, route) = receive(&mut sockets, UdpFamily::V6);
        assert_eq!(route.local, Some(Ipv6Addr::LOCALHOST.into()));
        sockets.send(route, b"answer").unwrap();
        assert_eq!(there.recv_from(&mut [0; 100]).unwrap().0, 6);
    }

    #[test]
    fn outer_packets_may_be_fragmented() {
        let sockets = UdpSockets::open(0, 0).unwrap();
        let value = |socket: &Socket, level, name| {
            let mut value: libc::c_int = -1;
            let mut length = size_of_val(&value) as libc::socklen_t;
            // SAFETY: the descriptor is open; value and length are valid for writing an int.
            let result = unsafe {
                let value = (&raw mut value).cast();
                libc::getsockopt(socket.as_raw_fd(), level, name, value, &raw mut length)
            };
            assert_eq!(result, 0);
            value
        };
        let v4 = value(&sockets.v4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
        assert_eq!(v4, libc::IP_PMTUDISC_DONT);
        if let Some(socket) = &sockets.v6 {
            let v6 = value(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
            assert_eq!(v6, libc::IPV6_PMTUDISC_DONT);
        }
    }

    #[test]
    fn a_port_in_use_is_told_apart() {
        let first = UdpSockets::open(0, 0).unwrap();
        let error = UdpSockets::open(first.port(), 0).unwrap_err();
        assert!(matches!(error, EngineError::PortInUse(port) if port == first.port()));
        assert_eq!(error.exit_code(), 1);
    }
}
