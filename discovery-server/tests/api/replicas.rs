//! Replicas of the real binary over real etcd: one state, and none of it lost when a replica and a member
//! of etcd are killed under load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_proto::MemberId;
use mesh_proto::discovery::{ErrorCode, Revision, WatchEvent, members_path, watch_path};
use reqwest::{Method, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, Node, PATIENCE, Watch, refusal};
use crate::etcd::Etcd;
use crate::process::{BINARY, Process};

const WRITERS: u8 = 10;
const WATCHERS: usize = 4;

fn replica(etcd: &Etcd, more: &[&str]) -> Process {
    let mut command = Command::new(BINARY);
    command
        .args(["--stun-listen", "off", "--store", &etcd.store()])
        .args(more);
    Process::spawn(&mut command)
}

/// Reads up to the first line that fits. Leases are short here: on a busy machine one may end in between.
async fn until(watch: &mut Watch, fits: impl Fn(&WatchEvent) -> bool) {
    loop {
        let line = watch.next().await.expect("the stream goes on");
        if fits(&line) {
            return;
        }
    }
}

fn is_fresh(line: &WatchEvent, fresh: bool) -> bool {
    matches!(line, WatchEvent::Member(line) if line.fresh == fresh)
}

#[tokio::test]
async fn replicas_have_one_state() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let replicas = [
        replica(&etcd, &["--lease", "2s"]),
        replica(&etcd, &["--lease", "2s"]),
    ];
    let [a, b] = [replicas[0].client().await, replicas[1].client().await];
    assert_eq!(a.info.server, b.info.server);
    assert_eq!(a.info.epoch, b.info.epoch);
    let node = Node::new(1, 1);
    let [mut at_a, mut at_b] = [
        a.watch(&node.keys, None).await,
        b.watch(&node.keys, None).await,
    ];
    at_a.sync().await;
    at_b.sync().await;

    // A nonce of one replica is good at the other.
    let mut at_a_for_b = a.clone();
    at_a_for_b.url.clone_from(&b.url);
    at_a_for_b.register(&node, 5).await;
    for watch in [&mut at_a, &mut at_b] {
        until(watch, |line| is_fresh(line, true)).await;
    }

    // The other replica refuses what is older or different, and takes what is the same.
    for other in [
        node.record(4),
        node.seal(mesh_proto::EnvelopeKind::Record, 5, "other"),
    ] {
        let (status, body) = refusal(a.put(&node.keys, &node.path(), other).await).await;
        assert_eq!((status, body.code), (409, ErrorCode::Conflict));
        let stored = body.stored.unwrap().decode().unwrap().verify().unwrap();
        assert_eq!(stored.sequence().0, 5);
    }
    a.register(&node, 5).await;

    // Nobody renews any more: the lease ends at both, by etcd's clock, and begins again at both.
    for watch in [&mut at_a, &mut at_b] {
        until(watch, |line| matches!(line, WatchEvent::Stale { .. })).await;
    }
    b.register(&node, 5).await;
    for watch in [&mut at_a, &mut at_b] {
        until(watch, |line| is_fresh(line, true)).await;
    }

    // A leave is a leave everywhere, and a replica that starts later knows all of it.
    let leave = node.seal(mesh_proto::EnvelopeKind::Left, 6, "");
    let left = a.put(&node.keys, &node.path(), leave.clone()).await;
    assert_eq!(left.status(), 204);
    until(&mut at_b, |line| is_fresh(line, false)).await;

    // Two more that nobody renews: the late one finds them stale, and did not see when that happened.
    let gone = [Node::new(1, 2), Node::new(1, 3)];
    for gone in &gone {
        a.register(gone, 1).await;
    }
    for _ in &gone {
        until(&mut at_b, |line| matches!(line, WatchEvent::Stale { .. })).await;
    }
    let late_replica = replica(&etcd, &[]);
    let late = late_replica.client().await;
    let stored = late.get(&node.keys, &node.path()).await;
    assert_eq!(stored.bytes().await.unwrap(), leave);
    let (seen, _) = late.watch(&node.keys, None).await.sync().await;
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// One address for whichever replicas live.
async fn one_address(replicas: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let turn = AtomicUsize::new(0);
        while let Ok((mut caller, _)) = listener.accept().await {
            let first = turn.fetch_add(1, Ordering::Relaxed);
            let replicas = replicas.clone();
            tokio::spawn(async move {
                for number in 0..replicas.len() {
                    let replica = replicas[(first + number) % replicas.len()];
                    if let Ok(mut connected) = TcpStream::connect(replica).await {
                        let _ = tokio::io::copy_bidirectional(&mut caller, &mut connected).await;
                        return;
                    }
                }
            });
        }
    });
    address
}

type Sequences = Arc<Mutex<BTreeMap<MemberId, u64>>>;

/// Sends a signed request as a node does, until it is answered with 2xx.
async fn insist(
    client: &Client,
    node: &Node,
    method: Method,
    path: &str,
    body: &[u8],
) -> reqwest::Response {
    loop {
        let headers = client.headers(&node.keys, method.as_str(), path, body);
        let url = format!("{}{path}", client.url);
        let mut request = client.http.request(method.clone(), url).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return answer,
            Ok(answer) => {
                let status = answer.status();
                let passing = [
                    StatusCode::SERVICE_UNAVAILABLE,
                    StatusCode::TOO_MANY_REQUESTS,
                ];
                assert!(
                    passing.contains(&status),
                    "{status}: {:?}",
                    answer.text().await
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn write(client: Client, number: u8, acknowledged: Sequences, stop: Arc<AtomicUsize>) {
    let node = Node::new(1, number);
    let mut sequence = 0;
    while stop.load(Ordering::Relaxed) == 0 {
        sequence += 1;
        insist(
            &client,
            &node,
            Method::PUT,
            &node.path(),
            &node.record(sequence),
        )
        .await;
        acknowledged.lock().unwrap().insert(node.member(), sequence);
    }
}

/// Watches as a node does: resumes after every break at the last line it has.
async fn watch(client: Client, seen: Sequences) {
    let node = Node::new(1, 0);
    let (mut from, mut synced): (Option<Revision>, bool) = (None, false);
    loop {
        let path = watch_path(&node.cluster(), from);
        let mut answer = insist(&client, &node, Method::GET, &path, b"").await;
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = text.drain(..=end).collect();
                match serde_json::from_slice(&line).unwrap() {
                    WatchEvent::Member(line) => {
                        let envelope = line.envelope.decode().unwrap().verify().unwrap();
                        let mut seen = seen.lock().unwrap();
                        let sequence = seen.entry(envelope.member()).or_default();
                        *sequence = (*sequence).max(envelope.sequence().0);
                        from = synced.then_some(line.revision).or(from);
                    }
                    WatchEvent::Synced { revision } => (from, synced) = (Some(revision), true),
                    WatchEvent::Goodbye => {}
                    other => {
                        from = from.or(match other {
                            WatchEvent::Heartbeat { revision, .. } => Some(revision),
                            _ => panic!("a live member is no longer fresh: {other:?}"),
                        })
                    }
                }
            }
        }
    }
}

/// Every member and its sequence, all of them fresh.
async fn everything_at(replica: &Process) -> BTreeMap<MemberId, u64> {
    let keys = Node::new(1, 0).keys;
    let survivor = replica.client().await;
    let list = survivor.get(&keys, &members_path(&keys.cluster_id())).await;
    let mut stored = BTreeMap::new();
    for line in list.text().await.unwrap().lines() {
        let WatchEvent::Member(line) = serde_json::from_str(line).unwrap() else {
            panic!("{line}")
        };
        let envelope = line.envelope.decode().unwrap().verify().unwrap();
        assert!(line.fresh);
        stored.insert(envelope.member(), envelope.sequence().0);
    }
    stored
}

#[tokio::test]
async fn a_killed_replica_and_a_killed_member_of_etcd_lose_nothing() {
    let Some(mut etcd) = Etcd::start().await else {
        return;
    };
    let (a, b) = (replica(&etcd, &[]), replica(&etcd, &[]));
    let address = one_address(vec![a.address, b.address]).await;
    // No connection outlives its request, so that both replicas are used.
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0);
    let client = Client::connect_with(&format!("http://{address}"), builder).await;
    let (acknowledged, stop) = (Sequences::default(), Arc::new(AtomicUsize::new(0)));
    let (mut writers, mut watchers) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
    let views: Vec<_> = (0..WATCHERS).map(|_| Sequences::default()).collect();
    for view in &views {
        watchers.spawn(watch(client.clone(), Arc::clone(view)));
    }
    for number in 0..WRITERS {
        let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        writers.spawn(write(client.clone(), number, acknowledged, stop));
    }
    let progress = async |least: u64| {
        let base = acknowledged.lock().unwrap().clone();
        let all = async {
            while (0..WRITERS).any(|number| {
                let member = Node::new(1, number).member();
                let of = |map: &BTreeMap<_, _>| map.get(&member).copied().unwrap_or(0);
                of(&acknowledged.lock().unwrap()) < of(&base) + least
            }) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, all).await;
        done.expect("every writer gets on");
    };
    progress(5).await;
    etcd.kill(0);
    progress(5).await;
    drop(a);
    progress(5).await;
    stop.store(1, Ordering::Relaxed);
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let expected = acknowledged.lock().unwrap().clone();
    assert_eq!(expected.len(), usize::from(WRITERS));
    let stored = everything_at(&b).await;
    assert_eq!(stored, expected, "exactly what was acknowledged");
    let follow = async {
        while views.iter().any(|view| *view.lock().unwrap() != expected) {
            tokio::select! {
                ended = watchers.join_next() => panic!("a watcher ended: {ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, follow)
        .await
        .expect("every watcher follows");
}
