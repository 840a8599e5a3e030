//! Packets that the kernel drops before the worker sees them are counted by name. Root only.

use super::allocations::open;
use super::*;
use crate::engine::tests::namespace::namespaces;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::UdpSocket;

/// More than the queue of an interface holds.
const FLOOD: u64 = 12_000;

#[test]
fn a_full_queue_and_a_full_buffer_are_told_apart() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let now = Instant::now();
    // Asked where the interface is, as the worker's own thread does.
    let look = |mut node: Node, seconds| {
        left.run(move || {
            node.worker
                .note_kernel_drops(now + Duration::from_secs(seconds));
            node
        })
    };
    let node = look(open(&left, 1), 0);
    let before = ["drop_tun_queue", "drop_receive_full"].map(|name| node.count(name));

    left.run(|| {
        let socket = UdpSocket::bind("10.1.0.1:0").unwrap();
        for _ in 0..FLOOD {
            socket.send_to(b"nobody reads this", "10.2.0.1:9").unwrap();
        }
    });
    let node = look(node, 1);
    assert!(node.count("drop_tun_queue") > before[0]);
    assert!(node.count("drop_tun_queue") < before[0] + FLOOD);
    assert_eq!(node.count("drop_receive_full"), before[1]);

    let descriptor = node.worker.wire.descriptor(UdpFamily::V4).unwrap();
    setsockopt(&descriptor, sockopt::RcvBuf, &2048).unwrap();
    let port = node.worker.listen_port();
    right.run(move || {
        let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
        for _ in 0..100 {
            socket.send_to(&[0; 1000], ("192.0.2.1", port)).unwrap();
        }
    });
    settle();
    let known = node.count("drop_receive_full");
    assert_eq!(known, before[1], "not before it is time to look");
    let node = look(node, 2);
    assert!(node.count("drop_receive_full") > known);
}
