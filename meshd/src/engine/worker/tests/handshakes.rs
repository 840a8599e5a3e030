//! Handshakes: lost messages, repeats, cookies, wrong keys, refused addresses.

use super::*;
use boringtun::noise::rate_limiter::RateLimiter;
use mesh_proto::PresharedKey;
use meshd_core::filter::FilterProgram;

/// Lets waiting copies come due and go.
fn copies_pass(node: &mut Node, after: Duration) {
    node.worker.send_copies(Instant::now() + after);
}

#[test]
fn both_ends_tell_when_data_can_be_sent() {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    let expected = EngineEvent::HandshakeDone {
        peer: b.key(),
        path: b.seen(1),
        initiator: true,
    };
    assert_eq!(a.events(), [expected]);
    let expected = EngineEvent::HandshakeDone {
        peer: a.key(),
        path: a.seen(1),
        initiator: false,
    };
    assert_eq!(b.events(), [expected]);
}

#[test]
fn a_responder_waits_for_data_on_the_new_session() {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0]);
    settle();
    b.serve();
    a.lose_datagrams();
    assert_eq!(b.events(), [], "only the initiator's word is known");
    exchange(&mut a, &mut b);
    assert_eq!(b.events(), []);
}

#[test]
fn a_lost_initiation_is_made_good_by_a_copy() {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0, 50, 100]);
    b.lose_datagrams();
    copies_pass(&mut a, Duration::from_millis(60));
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
    assert_eq!(a.worker.copies.next_due(), None, "the rest is not needed");
}

#[test]
fn a_lost_response_is_repeated_for_equal_bytes() {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0, 50]);
    settle();
    b.serve();
    a.lose_datagrams();
    copies_pass(&mut a, Duration::from_millis(60));
    exchange(&mut a, &mut b);
    assert_eq!(b.count("repeated_responses"), 1);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
}

#[test]
fn copies_of_an_initiation_that_arrive_all_make_one_handshake() {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0, 0, 0]);
    exchange(&mut a, &mut b);
    assert_eq!(b.count("repeated_responses"), 2);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
}

#[test]
fn both_ends_may_start_at_once() {
    let (mut a, mut b) = pair();
    a.handshake(&b, &[0]);
    b.handshake(&a, &[0]);
    exchange(&mut a, &mut b);
    assert!(done(&a.events()).contains(&true));
    assert!(done(&b.events()).contains(&true));
    let before = b.delivered();
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), before + 1);
}

#[test]
fn a_peer_that_lost_its_session_gets_a_new_one() {
    let (mut a, mut b) = joined();
    b.command(EngineCommand::RemovePeer(a.key()));
    b.command(EngineCommand::SetPeer(Box::new(a.spec())));
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 0);
    assert_eq!(b.count("drop_unknown_index"), 1);
    b.handshake(&a, &[0]);
    exchange(&mut a, &mut b);
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 1);
}

#[test]
fn a_cookie_is_answered_with_a_new_initiation_at_once() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    let keys = &mut b.worker.keys;
    keys.limiter = Arc::new(RateLimiter::new(&keys.public, 0));
    a.command(EngineCommand::SetPeer(Box::new(b.spec())));
    b.command(EngineCommand::SetPeer(Box::new(a.spec())));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(b.count("cookies_sent"), 1);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
}

#[test]
fn strangers_and_wrong_preshared_keys_get_nowhere() {
    let (mut a, mut b) = pair();
    let mut stranger = Node::new(3);
    stranger.command(EngineCommand::SetPeer(Box::new(b.spec())));
    stranger.handshake(&b, &[0]);
    exchange(&mut stranger, &mut b);
    assert_eq!(b.count("drop_unknown_peer"), 1);
    assert_eq!(b.count("sent_datagrams"), 0);

    let mut spec = b.spec();
    spec.preshared_key = Some(PresharedKey::from_bytes([7; 32]));
    a.command(EngineCommand::SetPeer(Box::new(spec)));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(a.count("drop_not_authentic"), 1);
    assert_eq!((a.events(), b.events()), (Vec::new(), Vec::new()));

    let mut spec = a.spec();
    spec.preshared_key = Some(PresharedKey::from_bytes([7; 32]));
    b.command(EngineCommand::SetPeer(Box::new(spec)));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true], "the new key is used");
}

#[test]
fn a_changed_preshared_key_interrupts_nothing() {
    let (mut a, mut b) = joined();
    let key = Some(PresharedKey::from_bytes([7; 32]));
    for (node, other) in [(&mut a, b.spec()), (&mut b, Node::new(1).spec())] {
        let spec = PeerSpec {
            preshared_key: key.clone(),
            ..other
        };
        node.command(EngineCommand::SetPeer(Box::new(spec)));
    }
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    b.worker.handle_packet(Instant::now(), &mut packet(2, 1));
    exchange(&mut a, &mut b);
    assert_eq!((a.delivered(), b.delivered()), (1, 1));
    assert_eq!(a.events(), [EngineEvent::WantsSession { peer: b.key() }]);
    b.events();
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 2);
    let peer = a.worker.peers.by_key(&b.key()).unwrap();
    assert!(!peer.sessions.is_outdated());
}

#[test]
fn a_corrected_clock_is_used_and_interrupts_nothing() {
    let (mut a, mut b) = joined();
    let before = a
        .worker
        .peers
        .by_key(&b.key())
        .unwrap()
        .sessions
        .generation();
    a.worker.clock_stepped();
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!((b.delivered(), a.events()), (1, Vec::new()));
    a.handshake(&b, &[0]);
    let sessions = &a.worker.peers.by_key(&b.key()).unwrap().sessions;
    assert_eq!(sessions.generation(), before + 1);
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 2);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
}

#[test]
fn addresses_outside_the_filter_are_neither_answered_nor_used() {
    let (mut a, mut b) = pair();
    let mut spec = a.spec();
    let filter = FilterProgram::parse(&["0.0.0.0/0", "!127.0.0.1"]).unwrap();
    spec.endpoint_filter = Some(Arc::new(filter));
    b.command(EngineCommand::SetPeer(Box::new(spec)));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(b.count("drop_endpoint_filter"), 1);
    b.command(EngineCommand::SetPath {
        peer: a.key(),
        path: a.path(1),
    });
    b.handshake(&a, &[0]);
    assert_eq!(b.count("drop_endpoint_filter"), 3);
    assert_eq!(b.count("sent_datagrams"), 0);
    b.command(EngineCommand::ReadSessions);
    let [EngineEvent::Sessions(states)] = &b.events()[..] else {
        panic!("no sessions");
    };
    assert_eq!(states[0].path, None);
}

#[test]
fn a_handshake_with_nobody_is_counted() {
    let (mut a, b) = (Node::new(1), Node::new(2));
    a.handshake(&b, &[0]);
    assert_eq!(a.count("drop_no_session"), 1);
}
