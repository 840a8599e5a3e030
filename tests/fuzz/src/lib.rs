//! Bodies of the fuzz targets: every parser of bytes from outside, and what must hold of whatever it
//! accepts. Shared with the stable test that replays the corpus; knows nothing of libFuzzer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr as _;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use ipnet::IpNet;
use mesh_proto::candidate_probe::CandidateProbeKeys;
use mesh_proto::discovery::WatchEvent;
use mesh_proto::envelope::Contents;
use mesh_proto::envelope_fragment::EnvelopeFragment;
use mesh_proto::probe::{Probe, probe_payload};
use mesh_proto::request_auth::SignedRequest;
use mesh_proto::stun::{decode_request, decode_response, encode_request, encode_response, is_stun};
use mesh_proto::{
    AdminKey, ClusterKeys, ClusterSecret, Envelope, EnvelopeKind, IdentityKey, Record, Report,
    Sequence, ServerId, WgPrivateKey,
};
use meshd_core::filter::FilterProgram;
use meshd_core::persistent::PersistentState;

/// A target: true if it accepted the bytes as what it parses.
pub type Target = fn(&[u8]) -> bool;

/// Every target by the name of its folder in the corpus.
pub const TARGETS: [(&str, Target); 23] = [
    ("backup", backup),
    ("caller", caller),
    ("candidate_probe", candidate_probe),
    ("coalesce", coalesce),
    ("config", config),
    ("datagram", datagram),
    ("disk_cache", disk_cache),
    ("envelope", envelope),
    ("etcd_line", etcd_line),
    ("filter", filter),
    ("inner_packet", inner_packet),
    ("nonce", nonce),
    ("probe", probe),
    ("record", record),
    ("report", report),
    ("request", request),
    ("secret_file", secret_file),
    ("segment_size", segment_size),
    ("segments", segments),
    ("server_config", server_config),
    ("stun", stun),
    ("uapi", uapi),
    ("watch_line", watch_line),
];

/// Requests of the UAPI socket. Those with an unknown first line are requests too.
pub fn uapi(bytes: &[u8]) -> bool {
    meshd::engine::is_uapi_request(bytes)
}

/// The file of `discovery-server restore`.
pub fn backup(bytes: &[u8]) -> bool {
    let Ok((identity, rows)) = discovery_server::backup::read(bytes) else {
        return false;
    };
    let mut again = Vec::new();
    discovery_server::backup::write(identity, &rows, &mut again).expect("memory takes it");
    assert!(bytes.starts_with(&again), "one form only");
    true
}

/// `X-Forwarded-For` as a trusted proxy passes it on, one field a line: true if a caller is taken from it.
/// Nobody can be made up who is not named there, and from elsewhere it is not looked at.
pub fn caller(bytes: &[u8]) -> bool {
    use discovery_server::callers::{caller_in, is_proxy};
    let trusted = [IpNet::from_str("10.0.0.0/8").expect("a network")];
    let mut fields: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let stranger = SocketAddr::from(([192, 0, 2, 1], 5));
    assert_eq!(caller_in(&trusted, stranger, &fields), stranger.ip());
    let proxy = SocketAddr::from(([10, 0, 0, 1], 5));
    let caller = caller_in(&trusted, proxy, &fields);
    assert_eq!(caller, caller.to_canonical());
    fields.push(b"203.0.113.9");
    let last = IpAddr::from([203, 0, 113, 9]);
    assert_eq!(
        caller_in(&trusted, proxy, &fields),
        last,
        "whom the proxy saw"
    );
    !is_proxy(&trusted, caller)
}

/// A nonce that comes back with a request: valid only if it is one that this server made.
pub fn nonce(bytes: &[u8]) -> bool {
    let nonces = discovery_server::nonce::Nonces::new([5; 32], 120_000);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let valid = nonces.is_valid(text, 100_000);
    if valid {
        let at = text.get(..16).map(|time| u64::from_str_radix(time, 16));
        let at = at.and_then(Result::ok).expect("it begins with a time");
        assert_eq!(
            nonces.make(at),
            text.to_lowercase(),
            "nobody else makes one"
        );
        assert!(at <= 100_000, "from the future");
    }
    valid
}

/// The configuration file of the discovery server.
pub fn server_config(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(discovery_server::settings::is_config)
}

/// A line of etcd's watch, as a replica of the discovery server reads it.
pub fn etcd_line(bytes: &[u8]) -> bool {
    discovery_server::etcd::is_watch_line(bytes)
}

/// The cluster that valid seeds belong to.
pub fn keys() -> ClusterKeys {
    ClusterKeys::derive(&[1; 32])
}

/// An envelope from a server or a peer. Also seals the bytes, as a member may, and opens them again.
pub fn envelope(bytes: &[u8]) -> bool {
    let contents = Contents {
        kind: EnvelopeKind::Record,
        sequence: Sequence(bytes.len() as u64),
        plaintext: bytes,
    };
    if let Ok(sealed) = Envelope::seal(
        &keys(),
        &IdentityKey::from_seed(&[2; 32]),
        contents,
        [3; 24],
    ) {
        let again = Envelope::decode(&sealed.encode()).expect("what is sealed decodes");
        let again = again.verify().expect("what is sealed verifies");
        let opened = again.open(&[keys()]).expect("what is sealed opens");
        assert!(opened.starts_with(bytes));
    }
    let Ok(verified) = Envelope::decode(bytes).and_then(Envelope::verify) else {
        return false;
    };
    assert_eq!(verified.encode(), bytes, "one form only");
    verified.open(&[keys()]).is_ok()
}

/// The plaintext of a record.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::decode(bytes) else {
        return false;
    };
    let again = record.encode().expect("what is accepted can be sent");
    assert_eq!(Record::decode(&again).expect("and read again"), record);
    true
}

/// The plaintext of a report.
pub fn report(bytes: &[u8]) -> bool {
    let Ok(report) = Report::decode(bytes) else {
        return false;
    };
    let again = report.encode().expect("what is accepted can be sent");
    assert_eq!(Report::decode(&again).expect("and read again"), report);
    true
}

/// `cluster.secret` and `cluster.admin`. No error may show a secret.
pub fn secret_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let secret = ClusterSecret::parse(text).map(|secret| secret.expose_text());
    let admin = AdminKey::parse(text).map(|admin| admin.expose_text());
    for error in [secret.as_ref().err(), admin.as_ref().err()]
        .into_iter()
        .flatten()
    {
        let said = format!("{error} {error:?}");
        let shown = text
            .split_whitespace()
            .any(|word| word.len() >= 40 && said.contains(word));
        assert!(!shown, "an error shows what the file holds: {said}");
    }
    if let Ok(secret) = &secret {
        assert!(ClusterSecret::parse(secret).is_ok());
    }
    if let Ok(admin) = &admin {
        assert!(AdminKey::parse(admin).is_ok());
    }
    secret.is_ok() || admin.is_ok()
}

/// STUN at the server and at the client.
pub fn stun(bytes: &[u8]) -> bool {
    let request = decode_request(bytes);
    let response = decode_response(bytes);
    if let Some(id) = request {
        assert!(is_stun(bytes));
        assert_eq!(decode_request(&encode_request(id)), Some(id));
    }
    if let Some((id, mapped)) = response {
        assert!(is_stun(bytes) && request.is_none());
        assert_eq!(decode_response(&encode_response(id, mapped)), response);
    }
    request.is_some() || response.is_some()
}

/// A probe outside the tunnel, sealed by the far end or not.
pub fn candidate_probe(bytes: &[u8]) -> bool {
    let [own, peer] = [2, 1].map(|seed| WgPrivateKey::from_bytes([seed; 32]));
    let keys = CandidateProbeKeys::derive(&own, &peer.public_key(), None);
    let Some(payload) = keys.open(bytes) else {
        return false;
    };
    assert!(is_stun(bytes));
    assert!(decode_request(bytes).is_none() && decode_response(bytes).is_none());
    Probe::decode(&payload).is_some()
}

/// A packet from inside the tunnel that may be a probe or a piece of an envelope.
pub fn probe(bytes: &[u8]) -> bool {
    let here = Ipv6Addr::LOCALHOST;
    let payload = probe_payload(bytes, here, here).unwrap_or(bytes);
    if let Some(fragment) = EnvelopeFragment::decode(payload) {
        assert_eq!(fragment.encode(), payload);
        assert!(fragment.index < fragment.count);
        assert_eq!(Probe::decode(payload), None);
        return true;
    }
    let Some(probe) = Probe::decode(payload) else {
        return false;
    };
    assert_eq!(Probe::decode(&probe.encode()), Some(probe));
    let packet = probe.packet(here, here);
    assert_eq!(
        probe_payload(&packet, here, here),
        Some(&probe.encode()[..])
    );
    true
}

/// A signed request, one part a line: method, path, nonce, request id, key, signature; then the body.
pub fn request(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(7, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let [method, path_and_query, nonce, request_id, key, signature] =
        [text(), text(), text(), text(), text(), text()];
    let signed = SignedRequest {
        method,
        path_and_query,
        body: parts.next().unwrap_or_default(),
        server: ServerId([4; 16]),
        nonce,
        request_id,
    };
    signed.verify(keys().cluster_id(), key, signature).is_ok()
}

/// Lines of a watch stream; true if every one is an event, and its envelope genuine.
pub fn watch_line(bytes: &[u8]) -> bool {
    let lines = meshd::discovery::watch_lines(bytes);
    let genuine = |line: &Vec<u8>| match serde_json::from_slice(line) {
        Ok(WatchEvent::Member(member)) => {
            member.envelope.decode().and_then(Envelope::verify).is_ok()
        }
        Ok(_) => true,
        Err(_) => false,
    };
    !lines.is_empty() && lines.iter().all(genuine)
}

/// The configuration file.
pub fn config(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes);
    text.is_ok_and(|text| meshd::config::parse(text, "host").is_ok())
}

/// A filter list, one entry a line. What it decides must agree with what it keeps.
pub fn filter(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let entries: Vec<&str> = text.lines().collect();
    let Ok(program) = FilterProgram::parse(&entries) else {
        return false;
    };
    let addresses = ["10.1.2.3", "203.0.113.7", "fd00::1", "2001:db8::1"];
    let addresses = addresses.map(|text| text.parse().expect("an address"));
    let kept = program.run(&addresses, |address| *address);
    for address in addresses {
        assert_eq!(program.position(address).is_some(), kept.contains(&address));
    }
    true
}

/// The disk cache.
pub fn disk_cache(bytes: &[u8]) -> bool {
    let Ok(state) = serde_json::from_slice::<PersistentState>(bytes) else {
        return false;
    };
    let again = serde_json::to_vec(&state).expect("what was read can be written");
    let again: PersistentState = serde_json::from_slice(&again).expect("and read again");
    assert_eq!(again, state);
    true
}

/// A packet between the tunnel and the host.
pub fn inner_packet(bytes: &[u8]) -> bool {
    let length = meshd::engine::fuzzing::ip_packet_length(bytes);
    assert!(length.is_none_or(|length| length <= bytes.len()));
    length.is_some()
}

/// What a TUN device with offloads hands over: a virtio-net header and a packet to be cut.
pub fn segments(bytes: &[u8]) -> bool {
    meshd::engine::fuzzing::cut_packet(bytes)
}

/// Packets out of the tunnel that may be joined, each behind its length in two bytes.
pub fn coalesce(bytes: &[u8]) -> bool {
    meshd::engine::fuzzing::join(bytes)
}

/// A packet whose segment size may be too large.
pub fn segment_size(bytes: &[u8]) -> bool {
    meshd::engine::fuzzing::clamp(bytes)
}

/// A datagram on the WireGuard port: told apart from STUN, then taken by a session with no peer.
pub fn datagram(bytes: &[u8]) -> bool {
    let secret = |seed| x25519::StaticSecret::from(*WgPrivateKey::from_bytes([seed; 32]).expose());
    let peer = x25519::PublicKey::from(&secret(8));
    let mut session = Tunn::new(secret(7), peer, Some([9; 32]), None, 1, None);
    let mut output = vec![0; bytes.len() + 256];
    let taken = session.decapsulate(None, bytes, &mut output);
    let decrypted = matches!(
        taken,
        TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..)
    );
    assert!(!decrypted, "data without a session");
    let parsed = Tunn::parse_incoming_packet(bytes).is_ok();
    assert!(!(parsed && is_stun(bytes)), "both WireGuard and STUN");
    let dispatched = meshd::engine::fuzzing::is_wireguard(bytes);
    assert_eq!(dispatched, parsed, "the engine and the sessions agree");
    parsed
}
