//! The few fields of inner IP packets that cryptokey routing looks at (RFC 791, RFC 8200). Nothing
//! above the IP header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_HEADER_BYTES: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub(super) const IPV6_HEADER_BYTES: usize = 40;

/// Addresses and length of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InnerHeader {
    /// Source address.
    pub(super) source: IpAddr,
    /// Destination address.
    pub(super) destination: IpAddr,
    /// Length by the header; what follows is padding.
    pub(super) length: usize,
}

impl InnerHeader {
    /// Parses the header of `packet`; none if it is not a whole IPv4 or IPv6 packet.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let header = match packet.first()? >> 4 {
            4 => Self::parse_v4(packet)?,
            6 => Self::parse_v6(packet)?,
            _ => return None,
        };
        (header.length <= packet.len()).then_some(header)
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<IPV4_HEADER_BYTES>()?;
        let header_bytes = usize::from(header[0] & 0x0f) * 4;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let address = |at: usize| {
            Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into()
        };
        (header_bytes >= IPV4_HEADER_BYTES && length >= header_bytes).then(|| Self {
            source: address(12),
            destination: address(16),
            length,
        })
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<IPV6_HEADER_BYTES>()?;
        let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let source: [u8; 16] = header[8..24].try_into().ok()?;
        let destination: [u8; 16] = header[24..40].try_into().ok()?;
        Some(Self {
            source: Ipv6Addr::from(source).into(),
            destination: Ipv6Addr::from(destination).into(),
            length: IPV6_HEADER_BYTES + payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(total: u16, first: u8) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = first;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet
    }

    #[test]
    fn lengths_are_checked() {
        let cases = [
            ("whole", v4(28, 0x45), Some(28)),
            ("padded", v4(24, 0x45), Some(24)),
            ("longer than received", v4(29, 0x45), None),
            ("shorter than its header", v4(19, 0x45), None),
            ("header of 16 bytes", v4(28, 0x44), None),
            ("options longer than the packet", v4(28, 0x4f), None),
            ("version 5", v4(28, 0x55), None),
            ("empty", Vec::new(), None),
        ];
        for (name, packet, length) in cases {
            let parsed = InnerHeader::parse(&packet).map(|header| header.length);
            assert_eq!(parsed, length, "{name}");
        }
    }

    #[test]
    fn v6_addresses() {
        let (a, b) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut packet = vec![0; 44];
        packet[0] = 0x60;
        packet[5] = 4;
        packet[8..24].copy_from_slice(&Ipv6Addr::octets(&a));
        packet[24..40].copy_from_slice(&Ipv6Addr::octets(&b));
        let header = InnerHeader::parse(&packet).unwrap();
        assert_eq!(header.source, IpAddr::V6(a));
        assert_eq!(header.destination, IpAddr::V6(b));
        assert_eq!(header.length, 44);
        assert_eq!(InnerHeader::parse(&packet[..43]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(header) = InnerHeader::parse(&bytes) {
                prop_assert!(header.length <= bytes.len());
            }
        }
    }
}
