//! The header in front of every packet of a TUN device with offloads (`virtio_net_hdr` of
//! `linux/virtio_net.h`, the first ten bytes): what is left to do to the packet behind it. Pure.

/// Bytes of the header.
pub const VNET_HEADER_BYTES: usize = 10;

const FLAG_NEEDS_CHECKSUM: u8 = 1;
const KIND_TCP_V4: u8 = 1;
const KIND_TCP_V6: u8 = 4;
const KIND_UDP: u8 = 5;
/// Set beside the kind if the first segment carries CWR.
const KIND_ECN: u8 = 0x80;

/// What a packet that is larger than the MTU consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SegmentKind {
    /// It is one packet.
    #[default]
    Whole,
    /// TCP segments in IPv4.
    TcpV4,
    /// TCP segments in IPv6.
    TcpV6,
    /// UDP datagrams of one flow.
    Udp,
    /// Something this side has not asked for.
    Unknown,
}

/// The header. Offsets count from the start of the IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// The checksum field holds the sum of the pseudo header only.
    pub needs_checksum: bool,
    /// Into what the packet is to be cut.
    pub kind: SegmentKind,
    /// Bytes of all headers; a hint.
    pub header_bytes: u16,
    /// Payload of each segment but the last.
    pub segment_bytes: u16,
    /// Where the checksum's range starts: at the transport header.
    pub checksum_start: u16,
    /// Where the checksum is, from there.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Reads a header.
    #[must_use]
    pub const fn decode(bytes: &[u8; VNET_HEADER_BYTES]) -> Self {
        let [
            flags,
            kind,
            header_0,
            header_1,
            size_0,
            size_1,
            start_0,
            start_1,
            offset_0,
            offset_1,
        ] = *bytes;
        Self {
            needs_checksum: flags & FLAG_NEEDS_CHECKSUM != 0,
            kind: match kind & !KIND_ECN {
                0 => SegmentKind::Whole,
                KIND_TCP_V4 => SegmentKind::TcpV4,
                KIND_TCP_V6 => SegmentKind::TcpV6,
                KIND_UDP => SegmentKind::Udp,
                _ => SegmentKind::Unknown,
            },
            header_bytes: u16::from_ne_bytes([header_0, header_1]),
            segment_bytes: u16::from_ne_bytes([size_0, size_1]),
            checksum_start: u16::from_ne_bytes([start_0, start_1]),
            checksum_offset: u16::from_ne_bytes([offset_0, offset_1]),
        }
    }

    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> [u8; VNET_HEADER_BYTES] {
        let mut bytes = [0; VNET_HEADER_BYTES];
        bytes[0] = u8::from(self.needs_checksum) * FLAG_NEEDS_CHECKSUM;
        bytes[1] = match self.kind {
            SegmentKind::Whole | SegmentKind::Unknown => 0,
            SegmentKind::TcpV4 => KIND_TCP_V4,
            SegmentKind::TcpV6 => KIND_TCP_V6,
            SegmentKind::Udp => KIND_UDP,
        };
        let fields = [
            self.header_bytes,
            self.segment_bytes,
            self.checksum_start,
            self.checksum_offset,
        ];
        for (place, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back() {
        let header = VnetHeader {
            needs_checksum: true,
            kind: SegmentKind::TcpV6,
            header_bytes: 72,
            segment_bytes: 1348,
            checksum_start: 40,
            checksum_offset: 16,
        };
        assert_eq!(VnetHeader::decode(&header.encode()), header);
        assert_eq!(VnetHeader::default().encode(), [0; VNET_HEADER_BYTES]);
        let mut bytes = header.encode();
        bytes[1] |= KIND_ECN;
        assert_eq!(VnetHeader::decode(&bytes), header);
        bytes[1] = 3;
        assert_eq!(VnetHeader::decode(&bytes).kind, SegmentKind::Unknown);
    }
}
