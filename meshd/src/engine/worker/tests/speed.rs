//! What one packet of a TCP stream costs the engine: cut, sealed, sent, received, opened and joined by one
//! thread over loopback. Prints; asserts only that all arrived.

use super::*;
use crate::engine::test_packets::Flow;
use crate::linux::tun::{SegmentKind, VnetHeader};

const SEGMENT_BYTES: usize = 1368;
/// As many as TCP puts into one packet of 64 KiB.
const SEGMENTS: usize = 47;
const ROUNDS: u32 = 4_000;

#[test]
#[ignore = "a measurement: cargo test --release -p meshd --lib engine_speed -- --ignored --nocapture"]
fn engine_speed() {
    let (mut a, mut b) = (Node::new(1), Node::new(9));
    a.command(EngineCommand::SetPeer(Box::new(b.spec())));
    b.command(EngineCommand::SetPeer(Box::new(a.spec())));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true]);
    let large = Flow::default().packet(1, 1, 0x10, &vec![7; SEGMENT_BYTES * SEGMENTS]);
    let header = VnetHeader {
        needs_checksum: true,
        kind: SegmentKind::TcpV4,
        header_bytes: (large.len() - SEGMENT_BYTES * SEGMENTS) as u16,
        segment_bytes: SEGMENT_BYTES as u16,
        checksum_start: 20,
        checksum_offset: 16,
    };
    let mut input = vec![0; large.len()];
    for run in 0..5 {
        let delivered = b.delivered();
        let mut spent = [Duration::ZERO; 3];
        for _ in 0..ROUNDS {
            let start = Instant::now();
            input.copy_from_slice(&large);
            a.worker.take_packet(start, &header, &mut input);
            let sealed = Instant::now();
            a.worker.wire.send_queued(start, &mut a.worker.peers);
            let sent = Instant::now();
            b.worker.serve_udp(UdpFamily::V4);
            let steps = [sealed - start, sent - sealed, sent.elapsed()];
            for (spent, step) in spent.iter_mut().zip(steps) {
                *spent += step;
            }
        }
        let packets = b.delivered() - delivered;
        assert_eq!(packets, u64::from(ROUNDS) * SEGMENTS as u64);
        let [seal, send, receive] = spent.map(|time| time.as_nanos() as u64 / packets);
        println!(
            "run {run}: {seal} ns to cut and seal, {send} to send, {receive} to receive, open and join"
        );
    }
}
