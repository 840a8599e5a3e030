//! Attackers as the nodes of a mesh meet them: a member that claims what is not its own, and one who has
//! recorded everything and says it again. `discovery-server` has those who talk to a server; `SECURITY.md`
//! has what both come to.

use std::net::IpAddr;

use mesh_proto::control::PeerState;
use mesh_proto::mesh_address::mesh_address;
use mesh_proto::{EnvelopeKind, Record, VerifiedEnvelope, WgPublicKey};

use super::members::{heard, sealed};
use super::node::{secret, settings};
use super::world::World;
use crate::Input;

/// Whom a packet of the first node to `address` goes to.
fn owner(world: &World, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().unwrap();
    world.nodes[0].mesh.explain(address, world.now).peer
}

/// Nodes `a` and `b`; a network is behind `b`.
fn with_network() -> World {
    let mut victim = settings("b", None);
    victim.networks.advertise = vec!["10.244.2.0/24".parse().unwrap()];
    let mut world = World::new(&[("a", None)]);
    world.add(victim);
    world.run_s(2);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    world
}

/// The record of a member that nobody knew, like that of `b` but with another name and key.
fn thief(world: &World) -> Record {
    let current = world.nodes[1].published.clone().unwrap();
    let mut record = Record::decode(&current.open(&secret().keys()).unwrap()).unwrap();
    record.name = "thief".to_owned();
    record.wireguard_key = WgPublicKey([66; 32]);
    record
}

fn say(world: &mut World, record: &Record, sequence: u64) {
    let plaintext = record.encode().unwrap();
    let said = sealed(70, sequence, EnvelopeKind::Record, &plaintext);
    for node in 0..world.nodes.len() {
        world.input(node, heard(said.clone(), true, 0));
    }
    world.run_s(2);
}

/// What a holder of the cluster secret gains by claiming, and what it does not.
#[test]
fn a_member_that_claims_everything_gets_what_nobody_has() {
    let mut world = with_network();
    let victim = mesh_address(&secret().mesh_id(), &world.id(1));
    let mut record = thief(&world);
    record.node_addresses = ["10.0.2.1", "10.0.1.1"]
        .map(|address| address.parse().unwrap())
        .to_vec();
    record.networks = [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/7",
        "10.244.2.0/24",
        "10.0.1.0/24",
        "127.0.0.0/8",
        "169.254.169.254/32",
        "10.99.0.0/24",
        "10.244.2.128/25",
    ]
    .map(|network| network.parse().unwrap())
    .to_vec();
    record.networks.push(IpAddr::from(victim).into());
    say(&mut world, &record, 5);

    // Of others it gets nothing, and no way out of the host.
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    let victim = victim.to_string();
    for address in ["10.0.2.1", "10.244.2.7", &victim] {
        assert_eq!(owner(&world, address).as_deref(), Some("b"), "{address}");
    }
    for address in ["192.0.2.1", "2001:db8::1", "10.0.1.7", "169.254.169.254"] {
        assert!(!world.nodes[0].tunnels(address), "{address}");
    }
    assert!(world.saw(0, "prefix_refused") > 0);
    // This it can: be where nobody is, and inside what another one advertises.
    for address in ["10.99.0.7", "10.244.2.200"] {
        assert_eq!(
            owner(&world, address).as_deref(),
            Some("thief"),
            "{address}"
        );
    }
    // It takes its claims back, and everything is as before.
    record.networks.clear();
    record.node_addresses.clear();
    say(&mut world, &record, 6);
    assert_eq!(owner(&world, "10.244.2.200").as_deref(), Some("b"));
}

/// Names and zones prove nothing: a thief that calls itself as another one, with its key, gets no traffic.
#[test]
fn a_member_with_the_name_zone_and_key_of_another_gets_nothing_of_it() {
    let mut world = with_network();
    let mut record = thief(&world);
    record.name = "b".to_owned();
    record.wireguard_key = world.nodes[1].mesh.public_key;
    say(&mut world, &record, 5);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert!(world.problems(0).contains(&"key_conflict".to_owned()));
    for address in ["10.0.2.1", "10.244.2.7"] {
        let owner = owner(&world, address).unwrap();
        assert!(owner.starts_with('b'), "{owner}");
        assert!(world.nodes[0].tunnels(address), "{address}");
    }
    // Nobody else is sent to.
    let peers: Vec<_> = world.nodes[0].engine.peers.keys().copied().collect();
    assert_eq!(peers, [world.nodes[1].mesh.public_key]);
}

/// Everything that was ever said comes again, in another order and as if it were new, by way of a server or
/// of whoever sits before it.
#[test]
fn a_recording_of_everything_said_so_far_changes_nothing() {
    let mut world = with_network();
    world.add(settings("c", None));
    world.run_s(2);
    let mut recorded: Vec<VerifiedEnvelope> = Vec::new();
    let mut record = |world: &World| {
        let said = world.nodes.iter().filter_map(|node| node.published.clone());
        recorded.extend(said);
    };
    record(&world);
    for round in 0..4_u8 {
        let mut changed = settings(&format!("b{round}"), None);
        let network = format!("10.244.{round}.0/24");
        changed.networks.advertise = vec![network.parse().unwrap()];
        world.input(1, Input::Reload(Box::new(changed)));
        world.run_s(3);
        record(&world);
    }
    world.input(2, Input::Leave);
    world.run_s(3);
    record(&world);
    assert_eq!(world.state(0, 2), None);
    assert!(recorded.len() > 10, "{}", recorded.len());

    let downs = world.saw(0, "peer_down");
    let before = world.nodes[0].network.clone();
    // 7 and the number of envelopes share no factor: each comes, none in its order.
    let count = recorded.len() + usize::from(recorded.len().is_multiple_of(7));
    for (step, at) in (0..count * 3).map(|step| (step, step * 7 % count)) {
        if let Some(envelope) = recorded.get(at) {
            let fresh = step % 3 != 0;
            let stale_s = if fresh { 0 } else { 30 };
            world.input(0, heard(envelope.clone(), fresh, stale_s));
            world.run(std::time::Duration::from_millis(100));
        }
    }
    world.run_s(5);
    assert_eq!(world.nodes[0].network, before);
    assert_eq!(world.state(0, 1), Some(PeerState::Up));
    assert_eq!(world.state(0, 2), None, "who left does not come back");
    assert_eq!(world.saw(0, "peer_down"), downs);
    assert_eq!(owner(&world, "10.244.3.7").as_deref(), Some("b3"));
}
