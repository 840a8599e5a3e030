//! Test vectors of `docs/discovery-api.md`: made from the code, compared with the file. After a
//! deliberate change of the protocol, `UPDATE_VECTORS=1` rewrites the section.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_proto::discovery::member_path;
use mesh_proto::envelope::Contents;
use mesh_proto::ids::to_hex;
use mesh_proto::request_auth::SignedRequest;
use mesh_proto::stun::{TransactionId, encode_request, encode_response};
use mesh_proto::{
    ClusterKeys, Envelope, EnvelopeKind, IdentityKey, Sequence, ServerId, VerifiedEnvelope,
};
use sha2::{Digest as _, Sha256};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/discovery-api.md");
const BEGIN: &str = "<!-- vectors: begin -->\n";
const END: &str = "<!-- vectors: end -->\n";

fn counted<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first + index as u8)
}

fn line(out: &mut String, name: &str, value: &str) {
    writeln!(out, "{name:<22} {value}").unwrap();
}

fn envelope(keys: &ClusterKeys, identity: &IdentityKey, kind: EnvelopeKind) -> VerifiedEnvelope {
    let contents = Contents {
        kind,
        sequence: Sequence(1_800_000_000_000),
        plaintext: b"{}",
    };
    Envelope::seal(keys, identity, contents, counted(0x40)).unwrap()
}

fn keys_section(out: &mut String, keys: &ClusterKeys, identity: &IdentityKey) {
    line(out, "cluster secret", &to_hex(&counted::<32>(0)));
    line(
        out,
        "cluster auth. key",
        &keys.auth_key().public_key().to_string(),
    );
    line(out, "cluster id", &keys.cluster_id().to_string());
    line(out, "identity seed", &to_hex(&counted::<32>(0x20)));
    line(
        out,
        "identity public key",
        &identity.public_key().to_string(),
    );
    line(
        out,
        "member id",
        &identity.public_key().member_id().to_string(),
    );
}

fn envelopes_section(out: &mut String, keys: &ClusterKeys, identity: &IdentityKey) {
    line(out, "AEAD nonce", &to_hex(&counted::<24>(0x40)));
    line(out, "sequence", "1800000000000");
    line(out, "plaintext", "{} and 254 spaces");
    for (name, kind) in [
        ("record envelope", EnvelopeKind::Record),
        ("leave envelope", EnvelopeKind::Left),
        ("report envelope", EnvelopeKind::Report),
    ] {
        line(out, name, &to_hex(&envelope(keys, identity, kind).encode()));
    }
}

fn request_section(out: &mut String, keys: &ClusterKeys, identity: &IdentityKey) {
    let path = member_path(&keys.cluster_id(), &identity.public_key().member_id());
    let body = envelope(keys, identity, EnvelopeKind::Record).encode();
    let request = SignedRequest {
        method: "PUT",
        path_and_query: &path,
        body: &body,
        server: ServerId(counted(0x60)),
        nonce: &to_hex(&counted::<24>(0x70)),
        request_id: &to_hex(&counted::<16>(0x90)),
    };
    line(out, "server id", &request.server.to_string());
    line(out, "body", "the record envelope above");
    let text = format!(
        "mesh-request-v1\nPUT\n{path}\n{}\n{}\n{}\n{}",
        to_hex(&Sha256::digest(&body)),
        request.server,
        request.nonce,
        request.request_id
    );
    line(out, "signed text", &text.replace('\n', "\\n"));
    let headers = request.sign(keys);
    for (name, value) in &headers {
        line(out, name, value);
    }
    let [(_, key), _, _, (_, signature)] = headers;
    request.verify(keys.cluster_id(), &key, &signature).unwrap();
    // Ed25519 is deterministic: the text shown is the text that is signed.
    let by_hand = STANDARD.encode(keys.auth_key().sign(text.as_bytes()));
    assert_eq!(by_hand, signature);
}

fn stun_section(out: &mut String) {
    let id = TransactionId(counted(0xa0));
    line(out, "STUN request", &to_hex(&encode_request(id)));
    for mapped in ["203.0.113.7:51840", "[2001:db8::7]:51840"] {
        let response = encode_response(id, mapped.parse().unwrap());
        line(out, &format!("to {mapped}"), &to_hex(&response));
    }
}

fn section() -> String {
    let keys = ClusterKeys::derive(&counted(0));
    let identity = IdentityKey::from_seed(&counted(0x20));
    let mut out = "```text\n".to_owned();
    keys_section(&mut out, &keys, &identity);
    out.push('\n');
    envelopes_section(&mut out, &keys, &identity);
    out.push('\n');
    request_section(&mut out, &keys, &identity);
    out.push('\n');
    stun_section(&mut out);
    out.push_str("```\n");
    out
}

#[test]
fn the_documented_vectors_are_those_of_the_code() {
    let file = Path::new(FILE);
    let text = std::fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the begin mark");
    let (documented, after) = rest.split_once(END).expect("the end mark");
    let made = section();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(file, [before, BEGIN, &made, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(
        documented, made,
        "the vectors changed; if meant, run with UPDATE_VECTORS=1"
    );
}
