//! Data, probes and foreign datagrams, between sessions that stand.

use super::*;
use mesh_proto::probe::{Probe, ProbeKind};
use mesh_proto::{Sequence, StateId};
use meshd_core::data_plane::TrafficClass;
use proptest::prelude::*;

fn probe() -> Probe {
    Probe {
        kind: ProbeKind::Ping,
        path: 1,
        id: 2,
        state: StateId([3; 16]),
        own_sequence: Sequence(4),
        held_sequence: Sequence(5),
        flags: mesh_proto::probe::ProbeFlags::default(),
    }
}

fn send(a: &mut Node, b: &Node, path: Option<PathId>, packet: Vec<u8>) {
    a.command(EngineCommand::Send {
        peer: b.key(),
        path,
        class: TrafficClass::Control,
        packet,
    });
}

fn probe_packet(a: &Node, b: &Node) -> Vec<u8> {
    probe().packet(mesh_address(a.number), mesh_address(b.number))
}

#[test]
fn probes_become_events_and_data_reaches_the_tun() {
    let (mut a, mut b) = joined();
    let bytes = probe_packet(&a, &b);
    send(&mut a, &b, None, bytes);
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    exchange(&mut a, &mut b);
    let expected = EngineEvent::Probe {
        peer: a.key(),
        path: a.seen(1),
        payload: probe().encode().to_vec(),
    };
    assert_eq!(b.events(), [expected]);
    assert_eq!(b.delivered(), 1);
    b.command(EngineCommand::ReadSessions);
    let [EngineEvent::Sessions(states)] = &b.events()[..] else {
        panic!("no sessions");
    };
    assert_eq!(states[0].rx_bytes, 60 + 120);
    assert_eq!(states[0].path, Some(a.seen(1)));
    assert!(states[0].last_handshake.is_some() && states[0].last_receive.is_some());
}

#[test]
fn inner_sources_of_others_are_dropped() {
    let (mut a, mut b) = joined();
    send(&mut a, &b, None, packet(9, 2));
    let mut short = packet(1, 2);
    short[3] = 10;
    send(&mut a, &b, None, short);
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 0);
    assert_eq!(b.count("drop_source"), 1);
    assert_eq!(b.count("drop_malformed"), 1);
}

#[test]
fn packets_wait_for_the_session_they_asked_for() {
    let (mut a, mut b) = pair();
    for _ in 0..3 {
        a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    }
    assert_eq!(a.events(), [EngineEvent::WantsSession { peer: b.key() }]);
    assert_eq!(a.count("sent_datagrams"), 0, "there is no path yet");
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 3);
    // The other end's queue leaves when its session is confirmed.
    let (mut a, mut b) = pair();
    b.worker.handle_packet(Instant::now(), &mut packet(2, 1));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(a.delivered(), 1);
}

#[test]
fn packets_to_nobody_and_packets_that_are_none() {
    let (mut a, _b) = joined();
    a.worker.handle_packet(Instant::now(), &mut packet(1, 77));
    a.worker.handle_packet(Instant::now(), &mut [0; 40]);
    assert_eq!(a.count("drop_no_route"), 1);
    assert_eq!(a.count("drop_not_ip"), 1);
}

#[test]
fn duplicated_data_arrives_once_and_a_switch_moves_it() {
    let (mut a, mut b) = joined();
    let now = Instant::now();
    a.command(EngineCommand::Duplicate {
        peer: b.key(),
        path: b.path(2),
        until: now + Duration::from_secs(9),
    });
    a.worker.handle_packet(now, &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!((b.delivered(), b.count("drop_replayed")), (1, 1));
    let late = now + Duration::from_secs(9);
    a.worker.handle_packet(late, &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!((b.delivered(), b.count("drop_replayed")), (2, 1));
}

#[test]
fn another_path_is_told_but_not_followed() {
    let (mut a, mut b) = joined();
    let from_elsewhere = PathId {
        local: Some([127, 0, 0, 3].into()),
        remote: b.path(1).remote,
    };
    for _ in 0..2 {
        let bytes = probe_packet(&a, &b);
        send(&mut a, &b, Some(from_elsewhere), bytes);
    }
    exchange(&mut a, &mut b);
    let other = EngineEvent::OtherPath {
        peer: a.key(),
        path: a.seen(3),
    };
    let events = b.events();
    assert_eq!(events.iter().filter(|event| **event == other).count(), 1);
    assert_eq!(events.len(), 3);
    let sent = a.count("received_datagrams");
    b.worker.handle_packet(Instant::now(), &mut packet(2, 1));
    settle();
    a.serve();
    assert_eq!(a.count("received_datagrams"), sent + 1);
    b.command(EngineCommand::ReadSessions);
    let [EngineEvent::Sessions(states)] = &b.events()[..] else {
        panic!("no sessions");
    };
    assert_eq!(states[0].path, Some(a.seen(1)));
}

#[test]
fn refused_sends_are_told_once_in_a_while() {
    let (mut a, mut b) = joined();
    let nowhere = PathId {
        local: Some([203, 0, 113, 1].into()),
        remote: b.path(1).remote,
    };
    for _ in 0..3 {
        let bytes = probe_packet(&a, &b);
        send(&mut a, &b, Some(nowhere), bytes);
        a.command(EngineCommand::SendDatagram {
            path: nowhere,
            bytes: vec![0xc5],
        });
    }
    exchange(&mut a, &mut b);
    let mut told = a.events();
    let peers = told.drain(..).map(|event| match event {
        EngineEvent::SendFailed { peer, path, .. } if path == nowhere => peer,
        other => panic!("{other:?}"),
    });
    assert_eq!(peers.collect::<Vec<_>>(), [Some(b.key()), None]);
    assert_eq!(a.count("drop_send_error"), 6);
}

#[test]
fn keepalives_keep_their_interval() {
    let (mut a, mut b) = joined();
    let mut spec = b.spec();
    spec.keepalive = Some(Duration::from_secs(20));
    a.command(EngineCommand::SetPeer(Box::new(spec)));
    let before = a.count("sent_datagrams");
    let start = Instant::now();
    for second in 0..50 {
        a.worker.tick(start + Duration::from_secs(second));
    }
    assert_eq!(a.count("sent_datagrams"), before + 2);
    exchange(&mut a, &mut b);
    assert_eq!(b.delivered(), 0);
}

#[test]
fn foreign_datagrams_are_handed_over_within_bounds() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    let stun = [1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    for bytes in [stun.to_vec(), vec![0xc5; 90], vec![0xc5; 5000]] {
        let path = b.path(1);
        a.command(EngineCommand::SendDatagram { path, bytes });
    }
    exchange(&mut a, &mut b);
    let path = a.seen(1);
    let expected =
        [stun.to_vec(), vec![0xc5; 90]].map(|bytes| EngineEvent::Datagram { path, bytes });
    assert_eq!(b.events(), expected);
    assert_eq!(b.count("drop_datagram_bound"), 1);
    let now = Instant::now();
    let route = crate::engine::path::Route {
        remote: a.path(1).remote,
        local: None,
    };
    for _ in 0..2 * FOREIGN_PER_SECOND {
        b.worker.handle_datagram(now, route, &stun);
    }
    assert!(b.count("drop_datagram_bound") > u64::from(FOREIGN_PER_SECOND));
}

#[test]
fn silence_after_data_is_told_until_something_comes() {
    let (mut a, mut b) = joined();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let unanswered = |node: &mut Node, since| {
        let peer = WgPrivateKey::from_bytes([2; 32]).public_key();
        let expected = EngineEvent::Unanswered { peer, since };
        node.events() == [expected]
    };
    a.worker.handle_packet(start, &mut packet(1, 2));
    a.worker.report_silence(at(49));
    assert!(a.events().is_empty());
    a.worker.report_silence(at(51));
    assert!(unanswered(&mut a, start));
    a.worker.handle_packet(at(60), &mut packet(1, 2));
    a.worker.report_silence(at(90));
    assert!(a.events().is_empty(), "at most one each 50 ms");
    a.worker.report_silence(at(102));
    assert!(unanswered(&mut a, start));
    // An answer ends it, and the next data starts anew.
    b.worker.handle_packet(at(103), &mut packet(2, 1));
    exchange(&mut a, &mut b);
    a.worker.report_silence(at(200));
    assert!(a.events().is_empty());
    assert_eq!(a.worker.silence.next_due(), None, "nobody is watched");
    a.worker.handle_packet(at(300), &mut packet(1, 2));
    a.worker.report_silence(at(350));
    assert!(unanswered(&mut a, at(300)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_datagrams_and_packets_change_nothing(
        datagrams in proptest::collection::vec(
            (0_u8..6, 0_u32..3, prop_oneof![
                Just(32_usize), Just(64), Just(92), Just(148), 0_usize..2000,
            ], any::<u64>()), 1..40),
    ) {
        let (mut a, mut b) = joined();
        let route = crate::engine::path::Route { remote: a.path(1).remote, local: None };
        let now = Instant::now();
        for (kind, index, length, seed) in datagrams {
            let mut bytes: Vec<u8> =
                (0..length).map(|at| (seed.rotate_left(at as u32 * 7) as u8) ^ at as u8).collect();
            for (at, value) in [(0, u32::from(kind)), (4, index), (8, index)] {
                if let Some(word) = bytes.get_mut(at..at + 4) {
                    word.copy_from_slice(&value.to_le_bytes());
                }
            }
            b.worker.handle_datagram(now, route, &bytes);
            b.worker.handle_packet(now, &mut bytes);
        }
        b.events();
        a.worker.handle_packet(now, &mut packet(1, 2));
        exchange(&mut a, &mut b);
        prop_assert_eq!(b.delivered(), 1);
    }
}

#[test]
fn packets_too_large_for_the_path_are_answered() {
    let (mut a, mut b) = joined();
    let peer = b.key();
    let set = |mtu| EngineCommand::SetPathMtu { peer, mtu };
    let mut large = packet(1, 2);
    large.resize(1300, 0);
    large[2..4].copy_from_slice(&1300_u16.to_be_bytes());
    // Not to be cut.
    large[6] = 0x40;
    let now = Instant::now();
    a.command(set(Some(1280)));
    for _ in 0..1000 {
        a.worker.handle_packet(now, &mut large);
    }
    a.worker.handle_packet(now, &mut packet(1, 2));
    exchange(&mut a, &mut b);
    assert_eq!((b.delivered(), a.count("drop_too_big")), (1, 1000));
    assert_eq!(a.delivered(), 200, "answers, bounded");
    a.command(set(None));
    a.worker.handle_packet(now, &mut large);
    exchange(&mut a, &mut b);
    assert_eq!((b.delivered(), a.count("drop_too_big")), (2, 1000));
}
