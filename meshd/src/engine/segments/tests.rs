//! Cutting, against a reference that builds each segment from scratch with another checksum.

use super::super::packet::InnerHeader;
use super::super::test_packets::{Flow, header_checksum_is_right, transport_checksum_is_right};
use super::*;
use proptest::prelude::*;
use std::iter;

/// A packet with its checksum left open, as the kernel hands it over, and the header before it.
fn large(flow: &Flow, flags: u8, payload: &[u8], size: u16) -> (VnetHeader, Vec<u8>) {
    let packet = flow.packet(7, 1000, flags, payload);
    let header = VnetHeader {
        needs_checksum: true,
        kind: match (flow.tcp, flow.v6) {
            (true, false) => SegmentKind::TcpV4,
            (true, true) => SegmentKind::TcpV6,
            (false, _) => SegmentKind::Udp,
        },
        header_bytes: (packet.len() - payload.len()) as u16,
        segment_bytes: size,
        checksum_start: if flow.v6 { 40 } else { 20 },
        checksum_offset: if flow.tcp { 16 } else { 6 },
    };
    (header, packet)
}

fn cut(header: &VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let cut = Cut::new(header, packet).expect("can be cut");
    let (mut packet, mut headers) = (packet.to_vec(), vec![0xaa; packet.len()]);
    let mut segments = cut.segments(&mut packet, &mut headers);
    let all: Vec<_> = iter::from_fn(|| segments.next().map(|part| part.to_vec())).collect();
    assert_eq!(all.len(), cut.count());
    assert_eq!(all.iter().map(Vec::len).max(), Some(cut.largest()));
    all
}

proptest! {
    #[test]
    fn segments_are_those_of_the_reference(
        v6: bool, tcp: bool, options in 0_usize..=10,
        payload in proptest::collection::vec(any::<u8>(), 1..9000),
        size in 1_u16..3000, flags: u8,
    ) {
        let flow = Flow { v6, tcp, options: options * 4, ..Flow::default() };
        prop_assume!(payload.len() / usize::from(size) < 300);
        let (header, packet) = large(&flow, flags, &payload, size);
        let segments = cut(&header, &packet);
        let chunks: Vec<_> = payload.chunks(size.into()).collect();
        prop_assert_eq!(segments.len(), chunks.len());
        for (index, (segment, chunk)) in segments.iter().zip(&chunks).enumerate() {
            let mut flags = flags;
            if index + 1 < chunks.len() { flags &= !FLAGS_OF_LAST; }
            if index > 0 { flags &= !FLAG_OF_FIRST; }
            let sequence = 1000 + (index * usize::from(size)) as u32;
            let expected = flow.packet(7 + index as u16, sequence, flags, chunk);
            prop_assert_eq!(segment, &expected);
            prop_assert!(transport_checksum_is_right(segment) && header_checksum_is_right(segment));
        }
    }

    #[test]
    fn open_checksums_are_completed(
        v6: bool, tcp: bool, payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let flow = Flow { v6, tcp, ..Flow::default() };
        let whole = flow.packet(1, 1, 0x10, &payload);
        let (mut header, mut packet) = large(&flow, 0x10, &payload, 1);
        header.kind = SegmentKind::Whole;
        packet.clone_from(&whole);
        let start = usize::from(header.checksum_start);
        let at = start + usize::from(header.checksum_offset);
        let protocol = if tcp { TCP } else { UDP };
        let pseudo = checksum::fold(checksum::pseudo_header(&packet, protocol, packet.len() - start));
        packet[at..at + 2].copy_from_slice(&pseudo.to_ne_bytes());
        prop_assert!(complete_checksum(&header, &mut packet));
        prop_assert_eq!(packet, whole);
    }

    #[test]
    fn arbitrary_headers_never_panic(
        mut packet in proptest::collection::vec(any::<u8>(), 0..200), bytes: [u8; 10], v4: bool,
        kind in 0_u8..6, plausible: bool,
    ) {
        if let Some(first) = packet.first_mut() {
            *first = if v4 { 0x45 } else { 0x60 };
        }
        let mut header = VnetHeader::decode(&bytes);
        if plausible {
            header.checksum_start = if v4 { 20 } else { 40 };
            header.segment_bytes &= 0x1f;
            let mut bytes = header.encode();
            bytes[1] = kind;
            header = VnetHeader::decode(&bytes);
        }
        if InnerHeader::parse(&packet).is_some() && let Some(cut) = Cut::new(&header, &packet) {
            let (largest, mut headers) = (cut.largest(), vec![0; packet.len()]);
            let mut copy = packet.clone();
            let mut segments = cut.segments(&mut copy, &mut headers);
            for _ in 0..cut.count() {
                prop_assert!(segments.next().is_some_and(|part| part.len() <= largest));
            }
            prop_assert!(segments.next().is_none());
        }
        let _ = complete_checksum(&header, &mut packet);
    }
}

#[test]
fn headers_that_do_not_agree_are_refused() {
    let v4 = Flow::default();
    let (good, packet) = large(&v4, 0x10, &[1; 100], 50);
    assert!(Cut::new(&good, &packet).is_some());
    let cases = [
        (
            "other family",
            VnetHeader {
                kind: SegmentKind::TcpV6,
                ..good
            },
        ),
        (
            "not to be cut",
            VnetHeader {
                kind: SegmentKind::Whole,
                ..good
            },
        ),
        (
            "unknown",
            VnetHeader {
                kind: SegmentKind::Unknown,
                ..good
            },
        ),
        (
            "no size",
            VnetHeader {
                segment_bytes: 0,
                ..good
            },
        ),
        (
            "inside the ip header",
            VnetHeader {
                checksum_start: 16,
                ..good
            },
        ),
        (
            "past the end",
            VnetHeader {
                checksum_start: 400,
                ..good
            },
        ),
    ];
    for (name, header) in cases {
        assert_eq!(Cut::new(&header, &packet), None, "{name}");
    }
    let mut short = packet;
    short[20 + 12] = 0x40;
    assert_eq!(Cut::new(&good, &short), None, "tcp header of 16 bytes");
}
