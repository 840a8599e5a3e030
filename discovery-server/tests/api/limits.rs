//! Limits that a crowd behind one address must not meet and a flood must: sources, members, proxies, slow
//! senders.

use std::time::Duration;

use discovery_server::limits::Rate;
use mesh_proto::discovery::ErrorCode;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Client, Node, PATIENCE, TestServer, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_behind_one_address_start_at_once() {
    let server = TestServer::start();
    let mut nodes = JoinSet::new();
    for number in 0..100 {
        let url = server.url();
        nodes.spawn(async move {
            let client = Client::connect(&url).await;
            let node = Node::new(1, number);
            client.register(&node, 1).await;
            let mut watch = client.watch(&node.keys, None).await;
            watch.sync().await;
            client.register(&node, 2).await;
            watch
        });
    }
    let mut watches = Vec::new();
    while let Some(watch) = nodes.join_next().await {
        watches.push(watch.unwrap());
    }
    assert_eq!(server.server.shared().registry().sizes().1, 100);
    drop(watches);
    server.stop().await;
}

#[tokio::test]
async fn one_member_that_writes_too_often_waits_and_others_do_not() {
    let server = TestServer::start_with(|settings| {
        settings.limits.writes_per_member = Rate { rate: 1, burst: 3 };
    });
    let client = Client::connect(&server.url()).await;
    let (busy, calm) = (Node::new(1, 1), Node::new(1, 2));
    for sequence in 1..=3 {
        client.register(&busy, sequence).await;
    }
    let answer = client.put(&busy.keys, &busy.path(), busy.record(4)).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = answer.headers()[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(refusal(answer).await.1.code, ErrorCode::Limited);
    client.register(&calm, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn headers_of_proxies_count_only_where_they_are_trusted() {
    for (trusted, expected) in [(vec!["127.0.0.0/8"], "203.0.113.9"), (vec![], "127.0.0.1")] {
        let server = TestServer::start_with(|settings| {
            settings.trusted_proxies = trusted.iter().map(|net| net.parse().unwrap()).collect();
            settings.limits.requests_per_source = Rate { rate: 1, burst: 4 };
        });
        let http = reqwest::Client::new();
        let ask = async |forwarded: &str| {
            let request = http.get(format!("{}/v1/info", server.url()));
            request
                .header("x-forwarded-for", forwarded)
                .send()
                .await
                .unwrap()
        };
        let text = ask("198.51.100.7, 203.0.113.9").await.text().await.unwrap();
        assert!(text.contains(expected), "{trusted:?}: {text}");
        // Each caller behind a trusted proxy has a limit of its own; others cannot get one by a header.
        let mut limited = 0;
        for number in 0..20 {
            let answer = ask(&format!("203.0.113.{}", number + 10)).await;
            limited += usize::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
        }
        assert_eq!(limited > 0, trusted.is_empty(), "{limited} of 20");
        server.stop().await;
    }
}

#[tokio::test]
async fn connections_of_one_source_are_bounded_and_idle_ones_hurt_nobody() {
    let server = TestServer::start_with(|settings| settings.limits.connections_per_source = 5);
    let address = server.server.address();
    let mut held = Vec::new();
    for _ in 0..5 {
        // Half a request each, as of one that sends a byte a minute.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost:")
            .await
            .unwrap();
        held.push(stream);
    }
    // One more is closed at once.
    let mut more = TcpStream::connect(address).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, more.read(&mut [0; 10]))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    held.pop();
    let freed = async {
        loop {
            let client = reqwest::Client::new();
            if client
                .get(format!("http://{address}/healthz"))
                .send()
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed)
        .await
        .expect("the place is given back");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn headers_and_bodies_have_bounds() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let long = client.http.get(format!("{}/healthz", client.url));
    let long = long.header("x-long", "x".repeat(20_000)).send().await;
    assert!(long.is_err() || long.is_ok_and(|answer| answer.status() == 431));
    let large = client.put(&node.keys, &node.path(), vec![0; 40_000]).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    server.stop().await;
}

/// Ten seconds each, at the same time.
#[tokio::test]
async fn who_sends_slowly_is_cut_off() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let (path, body) = (node.path(), node.record(1));
    let mut request = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n");
    for (name, value) in client.headers(&node.keys, "PUT", &path, &body) {
        request += &format!("{name}: {value}\r\n");
    }
    let slow_body = async {
        let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
        stream
            .write_all((request + "\r\n").as_bytes())
            .await
            .unwrap();
        stream.write_all(&body[..1]).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 400");
    };
    let directory = tempfile::tempdir().unwrap();
    let (_, files) = crate::tls::certificate(directory.path());
    let with_tls = TestServer::start_with(|settings| settings.tls = Some(files));
    let silent_handshake = async {
        let mut stream = TcpStream::connect(with_tls.server.address()).await.unwrap();
        assert!(matches!(stream.read(&mut [0; 9]).await, Ok(0) | Err(_)));
    };
    let both = async { tokio::join!(slow_body, silent_handshake) };
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("both are cut off");
    server.stop().await;
    with_tls.stop().await;
}
