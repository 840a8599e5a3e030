//! Seeds of the fuzz targets, made by the code of today. Each is small and shows one thing; names say
//! whether it must be accepted.

use std::net::Ipv6Addr;

use mesh_proto::candidate::{Candidate, CandidateKind};
use mesh_proto::candidate_probe::{CANDIDATE_PROBE_RANDOM, CandidateProbeKeys};
use mesh_proto::control::PeerState;
use mesh_proto::discovery::{EncodedEnvelope, MemberLine, Revision, WatchEvent};
use mesh_proto::envelope::Contents;
use mesh_proto::envelope_fragment::{EnvelopeFragment, FRAGMENT_BYTES, Subject};
use mesh_proto::probe::{Probe, ProbeKind};
use mesh_proto::record::{BackendKind, TopologyMode};
use mesh_proto::report::ReportedPeer;
use mesh_proto::request_auth::SignedRequest;
use mesh_proto::stun::{TransactionId, encode_request, encode_response};
use mesh_proto::{
    AdminKey, ClusterSecret, Envelope, EnvelopeKind, IdentityKey, MemberId, MeshId, Record, Report,
    Sequence, ServerId, StateId, WgPrivateKey, WgPublicKey,
};
use meshd_core::persistent::{PersistentMember, PersistentState};

use crate::targets::keys;

/// Target, file name, content.
type Seed = (&'static str, &'static str, Vec<u8>);

const CONFIG: &str = "cluster: {secretFile: /etc/meshd/cluster.secret}
node: {name: fra-1, zone: fra}
discovery: {servers: [\"https://discovery.example.net:7400\"]}
wireguard: {interface: mesh0, listenPort: 51840, backend: userspace, mtu: auto}
filters: {endpoints: [\"0.0.0.0/0\", \"::/0\", \"!192.168.0.0/16\"]}
networks: {advertise: [\"10.244.3.0/24\"], protected: [\"10.244.0.0/16\"]}
extraAnnouncedEndpoints: [\"203.0.113.7:51840\", \"home.example.org:51840\"]
";

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = sealed();
    seeds.extend(plaintexts());
    seeds.extend(packets());
    seeds.extend(candidate_probes());
    seeds.extend(fragments());
    seeds.extend(offloads());
    seeds.extend(texts());
    seeds
}

fn identity() -> IdentityKey {
    IdentityKey::from_seed(&[2; 32])
}

fn envelope(kind: EnvelopeKind, sequence: u64) -> Vec<u8> {
    let contents = Contents {
        kind,
        sequence: Sequence(sequence),
        plaintext: b"{}",
    };
    let sealed = Envelope::seal(&keys(), &identity(), contents, [3; 24]);
    sealed.expect("a small envelope").encode()
}

fn sealed() -> Vec<Seed> {
    let record = envelope(EnvelopeKind::Record, 7);
    let mut forged = record.clone();
    forged[200] ^= 1;
    let line = |envelope: &[u8]| {
        let event = WatchEvent::Member(MemberLine {
            revision: Revision { epoch: 1, n: 2 },
            envelope: EncodedEnvelope::from_bytes(envelope),
            fresh: true,
            stale_s: 0,
        });
        let mut line = serde_json::to_vec(&event).expect("an event");
        line.push(b'\n');
        line
    };
    let state = PersistentState {
        record_sequence: Some(Sequence(7)),
        members: vec![PersistentMember {
            envelope: EncodedEnvelope::from_bytes(&record),
            first_seen_ms: 1,
        }],
        removed: [(MemberId([5; 32]), Sequence(u64::MAX))].into(),
        ..PersistentState::default()
    };
    vec![
        ("envelope", "ok-left", envelope(EnvelopeKind::Left, 8)),
        ("envelope", "ok-highest-sequence", envelope(EnvelopeKind::Report, u64::MAX)),
        ("envelope", "bad-cut", record[..record.len() - 1].to_vec()),
        ("envelope", "bad-forged", forged.clone()),
        ("watch_line", "ok-member", line(&record)),
        ("watch_line", "ok-stale", b"{\"type\":\"stale\",\"revision\":{\"epoch\":1,\"n\":3},\"member\":\"0202020202020202020202020202020202020202020202020202020202020202\",\"sequence\":7}\n".to_vec()),
        ("watch_line", "ok-heartbeat", b"\n{\"type\":\"heartbeat\",\"revision\":{\"epoch\":1,\"n\":18446744073709551615},\"nonce\":\"00\"}\r\n{\"type\":\"goodbye\"}\n".to_vec()),
        ("watch_line", "bad-forged", line(&forged)),
        ("watch_line", "bad-type", b"{\"type\":\"future\"}\n".to_vec()),
        ("disk_cache", "ok-member", serde_json::to_vec(&state).expect("a state")),
        ("disk_cache", "bad-cut", b"{\"recordSequence\":7,\"members\":[{".to_vec()),
        ("envelope", "ok-record", record),
    ]
}

fn plaintexts() -> Vec<Seed> {
    let record = Record {
        name: "fra-1".into(),
        zone: Some("fra".into()),
        mode: TopologyMode::Full,
        wireguard_key: WgPublicKey([1; 32]),
        backend: BackendKind::Userspace,
        candidates: vec![Candidate {
            address: "203.0.113.7:51840".parse().expect("an address"),
            kind: CandidateKind::Static,
        }],
        node_addresses: vec!["10.0.0.1".parse().expect("an address")],
        networks: vec!["10.244.1.0/24".parse().expect("a prefix")],
        exclude_networks: Vec::new(),
        version: "0.1.0".into(),
        secrets: Vec::new(),
    };
    let report = Report {
        peers: vec![ReportedPeer {
            id: MemberId([5; 32]),
            state: PeerState::Up,
            rtt_ms: Some(11),
            path_kind: Some(CandidateKind::Local),
        }],
    };
    let hostile = r#"{"name":"\u001b[2J","wireguardKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","backend":"kernel"}"#;
    vec![
        ("record", "ok-full", record.encode().expect("a record")),
        ("record", "bad-name", hostile.into()),
        (
            "record",
            "bad-prefix",
            br#"{"name":"a","networks":["10.0.0.0/33"]}"#.to_vec(),
        ),
        ("report", "ok-one-peer", report.encode().expect("a report")),
        (
            "report",
            "bad-state",
            br#"{"peers":[{"id":"05","state":"flying"}]}"#.to_vec(),
        ),
    ]
}

fn fragments() -> Vec<Seed> {
    let fragment = EnvelopeFragment {
        subject: Subject::Own,
        sequence: Sequence(7),
        index: 0,
        count: 2,
        bytes: &[3; FRAGMENT_BYTES],
    };
    let payload = fragment.encode();
    vec![
        ("probe", "bad-fragment-length", payload[..700].to_vec()),
        ("probe", "ok-fragment", payload),
    ]
}

fn question() -> Probe {
    Probe {
        kind: ProbeKind::Ping,
        path: 3,
        id: 99,
        state: StateId([5; 16]),
        own_sequence: Sequence(7),
        held_sequence: Sequence(0),
        flags: mesh_proto::probe::ProbeFlags::default(),
    }
}

fn candidate_probes() -> Vec<Seed> {
    let [far, near] = [1, 2].map(|seed| WgPrivateKey::from_bytes([seed; 32]));
    let sealed = CandidateProbeKeys::derive(&far, &near.public_key(), None)
        .seal(&question().encode(), [7; CANDIDATE_PROBE_RANDOM]);
    let mut other = sealed.clone();
    other[80] ^= 1;
    let short = sealed[..sealed.len() - 4].to_vec();
    vec![
        ("candidate_probe", "ok-sealed", sealed),
        ("candidate_probe", "bad-byte", other),
        ("candidate_probe", "bad-length", short),
    ]
}

fn packets() -> Vec<Seed> {
    let id = TransactionId([7; 12]);
    let probe = question();
    let here = Ipv6Addr::LOCALHOST;
    let mapped = |text: &str| text.parse().expect("an address");
    let mut overlong = encode_response(id, mapped("203.0.113.7:1"));
    overlong[23] = 0xff;
    let message = |kind: u8, length: usize| {
        let mut message = vec![0x11; length];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message
    };
    let mut v4 = vec![
        0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    v4.extend_from_slice(b"data");
    vec![
        ("stun", "ok-request", encode_request(id).to_vec()),
        (
            "stun",
            "ok-response-v4",
            encode_response(id, mapped("203.0.113.7:51840")),
        ),
        (
            "stun",
            "ok-response-v6",
            encode_response(id, mapped("[2001:db8::7]:1")),
        ),
        ("stun", "bad-attribute-length", overlong),
        ("probe", "ok-payload", probe.encode().to_vec()),
        ("probe", "ok-packet", probe.packet(here, here)),
        ("probe", "bad-length", probe.encode()[1..].to_vec()),
        ("inner_packet", "ok-v4", v4.clone()),
        ("inner_packet", "ok-v6", probe.packet(here, here)),
        ("inner_packet", "bad-cut", v4[..22].to_vec()),
        ("datagram", "ok-initiation", message(1, 148)),
        ("datagram", "ok-response", message(2, 92)),
        ("datagram", "ok-cookie", message(3, 64)),
        ("datagram", "ok-data", message(4, 48)),
        ("datagram", "bad-stun", encode_request(id).to_vec()),
        ("datagram", "bad-short-initiation", message(1, 147)),
    ]
}

/// A TCP packet of a flow, checksums right, with these flags, options and payload.
fn tcp_packet(sequence: u32, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let pairs = bytes.chunks(2);
        let words = pairs
            .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
        let total = words.sum::<u32>();
        !((total & 0xffff) + (total >> 16)) as u16
    };
    let length = 20 + options.len() + payload.len();
    let mut packet = vec![0x45, 0];
    packet.extend((20 + length as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let header_sum = sum(&packet);
    packet[10..12].copy_from_slice(&header_sum.to_be_bytes());
    packet.extend([0x0f, 0xa0, 0x14, 0x51]);
    packet.extend(sequence.to_be_bytes());
    packet.extend([
        0,
        0,
        0,
        9,
        ((20 + options.len()) as u8 / 4) << 4,
        flags,
        1,
        0,
        0,
        0,
        0,
        0,
    ]);
    packet.extend(options);
    packet.extend(payload);
    let mut summed = packet[12..].to_vec();
    summed.extend_from_slice(&[0, 6]);
    summed.extend((length as u16).to_be_bytes());
    let sum = sum(&summed);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn offloads() -> Vec<Seed> {
    const ACK: u8 = 0x10;
    const SYN: u8 = 0x02;
    let behind_length = |packet: &[u8]| {
        let mut bytes = (packet.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(packet);
        bytes
    };
    let stream = [0, 1, 2].map(|at| tcp_packet(100 + 200 * at, ACK, &[], &[at as u8; 200]));
    let stream = stream.map(|packet| behind_length(&packet)).concat();
    let alone = behind_length(&tcp_packet(1, SYN, &[], b""));
    // Flags, kind (TCP over IPv4), header bytes, segment bytes, start and place of the checksum.
    let header = |segment: u16| {
        let mut bytes = vec![1, 1];
        for field in [40, segment, 20, 16] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes
    };
    let large = tcp_packet(1, ACK, &[], &[7; 1000]);
    let syn = |size: u16| tcp_packet(1, SYN, &[[2, 4], size.to_be_bytes()].concat(), b"");
    vec![
        ("segments", "ok-tcp", [header(300), large.clone()].concat()),
        ("segments", "bad-size-of-zero", [header(0), large].concat()),
        ("coalesce", "ok-stream", stream),
        ("coalesce", "bad-alone", alone),
        ("segment_size", "ok-large", syn(1460)),
        ("segment_size", "bad-small", syn(1200)),
    ]
}

fn texts() -> Vec<Seed> {
    let admin = IdentityKey::from_seed(&[3; 32]);
    let secret = ClusterSecret::new(MeshId([1; 16]), [2; 32], admin.public_key());
    let secret = secret.expose_text().to_string();
    let (path, body) = ("/v1/clusters/x/members", b"body");
    let signed = SignedRequest {
        method: "PUT",
        path_and_query: path,
        body,
        server: ServerId([4; 16]),
        nonce: "00",
        request_id: "11",
    };
    let [(_, key), _, _, (_, signature)] = signed.sign(&keys());
    let request = |method| format!("{method}\n{path}\n00\n11\n{key}\n{signature}\nbody");
    let admin = AdminKey(admin).expose_text().to_string();
    vec![
        ("secret_file", "bad-cut", secret[..secret.len() - 20].into()),
        ("secret_file", "ok-secret", secret.into()),
        ("secret_file", "ok-admin", admin.into()),
        ("request", "ok-put", request("PUT").into()),
        ("request", "bad-method", request("GET").into()),
        ("config", "ok-full", CONFIG.into()),
        ("config", "bad-key", "cluster: {secretFlie: x}\n".into()),
        ("config", "bad-filter", CONFIG.replace("::/0", "!/8").into()),
        ("config", "bad-alias", "a: &a [1]\nb: *a\n".into()),
        (
            "filter",
            "ok-public",
            "0.0.0.0/0\n::/0\n!192.168.0.0/16\n!fd00::/8\n".into(),
        ),
        ("filter", "bad-entry", "!!10.0.0.0/8\n".into()),
        ("uapi", "ok-get", "get=1\n\n".into()),
        ("uapi", "ok-set", "set=1\nlisten_port=1\n\n".into()),
        ("uapi", "bad-unfinished", "get=1\n".into()),
    ]
}
