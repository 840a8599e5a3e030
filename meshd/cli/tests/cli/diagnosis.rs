//! `test`, `netcheck` and `debug bundle` against a scripted daemon: exit codes, streams and files.

use std::process::Command;

use crate::fake_daemon::{FakeDaemon, STATUS};
use crate::run;

const PEER: &str = concat!(
    r#"{"name":"ber-1","id":"0303030303030303030303030303030303030303030303030303030303030303","zone":"ber","#,
    r#""state":"down","endpoint":null,"path_kind":null,"rtt_ms":null,"last_handshake":null,"rx_bytes":0,"#,
    r#""tx_bytes":0,"allowed_ips":[],"public_key":"ERERERERERERERERERERERERERERERERERERERERERE=","#,
    r#""mesh_address":"fd00::3","refused":[]}"#,
);

const EMPTY: &str =
    r#"{"version":1,"zones":[],"links":[],"members":[],"peers":[],"missed":0,"events":[]}"#;

fn daemon(pinged: &str) -> FakeDaemon {
    let peers = format!(r#"{{"version":1,"peers":[{PEER}]}}"#);
    let paths = r#"{"version":1,"name":"ber-1","state":"down","paths":[]}"#;
    FakeDaemon::start(&[
        ("GET /v1/status", 200, STATUS),
        ("GET /v1/peers", 200, &peers),
        ("GET /v1/members", 200, EMPTY),
        ("GET /v1/topology", 200, EMPTY),
        ("GET /v1/events", 200, EMPTY),
        ("GET /v1/ping/ber-1", 200, pinged),
        ("GET /v1/paths/ber-1", 200, paths),
    ])
}

fn pinged(rtt: &str) -> String {
    format!(
        r#"{{"version":1,"name":"ber-1","state":"down","rtt_ms":{rtt},"endpoint":null,"local":null,"path_kind":null}}"#
    )
}

#[test]
fn a_failed_tunnel_has_a_cause_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    let silent = daemon(&pinged("null"));
    let arguments = ["test", "--junit", junit.to_str().unwrap()];
    let (code, stdout, stderr) = run(silent.socket(), &arguments);
    assert_eq!(code, 3, "{stderr}");
    assert!(stdout.contains("ber-1 publishes no endpoint"), "{stdout}");
    assert!(
        stdout.ends_with("1 passed, 1 failed, 0 skipped\n"),
        "{stdout}"
    );
    assert!(stderr.contains("[1/1] tunnel fra-1"), "{stderr}");
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("failures=\"1\"") && xml.contains("<failure message=\"ber-1"),
        "{xml}"
    );
    let fine = daemon(&pinged("0.5"));
    let (code, stdout, stderr) = run(fine.socket(), &["-o", "json", "test"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["passed"], 2);
    let (code, stdout, _) = run(fine.socket(), &["top", "--count", "1"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("ber-1") && stdout.contains("1 down"),
        "{stdout}"
    );
}

#[test]
fn netcheck_fails_where_nothing_answers() {
    let silent = daemon(&pinged("null"));
    let (code, stdout, _) = run(silent.socket(), &["netcheck"]);
    assert_eq!(code, 1, "{stdout}");
    assert!(
        stdout.contains("FAIL  discovery") && stdout.contains("FAIL  port"),
        "{stdout}"
    );
}

#[test]
fn a_bundle_has_everything_but_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (config, bundle) = (path("meshd.yaml"), path("b.tar"));
    let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    let text = format!(
        "cluster:\n  secretFile: {key}\ndiscovery:\n  servers: [\"https://me:hunter2@d.example\"]\n# {key}\n"
    );
    std::fs::write(&config, text).unwrap();
    let daemon = daemon(&pinged("null"));
    let arguments = ["debug", "bundle", "--to", &bundle, "--config", &config];
    let (code, stdout, stderr) = run(daemon.socket(), &arguments);
    assert_eq!((code, stdout.trim()), (0, bundle.as_str()), "{stderr}");
    assert_eq!(
        run(daemon.socket(), &arguments).0,
        1,
        "an existing file is kept"
    );
    let bytes = std::fs::read(&bundle).unwrap();
    let all = String::from_utf8_lossy(&bytes);
    for secret in [key, "hunter2"] {
        assert!(!all.contains(secret), "{secret}");
    }
    let listed = Command::new("tar").args(["-tf", &bundle]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in [
        "status.json",
        "peers.json",
        "members.json",
        "topology.json",
        "events.json",
        "paths/00.json",
        "meshd.yaml",
        "host/ip-rule-show.txt",
    ] {
        assert!(
            listed.contains(&format!("mesh-bundle/{name}\n")),
            "{name}: {listed}"
        );
    }
    // A daemon that does not answer is when a bundle matters most.
    let dead = path("dead.tar");
    let nowhere = std::path::Path::new("/nonexistent/meshd.sock");
    assert_eq!(
        run(
            nowhere,
            &["debug", "bundle", "--to", &dead, "--config", &config]
        )
        .0,
        0
    );
    assert!(String::from_utf8_lossy(&std::fs::read(&dead).unwrap()).contains("no control socket"));
}
