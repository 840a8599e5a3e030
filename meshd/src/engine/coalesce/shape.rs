//! What of an inner packet decides whether it can be joined with others: its flow, and the fields that
//! must be equal or continue (the rules of the kernel's own receive offload).

use crate::engine::checksum::{self, TCP, UDP};
use crate::engine::packet::IPV6_HEADER_BYTES;

const IPV4_HEADER_BYTES: usize = 20;
const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
/// Two IPv6 addresses and two ports.
const FLOW_BYTES: usize = 36;
const FLAG_PUSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
const DONT_FRAGMENT: u8 = 0x40;

/// The shape of a TCP or UDP packet that is not a fragment and has no IP options or extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    v6: bool,
    /// TCP or UDP.
    pub(super) protocol: u8,
    flow: [u8; FLOW_BYTES],
    /// Where the transport header starts.
    pub(super) transport: usize,
    /// Bytes of all headers.
    pub(super) headers: usize,
    length: usize,
    /// Of TCP.
    pub(super) sequence: u32,
    flags: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            v6: false,
            protocol: 0,
            flow: [0; FLOW_BYTES],
            transport: 0,
            headers: 0,
            length: 0,
            sequence: 0,
            flags: 0,
        }
    }
}

impl Shape {
    /// The shape of a whole IP packet; none if it has no flow to tell.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (v6, protocol, transport, addresses) = match *packet.first()? {
            0x45 => {
                let header = packet.first_chunk::<IPV4_HEADER_BYTES>()?;
                let is_fragment = header[6] & 0x3f != 0 || header[7] != 0;
                (!is_fragment).then_some((false, header[9], IPV4_HEADER_BYTES, 12))?
            }
            first if first >> 4 == 6 => {
                let header = packet.first_chunk::<IPV6_HEADER_BYTES>()?;
                (true, header[6], IPV6_HEADER_BYTES, 8)
            }
            _ => return None,
        };
        let rest = packet.get(transport..)?;
        let (headers, sequence, flags) = match protocol {
            TCP => {
                let tcp = rest.first_chunk::<TCP_HEADER_BYTES>()?;
                let bytes = usize::from(tcp[12] >> 4) * 4;
                let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
                (
                    (bytes >= TCP_HEADER_BYTES).then_some(bytes)?,
                    sequence,
                    tcp[13],
                )
            }
            UDP => {
                rest.first_chunk::<UDP_HEADER_BYTES>()?;
                (UDP_HEADER_BYTES, 0, 0)
            }
            _ => return None,
        };
        let headers = transport + headers;
        let mut flow = [0; FLOW_BYTES];
        // The ports stand right behind the addresses.
        let bytes = &packet[addresses..transport + 4];
        flow[..bytes.len()].copy_from_slice(bytes);
        (headers <= packet.len()).then_some(Self {
            v6,
            protocol,
            flow,
            transport,
            headers,
            length: packet.len(),
            sequence,
            flags,
        })
    }

    /// True for TCP, false for UDP.
    pub(super) const fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// True for IPv6.
    pub(super) const fn is_v6(&self) -> bool {
        self.v6
    }

    /// Bytes of payload.
    pub(super) const fn payload(&self) -> usize {
        self.length - self.headers
    }

    /// True for TCP with PSH: nothing may come behind it in one piece.
    pub(super) const fn is_pushed(&self) -> bool {
        self.flags & FLAG_PUSH != 0
    }

    /// True if both belong to one flow.
    pub(super) fn is_same_flow(&self, other: &Self) -> bool {
        self.flow == other.flow && self.protocol == other.protocol && self.v6 == other.v6
    }

    /// True if `packet`, of this shape, could be part of a piece.
    pub(super) fn may_join(&self, packet: &[u8]) -> bool {
        let transport = &packet[self.transport..];
        let is_plain = if self.is_tcp() {
            self.flags & !FLAG_PUSH == FLAG_ACK
        } else {
            let length = u16::from_be_bytes([transport[4], transport[5]]);
            let has_checksum = transport[6] != 0 || transport[7] != 0;
            has_checksum && usize::from(length) == transport.len()
        };
        is_plain && self.payload() > 0
    }

    /// True if the checksums verify: in a piece nobody would look at them again.
    pub(super) fn checksum_is_right(&self, packet: &[u8]) -> bool {
        if !self.v6 && checksum::fold(checksum::sum(&packet[..self.transport], 0)) != 0xffff {
            return false;
        }
        let transport = &packet[self.transport..];
        let pseudo = checksum::pseudo_header(packet, self.protocol, transport.len());
        checksum::fold(checksum::sum(transport, pseudo)) == 0xffff
    }

    /// True if `next`, of shape `shape`, differs from the `first` packet of a piece only in what cutting
    /// makes anew. `index` is its number in the piece, counted from 0.
    pub(super) fn continues(&self, first: &[u8], shape: &Self, next: &[u8], index: usize) -> bool {
        if self.headers != shape.headers {
            return false;
        }
        let same_network = if self.v6 {
            first[..4] == next[..4] && first[6..8] == next[6..8]
        } else {
            first[1] == next[1] && first[6..10] == next[6..10] && has_next_id(first, next, index)
        };
        let (a, b) = (
            &first[self.transport..self.headers],
            &next[self.transport..self.headers],
        );
        // Acknowledgement, header length, window, urgent pointer and options.
        let same_transport =
            !self.is_tcp() || a[8..13] == b[8..13] && a[14..16] == b[14..16] && a[18..] == b[18..];
        same_network && same_transport
    }
}

/// Cutting numbers packets one by one; the number means something only to packets that may be fragmented
/// (RFC 6864 section 4.1).
fn has_next_id(first: &[u8], next: &[u8], index: usize) -> bool {
    let id = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
    first[6] & DONT_FRAGMENT != 0 || id(next) == id(first).wrapping_add(index as u16)
}
