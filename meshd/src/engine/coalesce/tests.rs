//! Joining, against cutting: what the kernel would make of the pieces is what was pushed.

use super::super::segments::Cut;
use super::super::test_packets::Flow;
use super::*;
use proptest::prelude::*;

const ACK: u8 = 0x10;
const PUSH: u8 = 0x18;

/// Keeps pieces, and cuts them.
#[derive(Default)]
struct Pieces(Vec<(VnetHeader, Vec<u8>, usize)>);

impl PieceSink for Pieces {
    fn write(&mut self, parts: &[IoSlice<'_>], packets: usize) {
        let header = VnetHeader::decode(parts[0][..].try_into().unwrap());
        let bytes = parts[1..].iter().flat_map(|part| part.to_vec()).collect();
        self.0.push((header, bytes, packets));
    }
}

impl Pieces {
    fn cut(&self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for (header, piece, packets) in &self.0 {
            if header.kind == SegmentKind::Whole {
                assert_eq!((*header, *packets), (VnetHeader::default(), 1));
                out.push(piece.clone());
                continue;
            }
            let cut = Cut::new(header, piece).expect("a piece the kernel takes");
            assert_eq!(cut.count(), *packets);
            let (mut piece, mut headers) = (piece.clone(), vec![0; piece.len()]);
            let mut segments = cut.segments(&mut piece, &mut headers);
            while let Some(segment) = segments.next() {
                out.push(segment.to_vec());
            }
        }
        out
    }

    fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(|(_, _, packets)| *packets).collect()
    }
}

fn join(offloads: TunOffloads, packets: &[Vec<u8>]) -> Pieces {
    let mut coalescer = Coalescer::new(offloads);
    let mut arena = packets.concat();
    let mut pieces = Pieces::default();
    let mut start = 0;
    for packet in packets {
        coalescer.push(&mut arena, start, packet.len(), &mut pieces);
        start += packet.len();
    }
    coalescer.flush(&mut arena, &mut pieces);
    pieces
}

fn sizes(packets: &[Vec<u8>]) -> Vec<usize> {
    let pieces = join(TunOffloads::ALL, packets);
    assert_eq!(pieces.cut().len(), packets.len());
    pieces.sizes()
}

#[test]
fn a_stream_becomes_one_piece_and_ends_with_push_or_a_short_packet() {
    for v6 in [false, true] {
        let flow = Flow {
            v6,
            ..Flow::default()
        };
        let stream = |lengths: &[usize], last: u8| {
            let mut sequence = 1000;
            let count = lengths.len();
            let packets = lengths.iter().enumerate().map(|(at, length)| {
                let flags = if at + 1 == count { last } else { ACK };
                let packet = flow.packet(at as u16, sequence, flags, &vec![at as u8; *length]);
                sequence += *length as u32;
                packet
            });
            packets.collect::<Vec<_>>()
        };
        assert_eq!(sizes(&stream(&[1000; 20], ACK)), [20]);
        assert_eq!(sizes(&stream(&[1000; 20], PUSH)), [20]);
        assert_eq!(sizes(&stream(&[1000, 1000, 400, 1000, 1000], ACK)), [3, 2]);
        assert_eq!(sizes(&stream(&[1000, 1001, 1001], ACK)), [1, 2]);
        assert_eq!(sizes(&stream(&[100; 130], ACK)), [64, 64, 2]);
        assert_eq!(sizes(&stream(&[9000; 8], ACK)), [7, 1]);
        for packets in [stream(&[1000; 20], PUSH), stream(&[1000, 999, 1000], ACK)] {
            assert_eq!(join(TunOffloads::ALL, &packets).cut(), packets);
        }
    }
}

/// A packet, and the one that continues it in one flow.
fn two(second: &Flow, flags: u8) -> [Vec<u8>; 2] {
    [
        Flow::default().packet(1, 1000, ACK, &[1; 500]),
        second.packet(2, 1500, flags, &[2; 500]),
    ]
}

fn assert_apart(name: &str, packets: &[Vec<u8>]) {
    let pieces = join(TunOffloads::ALL, packets);
    assert_eq!(pieces.sizes(), vec![1; packets.len()], "{name}");
    assert_eq!(pieces.cut(), packets, "{name}");
}

#[test]
fn packets_with_other_headers_stay_apart() {
    let base = Flow::default();
    assert_eq!(sizes(&two(&base, ACK)), [2]);
    type Change = fn(&mut Flow);
    let changes: [(&str, Change); 7] = [
        ("acknowledgement", |flow| flow.acknowledged = 6),
        ("window", |flow| flow.window = 6),
        ("class", |flow| flow.class = 1),
        ("hops", |flow| flow.hops = 3),
        ("may be fragmented", |flow| flow.may_fragment = true),
        ("other flow", |flow| flow.port = 1),
        ("fewer options", |flow| flow.options = 8),
    ];
    for (name, change) in changes {
        let mut flow = base.clone();
        change(&mut flow);
        assert_apart(name, &two(&flow, ACK));
    }
    for (name, flag) in [
        ("fin", 1),
        ("syn", 2),
        ("rst", 4),
        ("urgent", 0x20),
        ("cwr", 0x80),
    ] {
        assert_apart(name, &two(&base, ACK | flag));
    }
}

#[test]
fn packets_that_do_not_continue_stay_apart() {
    let base = Flow::default();
    let [first, second] = two(&base, ACK);
    let changed = |at: usize, bits: u8| {
        let mut packet = second.clone();
        packet[at] ^= bits;
        packet
    };
    let cases = [
        ("gap", base.packet(2, 1501, ACK, &[2; 500])),
        ("no payload", base.packet(2, 1500, ACK, &[])),
        ("payload broken", changed(500, 1)),
        ("options broken", changed(42, 0xff)),
        ("ip header broken", changed(11, 1)),
        ("fragment", changed(7, 1)),
    ];
    for (name, packet) in cases {
        assert_apart(name, &[first.clone(), packet]);
    }
    let loose = Flow {
        may_fragment: true,
        ..base
    };
    let numbered = |id| {
        [
            loose.packet(1, 1000, ACK, &[1; 500]),
            loose.packet(id, 1500, ACK, &[2; 500]),
        ]
    };
    assert_apart("number skipped", &numbered(3));
    assert_eq!(sizes(&numbered(2)), [2], "number counted up");
}

#[test]
fn only_what_the_device_takes_is_joined() {
    let udp = Flow {
        tcp: false,
        ..Flow::default()
    };
    let packets: Vec<_> = (0..5).map(|id| udp.packet(id, 0, 0, &[7; 64])).collect();
    let no_udp = TunOffloads {
        tcp: true,
        udp: false,
    };
    assert_eq!(join(TunOffloads::ALL, &packets).sizes(), [5]);
    assert_eq!(join(no_udp, &packets).sizes(), [1; 5]);
    let tcp = Flow::default();
    let packets: Vec<_> = (0..5)
        .map(|id| tcp.packet(id, 1000 + u32::from(id) * 64, ACK, &[7; 64]))
        .collect();
    assert_eq!(join(no_udp, &packets).sizes(), [5]);
    assert_eq!(join(TunOffloads::default(), &packets).sizes(), [1; 5]);
}

#[test]
fn interleaved_flows_are_joined_each_and_evicted_when_too_many() {
    let mut packets = Vec::new();
    for step in 0..4_u32 {
        for port in 0..4 {
            let flow = Flow {
                port,
                ..Flow::default()
            };
            packets.push(flow.packet(step as u16, 1000 + step * 100, ACK, &[3; 100]));
        }
    }
    assert_eq!(sizes(&packets), [4; 4]);
    let many: Vec<_> = (0..20)
        .map(|port| {
            Flow {
                port,
                ..Flow::default()
            }
            .packet(1, 1, ACK, &[3; 100])
        })
        .collect();
    assert_eq!(sizes(&many), [1; 20]);
}

/// A packet of one of a few flows; `step` moves the flow's sequence now and then.
fn any_packet() -> impl Strategy<Value = (u16, bool, bool, u8, usize, bool, bool)> {
    (
        0_u16..3,
        any::<bool>(),
        any::<bool>(),
        prop_oneof![8 => Just(ACK), 2 => Just(PUSH), 1 => any::<u8>()],
        prop_oneof![6 => Just(200_usize), 2 => 0_usize..200, 1 => Just(1400)],
        proptest::bool::weighted(0.05),
        proptest::bool::weighted(0.05),
    )
}

proptest! {
    #[test]
    fn each_flow_comes_out_as_it_went_in(
        steps in proptest::collection::vec(any_packet(), 1..120),
    ) {
        let mut sequences = [0_u32; 12];
        let mut packets = Vec::new();
        for (port, v6, tcp, flags, length, is_broken, is_lost) in steps {
            let flow = Flow { port, v6, tcp, ..Flow::default() };
            let sequence = &mut sequences[usize::from(port) * 4 + usize::from(v6) * 2 + usize::from(tcp)];
            let mut packet = flow.packet(packets.len() as u16, *sequence, flags, &vec![port as u8; length]);
            *sequence = sequence.wrapping_add(length as u32);
            if is_broken {
                *packet.last_mut().unwrap() ^= 0x55;
            }
            if !is_lost {
                packets.push(packet);
            }
        }
        let mut cut = join(TunOffloads::ALL, &packets).cut();
        // Numbers of packets that must not be fragmented are made anew; all else is equal.
        for packet in packets.iter_mut().chain(&mut cut) {
            if packet[0] == 0x45 {
                packet[4..6].fill(0);
                packet[10..12].fill(0);
            }
        }
        for v6 in [false, true] {
            for protocol in [6, 17] {
                for port in 0..3 {
                    let flow = |packet: &&Vec<u8>| {
                        let (at, start) = if v6 { (6, 40) } else { (9, 20) };
                        (packet[0] >> 4 == 6) == v6 && packet[at] == protocol
                            && packet[start + 1] == port
                    };
                    let before: Vec<_> = packets.iter().filter(flow).collect();
                    let after: Vec<_> = cut.iter().filter(flow).collect();
                    prop_assert_eq!(before, after);
                }
            }
        }
    }

    #[test]
    fn arbitrary_packets_never_panic_and_none_is_lost(
        packets in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..120), any::<bool>(), any::<bool>()), 1..20),
    ) {
        let packets: Vec<_> = packets.into_iter().map(|(mut packet, v4, tcp)| {
            packet[0] = if v4 { 0x45 } else { 0x60 };
            if let Some(protocol) = packet.get_mut(if v4 { 9 } else { 6 }) {
                *protocol = if tcp { 6 } else { 17 };
            }
            packet
        }).collect();
        let pieces = join(TunOffloads::ALL, &packets);
        prop_assert_eq!(pieces.sizes().iter().sum::<usize>(), packets.len());
    }
}
