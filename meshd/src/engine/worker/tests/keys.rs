//! Keys that change while data passes: a peer's, and the node's own.

use super::*;

/// One packet each way.
fn talk(a: &mut Node, b: &mut Node) {
    let before = (a.delivered(), b.delivered());
    a.worker.handle_packet(Instant::now(), &mut packet(1, 2));
    b.worker.handle_packet(Instant::now(), &mut packet(2, 1));
    exchange(a, b);
    assert_eq!((a.delivered(), b.delivered()), (before.0 + 1, before.1 + 1));
}

fn is_outdated(node: &mut Node, peer: &WgPublicKey) -> bool {
    let peer = node.worker.peers.by_key(peer).unwrap();
    peer.sessions.is_outdated()
}

#[test]
fn another_key_interrupts_nothing() {
    let (mut a, mut b) = joined();
    let (former, key_of_b) = (a.key(), b.key());
    let next = WgPrivateKey::from_bytes([77; 32]);
    let spec = Box::new(PeerSpec {
        public_key: next.public_key(),
        ..a.spec()
    });
    b.command(EngineCommand::ReplaceKey { former, spec });
    talk(&mut a, &mut b);
    a.command(EngineCommand::SetPrivateKey(next.clone()));
    talk(&mut a, &mut b);
    assert!(is_outdated(&mut a, &key_of_b) && is_outdated(&mut b, &next.public_key()));
    a.events();
    b.events();
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(done(&a.events()), [true]);
    assert_eq!(done(&b.events()), [false]);
    talk(&mut a, &mut b);
    assert!(!is_outdated(&mut a, &key_of_b) && !is_outdated(&mut b, &next.public_key()));
}

#[test]
fn the_former_key_opens_nothing_any_more() {
    let (mut a, mut b) = joined();
    let former = a.key();
    let spec = Box::new(PeerSpec {
        public_key: WgPrivateKey::from_bytes([77; 32]).public_key(),
        ..a.spec()
    });
    b.command(EngineCommand::ReplaceKey { former, spec });
    // Who has stolen the former key, or has not changed yet.
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert_eq!(
        (done(&a.events()), b.count("drop_unknown_peer")),
        (vec![], 1)
    );
    // The other way round: b's own changes, and a does not know.
    b.command(EngineCommand::SetPrivateKey(WgPrivateKey::from_bytes(
        [78; 32],
    )));
    a.handshake(&b, &[0]);
    exchange(&mut a, &mut b);
    assert!(done(&a.events()).is_empty());
}
