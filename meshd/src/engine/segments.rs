//! Cuts a packet larger than the MTU, as a TUN device with offloads hands it over, into the packets
//! that it stands for: what the kernel or a network card would do otherwise. Pure.

use crate::linux::tun::{SegmentKind, VnetHeader};

use super::checksum::{self, TCP, UDP};
use super::packet::IPV6_HEADER_BYTES;

const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const TCP_CHECKSUM_AT: usize = 16;
const UDP_CHECKSUM_AT: usize = 6;
/// FIN and PSH belong to the last segment only.
const FLAGS_OF_LAST: u8 = 0x01 | 0x08;
/// CWR belongs to the first segment only (RFC 3168 section 6.1.2).
const FLAG_OF_FIRST: u8 = 0x80;

/// How to cut one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    protocol: u8,
    /// Where the transport header starts.
    transport: usize,
    /// Bytes of all headers.
    headers: usize,
    /// Payload of each segment but the last.
    size: usize,
    /// Bytes of the packet.
    total: usize,
}

impl Cut {
    /// How to cut `packet`, whose header says it is to be cut; none if both do not agree.
    pub(super) fn new(header: &VnetHeader, packet: &[u8]) -> Option<Self> {
        let version = packet.first()? >> 4;
        let (protocol, version_wanted) = match header.kind {
            SegmentKind::TcpV4 => (TCP, 4),
            SegmentKind::TcpV6 => (TCP, 6),
            SegmentKind::Udp => (UDP, version),
            SegmentKind::Whole | SegmentKind::Unknown => return None,
        };
        let transport = usize::from(header.checksum_start);
        let transport_fits = match version {
            4 => transport == usize::from(packet[0] & 0x0f) * 4 && transport >= 20,
            6 => transport >= IPV6_HEADER_BYTES,
            _ => false,
        };
        if version != version_wanted || !transport_fits {
            return None;
        }
        let headers = match protocol {
            TCP => {
                let bytes = usize::from(packet.get(transport + 12)? >> 4) * 4;
                transport + (bytes >= TCP_HEADER_BYTES).then_some(bytes)?
            }
            _ => transport + UDP_HEADER_BYTES,
        };
        let size = usize::from(header.segment_bytes);
        (size > 0 && headers < packet.len()).then_some(Self {
            protocol,
            transport,
            headers,
            size,
            total: packet.len(),
        })
    }

    /// How many packets it becomes.
    pub(super) const fn count(&self) -> usize {
        (self.total - self.headers).div_ceil(self.size)
    }

    /// Bytes of the largest of them.
    pub(super) fn largest(&self) -> usize {
        (self.headers + self.size).min(self.total)
    }

    /// The packets that `packet` becomes, which is the one that the cut was made for. `headers` has room
    /// for its headers.
    pub(super) fn segments<'p>(self, packet: &'p mut [u8], headers: &'p mut [u8]) -> Segments<'p> {
        let headers = &mut headers[..self.headers];
        headers.copy_from_slice(&packet[..self.headers]);
        Segments {
            cut: self,
            packet,
            headers,
            index: 0,
        }
    }
}

/// The packets of a cut, one after the other. Each is made in the place of the large one, its headers over
/// the end of the payload before it, so that no payload is copied.
#[derive(Debug)]
pub(super) struct Segments<'p> {
    cut: Cut,
    packet: &'p mut [u8],
    /// Those of the large packet.
    headers: &'p [u8],
    /// Number of the next packet.
    index: usize,
}

impl Segments<'_> {
    /// The next packet, there until the one after it is asked for; none after the last.
    pub(super) fn next(&mut self) -> Option<&mut [u8]> {
        let (cut, index) = (self.cut, self.index);
        // Headers that the packet begins with come before each part of the payload.
        let start = index * cut.size;
        if cut.headers + start >= cut.total {
            return None;
        }
        self.index += 1;
        let end = (cut.headers + start + cut.size).min(cut.total);
        let segment = &mut self.packet[start..end];
        segment[..cut.headers].copy_from_slice(self.headers);
        cut.finish(segment, index, end == cut.total);
        Some(segment)
    }
}

impl Cut {
    /// Makes the headers of the large packet those of the packet of number `index`.
    fn finish(&self, segment: &mut [u8], index: usize, is_last: bool) {
        let length = segment.len();
        write_network_header(segment, self.transport, index);
        let pseudo = checksum::pseudo_header(segment, self.protocol, length - self.transport);
        let transport = &mut segment[self.transport..];
        let checksum_at = if self.protocol == TCP {
            let sequence = [transport[4], transport[5], transport[6], transport[7]];
            let sequence = u32::from_be_bytes(sequence).wrapping_add((index * self.size) as u32);
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !is_last {
                transport[13] &= !FLAGS_OF_LAST;
            }
            if index > 0 {
                transport[13] &= !FLAG_OF_FIRST;
            }
            TCP_CHECKSUM_AT
        } else {
            let length = transport.len() as u16;
            transport[4..6].copy_from_slice(&length.to_be_bytes());
            UDP_CHECKSUM_AT
        };
        checksum::write(transport, checksum_at, self.protocol, pseudo);
    }
}

/// Completes the checksum that a header says is missing. False if it lies outside the packet.
pub(super) fn complete_checksum(header: &VnetHeader, packet: &mut [u8]) -> bool {
    if !header.needs_checksum {
        return true;
    }
    let (start, offset) = (header.checksum_start.into(), header.checksum_offset.into());
    let Some(range) = packet.get_mut(start..) else {
        return false;
    };
    let Some(field) = range.get(offset..offset + 2) else {
        return false;
    };
    // The field holds the sum of the pseudo header.
    let pseudo = u64::from(u16::from_ne_bytes([field[0], field[1]]));
    let protocol = if offset == UDP_CHECKSUM_AT { UDP } else { TCP };
    checksum::write(range, offset, protocol, pseudo);
    true
}

fn write_network_header(packet: &mut [u8], transport: usize, index: usize) {
    let length = packet.len();
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let identification = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(index as u16);
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        checksum::write_ipv4_header(&mut packet[..transport]);
    } else {
        let payload = (length - IPV6_HEADER_BYTES) as u16;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
