//! Probes inside the tunnel: a UDP socket on the mesh address. The kernel checks that a source address
//! belongs to the peer whose session it came through. Not on the WireGuard port: see `stun_socket`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use mesh_proto::probe::PROBE_PORT;
use socket2::{Domain, Protocol, Socket, Type};

/// IPv6 and UDP headers before the payload of a packet.
pub(super) const HEADER_BYTES: usize = 48;
/// A probe is shorter.
const MAX_BYTES: usize = 512;

/// The socket.
#[derive(Debug)]
pub(super) struct ProbeSocket {
    socket: UdpSocket,
}

impl ProbeSocket {
    /// Binds `address`, which the interface may get later.
    pub(super) fn open(address: Ipv6Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_freebind_v6(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV6::new(address, PROBE_PORT, 0, 0).into())?;
        Ok(Self {
            socket: socket.into(),
        })
    }

    /// Sends what is in a whole IP packet to where that goes.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        let (Some(to), Some(payload)) = (packet.get(24..40), packet.get(HEADER_BYTES..)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let octets: [u8; 16] = to.try_into().map_err(io::Error::other)?;
        let to = SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)), PROBE_PORT);
        self.socket.send_to(payload, to).map(|_| ())
    }

    /// The next probe and whose mesh address it came from.
    pub(super) fn receive(&self) -> Option<(Ipv6Addr, Vec<u8>)> {
        let mut buffer = [0; MAX_BYTES];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        match from {
            SocketAddr::V6(from) if from.port() == PROBE_PORT => {
                Some((*from.ip(), buffer[..length].to_vec()))
            }
            // Somebody's mistake; the next one may be a probe.
            _ => Some((Ipv6Addr::UNSPECIFIED, Vec::new())),
        }
    }
}

impl std::os::fd::AsFd for ProbeSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
