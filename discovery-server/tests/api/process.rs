//! The real binary: what survives `kill -9`, how it stops, and how it says that it cannot start.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use tempfile::TempDir;

use crate::client::{Client, Node, PATIENCE, TestServer};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_discovery-server");

/// A running binary; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    log: BufReader<std::process::ChildStderr>,
}

impl Process {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut command = Command::new(BINARY);
        Self::spawn(command.arg("--data-dir").arg(directory))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended: {seen}");
            if let Some((_, rest)) = line.split_once("listen=") {
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
            seen += &line;
        };
        Self {
            child,
            address,
            log,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&format!("http://{}", self.address)).await
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end: exit code and the rest of the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = TempDir::new().unwrap();
    let keys = Node::new(1, 0).keys;
    let mut info = None;
    for round in 1..=5u64 {
        let process = Process::start(directory.path());
        let client = process.client().await;
        let identity = (client.info.server, client.info.epoch);
        assert_eq!(
            *info.get_or_insert(identity),
            identity,
            "one identity for all starts"
        );
        for node in 0..10 {
            let node = Node::new(1, node);
            if round > 1 {
                let stored = client.get(&keys, &node.path()).await;
                assert_eq!(stored.bytes().await.unwrap(), node.record(round - 1));
            }
            client.register(&node, round).await;
        }
        drop(process);
    }
}

#[tokio::test]
async fn a_terminated_server_says_goodbye_and_exits_cleanly() {
    let directory = TempDir::new().unwrap();
    for signal in ["-TERM", "-INT"] {
        let process = Process::start(directory.path());
        let client = process.client().await;
        let node = Node::new(1, 1);
        let mut watch = client.watch(&node.keys, None).await;
        watch.sync().await;
        process.signal(signal);
        let last = watch.next().await;
        assert_eq!(
            last,
            Some(mesh_proto::discovery::WatchEvent::Goodbye),
            "{signal}"
        );
        let (code, log) = tokio::task::spawn_blocking(|| process.end()).await.unwrap();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(args).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_start_that_fails_says_why_in_one_message() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let file = directory.path().join("file");
    std::fs::write(
        &file,
        "not a database, but long enough to be looked at\n".repeat(200),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let damaged = directory.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::copy(file, damaged.join("discovery.redb")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = ["--listen", "127.0.0.1:0"];
    for (args, code, part) in [
        (vec![], 2, "--data-dir"),
        (vec!["--data-dir", file], 2, "data directory"),
        (
            vec!["--data-dir", damaged.to_str().unwrap()],
            2,
            "discovery.redb",
        ),
        (vec!["--data-dir", data, "--config", file], 2, "file"),
        (vec!["--data-dir", data, "--log", "a=b=c"], 2, "log filter"),
        (
            vec!["--data-dir", data, "--tls-cert", file, "--tls-key", file],
            2,
            "certificate",
        ),
        (vec!["--data-dir", data, "--listen", &taken], 1, &taken),
        (
            vec!["--data-dir", data, "--stun-listen", "192.0.2.1:1"],
            1,
            "UDP",
        ),
    ] {
        let args = [&free[..if part == taken { 0 } else { 2 }], &args].concat();
        let (exit, message) = refused(&args);
        assert_eq!(exit, Some(code), "{args:?}: {message}");
        assert!(message.contains(part), "{args:?}: {message}");
        assert!(!message.contains("panicked"), "{args:?}: {message}");
        assert_eq!(
            message.matches("(os error").count().max(1),
            1,
            "said twice: {message}"
        );
    }
}

#[tokio::test]
async fn two_servers_do_not_share_a_store() {
    let server = TestServer::start();
    let directory = server.directory.path().to_str().unwrap();
    let (code, message) = refused(&["--listen", "127.0.0.1:0", "--data-dir", directory]);
    assert_eq!(code, Some(2));
    assert!(message.contains("another discovery-server"), "{message}");
    server.stop().await;
}

/// A limit on file size stands for a full disk; `trap` keeps its signal from killing the process.
#[tokio::test]
async fn a_full_disk_refuses_writes_and_goes_on_reading() {
    let directory = TempDir::new().unwrap();
    let node = Node::new(1, 1);
    let script = "trap '' XFSZ; ulimit -S -f $0; exec \"$@\"";
    // Blocks of 1024 bytes; a new store takes about 1.5 MiB.
    let arguments = ["-c", script, "2600", BINARY, "--data-dir"];
    let mut command = Command::new("bash");
    let process = Process::spawn(command.args(arguments).arg(directory.path()));
    let client = process.client().await;
    client.register(&node, 1).await;
    let filler = "x".repeat(30_000);
    let mut refused = 0;
    for index in 2..=250u8 {
        let other = Node::new(1, index);
        let sealed = other.seal(mesh_proto::EnvelopeKind::Record, 1, &filler);
        let status = client
            .put(&other.keys, &other.path(), sealed)
            .await
            .status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            refused += 1;
            break;
        }
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    assert_eq!(refused, 1, "the limit was never met");
    let stored = client
        .get(&node.keys, &node.path())
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(stored, node.record(1), "reads go on");
    let ready = || async {
        let answer = client
            .http
            .get(format!("{}/readyz", client.url))
            .send()
            .await
            .unwrap();
        answer.status()
    };
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    let id = process.child.id().to_string();
    let freed = Command::new("prlimit")
        .args(["--pid", &id, "--fsize=unlimited"])
        .status();
    if !freed.is_ok_and(|status| status.success()) {
        return;
    }
    let recovered = async {
        while ready().await != StatusCode::OK {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, recovered)
        .await
        .expect("it recovers by itself");
    client.register(&node, 2).await;
}
