//! The control server on real sockets, with a scripted event loop behind it.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mesh_proto::control::{CONTROL_VERSION, Left, Peers, ShowConf};
use tokio::sync::mpsc;

use super::*;
use crate::bounded::BoundedListener;

/// Sends one request and returns status and body.
async fn request(path: &Path, method: &str, target: &str) -> (u16, String) {
    let (path, head) = (
        path.to_owned(),
        format!("{method} {target} HTTP/1.1\r\nhost: meshd\r\nconnection: close\r\n\r\n"),
    );
    tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    })
    .await
    .unwrap()
}

fn answer(request: ControlRequest) {
    let version = CONTROL_VERSION;
    match request {
        ControlRequest::Peers(reply) => {
            let peers = Vec::new();
            let _ = reply.send(Ok(Peers { version, peers }));
        }
        ControlRequest::ShowConf { as_peer, reply } => {
            let text = format!("{as_peer:?}");
            let _ = reply.send(Ok(ShowConf { version, text }));
        }
        ControlRequest::Paths { name, reply } => {
            let _ = reply.send(Err(Refusal::not_found(format!("no peer {name}"))));
        }
        ControlRequest::Explain { address, reply } => {
            let _ = reply.send(Err(Refusal::unavailable(address.to_string())));
        }
        ControlRequest::Leave(reply) => {
            let published = true;
            let _ = reply.send(Ok(Left { version, published }));
        }
        // Dropping the reply is what a stopping event loop does.
        _ => {}
    }
}

fn desk() -> EventDesk {
    EventDesk::new(EventLog::new(), CancellationToken::new())
}

fn start(path: &Path) -> ControlServer {
    let (sender, mut receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(request) = receiver.recv().await {
            answer(request);
        }
    });
    serve(path, sender).unwrap()
}

#[tokio::test]
async fn routes_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/meshd.sock");
    let server = start(&path);
    for (method, target, status, body) in [
        ("GET", "/v1/peers", 200, r#"{"version":1,"peers":[]}"#),
        ("GET", "/v1/showconf", 200, r#"{"version":1,"text":"None"}"#),
        (
            "GET",
            "/v1/showconf?as_peer=a%20b",
            200,
            r#"{"version":1,"text":"Some(\"a b\")"}"#,
        ),
        ("GET", "/v1/paths/a%2Fb", 404, r#"{"error":"no peer a/b"}"#),
        ("GET", "/v1/explain/::1", 503, r#"{"error":"::1"}"#),
        (
            "GET",
            "/v1/explain/ten",
            400,
            r#"{"error":"\"ten\" is not an IP address"}"#,
        ),
        ("GET", "/v1/status", 503, r#"{"error":"meshd is stopping"}"#),
        (
            "POST",
            "/v1/leave",
            200,
            r#"{"version":1,"published":true}"#,
        ),
        (
            "GET",
            "/v1/leave",
            405,
            r#"{"error":"wrong method for /v1/leave"}"#,
        ),
        (
            "GET",
            "/v2/x",
            404,
            r#"{"error":"this meshd does not know /v2/x; meshctl may be newer than the daemon"}"#,
        ),
    ] {
        assert_eq!(
            request(&path, method, target).await,
            (status, body.to_owned()),
            "{method} {target}"
        );
    }
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn events_are_kept_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshd.sock");
    let (sender, _receiver) = mpsc::channel(1);
    let server = serve(&path, sender).unwrap();
    let log = server.events();
    let note = |message: &str| {
        let event = meshd_core::Event {
            kind: "peer_up",
            level: meshd_core::event::Level::Info,
            peer: None,
            message: message.to_owned(),
            cost: None,
        };
        let instant = std::time::Instant::now();
        log.note(
            &event,
            meshd_core::Now {
                instant,
                unix_ms: 0,
            },
        );
    };
    note("one");
    let record = |number: u8, message: &str| {
        format!(
            r#"{{"number":{number},"time":"1970-01-01T00:00:00.000Z","kind":"peer_up","level":"info","peer":null,"message":"{message}"}}"#
        )
    };
    let (status, body) = request(&path, "GET", "/v1/events").await;
    assert_eq!(status, 200);
    let one = record(1, "one");
    assert_eq!(
        body,
        format!(r#"{{"version":1,"missed":0,"events":[{one}]}}"#)
    );

    let mut stream = UnixStream::connect(&path).unwrap();
    let head = "GET /v1/events?follow HTTP/1.1\r\nhost: meshd\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let (lines, mut seen) = mpsc::channel(16);
    let reader = tokio::task::spawn_blocking(move || {
        for line in std::io::BufReader::new(stream).lines() {
            lines.blocking_send(line.unwrap()).unwrap();
        }
    });
    let mut next = async |wanted: String| while seen.recv().await.unwrap() != wanted {};
    next(one).await;
    note("two");
    next(record(2, "two")).await;
    // A follower does not hold up the end.
    server.stop().await;
    drop(seen);
    reader.await.unwrap();
}

#[tokio::test]
async fn modes_stale_sockets_and_a_second_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshd.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a stale socket is in the way");
    let server = start(&path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (sender, _receiver) = mpsc::channel(1);
    let second = serve(&path, sender.clone()).unwrap_err();
    assert!(matches!(second, ControlError::InUse { .. }), "{second}");
    assert_eq!(request(&path, "GET", "/v1/peers").await.0, 200);
    drop(server);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let third = serve(&path, sender).unwrap_err();
    assert!(matches!(third, ControlError::NotASocket { .. }), "{third}");
    assert!(path.exists());
}

#[tokio::test]
async fn only_a_dead_socket_is_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshd.sock");
    assert!(!remove_dead(&path), "there is none");
    let server = start(&path);
    assert!(!remove_dead(&path), "it answers");
    drop(server);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(remove_dead(&path));
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(!remove_dead(&path));
    assert!(path.exists());
}

#[tokio::test]
async fn a_socket_of_another_daemon_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshd.sock");
    let server = start(&path);
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

#[tokio::test]
async fn a_stuck_event_loop_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshd.sock");
    let (sender, _receiver) = mpsc::channel(1);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let router = routes::reading(sender, desk(), Duration::from_millis(50));
    let listener = BoundedListener::new(listener, 2);
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    for _ in 0..3 {
        let (status, body) = request(&path, "GET", "/v1/peers").await;
        assert_eq!(status, 504);
        assert!(body.contains("did not answer within 0.05 s"), "{body}");
    }
    task.abort();
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meshd.sock");
    let (sender, mut receiver) = mpsc::channel(MAX_IN_FLIGHT);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let router = routes::reading(sender, desk(), Duration::from_secs(60));
    let listener = BoundedListener::new(listener, MAX_IN_FLIGHT + 1);
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    let (mut held, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..MAX_IN_FLIGHT {
        let path = path.clone();
        waiting.push(tokio::spawn(async move {
            request(&path, "GET", "/v1/peers").await
        }));
        held.push(receiver.recv().await.unwrap());
    }
    let (status, body) = request(&path, "GET", "/v1/peers").await;
    assert_eq!(status, 503);
    assert!(body.contains("64 requests"), "{body}");
    held.into_iter().for_each(answer);
    for request in waiting {
        assert_eq!(request.await.unwrap().0, 200);
    }
    task.abort();
}
