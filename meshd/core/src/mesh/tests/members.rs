//! Members: what servers say, what is believed, and what removes somebody.

use std::time::Duration;

use mesh_proto::control::PeerState;
use mesh_proto::envelope::Contents;
use mesh_proto::{
    ClusterKeys, Envelope, EnvelopeKind, IdentityKey, Record, Sequence, VerifiedEnvelope,
    WgPublicKey,
};

use super::node::{secret, settings};
use super::world::{World, discovery};
use crate::Input;
use crate::event::Level;
use crate::input::DiscoveryEvent;

pub(super) fn heard(envelope: VerifiedEnvelope, fresh: bool, stale_s: u64) -> Input {
    discovery(DiscoveryEvent::Member {
        envelope,
        fresh,
        stale_s,
    })
}

pub(super) fn sealed(
    number: u8,
    sequence: u64,
    kind: EnvelopeKind,
    plaintext: &[u8],
) -> VerifiedEnvelope {
    sealed_with(&secret().keys()[0], number, sequence, kind, plaintext)
}

fn sealed_with(
    keys: &ClusterKeys,
    number: u8,
    sequence: u64,
    kind: EnvelopeKind,
    plaintext: &[u8],
) -> VerifiedEnvelope {
    let contents = Contents {
        kind,
        sequence: Sequence(sequence),
        plaintext,
    };
    Envelope::seal(
        keys,
        &IdentityKey::from_seed(&[number; 32]),
        contents,
        [3; 24],
    )
    .unwrap()
}

#[test]
fn a_rolled_back_record_is_refused_also_after_a_restart() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(1);
    let old = world.nodes[1].published.clone().unwrap();
    let mut renamed = settings("b2", None);
    renamed.networks.advertise = vec!["10.244.2.0/24".parse().unwrap()];
    world.input(1, Input::Reload(Box::new(renamed)));
    world.run_s(3);
    assert!(world.nodes[0].tunnels("10.244.2.1"));
    world.input(0, heard(old.clone(), true, 0));
    world.run_s(1);
    assert!(world.nodes[0].tunnels("10.244.2.1"));
    world.set_server(false);
    world.kill(0);
    world.start_again(0);
    world.input(0, heard(old, true, 0));
    world.run_s(1);
    assert!(world.nodes[0].tunnels("10.244.2.1"));
}

#[test]
fn a_leave_is_not_undone_by_a_lagging_server() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(1);
    let record = world.nodes[1].published.clone().unwrap();
    world.input(1, Input::Leave);
    // The cache is written at most once a second.
    world.run_s(2);
    assert_eq!(world.state(0, 1), None);
    let members = |world: &World| world.nodes[0].mesh.members(world.now).members.len();
    // The server that knows of the leave says nothing more.
    world.set_server(false);
    world.input(0, heard(record.clone(), true, 0));
    assert_eq!(members(&world), 1);
    world.kill(0);
    world.start_again(0);
    world.input(0, heard(record, true, 0));
    world.run_s(1);
    assert_eq!(members(&world), 1);
}

#[test]
fn one_bad_record_harms_nobody_else() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    let garbage = sealed(50, 10, EnvelopeKind::Record, b"{}");
    let foreign = ClusterKeys::derive(&[8; 32]);
    let other = sealed_with(&foreign, 51, 10, EnvelopeKind::Record, b"{}");
    let report = sealed(52, 10, EnvelopeKind::Report, b"{\"peers\":[]}");
    for envelope in [garbage, other, report] {
        world.input(0, heard(envelope, true, 0));
    }
    // Numbers without measure harm nobody either.
    world.run_s(1);
    let known = world.nodes[1].published.clone().unwrap();
    world.input(0, heard(known.clone(), false, u64::MAX));
    world.run_s(11);
    world.input(0, heard(known, true, 0));
    world.run_s(2);
    assert_eq!(world.saw(0, "record_refused"), 3);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert!(world.problems(0).contains(&"wrong_secret".to_owned()));
}

#[test]
fn a_flood_of_bad_records_does_not_fill_the_log() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    for sequence in 1..=1000 {
        let bad = sealed(50, sequence, EnvelopeKind::Record, b"{}");
        world.input(0, heard(bad, true, 0));
    }
    let warnings = world.nodes[0]
        .events
        .iter()
        .filter(|event| event.kind == "record_refused" && event.level == Level::Warn);
    assert!((1..=11).contains(&warnings.count()));
}

#[test]
fn an_empty_snapshot_of_a_restarted_server_removes_nobody() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(2);
    world.set_server(false);
    world.server.stored.clear();
    world.run_s(1);
    let server_up = DiscoveryEvent::Synced;
    world.input(0, discovery(server_up));
    world.set_server(true);
    world.run_s(2);
    assert_eq!(
        world.saw(0, "peer_removed") + world.saw(0, "member_removed"),
        0
    );
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.server.stored.len(), 2, "both published again");
}

#[test]
fn only_a_dead_data_plane_and_a_lease_over_for_an_hour_remove_a_member() {
    let mut world = World::new(&[("a", None), ("dead", None), ("mute", None)]);
    world.run_s(2);
    // One dies; the other only stops renewing, its tunnel lives.
    world.kill(1);
    world.nodes[2].published = None;
    world.run_s(400);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    world.run_s(3300);
    assert_eq!(world.nodes[0].mesh.members(world.now).members.len(), 3);
    world.run_s(400);
    assert_eq!(world.state(0, 1), None, "over for an hour and dead");
    assert_eq!(
        world.state(0, 2),
        Some(PeerState::Up),
        "over for an hour and alive"
    );
    assert_eq!(world.saw(0, "member_removed"), 1);
    assert!(!world.nodes[0].tunnels("10.0.2.1"));
    // The disk has forgotten it as well.
    let cached = world.nodes[0].disk.members.len();
    assert_eq!(cached, 2, "mute and the node itself");
}

#[test]
fn a_new_wireguard_key_replaces_the_old_peer() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(2);
    let current = world.nodes[1].published.clone().unwrap();
    let mut record = Record::decode(&current.open(&secret().keys()).unwrap()).unwrap();
    let old = record.wireguard_key;
    record.wireguard_key = WgPublicKey([77; 32]);
    let plaintext = record.encode().unwrap();
    let sequence = current.sequence().0 + 1;
    let changed = sealed(2, sequence, EnvelopeKind::Record, &plaintext);
    world.input(0, heard(changed, true, 0));
    world.run(Duration::from_millis(20));
    let keys: Vec<_> = world.nodes[0].engine.peers.keys().copied().collect();
    assert_eq!(keys, [record.wireguard_key]);
    assert!(!keys.contains(&old));
    assert!(world.nodes[0].tunnels("10.0.2.1"));
}

#[test]
fn a_stolen_wireguard_key_stays_with_its_first_owner() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(2);
    let current = world.nodes[1].published.clone().unwrap();
    let mut record = Record::decode(&current.open(&secret().keys()).unwrap()).unwrap();
    record.name = "thief".to_owned();
    let plaintext = record.encode().unwrap();
    let theft = sealed(70, 5, EnvelopeKind::Record, &plaintext);
    world.input(0, heard(theft, true, 0));
    world.run_s(2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert!(world.problems(0).contains(&"key_conflict".to_owned()));
}

#[test]
fn a_clone_of_an_identity_is_named_and_does_not_storm() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    let mut published = Vec::new();
    for _ in 0..20 {
        let own = world.nodes[0].published.clone().unwrap().sequence();
        let clone = sealed(1, own.0 + 1, EnvelopeKind::Record, b"{}");
        world.input(0, discovery(DiscoveryEvent::Conflict { stored: clone }));
        world.run(Duration::from_millis(200));
        published.push(world.nodes[0].published.clone().unwrap().sequence());
    }
    published.dedup();
    assert!(published.len() <= 6, "{published:?}");
    assert!(world.problems(0).contains(&"identity_conflict".to_owned()));
}

#[test]
fn a_conflict_that_is_repeated_does_not_keep_a_node_silent() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    let own = world.nodes[0].published.clone().unwrap().sequence();
    // Ahead of the clock, as after a lost state directory on a machine whose clock is behind.
    let ahead = own.0 + 1_000_000;
    let clone = |above| sealed(1, ahead + above, EnvelopeKind::Record, b"{}");
    let stored = clone(1);
    world.input(0, discovery(DiscoveryEvent::Conflict { stored }));
    world.run(Duration::from_millis(50));
    for _ in 0..60 {
        let stored = clone(10);
        world.input(0, discovery(DiscoveryEvent::Conflict { stored }));
        world.run(Duration::from_millis(50));
    }
    assert!(world.nodes[0].published.clone().unwrap().sequence() > Sequence(ahead + 10));
}

#[test]
fn the_highest_sequence_there_is_does_not_storm() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    let stolen = sealed(1, u64::MAX, EnvelopeKind::Record, b"{}");
    for _ in 0..50 {
        let stored = stolen.clone();
        world.input(0, discovery(DiscoveryEvent::Conflict { stored }));
        world.run(Duration::from_millis(100));
    }
    let published = world.nodes[0].published.clone().unwrap();
    assert_eq!(published.sequence(), Sequence(u64::MAX));
    assert!(world.problems(0).contains(&"identity_conflict".to_owned()));
}

#[test]
fn somebody_elses_conflict_is_ignored() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    let own = world.nodes[0].published.clone().unwrap().sequence();
    let stored = sealed(60, own.0 + 1_000_000, EnvelopeKind::Record, b"{}");
    world.input(0, discovery(DiscoveryEvent::Conflict { stored }));
    world.run_s(2);
    assert_eq!(world.nodes[0].published.clone().unwrap().sequence(), own);
}

#[test]
fn one_server_that_calls_it_fresh_is_enough() {
    let mut config = settings("a", None);
    config
        .discovery_servers
        .push("http://198.51.100.2:7400".to_owned());
    let mut world = World::empty();
    world.add(config);
    world.add(settings("b", None));
    world.run_s(2);
    let record = world.nodes[1].published.clone().unwrap();
    world.kill(1);
    world.run_s(30);
    assert_eq!(world.state(0, 1), Some(PeerState::Down));
    let lagging = |stale_s| Input::Discovery {
        server: 1,
        event: DiscoveryEvent::Member {
            envelope: record.clone(),
            fresh: false,
            stale_s,
        },
    };
    world.input(0, lagging(7200));
    world.run_s(60);
    assert_eq!(
        world.state(0, 1),
        Some(PeerState::Down),
        "the other server says fresh"
    );
    world.run_s(300);
    assert_eq!(world.state(0, 1), None, "nobody says fresh any more");
    // The lagging server repeats itself; that brings nobody back. The node itself does.
    world.input(0, lagging(7600));
    assert_eq!(world.nodes[0].mesh.members(world.now).members.len(), 1);
    world.start_again(1);
    world.run_s(1);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
}

#[test]
fn a_contested_prefix_stays_with_its_owner_through_a_restart() {
    let claims = |name: &str| {
        let mut config = settings(name, None);
        config.networks.advertise = vec!["10.99.0.0/24".parse().unwrap()];
        config
    };
    let mut world = World::empty();
    world.add(settings("a", None));
    world.add(claims("first"));
    world.run_s(2);
    assert!(!world.problems(0).contains(&"prefix_conflict".to_owned()));
    world.add(claims("second"));
    world.run_s(2);
    let owner = |world: &World| {
        let explain = world.nodes[0]
            .mesh
            .explain("10.99.0.9".parse().unwrap(), world.now);
        explain.peer.unwrap()
    };
    assert_eq!(owner(&world), "first");
    assert!(world.problems(0).contains(&"prefix_conflict".to_owned()));
    assert_eq!(world.saw(0, "prefix_refused"), 1);
    // The second answers first after the restart, by a second.
    world.set_server(false);
    world.kill(0);
    world.cut.insert(world.nodes[1].address);
    world.start_again(0);
    world.run_s(1);
    assert_eq!(world.state(0, 2), Some(PeerState::Up));
    assert_eq!(owner(&world), "first");
    // It moves when the owner is down, and does not move back.
    world.run_s(15);
    assert_eq!(owner(&world), "second");
    world.cut.clear();
    world.run_s(15);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(owner(&world), "second");
}
