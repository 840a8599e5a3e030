//! Seeds of the formats that only the discovery server reads: backups, what etcd sends, its own nonces, what
//! proxies say of callers, and its configuration.

use discovery_server::backup;
use discovery_server::nonce::Nonces;
use discovery_server::registry::{Key, Stored, StoredReport, Write};
use discovery_server::store::Identity;
use mesh_proto::discovery::EncodedEnvelope;
use mesh_proto::envelope::Contents;
use mesh_proto::{Envelope, EnvelopeKind, IdentityKey, Sequence, ServerId, VerifiedEnvelope};
use serde_json::json;

use crate::targets::keys;

type Seed = (&'static str, &'static str, Vec<u8>);

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = backups();
    seeds.extend(etcd_lines());
    seeds.extend(requests());
    seeds.extend(configs());
    seeds
}

fn envelope(kind: EnvelopeKind) -> VerifiedEnvelope {
    let contents = Contents {
        kind,
        sequence: Sequence(7),
        plaintext: b"{}",
    };
    let identity = IdentityKey::from_seed(&[2; 32]);
    Envelope::seal(&keys(), &identity, contents, [3; 24]).expect("a small envelope")
}

fn backups() -> Vec<Seed> {
    let (record, report) = (
        envelope(EnvelopeKind::Record),
        envelope(EnvelopeKind::Report),
    );
    let key = Key {
        cluster: record.cluster(),
        member: record.member(),
    };
    let stored = Stored {
        bytes: record.encode().into(),
        kind: EnvelopeKind::Record,
        sequence: Sequence(7),
        fresh: true,
        changed: 12,
        recorded: 11,
        seen_ms: 1_800_000_000_000,
    };
    let told = StoredReport {
        bytes: report.encode().into(),
        sequence: Sequence(7),
        at_ms: 1_800_000_000_000,
    };
    let identity = Identity {
        server: ServerId([4; 16]),
        epoch: 5,
    };
    let mut bytes = Vec::new();
    let rows = [Write::Member(key, stored), Write::Report(key, told)];
    backup::write(identity, &rows, &mut bytes).expect("memory takes it");
    let cut = bytes[..bytes.len() - 9].to_vec();
    vec![("backup", "ok-two-rows", bytes), ("backup", "bad-cut", cut)]
}

/// What comes with requests, besides what is signed.
fn requests() -> Vec<Seed> {
    let nonces = Nonces::new([5; 32], 120_000);
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nonce", "ok-made", nonces.make(99_000).into_bytes()),
        ("nonce", "bad-future", nonces.make(100_001).into_bytes()),
        ("nonce", "bad-cut", text(&nonces.make(99_000)[..47])),
        ("caller", "ok-one", text("203.0.113.7")),
        (
            "caller",
            "ok-proxies",
            text("198.51.100.1\n203.0.113.7:4711, 10.0.0.2,10.0.0.3"),
        ),
        ("caller", "ok-v6", text("[2001:db8::2]:80")),
        (
            "caller",
            "bad-proxies-only",
            text("10.0.0.2, ::ffff:10.0.0.3"),
        ),
        ("caller", "bad-word", text("203.0.113.7, unknown")),
    ]
}

fn configs() -> Vec<Seed> {
    let full = "listen: '[::]:7400'\ndata-dir: /var/lib/discovery-server\nstun-listen: 'off'\n\
        store: etcd=http://10.0.0.1:2379,http://10.0.0.2:2379\nlease: 5m\n\
        trusted-proxy: [10.0.0.0/8]\n";
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("server_config", "ok-full", text(full)),
        ("server_config", "ok-nothing", text("# only this\n")),
        ("server_config", "bad-key", text("listn: 0.0.0.0:7400\n")),
        ("server_config", "bad-lease", text("lease: 5h\n")),
        ("server_config", "bad-alias", text("a: &a [*a]\n")),
    ]
}

fn etcd_lines() -> Vec<Seed> {
    let record = envelope(EnvelopeKind::Record);
    let path = format!("mesh/v1/m/{}/{}", record.cluster(), record.member());
    let text = |bytes: &[u8]| EncodedEnvelope::from_bytes(bytes).0;
    let key = |part: &str| text(format!("{path}/{part}").as_bytes());
    let line = |events: serde_json::Value| {
        let line = json!({ "result": { "header": { "revision": "9" }, "events": events } });
        line.to_string().into_bytes()
    };
    let put = json!({ "kv": { "key": key("record"), "value": text(&record.encode()), "mod_revision": "8" } });
    let live = json!({ "kv": { "key": key("live"), "mod_revision": "8", "lease": "77" } });
    let gone = json!({ "type": "DELETE", "kv": { "key": key("live"), "mod_revision": "9" } });
    let number = json!({ "kv": { "key": key("live"), "mod_revision": 9 } });
    vec![
        ("etcd_line", "ok-record", line(json!([put, live]))),
        (
            "etcd_line",
            "ok-lease-ended",
            line(json!([put, live, gone])),
        ),
        ("etcd_line", "bad-number", line(json!([number]))),
        (
            "etcd_line",
            "bad-error",
            br#"{"error":{"grpc_code":14,"message":"no leader"}}"#.to_vec(),
        ),
    ]
}
