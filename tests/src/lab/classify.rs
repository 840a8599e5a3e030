//! What a captured frame is: the few kinds of traffic that may cross the backbone, or something that may
//! not. Judges by content as well as by ports, so that a plain packet on the WireGuard port is found out.

use std::net::{IpAddr, SocketAddrV4};

use mesh_proto::stun;

use super::packet::{IpPacket, Packet, Segment, Transport};

/// Kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A WireGuard handshake or cookie message.
    Handshake,
    /// A WireGuard transport message: tunnelled data, keepalives, in-tunnel probes.
    Data,
    /// A STUN message.
    Stun,
    /// TCP with the discovery server.
    Discovery,
    /// ARP, neighbour discovery, multicast membership: a link's own housekeeping.
    Link,
    /// An ICMP error about one of the above.
    Error,
    /// Anything else.
    Foreign,
}

/// Classifies one Ethernet frame, given where the discovery server listens.
#[must_use]
pub fn classify(frame: &[u8], discovery: SocketAddrV4) -> Kind {
    match Packet::parse(frame) {
        Packet::Arp => Kind::Link,
        Packet::Ip(packet) => classify_ip(&packet, discovery, true),
        Packet::Other(_) => Kind::Foreign,
    }
}

/// The type of a WireGuard message, 1 to 4, if `payload` has the form of one.
#[must_use]
pub fn wireguard_type(payload: &[u8]) -> Option<u8> {
    let (head, length) = (payload.first_chunk::<4>()?, payload.len());
    match head {
        [1, 0, 0, 0] if length == 148 => Some(1),
        [2, 0, 0, 0] if length == 92 => Some(2),
        [3, 0, 0, 0] if length == 64 => Some(3),
        [4, 0, 0, 0] if length >= 32 => Some(4),
        _ => None,
    }
}

fn classify_ip(packet: &IpPacket<'_>, discovery: SocketAddrV4, errors: bool) -> Kind {
    let housekeeping = packet.destination.is_multicast();
    match packet.transport {
        Transport::Udp(segment) => classify_udp(segment),
        Transport::Tcp(segment) if is_discovery(packet, segment, discovery) => Kind::Discovery,
        Transport::Icmp { kind, body } => match (packet.source, kind) {
            (IpAddr::V6(_), 130..=137 | 143) => Kind::Link,
            (IpAddr::V4(_), 3 | 11) if errors => match body.get(4..).and_then(IpPacket::parse_v4) {
                Some(quoted) if is_expected(quoted_kind(&quoted, discovery)) => Kind::Error,
                _ => Kind::Foreign,
            },
            _ => Kind::Foreign,
        },
        // IGMP.
        Transport::Other(2) if housekeeping => Kind::Link,
        _ => Kind::Foreign,
    }
}

/// An error quotes as little as 8 bytes behind the header (RFC 792), so ports must do.
fn quoted_kind(packet: &IpPacket<'_>, discovery: SocketAddrV4) -> Kind {
    match packet.transport {
        Transport::Udp(Segment { payload, .. }) if payload.len() < 32 => Kind::Data,
        _ => classify_ip(packet, discovery, false),
    }
}

fn is_expected(kind: Kind) -> bool {
    kind != Kind::Foreign
}

fn classify_udp(segment: Segment<'_>) -> Kind {
    match wireguard_type(segment.payload) {
        Some(4) => Kind::Data,
        Some(_) => Kind::Handshake,
        None if stun::is_stun(segment.payload) => Kind::Stun,
        None => Kind::Foreign,
    }
}

fn is_discovery(packet: &IpPacket<'_>, segment: Segment<'_>, discovery: SocketAddrV4) -> bool {
    let server = (IpAddr::V4(*discovery.ip()), discovery.port());
    (packet.source, segment.source) == server || (packet.destination, segment.destination) == server
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{udp_frame, udp_packet};
    use super::*;
    use std::net::Ipv4Addr;

    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 2), 7400);
    const A: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 0, 11), 51840);
    const B: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 2, 0, 11), 51840);

    fn message(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes[0] = kind;
        bytes
    }

    #[test]
    fn datagrams() {
        let request = stun::encode_request(stun::TransactionId([1; 12]));
        let table: [(&[u8], Kind); 7] = [
            (&message(1, 148), Kind::Handshake),
            (&message(2, 92), Kind::Handshake),
            (&message(4, 32), Kind::Data),
            (&request, Kind::Stun),
            (&message(1, 147), Kind::Foreign),
            (b"plain text on the WireGuard port", Kind::Foreign),
            (b"", Kind::Foreign),
        ];
        for (payload, kind) in table {
            assert_eq!(
                classify(&udp_frame(A, B, payload), SERVER),
                kind,
                "{payload:?}"
            );
        }
    }

    #[test]
    fn errors_are_judged_by_what_they_quote() {
        let frame = |quoted: &[u8]| {
            let mut frame = udp_frame(A, B, &[]);
            frame[14 + 9] = 1;
            frame.truncate(14 + 20);
            frame.extend_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
            frame.extend_from_slice(quoted);
            let length = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            frame
        };
        let good = udp_packet(A, B, &message(4, 64));
        let bad = udp_packet(A, B, &[b'x'; 64]);
        assert_eq!(classify(&frame(&good), SERVER), Kind::Error);
        assert_eq!(classify(&frame(&good[..28]), SERVER), Kind::Error);
        assert_eq!(classify(&frame(&bad), SERVER), Kind::Foreign);
    }

    #[test]
    fn only_the_server_speaks_tcp() {
        let mut frame = udp_frame(A, (*SERVER.ip(), SERVER.port()), &[0; 40]);
        frame[14 + 9] = 6;
        frame[14 + 20 + 12] = 0x50;
        assert_eq!(classify(&frame, SERVER), Kind::Discovery);
        frame[14 + 19] = 9;
        assert_eq!(classify(&frame, SERVER), Kind::Foreign);
    }
}
