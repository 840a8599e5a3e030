//! STUN and candidate probes on the WireGuard port, which the kernel holds: raw sockets that see only what has the
//! form of STUN, by a packet filter. They need `CAP_NET_RAW`; without it the node has no reflexive candidates of
//! its own, and asks other paths inside the tunnel.

use std::io::{self, IoSlice, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use mesh_proto::stun::MAGIC_COOKIE;
use meshd_core::data_plane::PathId;
use nix::sys::socket::{
    ControlMessage, MsgFlags, SockaddrIn, SockaddrIn6, recvfrom, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Answers are shorter.
const MAX_BYTES: usize = 2048;
const UDP_HEADER_BYTES: usize = 8;
const UDP: u8 = 17;

/// The sockets.
#[derive(Debug)]
pub(super) struct StunSocket {
    v4: Socket,
    /// None where the host has no IPv6.
    v6: Option<Socket>,
    port: u16,
}

impl StunSocket {
    /// Sockets beside the kernel's on `port`; what they send has the `mark`.
    pub(super) fn open(port: u16, mark: u32) -> io::Result<Self> {
        Ok(Self {
            v4: open(Domain::IPV4, &filter_v4(port), mark)?,
            v6: open(Domain::IPV6, &filter_v6(port), mark).ok(),
            port,
        })
    }

    /// Sends a datagram from the WireGuard port. `local` is the address it leaves from.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        local: Option<IpAddr>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut packet = datagram(self.port, to.port(), bytes)?;
        // The port is no address of a raw socket.
        match (to, local) {
            // Without a checksum, which IPv4 permits (RFC 768).
            (SocketAddr::V4(to), local) => self.send_v4(*to.ip(), local, &packet),
            (SocketAddr::V6(to), Some(IpAddr::V6(local))) => {
                let sum = checksum(local, *to.ip(), &packet);
                packet[6..UDP_HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
                let socket = self.v6.as_ref().ok_or_else(no_such_family)?;
                let to = SocketAddrV6::new(*to.ip(), 0, 0, to.scope_id());
                socket.send_to(&packet, &to.into()).map(|_| ())
            }
            (SocketAddr::V6(_), _) => Err(no_such_family()),
        }
    }

    fn send_v4(&self, to: Ipv4Addr, local: Option<IpAddr>, packet: &[u8]) -> io::Result<()> {
        let Some(IpAddr::V4(local)) = local else {
            let to = SocketAddrV4::new(to, 0).into();
            return self.v4.send_to(packet, &to).map(|_| ());
        };
        let from = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: u32::from_ne_bytes(local.octets()),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        let parts = [IoSlice::new(packet)];
        let control = [ControlMessage::Ipv4PacketInfo(&from)];
        let socket = self.v4.as_raw_fd();
        sendmsg(socket, &parts, &control, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    /// The next datagram over IPv4 and its path; none inside if it was not what the filter should let through.
    pub(super) fn receive_v4(&self) -> Option<Option<(PathId, Vec<u8>)>> {
        let mut buffer = [0; MAX_BYTES];
        let length = (&self.v4).read(&mut buffer).ok()?;
        Some(decode_v4(&buffer[..length]))
    }

    /// The same over IPv6, which does not tell the address that it came to.
    pub(super) fn receive_v6(&self) -> Option<Option<(PathId, Vec<u8>)>> {
        let mut buffer = [0; MAX_BYTES];
        let socket = self.v6.as_ref()?.as_raw_fd();
        let (length, from) = recvfrom::<SockaddrIn6>(socket, &mut buffer).ok()?;
        Some(from.and_then(|from| decode_v6(from.into(), &buffer[..length])))
    }

    /// All sockets, to be waited for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let v6 = self.v6.as_ref().map(AsFd::as_fd);
        std::iter::once(self.v4.as_fd()).chain(v6)
    }
}

fn open(domain: Domain, filter: &[SockFilter], mark: u32) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::UDP))?;
    socket.attach_filter(filter)?;
    socket.set_nonblocking(true)?;
    if mark != 0 {
        setsockopt(&socket, sockopt::Mark, &mark)?;
    }
    Ok(socket)
}

fn no_such_family() -> io::Error {
    io::Error::from_raw_os_error(libc::EAFNOSUPPORT)
}

/// UDP header and payload.
fn datagram(from: u16, to: u16, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER_BYTES + bytes.len()).map_err(io::Error::other)?;
    let mut packet = Vec::with_capacity(usize::from(length));
    for field in [from, to, length, 0] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    packet.extend_from_slice(bytes);
    Ok(packet)
}

/// The checksum of a UDP datagram over IPv6 (RFC 8200 section 8.1); its own field is zero.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, packet: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        let word = |pair: &[u8]| {
            let [high, low] = [pair[0], pair.get(1).copied().unwrap_or_default()];
            u64::from(u16::from_be_bytes([high, low]))
        };
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&from.octets())
        + words(&to.octets())
        + u64::from(UDP)
        + packet.len() as u64
        + words(packet);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        sum => sum,
    }
}

/// Takes an IPv4 packet apart.
fn decode_v4(packet: &[u8]) -> Option<(PathId, Vec<u8>)> {
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

/// Takes a UDP datagram apart; the kernel keeps the header of IPv6.
fn decode_v6(from: SocketAddrV6, packet: &[u8]) -> Option<(PathId, Vec<u8>)> {
    let port = u16::from_be_bytes(packet.get(..2)?.try_into().ok()?);
    let remote = SocketAddr::new(IpAddr::V6(*from.ip()), port);
    let bytes = packet.get(UDP_HEADER_BYTES..)?.to_vec();
    Some((PathId::to(remote), bytes))
}

/// Classic BPF: destination port `port` and the cookie in its place, whatever the IP header's length.
fn filter_v4(port: u16) -> [SockFilter; 7] {
    let [load_header, load_half, load_word, equals, give] = CODES;
    [
        SockFilter::new(load_header, 0, 0, 0),
        SockFilter::new(load_half | INDIRECT, 0, 0, 2),
        SockFilter::new(equals, 0, 3, u32::from(port)),
        SockFilter::new(load_word | INDIRECT, 0, 0, 12),
        SockFilter::new(equals, 0, 1, MAGIC_COOKIE),
        SockFilter::new(give, 0, 0, u32::MAX),
        SockFilter::new(give, 0, 0, 0),
    ]
}

/// The same where the packet begins with the UDP header.
fn filter_v6(port: u16) -> [SockFilter; 6] {
    let [_, load_half, load_word, equals, give] = CODES;
    [
        SockFilter::new(load_half | ABSOLUTE, 0, 0, 2),
        SockFilter::new(equals, 0, 3, u32::from(port)),
        SockFilter::new(load_word | ABSOLUTE, 0, 0, 12),
        SockFilter::new(equals, 0, 1, MAGIC_COOKIE),
        SockFilter::new(give, 0, 0, u32::MAX),
        SockFilter::new(give, 0, 0, 0),
    ]
}

/// Load the length of the IPv4 header, load two bytes, load four, compare, let through so many bytes.
const CODES: [u16; 5] = [
    (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16,
    (libc::BPF_LD | libc::BPF_H) as u16,
    (libc::BPF_LD | libc::BPF_W) as u16,
    (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
    (libc::BPF_RET | libc::BPF_K) as u16,
];
const INDIRECT: u16 = libc::BPF_IND as u16;
const ABSOLUTE: u16 = libc::BPF_ABS as u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_ip_header_are_skipped() {
        let mut packet = vec![0x46; 1];
        packet.extend_from_slice(&[0; 11]);
        packet.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 2, 0, 0, 0, 0]);
        packet.extend_from_slice(&[0x0d, 0x96, 0xca, 0x80, 0, 10, 0, 0, 7, 8]);
        let (path, bytes) = decode_v4(&packet).unwrap();
        assert_eq!(path.to_string(), "198.51.100.2 -> 192.0.2.1:3478");
        assert_eq!(bytes, [7, 8]);
        assert!(decode_v4(&packet[..20]).is_none());
    }

    /// The sum over all words of what arrives, its checksum included, is 0xffff (RFC 1071).
    #[test]
    fn a_receiver_finds_the_checksum_right() {
        let [from, to] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        for payload in [&[][..], &[1], &[1, 2, 3, 4, 5], &[0xff; 144]] {
            let mut packet = datagram(51840, 3478, payload).unwrap();
            let sum = checksum(from, to, &packet);
            packet[6..8].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(checksum(from, to, &packet), 0xffff, "{payload:?}");
        }
    }

    /// Through the kernel, which refuses a wrong checksum, to an ordinary socket; and back through the filter.
    #[test]
    fn datagrams_pass_over_both_families() {
        let Ok(sockets) = StunSocket::open(0, 0) else {
            println!("SKIPPED: raw sockets need CAP_NET_RAW");
            return;
        };
        for local in ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
            let Ok(far) = std::net::UdpSocket::bind((local, 0)) else {
                println!("SKIPPED: the host has no {local}");
                continue;
            };
            let near = std::net::UdpSocket::bind((local, 0)).unwrap();
            let port = near.local_addr().unwrap().port();
            let sockets = StunSocket::open(port, 0).unwrap_or_else(|_| panic!("{sockets:?}"));
            let mut bytes = vec![0, 1, 0, 0];
            bytes.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
            bytes.extend_from_slice(&[7; 12]);
            let to = far.local_addr().unwrap();
            sockets.send(to, Some(local), &bytes).unwrap();
            let mut buffer = [0; 64];
            let (length, from) = far.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..length], bytes);
            assert_eq!(from.port(), port);

            far.send_to(b"this is not STUN, as all can see", from)
                .unwrap();
            far.send_to(&bytes, from).unwrap();
            let start = std::time::Instant::now();
            let (path, got) = loop {
                let got = sockets.receive_v4().or_else(|| sockets.receive_v6());
                if let Some(got) = got.flatten() {
                    break got;
                }
                assert!(start.elapsed().as_secs() < 10, "nothing came over {local}");
                std::thread::yield_now();
            };
            assert_eq!((path.remote, got), (to, bytes));
        }
    }
}
