//! STUN on the WireGuard port, which the kernel holds: a raw socket that sees only STUN, by a packet
//! filter. IPv4 only. Needs `CAP_NET_RAW`; without it the node has no reflexive candidates of its own.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use meshd_core::data_plane::PathId;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// The magic cookie of RFC 8489.
const COOKIE: u32 = 0x2112_a442;
/// Answers are shorter.
const MAX_BYTES: usize = 2048;
const UDP_HEADER_BYTES: usize = 8;

/// The socket.
#[derive(Debug)]
pub(super) struct StunSocket {
    socket: Socket,
    port: u16,
}

impl StunSocket {
    /// A socket beside the kernel's on `port`; what it sends has the `mark`.
    pub(super) fn open(port: u16, mark: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
        socket.attach_filter(&filter(port))?;
        socket.set_nonblocking(true)?;
        if mark != 0 {
            setsockopt(&socket, sockopt::Mark, &mark)?;
        }
        Ok(Self { socket, port })
    }

    /// Sends a datagram from the WireGuard port.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let SocketAddr::V4(to) = to else {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        };
        let length = u16::try_from(UDP_HEADER_BYTES + bytes.len()).map_err(io::Error::other)?;
        let mut packet = Vec::with_capacity(usize::from(length));
        for field in [self.port, to.port(), length, 0] {
            packet.extend_from_slice(&field.to_be_bytes());
        }
        packet.extend_from_slice(bytes);
        self.socket
            .send_to(&packet, &SocketAddrV4::new(*to.ip(), 0).into())
            .map(|_| ())
    }

    /// The next datagram and its path.
    pub(super) fn receive(&self) -> Option<(PathId, Vec<u8>)> {
        let mut buffer = [0; MAX_BYTES];
        let length = (&self.socket).read(&mut buffer).ok()?;
        Some(decode(&buffer[..length]).unwrap_or_else(|| {
            let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            (PathId::to(nowhere), Vec::new())
        }))
    }
}

impl std::os::fd::AsFd for StunSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes an IPv4 packet apart.
fn decode(packet: &[u8]) -> Option<(PathId, Vec<u8>)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(octets)))
    };
    let port = u16::from_be_bytes(packet.get(header..header + 2)?.try_into().ok()?);
    let path = PathId {
        local: address(16),
        remote: SocketAddr::new(address(12)?, port),
    };
    Some((path, packet.get(header + UDP_HEADER_BYTES..)?.to_vec()))
}

/// Classic BPF: destination port `port` and the cookie in its place, whatever the IP header's length.
fn filter(port: u16) -> [SockFilter; 7] {
    let code = |code: u32| code as u16;
    [
        SockFilter::new(code(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH), 0, 0, 0),
        SockFilter::new(code(libc::BPF_LD | libc::BPF_H | libc::BPF_IND), 0, 0, 2),
        SockFilter::new(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            3,
            u32::from(port),
        ),
        SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_IND), 0, 0, 12),
        SockFilter::new(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            COOKIE,
        ),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_ip_header_are_skipped() {
        let mut packet = vec![0x46; 1];
        packet.extend_from_slice(&[0; 11]);
        packet.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 2, 0, 0, 0, 0]);
        packet.extend_from_slice(&[0x0d, 0x96, 0xca, 0x80, 0, 10, 0, 0, 7, 8]);
        let (path, bytes) = decode(&packet).unwrap();
        assert_eq!(path.to_string(), "198.51.100.2 -> 192.0.2.1:3478");
        assert_eq!(bytes, [7, 8]);
        assert!(decode(&packet[..20]).is_none());
    }
}
