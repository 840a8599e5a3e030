//! What a server, or whoever listens in front of it, learns of a cluster: not one WireGuard key, address,
//! zone or name of a node, neither on the wire without TLS nor on its disk. It does learn member ids and
//! the source address of who calls.

#![cfg(test)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use mesh_proto::ids::to_hex;
use mesh_tests::lab::capture::{Capture, Frames};
use mesh_tests::lab::fixture::Fixture;
use mesh_tests::lab::network::DISCOVERY;
use mesh_tests::lab::packet::{Packet, Transport};
use mesh_tests::lab::{Lab, Plan, meshctl};

const NAMES: [(&str, &str); 3] = [
    ("tangerine", "aquamarine"),
    ("nectarine", "ultramarine"),
    ("clementine", "vermilion"),
];

/// Bytes that were seen, by the node at the other end, if there is one.
type Seen = BTreeMap<Option<IpAddr>, Vec<u8>>;

/// Something that must not be seen.
#[derive(Debug)]
struct Needle {
    what: String,
    bytes: Vec<u8>,
    /// A node talks to the server from this address, so the server may say it to that node.
    own: Option<IpAddr>,
    /// Seen this often by chance is possible.
    tolerated: usize,
}

#[test]
fn neither_wire_nor_disk_holds_anything_of_a_node() {
    let mut plan = Plan::new(3, 1).unwrap();
    for (zone, (name, label)) in plan.zones.iter_mut().zip(NAMES) {
        for node in &mut zone.nodes {
            (node.name, node.zone) = (name.to_owned(), label.to_owned());
        }
    }
    let Some(fixture) = Fixture::build(plan) else {
        return;
    };
    let lab = &fixture.lab;
    let capture = Capture::start(lab.machine(DISCOVERY).unwrap()).unwrap();
    lab.start_all().unwrap();
    fixture.wait_all().unwrap();
    // A change, a restart and an end, so that every kind of request was made.
    lab.kill("nectarine").unwrap();
    lab.start("nectarine").unwrap();
    fixture.wait_all().unwrap();
    for name in ["tangerine", "clementine"] {
        meshctl::topology(lab.machine(name).unwrap()).unwrap();
    }
    let needles: Vec<_> = lab
        .plan
        .nodes()
        .flat_map(|node| needles(lab, &node.name))
        .collect();
    let ids: Vec<_> = lab
        .plan
        .nodes()
        .map(|node| member_id(lab, &node.name))
        .collect();
    lab.stop("tangerine").unwrap();
    let frames = capture.finish().unwrap();
    assert_eq!(frames.lost, 0);
    lab.stop(DISCOVERY).unwrap();

    let wire = payloads(&frames);
    for id in ids {
        let shown = wire.values().any(|bytes| count(bytes, id.as_bytes()) > 0);
        assert!(
            shown,
            "the control fails: member id {id} is not seen either"
        );
    }
    assert_absent(&needles, &wire, "the wire");
    let mut disk = Vec::new();
    read_all(&lab.machine_dir(DISCOVERY).join("data"), &mut disk);
    assert!(!disk.is_empty(), "the server keeps nothing");
    assert_absent(&needles, &Seen::from([(None, disk)]), "the disk");
}

fn member_id(lab: &Lab, name: &str) -> String {
    meshctl::status(lab.machine(name).unwrap())
        .unwrap()
        .id
        .to_string()
}

fn needles(lab: &Lab, name: &str) -> Vec<Needle> {
    let node = lab.plan.node(name).unwrap();
    let status = meshctl::status(lab.machine(name).unwrap()).unwrap();
    let own = Some(IpAddr::V4(node.address));
    let key = status.public_key.0;
    let needle = |what: &str, bytes: Vec<u8>| Needle {
        what: format!("{what} of {name}"),
        bytes,
        own: None,
        tolerated: 0,
    };
    let address = |what: &str, bytes: Vec<u8>, tolerated| Needle {
        own,
        tolerated,
        ..needle(what, bytes)
    };
    let binary = |address: Ipv4Addr| address.octets().to_vec();
    let text = |address: &dyn ToString| address.to_string().into_bytes();
    let base64 = status.public_key.to_string();
    let mesh: Ipv6Addr = status.mesh_address;
    let pods = node.pods.network();
    vec![
        needle("name", name.into()),
        needle("zone", node.zone.clone().into()),
        needle("key", key.to_vec()),
        needle("key in hex", to_hex(&key).into()),
        needle("key in base64", base64.trim_end_matches('=').into()),
        needle("mesh address", text(&mesh)),
        needle("mesh address in binary", mesh.octets().to_vec()),
        needle("pod network", text(&pods)),
        address("address", text(&node.address), 0),
        // Four bytes turn up by chance in random ones, but a record is sent more than once.
        address("address in binary", binary(node.address), 1),
        Needle {
            tolerated: 1,
            ..needle("pod network in binary", binary(pods))
        },
    ]
}

/// TCP and UDP payloads between nodes and the server, joined in order of capture.
fn payloads(frames: &Frames) -> Seen {
    let mut streams: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for frame in &frames.frames {
        let Packet::Ip(packet) = Packet::parse(&frame.bytes) else {
            continue;
        };
        let (Transport::Tcp(segment) | Transport::Udp(segment)) = packet.transport else {
            continue;
        };
        let key = (
            packet.source,
            segment.source,
            packet.destination,
            segment.destination,
        );
        streams
            .entry(key)
            .or_default()
            .extend_from_slice(segment.payload);
    }
    let mut seen = Seen::new();
    for ((source, _, destination, _), bytes) in streams {
        for end in [source, destination] {
            seen.entry(Some(end)).or_default().extend_from_slice(&bytes);
        }
    }
    let server =
        |end: &Option<IpAddr>| *end == Some(mesh_tests::lab::plan::DISCOVERY_ADDRESS.into());
    seen.retain(|end, _| !server(end));
    seen
}

fn assert_absent(needles: &[Needle], seen: &Seen, place: &str) {
    for (end, bytes) in seen {
        for needle in needles {
            if end.is_some() && needle.own == *end {
                continue;
            }
            let times = count(bytes, &needle.bytes);
            let tolerated = needle.tolerated;
            assert!(
                times <= tolerated,
                "{} is {times} times on {place} ({end:?})",
                needle.what
            );
        }
    }
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .filter(|window| *window == needle)
        .count()
}

fn read_all(dir: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.is_file() {
            // Sockets hold nothing.
            into.extend(std::fs::read(&path).unwrap());
        }
    }
}
