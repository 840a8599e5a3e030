//! Watches: snapshot, push, resume, restart, leases, goodbye.

use std::time::Duration;

use mesh_proto::discovery::{Revision, WatchEvent};

use crate::client::{Client, Node, PATIENCE, TestServer, Watch};

async fn next_member(watch: &mut Watch) -> (u64, bool) {
    match watch.next().await.unwrap() {
        WatchEvent::Member(line) => {
            let envelope = line.envelope.decode().unwrap().verify().unwrap();
            (envelope.sequence().0, line.fresh)
        }
        other => panic!("{other:?} instead of a member"),
    }
}

#[tokio::test]
async fn a_watch_begins_with_everything_and_goes_on_with_changes() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (one, two) = (Node::new(1, 1), Node::new(1, 2));
    let mut early = client.watch(&one.keys, None).await;
    assert_eq!(early.sync().await.0, []);
    client.register(&one, 1).await;
    assert_eq!(next_member(&mut early).await, (1, true));
    let mut watch = client.watch(&one.keys, None).await;
    assert_eq!(watch.sync().await.0, [(one.member(), 1)]);
    // A renewal is no change; the next line is of the change after it.
    client.register(&one, 1).await;
    client.register(&two, 7).await;
    assert_eq!(next_member(&mut watch).await, (7, true));
    assert_eq!(next_member(&mut early).await, (7, true));
    // Another cluster's changes are not seen.
    client.register(&Node::new(2, 1), 50).await;
    client.register(&one, 8).await;
    assert_eq!(next_member(&mut watch).await, (8, true));
    server.stop().await;
}

#[tokio::test]
async fn resuming_gives_what_was_missed_and_unknown_places_give_everything() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (one, two, three) = (Node::new(1, 1), Node::new(1, 2), Node::new(1, 3));
    client.register(&one, 1).await;
    client.register(&two, 1).await;
    let (_, revision) = client.watch(&one.keys, None).await.sync().await;
    assert_eq!(revision.epoch, client.info.epoch);
    let resumed = client.watch(&one.keys, Some(revision)).await.sync().await;
    assert_eq!(resumed, (vec![], revision));
    client.register(&three, 1).await;
    client.register(&two, 2).await;
    client.register(&two, 3).await;
    let (missed, later) = client.watch(&one.keys, Some(revision)).await.sync().await;
    assert_eq!(missed, [(three.member(), 1), (two.member(), 3)]);
    for unknown in [
        Revision {
            epoch: later.epoch ^ 1,
            ..later
        },
        Revision {
            n: later.n + 1,
            ..later
        },
    ] {
        let (all, _) = client.watch(&one.keys, Some(unknown)).await.sync().await;
        assert_eq!(all.len(), 3, "{unknown:?}");
    }
    let half = format!("/v1/clusters/{}/watch?epoch=1", one.cluster());
    assert_eq!(client.get(&one.keys, &half).await.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_records_reports_epoch_and_places() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let (one, two) = (Node::new(1, 1), Node::new(1, 2));
    client.register(&one, 3).await;
    let report = one.seal(mesh_proto::EnvelopeKind::Report, 1, "{}");
    assert!(
        client
            .put(&one.keys, &one.report_path(), report.clone())
            .await
            .status()
            .is_success()
    );
    let (_, before) = client.watch(&one.keys, None).await.sync().await;
    let server_id = client.info.server;

    let server = TestServer::start_in(server.stop().await, |_| {});
    let client = Client::connect(&server.url()).await;
    assert_eq!(
        (client.info.server, client.info.epoch),
        (server_id, before.epoch)
    );
    let resumed = client.watch(&one.keys, Some(before)).await.sync().await;
    assert_eq!(resumed.0, []);
    client.register(&two, 1).await;
    let (missed, _) = client.watch(&one.keys, Some(before)).await.sync().await;
    assert_eq!(missed, [(two.member(), 1)]);
    let answer = client.get(&one.keys, &one.path()).await;
    assert_eq!(answer.headers()["mesh-fresh"], "true");
    assert_eq!(answer.bytes().await.unwrap(), one.record(3));
    let stored = client
        .get(&one.keys, &one.report_path())
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(stored, report);
    server.stop().await;

    let fresh = TestServer::start();
    let client = Client::connect(&fresh.url()).await;
    assert_ne!(
        (client.info.server, client.info.epoch),
        (server_id, before.epoch)
    );
    fresh.stop().await;
}

#[tokio::test]
async fn a_lease_that_ends_is_told_and_so_is_its_return() {
    let server = TestServer::start_with(|settings| settings.lease = Duration::from_secs(1));
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    client.register(&node, 1).await;
    let mut watch = client.watch(&node.keys, None).await;
    watch.sync().await;
    let ticking = async {
        loop {
            server.server.tick().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let checks = async {
        let stale = watch.next().await.unwrap();
        assert!(
            matches!(&stale, WatchEvent::Stale { member, .. } if *member == node.member()),
            "{stale:?}"
        );
        // It stays, for whoever asks later.
        let mut late = client.watch(&node.keys, None).await;
        assert_eq!(next_member(&mut late).await, (1, false));
        client.register(&node, 1).await;
        assert_eq!(next_member(&mut watch).await, (1, true));
    };
    tokio::select! {
        () = ticking => {}
        () = checks => {}
        () = tokio::time::sleep(PATIENCE) => panic!("no lease ended"),
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stop_says_goodbye() {
    let server = TestServer::start();
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let mut watch = client.watch(&node.keys, None).await;
    watch.sync().await;
    let stopped = tokio::spawn(server.stop());
    assert_eq!(watch.next().await, Some(WatchEvent::Goodbye));
    assert_eq!(watch.next().await, None);
    tokio::time::timeout(PATIENCE, stopped)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn watchers_are_bounded_and_give_their_place_back() {
    let server = TestServer::start_with(|settings| settings.limits.watchers_per_cluster = 1);
    let client = Client::connect(&server.url()).await;
    let node = Node::new(1, 1);
    let mut first = client.watch(&node.keys, None).await;
    first.sync().await;
    let path = format!("/v1/clusters/{}/watch", node.cluster());
    assert_eq!(client.get(&node.keys, &path).await.status(), 429);
    drop(first);
    let freed = async {
        while client.get(&node.keys, &path).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed)
        .await
        .expect("the place is given back");
    server.stop().await;
}
