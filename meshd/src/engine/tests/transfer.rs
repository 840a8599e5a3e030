//! What goes through the tunnel comes out as it was, whichever offloads each end uses, over IPv4 and
//! IPv6, with loss and reordering, with small and large packets.

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

const BYTES: usize = 6 * 1024 * 1024;

/// Bytes that repeat nowhere near: a xorshift generator.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// One TCP connection from one namespace to an address in the other.
pub(in crate::engine) fn transfer(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    length: usize,
) {
    let receiver = to.run(move || {
        let listener = TcpListener::bind((address, 7000)).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        })
    });
    from.run(move || {
        let mut stream = TcpStream::connect((address, 7000)).unwrap();
        stream.write_all(&noise(length)).unwrap();
    });
    assert!(receiver.join().unwrap() == noise(length), "the same bytes");
}

pub(in crate::engine) fn inner(number: u8, v6: bool) -> IpAddr {
    match v6 {
        false => [10, number, 0, 1].into(),
        true => [0xfd10, 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

fn joined<'a>(
    (left, right): (&'a Namespace, &'a Namespace),
    name: &str,
    mtu: u32,
    (mine, theirs): (Offloads, Offloads),
) -> (Node<'a>, Node<'a>) {
    let mut a = Node::start_with(left, 1, &format!("{name}a"), mtu, mine);
    let mut b = Node::start_with(right, 2, &format!("{name}b"), mtu, theirs);
    assert_eq!(a.engine.offloads().udp_send, mine.udp_send);
    a.add_peer(2);
    b.add_peer(1);
    a.handshake(2);
    a.wait_for_handshake(true);
    b.wait_for_handshake(false);
    (a, b)
}

#[test]
fn both_ends_with_all_offloads_and_both_families() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let (a, b) = joined((&left, &right), "ta", 1420, (Offloads::ALL, Offloads::ALL));
    for v6 in [false, true] {
        transfer(&left, &right, inner(2, v6), BYTES);
        transfer(&right, &left, inner(1, v6), BYTES);
    }
    // Packets were large on both sides, where the kernel has it.
    if a.engine.offloads().tun_tcp {
        let (read, sent) = {
            let counters = a.engine.counters().snapshot();
            (counters.tun_read, counters.sent_datagrams)
        };
        assert!(read < sent / 2, "{read} packets became {sent} datagrams");
    }
    let counters = b.engine.counters().snapshot();
    assert_eq!(
        (counters.drop_not_authentic, counters.drop_malformed),
        (0, 0)
    );
    assert_eq!(counters.drop_tun_write, 0);
}

#[test]
fn ends_with_different_offloads_understand_each_other() {
    let only = |change: fn(&mut Offloads)| {
        let mut offloads = Offloads::NONE;
        change(&mut offloads);
        offloads
    };
    let cases = [
        ("tb", Offloads::NONE),
        ("tc", only(|offloads| offloads.tun_tcp = true)),
        ("td", only(|offloads| offloads.udp_send = true)),
        ("te", only(|offloads| offloads.udp_receive = true)),
    ];
    for (name, some) in cases {
        let Some((left, right)) = namespaces() else {
            return;
        };
        let _nodes = joined((&left, &right), name, 1420, (Offloads::ALL, some));
        transfer(&left, &right, inner(2, false), BYTES / 3);
        transfer(&right, &left, inner(1, true), BYTES / 3);
    }
}

#[test]
fn packet_sizes_from_the_least_to_jumbo_frames() {
    for (name, mtu) in [("tf", 1280), ("tg", 8920)] {
        let Some((left, right)) = namespaces() else {
            return;
        };
        left.ip("link set left mtu 9000");
        right.ip("link set right mtu 9000");
        let _nodes = joined((&left, &right), name, mtu, (Offloads::ALL, Offloads::ALL));
        transfer(&left, &right, inner(2, false), BYTES);
        transfer(&right, &left, inner(1, true), BYTES);
    }
}

#[test]
fn outer_packets_larger_than_the_link_are_sent_in_fragments() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    left.ip("link set left mtu 1400");
    right.ip("link set right mtu 1400");
    let (a, _b) = joined((&left, &right), "th", 1420, (Offloads::ALL, Offloads::ALL));
    transfer(&left, &right, inner(2, false), BYTES / 6);
    let counters = a.engine.counters().snapshot();
    assert!(counters.segmentation_refused > 0, "{counters:?}");
    assert_eq!(counters.drop_send_error, 0);
    assert!(a.engine.offloads().udp_send, "only this link is too small");
}

/// Carries datagrams between both ends until told to stop; loses one in a hundred, holds back one in
/// twenty until the next has passed, and sends one in twenty again.
pub(super) fn relay(socket: &UdpSocket, stop: &AtomicBool) {
    let (one, two) = (underlay(1), underlay(2));
    let (mut buffer, mut held) = (vec![0; 65_536], None);
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let to = if from == one { two } else { one };
        match number.wrapping_mul(2_654_435_761) >> 16 {
            chance if chance % 100 == 7 => {}
            chance if chance % 20 == 3 && held.is_none() => {
                held = Some((buffer[..length].to_vec(), to));
            }
            chance => {
                let _ = socket.send_to(&buffer[..length], to);
                if chance % 20 == 9 {
                    let _ = socket.send_to(&buffer[..length], to);
                }
                if let Some((bytes, to)) = held.take() {
                    let _ = socket.send_to(&bytes, to);
                }
            }
        }
    }
}

#[test]
fn loss_reordering_and_replay_corrupt_nothing() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let between = SocketAddr::from(([192, 0, 2, 1], 7002));
    let socket = left.run(move || UdpSocket::bind(between).unwrap());
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| relay(&socket, &stop));
        let mut a = Node::start_with(&left, 1, "tia", 1420, Offloads::ALL);
        let b = Node::start_with(&right, 2, "tib", 1420, Offloads::ALL);
        a.add_peer(2);
        b.add_peer(1);
        a.engine.send(EngineCommand::Handshake {
            peer: public_key(2),
            copies: (0..20)
                .map(|step| HandshakeCopy {
                    path: PathId::to(between),
                    after: Duration::from_millis(100 * step),
                })
                .collect(),
        });
        a.wait_for_handshake(true);
        transfer(&left, &right, inner(2, false), BYTES / 6);
        transfer(&right, &left, inner(1, true), BYTES / 6);
        assert!(b.engine.counters().snapshot().drop_replayed > 0);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn datagrams_keep_their_borders() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let _nodes = joined((&left, &right), "tj", 1420, (Offloads::ALL, Offloads::ALL));
    for v6 in [false, true] {
        let socket = right.run(move || UdpSocket::bind((inner(2, v6), 7001)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent: Vec<_> = (0..60_usize)
            .map(|number| noise(2000)[number..][..[500, 500, 500, 17, 1300][number % 5]].to_vec())
            .collect();
        let datagrams = sent.clone();
        left.run(move || {
            let socket = UdpSocket::bind((inner(1, v6), 0)).unwrap();
            for datagram in datagrams {
                socket.send_to(&datagram, (inner(2, v6), 7001)).unwrap();
            }
        });
        for expected in sent {
            let mut buffer = [0; 2000];
            let length = socket.recv(&mut buffer).unwrap();
            assert!(buffer[..length] == expected, "in order and whole");
        }
    }
}
