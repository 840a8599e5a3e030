//! Takes Ethernet frames apart as far as the checks need: addresses, ports, payload. Nothing is trusted
//! to be well-formed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// An ARP message.
    Arp,
    /// An IP packet.
    Ip(IpPacket<'a>),
    /// Something else; the Ethernet type, or none if the frame is cut.
    Other(Option<u16>),
}

/// An IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpPacket<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What it carries.
    pub transport: Transport<'a>,
}

/// Payload of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'a> {
    /// UDP.
    Udp(Segment<'a>),
    /// TCP.
    Tcp(Segment<'a>),
    /// ICMP or ICMPv6: type, code, and what follows the checksum.
    Icmp {
        /// Type.
        kind: u8,
        /// The rest, from the fifth byte on.
        body: &'a [u8],
    },
    /// Not the first fragment, or cut, or another protocol (its number).
    Other(u8),
}

/// Ports and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Everything behind the header.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses an Ethernet frame.
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Self {
        let Some((header, rest)) = frame.split_at_checked(14) else {
            return Self::Other(None);
        };
        let kind = u16::from_be_bytes([header[12], header[13]]);
        let ip = match kind {
            0x0806 => return Self::Arp,
            0x0800 => IpPacket::parse_v4(rest),
            0x86dd => IpPacket::parse_v6(rest),
            _ => None,
        };
        ip.map_or(Self::Other(Some(kind)), Self::Ip)
    }
}

impl<'a> IpPacket<'a> {
    /// Parses an IPv4 packet, also one cut short by an ICMP error.
    #[must_use]
    pub fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..20)?;
        let header_bytes = usize::from(header[0] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]])).min(bytes.len());
        if header[0] >> 4 != 4 {
            return None;
        }
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        };
        let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
        let protocol = header[9];
        Some(Self {
            source: address(12)?,
            destination: address(16)?,
            transport: if first {
                Transport::parse(protocol, bytes.get(header_bytes..total)?)
            } else {
                Transport::Other(protocol)
            },
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(40)?;
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        // Multicast listener reports carry a hop-by-hop header (RFC 3810 section 5).
        let (next, rest) = match header[6] {
            0 => {
                let length = 8 + usize::from(*rest.get(1)?) * 8;
                (*rest.first()?, rest.get(length..)?)
            }
            next => (next, rest),
        };
        Some(Self {
            source: address(8)?,
            destination: address(24)?,
            transport: Transport::parse(next, rest),
        })
    }
}

impl<'a> Transport<'a> {
    fn parse(protocol: u8, bytes: &'a [u8]) -> Self {
        let parsed = match protocol {
            1 | 58 => bytes
                .first()
                .zip(bytes.get(4..))
                .map(|(kind, body)| Self::Icmp { kind: *kind, body }),
            6 => Segment::parse(bytes, 20).map(Self::Tcp),
            17 => Segment::parse(bytes, 8).map(Self::Udp),
            _ => None,
        };
        parsed.unwrap_or(Self::Other(protocol))
    }
}

impl<'a> Segment<'a> {
    fn parse(bytes: &'a [u8], least: usize) -> Option<Self> {
        let header = bytes.get(..least)?;
        let length = match least {
            20 => usize::from(header[12] >> 4) * 4,
            other => other,
        };
        Some(Self {
            source: u16::from_be_bytes([header[0], header[1]]),
            destination: u16::from_be_bytes([header[2], header[3]]),
            payload: bytes.get(length..)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An Ethernet frame with a UDP packet.
    pub(crate) fn udp_frame(
        source: (Ipv4Addr, u16),
        to: (Ipv4Addr, u16),
        payload: &[u8],
    ) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[8, 0]);
        frame.extend_from_slice(&udp_packet(source, to, payload));
        frame
    }

    /// An IPv4 packet with UDP in it.
    pub(crate) fn udp_packet(
        source: (Ipv4Addr, u16),
        to: (Ipv4Addr, u16),
        payload: &[u8],
    ) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&(28 + payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend_from_slice(&source.0.octets());
        packet.extend_from_slice(&to.0.octets());
        packet.extend_from_slice(&source.1.to_be_bytes());
        packet.extend_from_slice(&to.1.to_be_bytes());
        packet.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn udp_is_taken_apart_and_padding_left_out() {
        let (a, b) = (Ipv4Addr::new(10, 1, 0, 11), Ipv4Addr::new(10, 2, 0, 11));
        let mut frame = udp_frame((a, 5), (b, 6), b"hello");
        frame.extend_from_slice(&[0; 9]);
        let Packet::Ip(packet) = Packet::parse(&frame) else {
            panic!("not IP");
        };
        let segment = Segment {
            source: 5,
            destination: 6,
            payload: b"hello",
        };
        assert_eq!((packet.source, packet.destination), (a.into(), b.into()));
        assert_eq!(packet.transport, Transport::Udp(segment));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool) {
            if bytes.len() > 14 {
                bytes[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
                bytes[14] = if v6 { 0x60 } else { 0x45 };
            }
            let _ = Packet::parse(&bytes);
        }
    }
}
