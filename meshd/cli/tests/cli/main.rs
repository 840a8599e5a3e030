//! The built meshctl against a scripted control server: exit codes, and what goes to which stream.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod diagnosis;
mod fake_daemon;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fake_daemon::{FakeDaemon, STATUS};

/// Runs meshctl with nothing of the caller's environment that could matter.
fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command
        .env_remove("MESHCTL_SOCKET")
        .env_remove("MESHCTL_REMOTE")
        .env_remove("MESHCTL_TOKEN_FILE")
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(socket: &Path, arguments: &[&str]) -> (i32, String, String) {
    texts(&command(socket, arguments).output().unwrap())
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn status_tells_well_from_degraded() {
    let daemon = FakeDaemon::start(&[("GET /v1/status", 200, STATUS)]);
    let (code, stdout, stderr) = run(daemon.socket(), &["status"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("2 up, 0 down") && stderr.is_empty(),
        "{stdout}"
    );
    let down = STATUS.replace(r#""peers_down":0"#, r#""peers_down":1"#);
    let daemon = FakeDaemon::start(&[("GET /v1/status", 200, &down)]);
    let (code, stdout, _) = run(daemon.socket(), &["-o", "json", "status"]);
    assert_eq!(code, 3);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["peers_down"], 1);
    assert_eq!(document["version"], 1);
}

#[test]
fn a_newer_daemon_is_understood() {
    let newer = STATUS.replacen('{', r#"{"invented_later":[1,2],"#, 1);
    let daemon = FakeDaemon::start(&[("GET /v1/status", 200, &newer)]);
    assert_eq!(run(daemon.socket(), &["status"]).0, 0);
}

#[test]
fn refusals_and_nonsense_fail() {
    let daemon = FakeDaemon::start(&[
        ("GET /v1/paths/a%20b", 404, r#"{"error":"no peer a b"}"#),
        ("GET /v1/peers", 200, "<html>"),
        ("GET /v1/topology", 500, "oops"),
        ("GET /v1/members", 504, r#"{"error":"busy"}"#),
    ]);
    let (code, stdout, stderr) = run(daemon.socket(), &["paths", "a b"]);
    assert_eq!((code, stderr.as_str()), (1, "meshctl: no peer a b\n"));
    assert!(stdout.is_empty());
    let (code, _, stderr) = run(daemon.socket(), &["peers"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("does not understand"), "{stderr}");
    let (code, _, stderr) = run(daemon.socket(), &["topology"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("status 500"), "{stderr}");
    let (code, _, stderr) = run(daemon.socket(), &["members"]);
    assert_eq!(code, 4);
    assert!(stderr.contains("did not answer (busy)"), "{stderr}");
}

#[test]
fn wrong_usage() {
    let nowhere = Path::new("/nonexistent/meshd.sock");
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["explain", "fra-1"],
        &["-o", "xml", "status"],
        &["topology", "--format", "gif"],
        &["leave", "--watch"],
        &["config", "import"],
        &["top", "--interval", "0"],
        &["ui", "--listen", "0.0.0.0:0"],
        &["filter", "test", "-", "--candidate", "10.0.0.0/8"],
        &["leave"],
        &["paths", ""],
    ] {
        let stdin = "0.0.0.0/0\n";
        let (code, stdout, stderr) = with_stdin(nowhere, arguments, stdin);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stdout.is_empty() && !stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_unreachable_daemon_has_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    for (socket, hint) in [
        (dir.path().join("none.sock"), "systemctl status meshd"),
        (stale, "nobody answers"),
    ] {
        let (code, stdout, stderr) = run(&socket, &["status"]);
        assert_eq!(code, 4, "{stderr}");
        assert!(stdout.is_empty());
        assert!(stderr.contains(hint), "{stderr}");
    }
    // A daemon that hangs up without a word.
    let daemon = FakeDaemon::start(&[]);
    let (code, _, stderr) = run(daemon.socket(), &["peers"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("did not answer"), "{stderr}");
}

#[test]
fn the_socket_may_come_from_the_environment() {
    let daemon = FakeDaemon::start(&[("GET /v1/status", 200, STATUS)]);
    let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .env("MESHCTL_SOCKET", daemon.socket())
        .arg("status")
        .output()
        .unwrap();
    assert_eq!(texts(&output).0, 0);
}

#[test]
fn leave_needs_consent() {
    let daemon = FakeDaemon::start(&[("POST /v1/leave", 200, r#"{"version":1,"published":true}"#)]);
    let (code, _, stderr) = run(daemon.socket(), &["leave"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--yes"), "{stderr}");
    assert!(daemon.seen().is_empty());
    let (code, stdout, stderr) = run(daemon.socket(), &["leave", "--yes"]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.contains("has left"), "{stderr}");
    assert_eq!(daemon.seen(), ["POST /v1/leave"]);
}

#[test]
fn addresses_of_both_families_are_explained() {
    let native = r#"{"version":1,"address":"fd00::1","verdict":"native","rule":"32766: main",
        "route":null,"peer":null,"peer_state":null,"endpoint":null,"steps":[]}"#;
    let daemon = FakeDaemon::start(&[("GET /v1/explain/fd00::1", 200, native)]);
    let (code, stdout, stderr) = run(daemon.socket(), &["explain", "FD00:0::1"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("32766: main"), "{stdout}");
}

#[test]
fn showconf_is_ready_for_a_file() {
    let answer = r#"{"version":1,"text":"[Interface]\nListenPort = 51840"}"#;
    let daemon = FakeDaemon::start(&[
        ("GET /v1/showconf", 200, answer),
        ("GET /v1/showconf?as_peer=my%20phone", 200, answer),
    ]);
    for arguments in [&["showconf"][..], &["showconf", "--as-peer", "my phone"]] {
        let (code, stdout, stderr) = run(daemon.socket(), arguments);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert_eq!(stdout, "[Interface]\nListenPort = 51840\n");
    }
}

#[test]
fn cluster_keys_are_made_once_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let keys = keys.to_str().unwrap();
    let nowhere = Path::new("/nonexistent/meshd.sock");
    let (code, id, stderr) = run(nowhere, &["cluster", "init", "--dir", keys]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(id.trim().len(), 64);
    assert!(stderr.contains("--allow-cluster"), "{stderr}");
    let secret = format!("{keys}/cluster.secret");
    let (code, again, stderr) = run(nowhere, &["cluster", "id", &secret]);
    assert_eq!((code, again, stderr.as_str()), (0, id.clone(), ""));
    let (code, json, _) = run(nowhere, &["-o", "json", "cluster", "id", &secret]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["cluster"].as_str()), (0, Some(id.trim())));
    let before = std::fs::read(&secret).unwrap();
    let (code, stdout, stderr) = run(nowhere, &["cluster", "init", "--dir", keys]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("exists already"), "{stderr}");
    assert_eq!(std::fs::read(&secret).unwrap(), before);
}

#[test]
fn filters_are_tested_without_a_daemon() {
    let nowhere = Path::new("/nonexistent/meshd.sock");
    let arguments = ["filter", "test", "-", "-c", "10.0.0.1", "-c", "192.0.2.1:1"];
    let (code, stdout, stderr) = with_stdin(nowhere, &arguments, "0.0.0.0/0\n!10.0.0.0/8\n");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.ends_with("result, most preferred first: 192.0.2.1:1\n"),
        "{stdout}"
    );
    let (code, stdout, stderr) = with_stdin(nowhere, &arguments, "0.0.0.0/0\n!/8\n");
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.contains("filters.endpoints[1]: \"!/8\" is not"),
        "{stderr}"
    );
    let (code, _, stderr) = with_stdin(nowhere, &["filter", "test", "-"], "0.0.0.0/0\n");
    assert_eq!(code, 4);
    assert!(stderr.contains("--candidate"), "{stderr}");
}

#[test]
fn offline_commands_need_nothing() {
    let nowhere = Path::new("/nonexistent/meshd.sock");
    let (code, script, _) = run(nowhere, &["completions", "bash"]);
    assert_eq!(code, 0);
    assert!(script.contains("complete -F _meshctl"), "{script}");
    let (code, version, stderr) = run(nowhere, &["version"]);
    assert_eq!(code, 0);
    assert!(version.starts_with(concat!("meshctl ", env!("CARGO_PKG_VERSION"), "\n")));
    assert!(stderr.contains("no control socket"), "{stderr}");
}

/// Runs meshctl with `text` on its stdin.
fn with_stdin(socket: &Path, arguments: &[&str], text: &str) -> (i32, String, String) {
    let mut child = command(socket, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early does not read; that is not what is tested here.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    texts(&child.wait_with_output().unwrap())
}

#[test]
fn a_remote_daemon_gets_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let length = std::io::Read::read(&mut stream, &mut head).unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{STATUS}",
            STATUS.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&head[..length]).to_lowercase()
    });
    let nowhere = dir.path().join("no.sock");
    let token = token.to_str().unwrap();
    let remote = ["--remote", &address, "--token-file", token, "status"];
    let (code, stdout, stderr) = run(&nowhere, &remote);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("2 up, 0 down"), "{stdout}");
    let head = server.join().unwrap();
    assert!(head.starts_with("get /v1/status "), "{head}");
    assert!(
        head.contains("authorization: bearer 0123456789abcdef\r\n"),
        "{head}"
    );
    // The listener is gone.
    let (code, _, stderr) = run(&nowhere, &remote);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("from inside the mesh only"), "{stderr}");
    assert_eq!(run(&nowhere, &["--remote", &address, "status"]).0, 2);
}
