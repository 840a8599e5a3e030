//! The wg(8) socket with real clients and a worker that is played by the test.

use super::*;
use crate::engine::counters::EngineCounters;
use crate::engine::queue::{self, Inbox};
use crate::engine::snapshot::DeviceSnapshot;
use mesh_proto::WgPrivateKey;
use std::os::unix::fs::PermissionsExt as _;

fn start(directory: &Path) -> (UapiServer, Inbox) {
    let (sender, inbox) = queue::channel(Arc::new(EngineCounters::default())).unwrap();
    let server = UapiServer::start_in(directory, "test0", sender).unwrap();
    (server, inbox)
}

fn ask(server: &UapiServer, request: &[u8]) -> String {
    let mut client = UnixStream::connect(&server.path).unwrap();
    client.write_all(request).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn get_is_answered_by_the_worker_and_set_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (server, inbox) = start(directory.path());
    let mode = fs::metadata(&server.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let worker = std::thread::spawn(move || {
        loop {
            if let Some(Message::Snapshot(reply)) = inbox.next() {
                let device = DeviceSnapshot {
                    private_key: WgPrivateKey::from_bytes([1; 32]),
                    listen_port: 7,
                    mark: 0,
                    peers: Vec::new(),
                };
                return reply.send(device).unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let answer = ask(&server, b"get=1\n\n");
    assert!(answer.contains("listen_port=7\n"), "{answer}");
    assert!(answer.ends_with("errno=0\n\n"), "{answer}");
    worker.join().unwrap();
    assert_eq!(ask(&server, b"set=1\nlisten_port=1\n\n"), "errno=-1\n\n");
    assert_eq!(ask(&server, b"\xff\n\n"), "errno=-22\n\n");
    let path = server.path.clone();
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_silent_client_does_not_block_the_next_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _inbox) = start(directory.path());
    let _silent = UnixStream::connect(&server.path).unwrap();
    assert_eq!(ask(&server, b"set=1\n\n"), "errno=-1\n\n");
}

#[test]
fn a_silent_client_is_let_go_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _inbox) = start(directory.path());
    let mut silent = UnixStream::connect(&server.path).unwrap();
    drop(server);
    let end = silent.read(&mut [0; 1]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(directory.path().join("test0.sock")).unwrap());
    let (server, _inbox) = start(directory.path());
    assert_eq!(ask(&server, b"set=1\n\n"), "errno=-1\n\n");
    let error = bind(&server.path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
