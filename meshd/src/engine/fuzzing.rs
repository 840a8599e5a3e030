//! What fuzz targets may call: the parsers of packets and datagrams, each with what must hold of any
//! bytes. Not for anything else; `tests/fuzz` turns these into targets.

use std::io::IoSlice;

use super::coalesce::{Coalescer, PieceSink};
use super::packet::InnerHeader;
use super::segment_size::clamp_segment_size;
use super::segments::{Cut, Segments, complete_checksum};
use super::worker::is_wireguard_message;
use crate::linux::tun::{SegmentKind, TunOffloads, VNET_HEADER_BYTES, VnetHeader};

/// Pieces larger than this are cut into more packets than is worth the time.
const MAX_CUT: usize = 4096;

/// Length by its header of the IP packet in `bytes`, if they hold a whole one.
#[must_use]
pub fn ip_packet_length(bytes: &[u8]) -> Option<usize> {
    InnerHeader::parse(bytes).map(|header| header.length)
}

/// True if a datagram would be taken for a WireGuard message.
#[must_use]
pub fn is_wireguard(bytes: &[u8]) -> bool {
    is_wireguard_message(bytes)
}

/// What a TUN device with offloads hands over: header and packet. True if it is to be cut and could be.
///
/// # Panics
/// If the parts are not what was cut.
#[must_use]
pub fn cut_packet(bytes: &[u8]) -> bool {
    let Some((header, packet)) = bytes.split_first_chunk::<VNET_HEADER_BYTES>() else {
        return false;
    };
    let header = VnetHeader::decode(header);
    let _ = complete_checksum(&header, &mut packet.to_vec());
    let Some(length) = ip_packet_length(packet) else {
        return false;
    };
    let packet = &packet[..length];
    let Some(cut) = Cut::new(&header, packet).filter(|cut| cut.count() <= MAX_CUT) else {
        return false;
    };
    let (mut place, mut headers) = (packet.to_vec(), vec![0; packet.len()]);
    let mut segments = cut.segments(&mut place, &mut headers);
    let mut payload = 0;
    while let Some(part) = segments.next() {
        assert_eq!(ip_packet_length(part), Some(part.len()), "a whole packet");
        payload += part.len();
    }
    let headers = payload - packet.len();
    assert!(
        cut.count() == 1 || headers.is_multiple_of(cut.count() - 1),
        "all of the payload, and the headers once for each part"
    );
    true
}

/// Lowers the segment size in a packet. True if there was something to lower.
///
/// # Panics
/// If lowering it again changed something.
#[must_use]
pub fn clamp(bytes: &[u8]) -> bool {
    let mut packet = bytes.to_vec();
    let changed = clamp_segment_size(&mut packet, 1420);
    let once = packet.clone();
    assert!(!clamp_segment_size(&mut packet, 1420), "low enough");
    assert!(packet == once && (changed || once == bytes));
    changed
}

/// Joins packets, each behind its length in two bytes. True if any were joined.
///
/// # Panics
/// If what the pieces are cut into is not what was joined.
#[must_use]
pub fn join(bytes: &[u8]) -> bool {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (packet, behind) = behind.split_at(length);
        rest = behind;
        if let Some(length) = ip_packet_length(packet) {
            packets.push(packet[..length].to_vec());
        }
    }
    let mut coalescer = Coalescer::new(TunOffloads::ALL);
    let mut arena = packets.concat();
    let mut parts = Parts::default();
    let mut start = 0;
    for packet in &packets {
        coalescer.push(&mut arena, start, packet.len(), &mut parts);
        start += packet.len();
    }
    coalescer.flush(&mut arena, &mut parts);
    for packets in [&mut packets, &mut parts.packets] {
        packets.iter_mut().for_each(|packet| forget_number(packet));
        packets.sort();
    }
    assert!(packets == parts.packets, "what came out is what went in");
    parts.is_joined
}

/// The number of a packet that may not be fragmented means nothing (RFC 6864) and is made anew.
fn forget_number(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
}

/// Cuts pieces into packets again, as the kernel would.
#[derive(Default)]
struct Parts {
    packets: Vec<Vec<u8>>,
    is_joined: bool,
}

impl PieceSink for Parts {
    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        let mut piece: Vec<u8> = parts[1..].iter().flat_map(|part| part.to_vec()).collect();
        let header = parts[0].first_chunk().map(VnetHeader::decode);
        let header = header.unwrap_or_default();
        if header.kind == SegmentKind::Whole {
            return self.packets.push(piece);
        }
        self.is_joined = true;
        let cut = Cut::new(&header, &piece);
        assert_eq!(cut.map(|cut| cut.count()), Some(packets));
        let mut headers = vec![0; piece.len()];
        let mut segments = cut.map(|cut| cut.segments(&mut piece, &mut headers));
        while let Some(part) = segments.as_mut().and_then(Segments::next) {
            self.packets.push(part.to_vec());
        }
    }
}
