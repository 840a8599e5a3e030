//! What a tunnel goes through: counted bytes, addresses that change or vanish, a NAT that forgets, peers
//! inside each other's prefixes.

use super::*;
use meshd_core::data_plane::SessionState;
use std::thread::sleep;

fn joined<'a>(left: &'a Namespace, right: &'a Namespace, name: &str) -> (Node<'a>, Node<'a>) {
    let mut a = Node::start(left, 1, &format!("{name}a"));
    let mut b = Node::start(right, 2, &format!("{name}b"));
    a.add_peer(2);
    b.add_peer(1);
    a.handshake(2);
    a.wait_for_handshake(true);
    b.wait_for_handshake(false);
    (a, b)
}

impl Node<'_> {
    /// State of the only peer.
    fn session(&mut self) -> SessionState {
        self.engine.send(EngineCommand::ReadSessions);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.events.try_recv() {
                Ok(EngineEvent::Sessions(states)) => return states[0],
                Ok(_) => {}
                Err(_) => sleep(Duration::from_millis(5)),
            }
        }
        panic!("no answer")
    }
}

#[test]
fn both_ends_count_the_same_bytes() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let (mut a, mut b) = joined(&left, &right, "sa");
    let before = (a.session(), b.session());
    left.command(
        "ping",
        &["-c", "10", "-i", "0.01", "-s", "1000", "10.2.0.1"],
    );
    let after = (a.session(), b.session());
    // IPv4 and ICMP headers.
    let expected = 10 * 1028;
    assert_eq!(after.0.tx_bytes - before.0.tx_bytes, expected);
    assert_eq!(after.0.rx_bytes - before.0.rx_bytes, expected);
    assert_eq!(after.1.tx_bytes - before.1.tx_bytes, expected);
    assert_eq!(after.1.rx_bytes - before.1.rx_bytes, expected);
}

#[test]
fn a_peer_that_moves_is_told_and_found_again() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let (mut a, b) = joined(&left, &right, "sb");
    // As the core does: the host's routes choose the local address.
    let (peer, path) = (public_key(1), PathId::to(underlay(1)));
    b.engine.send(EngineCommand::SetPath { peer, path });
    right.ip("address del 192.0.2.2/24 dev right");
    right.ip("address add 192.0.2.9/24 dev right");
    // What it sends next comes from its new address; answers go to the former one.
    let ping = ["-c", "1", "-W", "1", "10.1.0.1"];
    right.failing_command("ping", &ping);
    let moved = SocketAddr::from(([192, 0, 2, 9], PORT));
    a.wait(
        "other path",
        |event| matches!(event, EngineEvent::OtherPath { path, .. } if path.remote == moved),
    );
    a.engine.send(EngineCommand::SetPath {
        peer: public_key(2),
        path: PathId::to(moved),
    });
    assert_pings(&right, 1);
    assert_pings(&left, 2);
}

#[test]
fn an_address_that_vanished_is_not_insisted_on() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    right.ip("address add 192.0.2.22/24 dev right");
    let mut a = Node::start(&left, 1, "sca");
    let mut b = Node::start(&right, 2, "scb");
    a.add_peer(2);
    b.add_peer(1);
    // The sessions are agreed on by the address that will vanish.
    a.engine.send(EngineCommand::Handshake {
        peer: public_key(2),
        copies: vec![HandshakeCopy {
            path: PathId::to(([192, 0, 2, 22], PORT).into()),
            after: Duration::ZERO,
        }],
    });
    a.wait_for_handshake(true);
    b.wait_for_handshake(false);
    let path = PathId::to(underlay(1));
    let peer = public_key(1);
    b.engine.send(EngineCommand::SetPath { peer, path });
    assert_pings(&right, 1);
    right.ip("address del 192.0.2.22/24 dev right");
    let path = PathId::to(underlay(2));
    let peer = public_key(2);
    a.engine.send(EngineCommand::SetPath { peer, path });
    assert_pings(&right, 1);
    assert_eq!(b.engine.counters().snapshot().drop_send_error, 0);
}

#[test]
fn the_more_specific_of_two_peers_gets_the_packets_and_may_send_them() {
    let Some((left, right)) = namespaces() else {
        return;
    };
    let (a, _b) = joined(&left, &right, "sd");
    assert_pings(&left, 2);
    let mut inside = spec(3);
    inside.allowed_ips = vec!["10.2.0.1/32".parse().unwrap()];
    let inside = EngineCommand::SetPeer(Box::new(inside));
    a.engine.send(inside);
    let ping = ["-c", "1", "-W", "1"];
    left.failing_command("ping", &[&ping[..], &["10.2.0.1"]].concat());
    right.failing_command(
        "ping",
        &[&ping[..], &["-I", "10.2.0.1", "10.1.0.1"]].concat(),
    );
    assert!(
        a.engine.counters().snapshot().drop_source > 0,
        "a spoofed source"
    );
    a.engine.send(EngineCommand::RemovePeer(public_key(3)));
    assert_pings(&left, 2);
    assert_pings(&right, 1);
}

#[test]
fn keepalives_hold_the_way_through_a_nat_that_forgets_soon() {
    let Some((inside, nat)) = namespaces() else {
        return;
    };
    let outside = nat.neighbour("nat", "outside");
    nat.ip("address add 198.51.100.1/24 dev nat");
    outside.ip("address add 198.51.100.2/24 dev outside");
    inside.ip("route add default via 192.0.2.2");
    nat.command(
        "nft",
        &[
            "add table ip n; add chain ip n p { type nat hook postrouting priority 100; }; \
        add rule ip n p oifname nat masquerade random",
        ],
    );
    for (name, value) in [
        ("ipv4/ip_forward", "1"),
        ("netfilter/nf_conntrack_udp_timeout", "2"),
        ("netfilter/nf_conntrack_udp_timeout_stream", "2"),
    ] {
        let path = format!("/proc/sys/net/{name}");
        nat.run(move || std::fs::write(path, value).unwrap());
    }
    let mut a = Node::start(&inside, 1, "sea");
    let mut b = Node::start(&outside, 2, "seb");
    let mut b_seen = spec(2);
    b_seen.keepalive = Some(Duration::from_secs(1));
    a.engine.send(EngineCommand::SetPeer(Box::new(b_seen)));
    b.add_peer(1);
    a.engine.send(EngineCommand::Handshake {
        peer: public_key(2),
        copies: vec![HandshakeCopy {
            path: PathId::to(([198, 51, 100, 2], PORT).into()),
            after: Duration::ZERO,
        }],
    });
    a.wait_for_handshake(true);
    b.wait_for_handshake(false);
    sleep(Duration::from_secs(4));
    outside.command("ping", &["-c", "1", "-W", "5", "10.1.0.1"]);
    let path = b.session().path.unwrap();
    assert_eq!(path.remote.ip(), IpAddr::from([198, 51, 100, 1]));
    // The NAT forgets everything: what comes from inside next has another port.
    nat.command("conntrack", &["-F"]);
    b.wait("new port", |event| {
        matches!(event, EngineEvent::OtherPath { .. })
    });
}
