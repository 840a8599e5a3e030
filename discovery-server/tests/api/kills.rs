//! `kill -9` at random moments under write load: after each restart everything acknowledged is there, what
//! watchers saw is there, and nothing is there that nobody sent. `MESH_KILLS` sets how many times.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_proto::discovery::{WatchEvent, members_path};
use mesh_proto::{EnvelopeKind, MemberId};
use reqwest::{Method, StatusCode};
use tempfile::TempDir;

use crate::client::{Client, Node};
use crate::process::{BINARY, Process};

/// How often in a quick run.
const KILLS: u64 = 8;
const WRITERS: u8 = 24;
/// Longest time of load before a kill, milliseconds.
const LONGEST_LOAD_MS: u64 = 150;
/// Every so many restarts the server is killed before it serves.
const EARLY_KILL: u64 = 4;

/// What is known of one member.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    sent: u64,
    acknowledged: u64,
    watched: u64,
}

type Ledger = Arc<Mutex<BTreeMap<u8, Known>>>;

/// Every fifth envelope is a leave: those must not be lost either.
fn envelope(node: &Node, sequence: u64) -> Vec<u8> {
    let kind = if sequence.is_multiple_of(5) {
        EnvelopeKind::Left
    } else {
        EnvelopeKind::Record
    };
    node.seal(kind, sequence, &"x".repeat(sequence as usize % 700))
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes) % below
}

/// Writes until the server is gone.
async fn write(client: Client, number: u8, ledger: Ledger) {
    let node = Node::new(1, number);
    loop {
        let sequence = {
            let mut ledger = ledger.lock().unwrap();
            let known = ledger.entry(number).or_default();
            known.sent += 1;
            known.sent
        };
        let (path, body) = (node.path(), envelope(&node, sequence));
        let headers = client.headers(&node.keys, "PUT", &path, &body);
        let url = format!("{}{path}", client.url);
        let mut request = client.http.request(Method::PUT, url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let Ok(answer) = request.send().await else {
            return;
        };
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{sequence}");
        ledger
            .lock()
            .unwrap()
            .get_mut(&number)
            .unwrap()
            .acknowledged = sequence;
    }
}

/// Watches until the server is gone.
async fn watch(client: Client, numbers: BTreeMap<MemberId, u8>, ledger: Ledger) {
    let keys = Node::new(1, 0).keys;
    let path = format!("/v1/clusters/{}/watch", keys.cluster_id());
    let headers = client.headers(&keys, "GET", &path, b"");
    let mut request = client.http.get(format!("{}{path}", client.url));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let Ok(mut answer) = request.send().await else {
        return;
    };
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = text.drain(..=end).collect();
            if let WatchEvent::Member(line) = serde_json::from_slice(&line).unwrap() {
                let envelope = line.envelope.decode().unwrap().verify().unwrap();
                let mut ledger = ledger.lock().unwrap();
                let known = ledger.get_mut(&numbers[&envelope.member()]).unwrap();
                known.watched = known.watched.max(envelope.sequence().0);
            }
        }
    }
}

/// Nothing lost, nothing invented, byte for byte.
async fn audit(client: &Client, numbers: &BTreeMap<MemberId, u8>, ledger: &Ledger, round: u64) {
    let keys = Node::new(1, 0).keys;
    let list = client.get(&keys, &members_path(&keys.cluster_id())).await;
    let list = list.text().await.unwrap();
    let mut stored = BTreeMap::new();
    for line in list.lines() {
        let WatchEvent::Member(line) = serde_json::from_str(line).unwrap() else {
            panic!("{line}")
        };
        let envelope = line.envelope.decode().unwrap().verify().unwrap();
        let number = numbers[&envelope.member()];
        let sequence = envelope.sequence().0;
        assert_eq!(
            envelope.encode(),
            self::envelope(&Node::new(1, number), sequence),
            "round {round}: member {number} holds something that was never sent"
        );
        assert!(stored.insert(number, sequence).is_none());
    }
    for (number, known) in ledger.lock().unwrap().iter_mut() {
        let sequence = stored.get(number).copied().unwrap_or(0);
        let range = known.acknowledged.max(known.watched)..=known.sent;
        assert!(
            range.contains(&sequence),
            "round {round}: member {number} is at {sequence}: {known:?}"
        );
        // What was under way may have been stored or not; both are right, from here on one of them is.
        known.acknowledged = sequence;
    }
}

fn killed_before_it_serves(directory: &Path) {
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]);
    let mut child = command
        .arg(directory)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_micros(random(30_000)));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_server_killed_at_any_moment_keeps_what_it_acknowledged() {
    let kills = std::env::var("MESH_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let directory = TempDir::new().unwrap();
    let ledger = Ledger::default();
    let numbers: BTreeMap<_, _> = (0..WRITERS)
        .map(|number| (Node::new(1, number).member(), number))
        .collect();
    let mut identity = None;
    for round in 1..=kills {
        if round.is_multiple_of(EARLY_KILL) {
            killed_before_it_serves(directory.path());
        }
        let process = Process::start(directory.path());
        let client = process.client().await;
        let found = (client.info.server, client.info.epoch);
        assert_eq!(*identity.get_or_insert(found), found, "round {round}");
        audit(&client, &numbers, &ledger, round).await;
        let mut load = tokio::task::JoinSet::new();
        load.spawn(watch(client.clone(), numbers.clone(), Arc::clone(&ledger)));
        for number in 0..WRITERS {
            load.spawn(write(client.clone(), number, Arc::clone(&ledger)));
        }
        tokio::time::sleep(Duration::from_millis(random(LONGEST_LOAD_MS))).await;
        // Dropping it is SIGKILL.
        drop(process);
        while let Some(done) = load.join_next().await {
            done.unwrap();
        }
    }
    let process = Process::start(directory.path());
    audit(&process.client().await, &numbers, &ledger, kills + 1).await;
    let written: u64 = ledger
        .lock()
        .unwrap()
        .values()
        .map(|known| known.sent)
        .sum();
    assert!(
        written > kills,
        "there was hardly any load: {written} writes"
    );
}
