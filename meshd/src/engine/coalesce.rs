//! Joins decrypted packets of one flow into pieces larger than the MTU, as a TUN device with offloads
//! takes them, so that the kernel's stack sees one packet instead of forty. What the kernel would cut
//! out of a piece again is, byte for byte, what was put in. Packets of one flow keep their order. Pure.

mod shape;

use std::io::IoSlice;

use crate::linux::tun::{SegmentKind, TunOffloads, VNET_HEADER_BYTES, VnetHeader};

use super::checksum;
use shape::Shape;

/// Flows that are joined at the same time.
const MAX_RUNS: usize = 8;
/// Packets in one piece.
const MAX_PARTS: usize = 64;
/// Bytes of one piece; the length field has 16 bits.
const MAX_PIECE_BYTES: usize = 65_000;
const FLAG_PUSH: u8 = 0x08;

/// Takes what is to be written to the device.
pub(super) trait PieceSink {
    /// Takes one piece that `packets` packets were joined to. `parts` starts with the encoded header.
    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize);
}

/// A place in the arena.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: usize,
    length: usize,
}

impl Place {
    const fn end(self) -> usize {
        self.start + self.length
    }
}

/// Packets of one flow, to become one piece.
#[derive(Debug, Default)]
struct Run {
    shape: Shape,
    first: Place,
    /// Payloads of the packets after the first.
    more: Vec<Place>,
    /// Payload of each packet but the last.
    size: usize,
    total: usize,
    next_sequence: u32,
}

/// Joins packets that lie in an arena. The caller keeps the arena and passes it with every call; what was
/// pushed must stay as it is until it is flushed.
#[derive(Debug)]
pub(super) struct Coalescer {
    offloads: TunOffloads,
    /// Those in use first, oldest first.
    runs: Vec<Run>,
    used: usize,
}

impl Coalescer {
    /// Joins what `offloads` say that the device takes. Allocates all that it ever needs.
    pub(super) fn new(offloads: TunOffloads) -> Self {
        let run = || Run {
            more: Vec::with_capacity(MAX_PARTS),
            ..Run::default()
        };
        Self {
            offloads,
            runs: (0..MAX_RUNS).map(|_| run()).collect(),
            used: 0,
        }
    }

    /// Takes the packet of `length` bytes at `start`: a whole IP packet without anything behind it.
    pub(super) fn push(
        &mut self,
        arena: &mut [u8],
        start: usize,
        length: usize,
        sink: &mut impl PieceSink,
    ) {
        let place = Place { start, length };
        let packet = &arena[start..place.end()];
        let Some(shape) = Shape::of(packet).filter(|_| self.offloads.tcp) else {
            // Nothing is known of its order.
            self.flush(arena, sink);
            return write_whole(&arena[start..place.end()], sink);
        };
        let may_join = shape.may_join(packet)
            && (shape.is_tcp() || self.offloads.udp)
            && shape.checksum_is_right(packet);
        if let Some(at) = self.find(&shape) {
            if may_join && self.runs[at].accepts(arena, &shape, place) {
                if self.runs[at].append(arena, &shape, place) {
                    self.emit(at, arena, sink);
                }
                return;
            }
            self.emit(at, arena, sink);
        }
        if !may_join || shape.is_pushed() {
            return write_whole(&arena[start..place.end()], sink);
        }
        if self.used == MAX_RUNS {
            self.emit(0, arena, sink);
        }
        self.runs[self.used].open(shape, place);
        self.used += 1;
    }

    /// Writes everything that waits, oldest first.
    pub(super) fn flush(&mut self, arena: &mut [u8], sink: &mut impl PieceSink) {
        while self.used > 0 {
            self.emit(0, arena, sink);
        }
    }

    fn find(&self, shape: &Shape) -> Option<usize> {
        let runs = &self.runs[..self.used];
        runs.iter().position(|run| run.shape.is_same_flow(shape))
    }

    fn emit(&mut self, at: usize, arena: &mut [u8], sink: &mut impl PieceSink) {
        self.runs[at].write(arena, sink);
        self.runs[at..self.used].rotate_left(1);
        self.used -= 1;
    }
}

impl Run {
    fn open(&mut self, shape: Shape, place: Place) {
        self.size = shape.payload();
        self.next_sequence = shape.sequence.wrapping_add(self.size as u32);
        self.total = place.length;
        self.first = place;
        self.more.clear();
        self.shape = shape;
    }

    /// True if the packet continues the run and could be cut out of its piece again.
    fn accepts(&self, arena: &[u8], shape: &Shape, place: Place) -> bool {
        let first = &arena[self.first.start..self.first.end()];
        let packet = &arena[place.start..place.end()];
        let count = self.more.len() + 1;
        shape.payload() <= self.size
            && count < MAX_PARTS
            && self.total + shape.payload() <= MAX_PIECE_BYTES
            && (!shape.is_tcp() || shape.sequence == self.next_sequence)
            && self.shape.continues(first, shape, packet, count)
    }

    /// Adds the packet. True if it is the last that fits.
    fn append(&mut self, arena: &mut [u8], shape: &Shape, place: Place) -> bool {
        let payload = shape.payload();
        self.more.push(Place {
            start: place.start + shape.headers,
            length: payload,
        });
        self.total += payload;
        self.next_sequence = self.next_sequence.wrapping_add(payload as u32);
        if shape.is_pushed() {
            arena[self.first.start + shape.transport + 13] |= FLAG_PUSH;
        }
        payload < self.size || shape.is_pushed()
    }

    fn write(&self, arena: &mut [u8], sink: &mut impl PieceSink) {
        let first = self.first.start..self.first.end();
        if self.more.is_empty() {
            return write_whole(&arena[first], sink);
        }
        let header = self.finish_headers(&mut arena[first.clone()]).encode();
        let mut parts = [IoSlice::new(&[]); MAX_PARTS + 1];
        parts[0] = IoSlice::new(&header);
        parts[1] = IoSlice::new(&arena[first]);
        for (part, place) in parts[2..].iter_mut().zip(&self.more) {
            *part = IoSlice::new(&arena[place.start..place.end()]);
        }
        let packets = self.more.len() + 1;
        sink.write(&parts[..packets + 1], packets);
    }

    /// Makes the first packet's headers those of the piece, with the transport checksum left open.
    fn finish_headers(&self, packet: &mut [u8]) -> VnetHeader {
        let shape = &self.shape;
        let transport_bytes = self.total - shape.transport;
        if shape.is_v6() {
            let payload = (self.total - shape.transport) as u16;
            packet[4..6].copy_from_slice(&payload.to_be_bytes());
        } else {
            packet[2..4].copy_from_slice(&(self.total as u16).to_be_bytes());
            checksum::write_ipv4_header(&mut packet[..shape.transport]);
        }
        let pseudo = checksum::pseudo_header(packet, shape.protocol, transport_bytes);
        let transport = &mut packet[shape.transport..];
        let (kind, checksum_offset) = match (shape.is_tcp(), shape.is_v6()) {
            (true, false) => (SegmentKind::TcpV4, 16),
            (true, true) => (SegmentKind::TcpV6, 16),
            (false, _) => (SegmentKind::Udp, 6),
        };
        if kind == SegmentKind::Udp {
            transport[4..6].copy_from_slice(&(transport_bytes as u16).to_be_bytes());
        }
        let open = checksum::fold(pseudo).to_ne_bytes();
        transport[checksum_offset..checksum_offset + 2].copy_from_slice(&open);
        VnetHeader {
            needs_checksum: true,
            kind,
            header_bytes: shape.headers as u16,
            segment_bytes: self.size as u16,
            checksum_start: shape.transport as u16,
            checksum_offset: checksum_offset as u16,
        }
    }
}

fn write_whole(packet: &[u8], sink: &mut impl PieceSink) {
    let header = [0; VNET_HEADER_BYTES];
    sink.write(&[IoSlice::new(&header), IoSlice::new(packet)], 1);
}

#[cfg(test)]
mod tests;
