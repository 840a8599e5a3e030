//! Records and reports: what is taken, what is refused, what is given back.

use mesh_proto::discovery::{ErrorCode, MemberLine, WatchEvent, members_path};
use mesh_proto::limits::MAX_ENVELOPE_BYTES;
use mesh_proto::{EnvelopeKind, IdentityKey};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

use crate::client::{Client, Node, TestServer, refusal};
use discovery_server::limits::Rate;

#[tokio::test]
async fn higher_sequences_replace_and_others_conflict_with_what_is_stored() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    client.register(&node, 5).await;
    client.register(&node, 5).await;
    for (kind, sequence, text) in [
        (EnvelopeKind::Record, 4, "{}"),
        (EnvelopeKind::Record, 5, "{\"other\":1}"),
        (EnvelopeKind::Left, 5, "{}"),
    ] {
        let sealed = node.seal(kind, sequence, text);
        let (status, body) = refusal(client.put(&node.keys, &node.path(), sealed).await).await;
        assert_eq!((status, body.code), (409, ErrorCode::Conflict));
        let stored = body.stored.unwrap().decode().unwrap().verify().unwrap();
        assert_eq!(stored.encode(), node.record(5));
    }
    client.register(&node, 6).await;
    let answer = client.get(&node.keys, &node.path()).await;
    assert_eq!(answer.headers()["mesh-fresh"], "true");
    assert_eq!(answer.bytes().await.unwrap(), node.record(6));
    let unknown = client.get(&node.keys, &Node::new(1, 2).path()).await;
    assert_eq!(refusal(unknown).await.1.code, ErrorCode::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_leave_is_listed_and_not_undone_by_older_records() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (node, other) = (Node::new(1, 1), Node::new(1, 2));
    client.register(&other, 1).await;
    client.register(&node, 1).await;
    let left = node.seal(EnvelopeKind::Left, 10, "{}");
    let answer = client.put(&node.keys, &node.path(), left.clone()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let late = client.put(&node.keys, &node.path(), node.record(9)).await;
    assert_eq!(late.status(), StatusCode::CONFLICT);
    let list = client
        .get(&node.keys, &members_path(&node.cluster()))
        .await
        .text()
        .await
        .unwrap();
    let lines: Vec<MemberLine> = list
        .lines()
        .map(|line| match serde_json::from_str(line).unwrap() {
            WatchEvent::Member(line) => line,
            event => panic!("{event:?} in a list"),
        })
        .collect();
    assert_eq!(lines.len(), 2);
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line.envelope.decode().unwrap().verify().unwrap().kind(),
                line.fresh,
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [(EnvelopeKind::Record, true), (EnvelopeKind::Left, false)]
    );
    server.stop().await;
}

#[tokio::test]
async fn reports_are_kept_apart_and_at_most_one_a_minute() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let report = |sequence| node.seal(EnvelopeKind::Report, sequence, "{\"peers\":[]}");
    let path = node.report_path();
    let early = client.put(&node.keys, &path, report(1)).await;
    assert_eq!(
        refusal(early).await.1.code,
        ErrorCode::NotFound,
        "no record yet"
    );
    client.register(&node, 100).await;
    let none = client.get(&node.keys, &path).await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    for _ in 0..2 {
        let answer = client.put(&node.keys, &path, report(1)).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
    let soon = client.put(&node.keys, &path, report(2)).await;
    let wait: u64 = soon.headers()[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refusal(soon).await.1.code, ErrorCode::Limited);
    let answer = client.get(&node.keys, &path).await;
    answer.headers()["mesh-age-s"]
        .to_str()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert_eq!(answer.bytes().await.unwrap(), report(1));
    for (path, sealed) in [(node.path(), report(200)), (path, node.record(200))] {
        let (status, body) = refusal(client.put(&node.keys, &path, sealed).await).await;
        assert_eq!(
            (status, body.code),
            (422, ErrorCode::BadEnvelope),
            "wrong kind: {path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn bounds_are_kept_and_named() {
    let server = TestServer::start_with(|settings| {
        settings.limits.members_per_cluster = 2;
        settings.limits.clusters = 2;
        settings.limits.requests_per_cluster = Rate { rate: 1, burst: 6 };
    });
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let large = client
        .put(&node.keys, &node.path(), vec![0; MAX_ENVELOPE_BYTES + 1])
        .await;
    let (status, body) = refusal(large).await;
    assert_eq!((status, body.code), (413, ErrorCode::TooLarge));
    client.register(&node, 1).await;
    client.register(&Node::new(1, 2), 1).await;
    let third = Node::new(1, 3);
    let answer = client
        .put(&third.keys, &third.path(), third.record(1))
        .await;
    assert!(answer.headers().contains_key(RETRY_AFTER));
    assert_eq!(refusal(answer).await.0, 429);
    // Full for new members only.
    client.register(&node, 2).await;
    client.register(&Node::new(2, 1), 1).await;
    let other = Node::new(3, 1);
    assert_eq!(
        client
            .put(&other.keys, &other.path(), other.record(1))
            .await
            .status(),
        429
    );
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(client.get(&node.keys, &node.path()).await.status().as_u16());
    }
    assert!(statuses.contains(&429), "the cluster's rate: {statuses:?}");
    server.stop().await;
}

#[tokio::test]
async fn one_source_is_limited_but_health_is_not() {
    let rate = Rate { rate: 1, burst: 3 };
    let server = TestServer::start_with(|settings| settings.limits.requests_per_source = rate);
    let client = Client::connect(&server.url()).await;
    let mut limited = None;
    for _ in 0..6 {
        let answer = client
            .http
            .get(format!("{}/v1/info", client.url))
            .send()
            .await
            .unwrap();
        if answer.status() == 429 {
            limited = Some(answer);
        }
    }
    let limited = limited.expect("six requests at once are over three");
    assert_eq!(limited.headers()[RETRY_AFTER], "1");
    assert_eq!(refusal(limited).await.1.code, ErrorCode::Limited);
    let health = client
        .http
        .get(format!("{}/healthz", client.url))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn many_members_at_once_are_all_taken() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let keys = Node::new(1, 1).keys;
    let mut puts = tokio::task::JoinSet::new();
    for index in 0..200u8 {
        let (client, keys) = (client.clone(), keys.clone());
        puts.spawn(async move {
            let identity = IdentityKey::from_seed(&[index; 32]);
            client.register(&Node { keys, identity }, 1).await;
        });
    }
    while let Some(done) = puts.join_next().await {
        done.unwrap();
    }
    let (seen, _) = client.watch(&keys, None).await.sync().await;
    assert_eq!(seen.len(), 200);
    server.stop().await;
}
