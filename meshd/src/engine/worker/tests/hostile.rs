//! What somebody on the way, a member who claims too much or a flood can do: nothing that lasts.

use super::*;
use crate::engine::path::Route;
use crate::engine::sessions::slot_of;
use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;

/// A data packet as somebody on the way would see it.
fn sealed(from: &mut Node, to: &Node, inner: &[u8]) -> Vec<u8> {
    let peer = from.worker.peers.by_key(&to.key()).unwrap();
    let mut output = vec![0; 2048];
    match peer.sessions.seal(inner, &mut output) {
        TunnResult::WriteToNetwork(message) => message.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn elsewhere(last: u8) -> Route {
    Route {
        remote: ([127, 0, 0, last], 4000).into(),
        local: Some([127, 0, 0, 1].into()),
    }
}

/// Paths that were told to be other ones.
fn other_paths(node: &mut Node) -> Vec<PathId> {
    let paths = node.events().into_iter().filter_map(|event| match event {
        EngineEvent::OtherPath { path, .. } => Some(path),
        _ => None,
    });
    paths.collect()
}

#[test]
fn copies_that_were_held_back_do_not_move_a_path() {
    let (mut a, mut b) = joined();
    let now = Instant::now();
    let [held, copied, newest] = [0; 3].map(|_| sealed(&mut a, &b, &packet(1, 2)));
    let usual = Route {
        remote: a.path(1).remote,
        local: Some([127, 0, 0, 1].into()),
    };
    b.worker.handle_datagram(now, usual, &copied);
    assert_eq!(other_paths(&mut b), []);
    b.worker.handle_datagram(now, elsewhere(7), &copied);
    assert_eq!((b.delivered(), b.count("drop_replayed")), (1, 1));
    b.worker.handle_datagram(now, elsewhere(7), &held);
    assert_eq!(b.delivered(), 2, "late, but authentic");
    assert_eq!(other_paths(&mut b), [], "and no news");
    b.worker.handle_datagram(now, elsewhere(8), &newest);
    assert_eq!(other_paths(&mut b), [elsewhere(8).path()]);
}

#[test]
fn copies_of_an_older_session_do_not_move_a_path() {
    let (mut a, mut b) = joined();
    let held = sealed(&mut a, &b, &packet(1, 2));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&b.events()), [false]);
    let now = Instant::now();
    b.worker.handle_datagram(now, elsewhere(7), &held);
    assert_eq!(b.delivered(), 1);
    assert_eq!(other_paths(&mut b), []);
    let newest = sealed(&mut a, &b, &packet(1, 2));
    b.worker.handle_datagram(now, elsewhere(8), &newest);
    assert_eq!(other_paths(&mut b), [elsewhere(8).path()]);
}

#[test]
fn an_initiation_from_the_past_is_told_of_and_changes_nothing() {
    let (mut a, mut b) = pair();
    let mut output = vec![0; 256];
    let peer = a.worker.peers.by_key(&b.key()).unwrap();
    let old = peer.initiate(&a.worker.keys, &mut output).unwrap().to_vec();
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&b.events()), [false]);
    b.worker.handle_datagram(Instant::now(), elsewhere(7), &old);
    let refused = EngineEvent::InitiationRefused {
        peer: a.key(),
        path: elsewhere(7).path(),
    };
    assert_eq!(b.events(), [refused]);
    a.events();
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!((b.delivered(), a.events()), (1, Vec::new()));
}

#[test]
fn a_peer_whose_key_is_a_point_of_low_order_is_refused() {
    let mut node = Node::new(1);
    for first in [0, 1] {
        let mut weak = Node::new(3).spec();
        weak.public_key = WgPublicKey([0; 32]);
        weak.public_key.0[0] = first;
        let key = weak.public_key;
        node.command(EngineCommand::SetPeer(Box::new(weak)));
        assert!(node.worker.peers.by_key(&key).is_none());
    }
}

#[test]
fn counters_at_the_end_of_their_range_are_refused() {
    let (mut a, mut b) = joined();
    let mut message = sealed(&mut a, &b, &packet(1, 2));
    let index = u32::from_le_bytes(message[4..8].try_into().unwrap());
    assert!(b.worker.peers.get(slot_of(index)).is_some());
    message[8..16].copy_from_slice(&(u64::MAX - (1 << 13)).to_le_bytes());
    b.worker
        .handle_datagram(Instant::now(), elsewhere(7), &message);
    assert_eq!(b.count("drop_malformed"), 1);
}

/// A peer whose prefix contains another peer's cannot speak for it, nor take its packets.
#[test]
fn an_overlapping_prefix_cannot_be_spoofed() {
    let (mut a, mut b) = joined();
    let mut wide = a.spec();
    wide.allowed_ips = vec!["10.0.0.0/8".parse().unwrap()];
    b.command(EngineCommand::SetPeer(Box::new(wide)));
    let victim = Node::new(3);
    let mut narrow = victim.spec();
    narrow.allowed_ips = vec!["10.3.0.0/24".parse().unwrap()];
    b.command(EngineCommand::SetPeer(Box::new(narrow)));
    let mut send = |b: &mut Node| {
        let message = sealed(&mut a, b, &packet(3, 2));
        b.worker
            .handle_datagram(Instant::now(), elsewhere(7), &message);
    };
    send(&mut b);
    assert_eq!((b.delivered(), b.count("drop_source")), (0, 1));
    let (sent, kept) = (b.count("sent_datagrams"), b.count("drop_no_path"));
    b.worker.handle_packet(Instant::now(), &mut packet(2, 3));
    assert_eq!(
        (b.count("sent_datagrams"), b.count("drop_no_path")),
        (sent, kept)
    );
    // Once nobody has the narrow prefix, the wide one counts.
    b.command(EngineCommand::RemovePeer(victim.key()));
    send(&mut b);
    assert_eq!((b.delivered(), b.count("drop_source")), (1, 1));
}

/// An initiation of somebody who is nobody's peer, and knows the key of `to`.
fn initiation_of_a_stranger(to: &Node) -> Vec<u8> {
    let mut stranger = Node::new(4);
    stranger.command(EngineCommand::SetPeer(Box::new(to.spec())));
    let peer = stranger.worker.peers.by_key(&to.key()).unwrap();
    let mut output = [0; 256];
    let initiation = peer.initiate(&stranger.worker.keys, &mut output);
    initiation.unwrap().to_vec()
}

#[test]
fn a_flood_of_initiations_leaves_sessions_alone_and_lets_peers_in() {
    const LIMIT: u64 = 50;
    let (mut a, mut b) = joined();
    let mut late = Node::new(3);
    late.command(EngineCommand::SetPeer(Box::new(b.spec())));
    b.command(EngineCommand::SetPeer(Box::new(late.spec())));
    let keys = &mut b.worker.keys;
    keys.limiter = Arc::new(RateLimiter::new(&keys.public, LIMIT));
    let initiation = initiation_of_a_stranger(&b);
    let flood = |b: &mut Node| {
        for number in 0..500_u32 {
            let source = Route {
                remote: SocketAddr::from((number.to_be_bytes(), 1)),
                local: None,
            };
            b.worker
                .handle_datagram(Instant::now(), source, &initiation);
        }
    };
    flood(&mut b);
    assert_eq!(
        b.count("drop_unknown_peer"),
        LIMIT,
        "no more cost a key agreement"
    );
    assert!(b.count("cookies_sent") + b.count("drop_send_error") >= 450);
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 1);
    // A peer that comes now proves its address with a cookie first.
    flood(&mut b);
    late.handshake(&b, &[0]);
    exchange(&mut late, &mut b);
    assert_eq!(done(&late.events()), [true]);
    assert!(done(&b.events()).contains(&false));
}

#[test]
fn a_source_with_a_cookie_cannot_use_up_the_thread() {
    let (a, mut b) = joined();
    b.worker.initiations = InitiationGate::new(0);
    let initiation = initiation_of_a_stranger(&b);
    let start = Instant::now();
    for _ in 0..100 {
        b.worker.handle_datagram(start, elsewhere(7), &initiation);
    }
    assert_eq!(
        (
            b.count("drop_unknown_peer"),
            b.count("drop_initiation_bound")
        ),
        (20, 80)
    );
    assert!(b.worker.peers.by_key(&a.key()).unwrap().has_session());
}
