//! Views: what status, topology, explain and the problems say; and speed.

use std::time::Duration;

use mesh_proto::control::{ExplainVerdict, LinkKind, LinkState, NodeState, PeerState};

use super::node::settings;
use super::world::World;
use crate::Input;
use crate::data_plane::EngineEvent;
use crate::mesh::{FetchedReport, PingRefusal};
use crate::settings::ZoneSource;

fn reports(world: &World, from: &[usize]) -> Vec<FetchedReport> {
    from.iter()
        .filter_map(|index| world.nodes[*index].report.clone())
        .map(|envelope| FetchedReport { envelope, age_s: 7 })
        .collect()
}

#[test]
fn topology_tells_the_whole_mesh_from_any_node() {
    let zones = [
        ("a", Some("x")),
        ("b", Some("x")),
        ("c", Some("y")),
        ("d", None),
    ];
    let mut world = World::new(&zones);
    world.run_s(70);
    let topology = world.nodes[0]
        .mesh
        .topology(&reports(&world, &[1, 2, 3]), world.now);
    assert_eq!(topology.links.len(), 6);
    let names: Vec<&str> = topology
        .zones
        .iter()
        .map(|zone| zone.name.as_str())
        .collect();
    let own_zone = format!("node:{}", world.id(3).short());
    assert_eq!(names, [own_zone.as_str(), "x", "y"]);
    for link in &topology.links {
        let native = (link.a.as_str(), link.b.as_str()) == ("a", "b");
        let expected = if native {
            (LinkKind::Native, LinkState::Unknown, None)
        } else if link.a == "a" {
            (LinkKind::Tunnel, LinkState::Up, Some(0))
        } else {
            (LinkKind::Tunnel, LinkState::Up, Some(7))
        };
        assert_eq!((link.kind, link.state, link.age_s), expected, "{link:?}");
        assert!(link.a < link.b);
        assert_eq!(link.rtt_ms.is_some(), !native);
    }
    let alone = world.nodes[0].mesh.topology(&[], world.now);
    let unknown = alone
        .links
        .iter()
        .filter(|link| link.state == LinkState::Unknown);
    assert_eq!(unknown.count(), 4, "three that nobody reported, one native");
    assert_eq!(world.nodes[0].mesh.report_sources().len(), 3);
}

#[test]
fn reports_are_rare() {
    let mut world = World::new(&[("a", None), ("b", None)]);
    world.run_s(2);
    assert!(world.nodes[0].report.is_none());
    world.run_s(5);
    let first = world.nodes[0].report.clone().unwrap().sequence();
    for _ in 0..4 {
        world.cut.insert("10.0.2.1".parse().unwrap());
        world.run_s(7);
        world.cut.clear();
        world.run_s(6);
    }
    assert_eq!(world.nodes[0].report.clone().unwrap().sequence(), first);
    world.run_s(10);
    assert!(world.nodes[0].report.clone().unwrap().sequence() > first);
}

#[test]
fn duplicate_names_are_told_apart() {
    let mut world = World::new(&[("a", None), ("twin", None), ("twin", None)]);
    world.run_s(2);
    let peers = world.nodes[0].mesh.peers(world.now).peers;
    let shown = format!("twin~{}", world.id(1).short());
    assert!(peers.iter().any(|peer| peer.name == shown));
    assert!(world.nodes[0].mesh.paths(&shown, world.now).is_some());
    assert!(world.nodes[0].mesh.paths("twin", world.now).is_none());
    assert!(world.problems(0).contains(&"same_name".to_owned()));
}

#[test]
fn alone_after_half_a_minute() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(29);
    assert!(!world.problems(0).contains(&"alone".to_owned()));
    world.run_s(2);
    assert!(world.problems(0).contains(&"alone".to_owned()));
    world.add(settings("b", None));
    world.run_s(1);
    assert!(!world.problems(0).contains(&"alone".to_owned()));
}

#[test]
fn a_wrong_clock_and_a_dead_server_are_named() {
    let mut world = World::empty();
    world.server_ahead_ms = 3_600_000;
    world.add(settings("a", None));
    world.run_s(1);
    assert!(world.problems(0).contains(&"clock_behind".to_owned()));
    world.set_server(false);
    assert!(
        world
            .problems(0)
            .contains(&"discovery_unreachable".to_owned())
    );
    let mut mute = World::empty();
    mute.server.up = false;
    mute.add(settings("a", None));
    mute.run_s(9);
    assert!(
        mute.problems(0)
            .contains(&"discovery_unreachable".to_owned())
    );
}

#[test]
fn explain_names_peer_and_zone_mate() {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("x")), ("c", Some("y"))]);
    world.run_s(2);
    let explain =
        |world: &World, ip: &str| world.nodes[0].mesh.explain(ip.parse().unwrap(), world.now);
    let there = explain(&world, "10.0.3.1");
    assert_eq!(there.verdict, ExplainVerdict::Tunnel);
    assert_eq!(there.peer.as_deref(), Some("c"));
    assert_eq!(there.peer_state, Some(PeerState::Up));
    assert_eq!(explain(&world, "10.0.1.1").verdict, ExplainVerdict::Local);
    assert_eq!(explain(&world, "10.0.2.1").verdict, ExplainVerdict::Native);
    let mate = world.nodes[1]
        .mesh
        .status(world.now)
        .mesh_address
        .to_string();
    let answer = explain(&world, &mate);
    assert_eq!(answer.verdict, ExplainVerdict::Unreachable);
    let steps = answer.steps.join("\n");
    assert!(steps.contains("use the node address 10.0.2.1"), "{steps}");
}

#[test]
fn routes_are_listed_with_owner_and_reason() {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("x")), ("c", Some("y"))]);
    world.run_s(2);
    let routes = world.nodes[0].mesh.routes();
    let of = |prefix: &str| {
        let wanted = prefix.parse().unwrap();
        let mut same = routes.routes.iter().filter(|route| route.prefix == wanted);
        let found = same.next().unwrap();
        assert!(same.next().is_none(), "{prefix} stands twice");
        let peer = found.peer.as_deref();
        (
            found.verdict,
            peer,
            found.fail_closed,
            found.reason.as_str(),
        )
    };
    assert_eq!(
        of("10.0.3.1/32"),
        (
            ExplainVerdict::Tunnel,
            Some("c"),
            true,
            "node address in zone y"
        )
    );
    assert_eq!(
        of("10.0.2.1/32"),
        (
            ExplainVerdict::Native,
            Some("b"),
            false,
            "of a member in this node's zone"
        )
    );
    let mate = world.nodes[1].mesh.status(world.now).mesh_address;
    let (verdict, peer, closed, reason) = of(&format!("{mate}/128"));
    assert_eq!(
        (verdict, peer, closed),
        (ExplainVerdict::Unreachable, Some("b"), true)
    );
    assert!(reason.contains("use its node address"), "{reason}");
    // What is listed and what a packet meets are the same.
    for route in &routes.routes {
        let answer = world.nodes[0].mesh.explain(route.prefix.addr(), world.now);
        if answer.verdict != ExplainVerdict::Local && route.prefix.addr() == route.prefix.network()
        {
            let host = route.prefix.prefix_len() == route.prefix.max_prefix_len();
            assert!(!host || answer.verdict == route.verdict, "{route:?}");
        }
    }
    assert!(
        routes
            .rules
            .iter()
            .any(|rule| rule.contains("not fwmark 0x"))
    );
    assert_eq!(routes.refused, []);
}

#[test]
fn members_show_what_is_known_of_them() {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("x")), ("c", Some("y"))]);
    world.run_s(2);
    let states: Vec<_> = world.nodes[0]
        .mesh
        .members(world.now)
        .members
        .into_iter()
        .map(|member| (member.name, member.state, member.tunnel))
        .collect();
    let expected = [
        ("a".to_owned(), NodeState::Alive, false),
        ("b".to_owned(), NodeState::Fresh, false),
        ("c".to_owned(), NodeState::Alive, true),
    ];
    assert_eq!(states, expected);
}

#[test]
fn protected_networks_are_closed_before_anything_else() {
    let mut config = settings("a", None);
    config.networks.protected = vec!["10.244.0.0/16".parse().unwrap()];
    let mut world = World::empty();
    world.add(config);
    let first = world.nodes[0].first_network.clone().unwrap();
    let verdict = crate::explain::lookup(&first, "10.244.9.9".parse().unwrap()).verdict;
    assert_eq!(verdict, ExplainVerdict::Unreachable);
}

#[test]
fn timers_say_why() {
    let world = World::new(&[("a", None), ("b", None)]);
    let (_, why) = world.nodes[0].mesh.poll_timeout().unwrap();
    assert!(!why.is_empty());
}

#[test]
fn a_hundred_nodes_form_a_mesh() {
    let mut world = World::empty();
    for number in 0..100 {
        let mut config = settings(&format!("n{number}"), None);
        config.zone = ZoneSource::Label(format!("z{}", number / 50));
        world.add(config);
    }
    world.run_s(1);
    for node in &world.nodes {
        let status = node.mesh.status(world.now);
        assert_eq!(
            (status.peers_up, status.peers_down),
            (50, 0),
            "{}",
            status.node
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(&[("a", None), ("b", None), ("c", None)]);
        world.kill(2);
        world.run(Duration::from_secs(40));
        let times = world.nodes[0].engine.initiations.iter();
        let first = world.nodes[0].engine.initiations[0].0;
        let gaps: Vec<Duration> = times.map(|(at, _)| *at - first).collect();
        let links = world.nodes[0].links();
        world.input(0, Input::Links(links));
        (gaps, world.nodes[0].events.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_thousand_records_are_worked_through() {
    use mesh_proto::envelope::Contents;
    use mesh_proto::{Envelope, EnvelopeKind, IdentityKey, Record, Sequence, WgPublicKey};
    let mut world = World::new(&[("a", Some("x")), ("b", Some("y"))]);
    world.run_s(1);
    let keys = super::node::secret().keys();
    let envelope = world.nodes[1].published.clone().unwrap();
    let template = Record::decode(&envelope.open(&keys).unwrap()).unwrap();
    for number in 0u16..1000 {
        let [high, low] = number.to_be_bytes();
        let mut seed = [200; 32];
        (seed[0], seed[1]) = (high, low);
        let record = Record {
            name: format!("m{number}"),
            wireguard_key: WgPublicKey(seed),
            node_addresses: vec![[10, 1 + high, low, 1].into()],
            networks: vec![format!("10.{}.{low}.0/24", 100 + high).parse().unwrap()],
            ..template.clone()
        };
        let plaintext = record.encode().unwrap();
        let contents = Contents {
            kind: EnvelopeKind::Record,
            sequence: Sequence(1),
            plaintext: &plaintext,
        };
        let identity = IdentityKey::from_seed(&seed);
        let envelope = Envelope::seal(&keys[0], &identity, contents, [0; 24]).unwrap();
        let event = crate::input::DiscoveryEvent::Member {
            envelope,
            fresh: true,
            stale_s: 0,
        };
        world.input(0, super::world::discovery(event));
    }
    world.run_s(2);
    let status = world.nodes[0].mesh.status(world.now);
    assert_eq!(
        (status.members, status.peers_up + status.peers_down),
        (1001, 1001)
    );
    let topology = world.nodes[0].mesh.topology(&[], world.now);
    assert_eq!(topology.links.len(), 1002 * 1001 / 2);
}

#[test]
fn a_ping_says_which_path_answered() {
    let mut world = World::new(&[("a", Some("x")), ("b", Some("y"))]);
    world.run_s(5);
    let now = world.now;
    let ticket = world.nodes[0].mesh.ping("b", now).unwrap();
    assert!(!world.nodes[0].mesh.ping_is_answered(ticket));
    world.run_s(1);
    let mesh = &mut world.nodes[0].mesh;
    assert!(mesh.ping_is_answered(ticket));
    let pinged = mesh.end_ping(ticket).unwrap();
    assert_eq!((pinged.name.as_str(), pinged.state), ("b", PeerState::Up));
    assert!(pinged.rtt_ms.unwrap() < 1000.0 && pinged.path_kind.is_some());
    assert_eq!(pinged.endpoint, mesh.peers(now).peers[0].endpoint);
    assert!(mesh.end_ping(ticket).is_none(), "only once");
    assert_eq!(mesh.ping("c", now), Err(PingRefusal::NoPeer));
    let ticket = mesh.ping("b", now).unwrap();
    let unanswered = mesh.end_ping(ticket).unwrap();
    assert_eq!((unanswered.rtt_ms, unanswered.endpoint), (None, None));
}

#[test]
fn what_others_did_to_the_interface_is_told_for_a_while() {
    let mut world = World::new(&[("a", None)]);
    world.run_s(1);
    for event in [
        EngineEvent::InterfaceRecreated,
        EngineEvent::InterfaceHealed("changed the peer X".to_owned()),
    ] {
        world.input(0, Input::Engine(event));
    }
    let codes = ["interface_recreated", "interface_changed"];
    let told = |world: &World, code: &str| world.problems(0).contains(&code.to_owned());
    for code in codes {
        assert!(told(&world, code), "{code}");
        assert_eq!(world.saw(0, code), 1, "{code}");
    }
    world.run_s(601);
    for code in codes {
        assert!(!told(&world, code), "{code}");
    }
}
