//! Four scripted attackers, and what each can and cannot do: one on the network, one with a recorded
//! session, one with the secret of another cluster, one who is a member. `SECURITY.md` says the same in
//! words.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mesh_proto::EnvelopeKind;
use mesh_proto::discovery::{ErrorCode, WatchEvent, members_path, watch_path};
use mesh_proto::request_auth::{HEADER_KEY, HEADER_NONCE, HEADER_REQUEST_ID, HEADER_SIGNATURE};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, Node, TestServer, refusal};

type Recording = Arc<Mutex<Vec<u8>>>;

/// Passes connections on to `server`, keeps what nodes send, and changes what the server answers.
async fn man_in_the_middle(server: SocketAddr, alter: fn(&mut [u8])) -> (String, Recording) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let recording = Recording::default();
    let kept = Arc::clone(&recording);
    tokio::spawn(async move {
        while let Ok((node, _)) = listener.accept().await {
            let onward = TcpStream::connect(server).await.unwrap();
            let (mut from_node, mut to_node) = node.into_split();
            let (mut from_server, mut to_server) = onward.into_split();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(length @ 1..) = from_node.read(&mut buffer).await {
                    kept.lock().unwrap().extend_from_slice(&buffer[..length]);
                    if to_server.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    alter(&mut buffer[..length]);
                    if to_node.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, recording)
}

/// The headers that prove membership, from a recorded request.
fn recorded_headers(recording: &[u8]) -> Vec<(&'static str, String)> {
    let text = String::from_utf8_lossy(recording);
    let put = text.rsplit("PUT ").next().unwrap();
    let names = [
        HEADER_KEY,
        HEADER_NONCE,
        HEADER_REQUEST_ID,
        HEADER_SIGNATURE,
    ];
    let value = |name: &str| {
        let line = put
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap().trim().to_owned()
    };
    names.map(|name| (name, value(name))).to_vec()
}

#[tokio::test]
async fn on_the_network_one_reads_and_changes_nothing() {
    let server = TestServer::start();
    let node = Node::new(1, 1);
    let text = "10.1.2.3 is my address";
    let sealed = node.seal(EnvelopeKind::Record, 1, text);
    // Turns every A of base64 into B: also inside the envelopes of a watch.
    let alter = |bytes: &mut [u8]| {
        if bytes.windows(8).any(|part| part == b"\"member\"") {
            for byte in bytes.iter_mut().filter(|byte| **byte == b'A') {
                *byte = b'B';
            }
        }
    };
    let (url, recording) = man_in_the_middle(server.server.address(), alter).await;
    let client = Client::connect(&url).await;
    let put = client.put(&node.keys, &node.path(), sealed.clone()).await;
    assert_eq!(put.status(), 204);
    let seen = recording.lock().unwrap().clone();
    let shows = |part: &[u8]| seen.windows(part.len()).any(|window| window == part);
    assert!(shows(&sealed), "the recording works");
    assert!(!shows(text.as_bytes()) && !shows(&[1; 32]));

    // What it changed on the way to a watcher does not verify there.
    let mut watch = client.watch(&node.keys, None).await;
    let Some(WatchEvent::Member(line)) = watch.next().await else {
        panic!("no member line")
    };
    let opened = line
        .envelope
        .decode()
        .and_then(|envelope| envelope.verify());
    assert!(
        opened.is_err(),
        "an altered envelope is refused by every node"
    );

    // The recorded proof is good for nothing: not again, not for another path, not for another body.
    let direct = Client::connect(&server.url()).await;
    let headers = recorded_headers(&seen);
    let leave = node.seal(EnvelopeKind::Left, 2, "");
    for (method, path, body, code) in [
        (
            Method::PUT,
            node.path(),
            sealed.clone(),
            ErrorCode::Replayed,
        ),
        (Method::PUT, node.path(), leave, ErrorCode::Unauthorized),
        (
            Method::GET,
            node.path(),
            Vec::new(),
            ErrorCode::Unauthorized,
        ),
        (
            Method::GET,
            watch_path(&node.cluster(), None),
            Vec::new(),
            ErrorCode::Unauthorized,
        ),
    ] {
        let answer = direct.send(method, &path, body, &headers).await;
        let (status, refused) = refusal(answer).await;
        assert_eq!((status, refused.code), (401, code), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_recorded_session_is_worthless_at_other_servers_and_later() {
    let server = TestServer::start();
    let node = Node::new(1, 1);
    let (url, recording) = man_in_the_middle(server.server.address(), |_| {}).await;
    let client = Client::connect(&url).await;
    client.register(&node, 1).await;
    let headers = recorded_headers(&recording.lock().unwrap());
    let other = TestServer::start();
    let directory = server.stop().await;
    // The same server with the same store: a new process makes new nonces.
    let later = TestServer::start_in(directory, |_| {});
    for target in [&other, &later] {
        let target = Client::connect(&target.url()).await;
        let answer = target
            .send(Method::PUT, &node.path(), node.record(1), &headers)
            .await;
        let (status, refused) = refusal(answer).await;
        assert_eq!((status, refused.code), (401, ErrorCode::NonceExpired));
    }
    other.stop().await;
    later.stop().await;
}

#[tokio::test]
async fn with_the_secret_of_another_cluster_one_is_a_stranger() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (node, stranger) = (Node::new(1, 1), Node::new(2, 9));
    client.register(&node, 1).await;
    client.register(&stranger, 1).await;
    let nobody = Node::new(3, 3);
    let mut answers = Vec::new();
    for target in [&node, &nobody] {
        // Its signature is good, for its own cluster only.
        for path in [
            target.path(),
            members_path(&target.cluster()),
            target.report_path(),
        ] {
            let answer = client.get(&stranger.keys, &path).await;
            let (status, body) = refusal(answer).await;
            answers.push((status, body.code, body.message));
        }
    }
    // A cluster that exists and one that does not look the same.
    assert_eq!(answers[..3], answers[3..]);
    assert!(
        answers
            .iter()
            .all(|(status, code, _)| { (*status, *code) == (401, ErrorCode::Unauthorized) })
    );
    // A stolen envelope does not fit its cluster, nor does its own fit the other.
    let own = client
        .put(&stranger.keys, &stranger.path(), node.record(2))
        .await;
    assert_eq!(refusal(own).await.0, 403);
    let foreign = client
        .put(&stranger.keys, &node.path(), stranger.record(2))
        .await;
    assert_eq!(refusal(foreign).await.0, 401);
    let list = client
        .get(&stranger.keys, &members_path(&stranger.cluster()))
        .await;
    assert_eq!(list.text().await.unwrap().lines().count(), 1, "only itself");
    server.stop().await;
}

#[tokio::test]
async fn a_member_can_join_again_and_hold_up_leases_but_writes_for_nobody_else() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (victim, thief) = (Node::new(1, 1), Node::new(1, 2));
    let old = victim.record(1);
    client.register(&victim, 1).await;
    client.register(&victim, 2).await;
    // An old record does not come back, a leave cannot be made up, an own envelope does not fit.
    let (status, body) = refusal(client.put(&thief.keys, &victim.path(), old).await).await;
    assert_eq!((status, body.code), (409, ErrorCode::Conflict));
    for forged in [thief.record(3), thief.seal(EnvelopeKind::Left, 3, "")] {
        let answer = client.put(&thief.keys, &victim.path(), forged).await;
        assert_eq!(refusal(answer).await.0, 403);
    }
    let mut broken = victim.record(3);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let answer = client.put(&thief.keys, &victim.path(), broken).await;
    assert_eq!(refusal(answer).await.0, 422);
    let stored = client.get(&thief.keys, &victim.path()).await;
    assert_eq!(stored.bytes().await.unwrap(), victim.record(2));
    // This it can: send what the victim itself sent last, which makes its lease last longer.
    let answer = client
        .put(&thief.keys, &victim.path(), victim.record(2))
        .await;
    assert_eq!(answer.status(), 204);
    // And be as many members as it likes, up to the bounds.
    client.register(&Node::new(1, 3), 1).await;
    server.stop().await;
}
