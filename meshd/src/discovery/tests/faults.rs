//! What servers do wrong, and what the client makes of it.

use mesh_proto::discovery::{ErrorBody, ErrorCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::fake_server::Fault;
use super::*;

#[tokio::test]
async fn bad_lines_are_counted_and_the_rest_passes() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    let mut tampered = record(2, 5).encode();
    *tampered.last_mut().unwrap() ^= 1;
    let tampered = WatchEvent::Member(MemberLine {
        revision: Revision { epoch: 1, n: 1 },
        envelope: EncodedEnvelope::from_bytes(&tampered),
        fresh: true,
        stale_s: 0,
    });
    server.push(&tampered).await;
    let foreign = envelope(&keys(7), 2, EnvelopeKind::Record, 5);
    server.push(&member_line(&foreign, 2)).await;
    let report = envelope(&keys(1), 2, EnvelopeKind::Report, 5);
    server.push(&member_line(&report, 3)).await;
    server
        .push_text("no json\n\n{\"type\":\"from_a_later_version\"}\n")
        .await;
    server
        .push_text(&format!("{}\n", "x".repeat(200_000)))
        .await;
    server.push(&member_line(&record(3, 6), 4)).await;
    assert_eq!(client.member().await, record(3, 6));
    assert_eq!(client.client.bad_lines(), 6);
}

#[tokio::test]
async fn a_nonce_that_ran_out_is_fetched_again() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    server.set(|state| state.nonce = "second".into());
    client.client.publish(record(9, 1));
    assert_eq!(client.published().await, Sequence(1));
    // A heartbeat brings the next one before it is needed.
    let infos = server.state(|state| state.infos);
    server.set(|state| state.nonce = "third".into());
    server
        .push(&WatchEvent::Heartbeat {
            revision: Revision { epoch: 1, n: 1 },
            nonce: "third".into(),
        })
        .await;
    client
        .next(|_, event| matches!(event, DiscoveryEvent::Contact).then_some(()))
        .await;
    client.client.publish(record(9, 2));
    assert_eq!(client.published().await, Sequence(2));
    assert_eq!(server.state(|state| state.infos), infos);
}

#[tokio::test]
async fn a_conflict_tells_what_is_stored() {
    let server = FakeServer::start().await;
    let stored = record(9, 8);
    server.set(|state| {
        state.faults.push_back(Fault::Put(
            409,
            ErrorBody {
                code: ErrorCode::Conflict,
                message: "a higher sequence is stored".into(),
                stored: Some(EncodedEnvelope::from_bytes(&stored.encode())),
            },
        ));
    });
    let mut client = Client::start(&[&server.url()]);
    client.client.publish(record(9, 1));
    let told = client
        .next(|_, event| match event {
            DiscoveryEvent::Conflict { stored } => Some(stored),
            _ => None,
        })
        .await;
    assert_eq!(told, stored);
    client.client.publish(record(9, 9));
    assert_eq!(client.published().await, Sequence(9));
}

#[tokio::test]
async fn a_put_that_fails_is_tried_again() {
    let server = FakeServer::start().await;
    let unavailable = ErrorBody {
        code: ErrorCode::Unavailable,
        message: "disk full".into(),
        stored: None,
    };
    server.set(|state| {
        for _ in 0..3 {
            state.faults.push_back(Fault::Put(503, unavailable.clone()));
        }
    });
    let mut client = Client::start(&[&server.url()]);
    client.client.publish(record(9, 1));
    assert_eq!(client.published().await, Sequence(1));
}

#[tokio::test]
async fn a_server_that_refuses_the_cluster_says_what_to_do() {
    let server = FakeServer::start().await;
    server.set(|state| {
        state.faults.push_back(Fault::Watch(
            403,
            ErrorBody {
                code: ErrorCode::ClusterNotAllowed,
                message: "no".into(),
                stored: None,
            },
        ));
    });
    let mut client = Client::start(&[&server.url()]);
    let text = client.disconnected().await;
    let expected = format!("start it with --allow-cluster {}", keys(1).cluster_id());
    assert!(text.ends_with(&expected), "{text}");
    client.connected().await;
}

#[tokio::test]
async fn an_older_secret_may_be_refused() {
    let server = FakeServer::start().await;
    let old = keys(3);
    server.set(|state| state.refused = Some(old.cluster_id()));
    let mut client = Client::start_with(&[&server.url()], vec![keys(1), old]);
    client.connected().await;
    server.push(&member_line(&record(2, 5), 1)).await;
    assert_eq!(client.member().await, record(2, 5));
}

#[tokio::test]
async fn goodbye_brings_the_client_back() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    server.push(&WatchEvent::Goodbye).await;
    let text = client.disconnected().await;
    assert!(text.contains("is going away"), "{text}");
    client.connected().await;
}

#[tokio::test]
async fn something_else_than_a_discovery_server_is_named() {
    let server = FakeServer::start().await;
    server.set(|state| state.info_text = Some("<html>hello</html>".into()));
    let mut client = Client::start(&[&server.url()]);
    let text = client.disconnected().await;
    assert!(
        text.contains("does not answer like a discovery server"),
        "{text}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    // RFC 6761 section 6.4: names under `invalid` never resolve.
    let mut client = Client::start(&["http://discovery.invalid:7400"]);
    let text = client.disconnected().await;
    assert!(
        text.starts_with("discovery.invalid cannot be resolved: "),
        "{text}"
    );
}

#[tokio::test]
async fn a_nonce_that_is_none_is_a_bad_line_and_not_sent_back() {
    let server = FakeServer::start().await;
    let mut client = Client::start(&[&server.url()]);
    client.connected().await;
    for nonce in ["", "a\nPUT", &"x".repeat(10_000)] {
        server
            .push(&WatchEvent::Heartbeat {
                revision: Revision { epoch: 1, n: 1 },
                nonce: nonce.to_owned(),
            })
            .await;
        client
            .next(|_, event| matches!(event, DiscoveryEvent::Contact).then_some(()))
            .await;
    }
    client.client.publish(record(9, 1));
    assert_eq!(client.published().await, Sequence(1));
    assert_eq!(client.client.bad_lines(), 3);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeServer::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}/v1/info\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url()
    );
    let redirecting = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let mut client = Client::start(&[&url]);
    let text = client.disconnected().await;
    assert!(text.contains("307"), "{text}");
    assert_eq!(elsewhere.state(|state| state.infos), 0);
    redirecting.abort();
}
