//! A socket whose send buffer is full: data is dropped, control packets wait and go first. What fills the
//! buffer is sent to an address that nobody answers for, so that the kernel keeps it. Root only.

use super::*;
use crate::engine::tests::namespace::namespaces;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::UdpSocket;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn control_packets_wait_for_room_and_go_before_data() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let mut node = left.run(|| Node::new(1));
    let socket = right.run(|| UdpSocket::bind("192.0.2.2:7003").unwrap());
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let descriptor = node.worker.wire.descriptor(UdpFamily::V4).unwrap();
    setsockopt(&descriptor, sockopt::SndBuf, &2048).unwrap();
    let now = Instant::now();
    let mut send = |node: &mut Node, address: &str, bytes: &[u8]| {
        let path = PathId::to(address.parse().unwrap());
        let bytes = bytes.to_vec();
        node.worker
            .carry_out(now, EngineCommand::SendDatagram { path, bytes });
    };
    let fill = |node: &mut Node, send: &mut dyn FnMut(&mut Node, &str, &[u8])| {
        for _ in 0..100 {
            send(node, "192.0.2.77:7003", &[0; 1400]);
            if node.worker.wire.has_postponed() {
                return;
            }
        }
        panic!("the buffer never fills");
    };
    fill(&mut node, &mut send);
    for number in 0..3 {
        send(&mut node, "192.0.2.2:7003", &[number]);
    }
    assert_eq!(node.count("postponed_control"), 4);
    assert_eq!(node.count("drop_send_full"), 0);
    assert!(socket.recv(&mut [0; 2000]).is_err(), "all of it waits");

    right.ip("address add 192.0.2.77/24 dev right");
    let mut arrived = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while arrived.len() < 3 && Instant::now() < deadline {
        // The clock of the wire stands still: nothing gets too old.
        node.worker.wire.retry_postponed(now);
        let mut buffer = [0; 2000];
        if socket.recv(&mut buffer).is_ok_and(|length| length == 1) {
            arrived.push(buffer[0]);
        }
    }
    assert_eq!(arrived, [0, 1, 2], "in order");
    assert!(!node.worker.wire.has_postponed());
    assert_eq!(node.count("drop_send_full"), 0);
}
