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

    /// Writes the packet of number `index`, less than [`Cut::count`], into `out`; its length. `packet` is
    /// the one that the cut was made for, `out` has room for the largest.
    pub(super) fn write(&self, packet: &[u8], index: usize, out: &mut [u8]) -> usize {
        let start = self.headers + index * self.size;
        let end = (start + self.size).min(self.total);
        let length = self.headers + (end - start);
        let out = &mut out[..length];
        out[..self.headers].copy_from_slice(&packet[..self.headers]);
        out[self.headers..].copy_from_slice(&packet[start..end]);
        write_network_header(out, self.transport, index);
        let (is_first, is_last) = (index == 0, end == self.total);
        let pseudo = checksum::pseudo_header(out, self.protocol, length - self.transport);
        let transport = &mut out[self.transport..];
        let checksum_at = if self.protocol == TCP {
            let sequence = [transport[4], transport[5], transport[6], transport[7]];
            let sequence = u32::from_be_bytes(sequence).wrapping_add((index * self.size) as u32);
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !is_last {
                transport[13] &= !FLAGS_OF_LAST;
            }
            if !is_first {
                transport[13] &= !FLAG_OF_FIRST;
            }
            TCP_CHECKSUM_AT
        } else {
            let length = transport.len() as u16;
            transport[4..6].copy_from_slice(&length.to_be_bytes());
            UDP_CHECKSUM_AT
        };
        checksum::write(transport, checksum_at, self.protocol, pseudo);
        length
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
