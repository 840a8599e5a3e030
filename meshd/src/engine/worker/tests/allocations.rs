//! Packets cost no allocation: two whole workers with real interfaces and sockets, in namespaces, moved by
//! one thread that counts. Root only.

use super::*;
use crate::engine::tests::namespace::{Namespace, namespaces};
use crate::engine::tests::transfer::{inner, transfer};
use std::sync::atomic::Ordering;

const TRANSFER_BYTES: usize = 24 * 1024 * 1024;
/// Packets that pass before anything is counted: buffers and tables get their size.
const WARM_UP: u64 = 500;

pub(super) fn open(namespace: &Namespace, number: u8) -> Node {
    let interface = format!("al{number}x{}", std::process::id());
    let name = interface.clone();
    let node = namespace.run(move || {
        let counters = Arc::new(EngineCounters::default());
        let (_, inbox) = queue::channel(Arc::clone(&counters)).unwrap();
        let (sender, events) = mpsc::channel(1000);
        let config = config(number, name);
        let worker = Worker::open(config, inbox, sender, counters).unwrap();
        Node {
            worker,
            events,
            number,
        }
    });
    crate::engine::tests::configure(namespace, number, &interface);
    node
}

/// Moves what there is to move.
fn turn(nodes: [&mut Node; 2]) {
    for node in nodes {
        let now = Instant::now();
        node.worker.serve_udp(UdpFamily::V4);
        node.worker.serve_tun();
        node.worker.serve_timers(now);
    }
}

fn moved(node: &Node) -> u64 {
    node.worker.counters.tun_written.load(Ordering::Relaxed)
}

/// Runs a transfer in another thread; allocations of this one after the first packets, and the packets
/// that were moved meanwhile.
fn measured(a: &mut Node, b: &mut Node, work: impl FnOnce() + Send) -> (u64, u64) {
    std::thread::scope(|scope| {
        let transfer = scope.spawn(work);
        let start = moved(a) + moved(b);
        while !transfer.is_finished() && moved(a) + moved(b) < start + WARM_UP {
            turn([a, b]);
        }
        let before = moved(a) + moved(b);
        let counted = allocation_counter::measure(|| {
            while !transfer.is_finished() {
                turn([a, b]);
            }
        });
        (counted.count_total, moved(a) + moved(b) - before)
    })
}

#[test]
fn packets_cost_no_allocation() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let (mut a, mut b) = (open(&left, 1), open(&right, 2));
    for (node, other) in [(&mut a, &b.spec()), (&mut b, &Node::new(1).spec())] {
        // Without a mesh address nobody is told of silence: events are not packets.
        let spec = PeerSpec {
            mesh_address: None,
            ..other.clone()
        };
        node.command(EngineCommand::SetPeer(Box::new(spec)));
    }
    let remote = SocketAddr::from(([192, 0, 2, 2], b.worker.listen_port()));
    a.command(EngineCommand::Handshake {
        peer: b.key(),
        copies: vec![HandshakeCopy {
            path: PathId::to(remote),
            after: Duration::ZERO,
        }],
    });
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true]);
    for (from, to, target) in [(&left, &right, 2), (&right, &left, 1)] {
        let address = inner(target, false);
        let work = || transfer(from, to, address, TRANSFER_BYTES);
        let (allocations, packets) = measured(&mut a, &mut b, work);
        assert!(packets > 10_000, "only {packets} packets");
        assert_eq!(allocations, 0, "for {packets} packets");
    }
}
